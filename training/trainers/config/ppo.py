"""The hyper-parameters of PPO."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from training.trainers import reward_functions
from training.trainers.config.common import OptimizingConfig
from training.trainers.config.fields import option

# What RLOO and GRPO have no use for, or TRL does not do.
_PPO_ALONE = {
    "critic_learning_rate",
    "ema_decay",
    "gae_lambda",
    "gamma",
    "kl_control",
    "ptx_coefficient",
    "scale_scores",
    "value_clip",
    "value_coefficient",
    "whiten_advantages",
    "whiten_rewards",
}


@dataclass(frozen=True, kw_only=True)
class PpoConfig(OptimizingConfig):
    """Proximal policy optimisation against a reward model (Ouyang et al. 2022; Huang et al. 2024, "N+")."""

    # Dropout would tell drawing and training apart, and the models are drawn from between the steps.
    NOT_HERE: ClassVar[frozenset[str]] = frozenset({"lora_dropout", "sharding"})
    MAY_CHANGE: ClassVar[frozenset[str]] = OptimizingConfig.MAY_CHANGE | {
        "max_kl",
        "min_end_rate",
        "min_entropy",
        "offload_frozen",
    }

    algorithm: str = option(
        "ppo",
        "PPO has a critic that says how good each token was; RLOO and GRPO, by TRL, compare the answers to one prompt.",
        choices=("ppo", "rloo", "grpo"),
    )
    method: str = option(
        "lora",
        "LoRA trains small adapters on policy and critic; full trains every weight and needs far more memory.",
        choices=("lora", "full"),
    )
    checkpoint_steps: int = option(
        5,
        "A state to resume from is saved every so many updates; 0 saves one only when the run is stopped.",
        minimum=0,
        maximum=1_000_000,
        unit="updates",
        expert=True,
        label="Checkpoint updates",
    )
    updates: int = option(
        100,
        "How many times answers are drawn and learnt from.",
        minimum=1,
        maximum=1_000_000,
    )
    rollout_prompts: int = option(
        64,
        "How many prompts are answered in an update; InstructGPT took 512.",
        minimum=1,
        maximum=65_536,
        label="Prompts an update",
    )
    answers_each: int = option(
        1, "How many answers are drawn to each prompt of an update.", minimum=1, maximum=256, label="Answers each"
    )
    epochs: int = option(4, "How many times an update passes over its own answers.", minimum=1, maximum=100)
    batch_size: int = option(
        16,
        "How many prompts, each with its answers, go into one optimizer step; as many steps as make up an update's "
        "prompts are taken in each pass.",
        minimum=1,
        maximum=65_536,
        unit="prompts",
    )
    micro_batch_size: int = option(
        4,
        "How many prompts are computed at once at most; smaller needs less memory and gives the same result.",
        minimum=1,
        maximum=4096,
        expert=True,
    )
    offload_frozen: bool = option(
        True,
        "Whether reference and reward model, where they are models of their own, are out of memory while policy and "
        "critic learn; a GPU is given them anew in each update.",
        expert=True,
        label="Rest frozen models",
    )
    learning_rate: float = option(
        1e-5,
        "The policy's largest step size; 1e-5 suits LoRA, and about 3e-6 a full run.",
        minimum=0.0,
        maximum=1.0,
    )
    critic_learning_rate: float = option(
        0.0, "The critic's largest step size; 0 takes the policy's.", minimum=0.0, maximum=1.0, expert=True
    )
    max_new_tokens: int = option(
        128, "The longest answer.", minimum=1, maximum=32_768, unit="tokens", label="Longest answer"
    )
    temperature: float = option(
        1.0,
        "How random the words are; it divides the logits alike in drawing, reference and training.",
        minimum=0.01,
        maximum=5.0,
    )
    engine: str = option(
        "transformers",
        "What draws the answers: our own decoder on the policy itself, or vLLM, which is handed the policy once an "
        "update.",
        choices=("transformers", "vllm"),
        expert=True,
        label="Engine of drawing",
    )
    vllm_memory: float = option(
        0.3,
        "What share of a GPU's memory vLLM takes beside training.",
        minimum=0.01,
        maximum=0.99,
        expert=True,
        label="Memory for vLLM",
    )
    sample_batch_size: int = option(
        32, "How many prompts are sampled at once.", minimum=1, maximum=4096, unit="prompts", expert=True
    )
    beta: float = option(
        0.05,
        "What each nat of distance to the model the run starts from costs; 0.02 is InstructGPT's, 0 holds it by "
        "nothing.",
        minimum=0.0,
        maximum=100.0,
    )
    kl_control: str = option(
        "fixed",
        "Whether beta stays as it is, or follows the distance of the answers to a target.",
        choices=("fixed", "adaptive"),
        expert=True,
        label="Control of beta",
    )
    target_kl: float = option(
        6.0,
        "The distance that an adaptive beta aims at.",
        minimum=1e-3,
        maximum=1e4,
        unit="nats an answer",
        expert=True,
        label="Target distance",
    )
    kl_horizon: int = option(
        10_000,
        "How many answers an adaptive beta takes its time for.",
        minimum=1,
        maximum=100_000_000,
        unit="answers",
        expert=True,
        label="Horizon of beta",
    )
    gamma: float = option(
        1.0, "How much a later reward counts; 1 counts it in full.", minimum=0.0, maximum=1.0, expert=True
    )
    gae_lambda: float = option(
        0.95,
        "Between the critic's word alone (0) and the rewards alone (1) for how good a token was.",
        minimum=0.0,
        maximum=1.0,
        expert=True,
        label="GAE lambda",
    )
    clip: float = option(
        0.2,
        "How far a token's probability may move in an update before the loss stops pushing.",
        minimum=1e-3,
        maximum=10.0,
        expert=True,
        label="Clip of the ratio",
    )
    value_clip: float = option(
        0.2,
        "How far a value may move in an update before the loss stops pushing; 0 does not hold it.",
        minimum=0.0,
        maximum=1e3,
        expert=True,
    )
    value_coefficient: float = option(
        0.1, "How much the critic's loss counts beside the policy's.", minimum=0.0, maximum=100.0, expert=True
    )
    whiten_advantages: bool = option(
        True, "Scales advantages to mean 0 and variance 1 over the tokens of an update.", expert=True
    )
    whiten_rewards: bool = option(
        False, "Scales the tokens' rewards to variance 1 over an update; their mean stays.", expert=True
    )
    scale_scores: bool = option(
        False, "Divides scores by their standard deviation over all answers so far.", expert=True
    )
    score_clip: float = option(
        0.0, "Scores further from 0 than this are held there; 0 holds none.", minimum=0.0, maximum=1e6, expert=True
    )
    no_end: str = option(
        "score",
        "What an answer gets that did not come to its own end: a score in place of its own, a penalty on it, or "
        "neither.",
        choices=("score", "penalty", "neither"),
        expert=True,
        label="Answers without an end",
    )
    no_end_score: float = option(
        -1.0,
        "The score of an answer without an end, or the penalty that is added to its own.",
        minimum=-1000.0,
        maximum=1000.0,
        expert=True,
        label="Score without an end",
    )
    reward_model_weight: float = option(
        1.0, "How much the reward model's score counts.", minimum=0.0, maximum=1e6, expert=True
    )
    reward_functions: str = option(
        "",
        "Further rewards with their weights, such as length=-0.01, repetition=-1.",
        expert=True,
        check=reward_functions.fault,
    )
    allow_sft_prompts: bool = option(
        False,
        "Whether prompts may be asked that SFT has an answer to, which the policy knows by heart.",
        label="Allow prompts of SFT",
    )
    ptx_coefficient: float = option(
        0.0,
        "How much the loss on pretraining text counts beside PPO's (PPO-ptx); 27.8 is InstructGPT's, 0 mixes in none.",
        minimum=0.0,
        maximum=1e6,
        label="Mix of pretraining",
        expert=True,
    )
    ptx_rows: int = option(
        1,
        "How many rows of pretraining text are read with each prompt of a step; InstructGPT read 8.",
        minimum=1,
        maximum=1024,
        unit="rows",
        label="Rows of pretraining a prompt",
        expert=True,
    )
    ptx_length: int = option(
        256,
        "How many tokens such a row has.",
        minimum=16,
        maximum=1_000_000,
        unit="tokens",
        label="Row length of pretraining",
        expert=True,
    )
    max_kl: float = option(
        100.0,
        "The run stops, and keeps what it has, where answers lie this far from the model it started from; 0 never, and "
        "with beta 0 the distance is not known.",
        minimum=0.0,
        maximum=1e6,
        unit="nats an answer",
        expert=True,
        label="Largest distance",
    )
    min_entropy: float = option(
        0.0,
        "The run stops where the mean entropy of a token falls below this; 0 never.",
        minimum=0.0,
        maximum=100.0,
        unit="nats",
        expert=True,
        label="Smallest entropy",
    )
    min_end_rate: float = option(
        0.0,
        "The run stops where fewer answers than this share come to their own end; 0 never.",
        minimum=0.0,
        maximum=1.0,
        expert=True,
        label="Smallest share of ends",
    )

    def faults(self) -> dict[str, str]:
        """As StageConfig's."""
        found = super().faults()
        if self.rollout_prompts % self.batch_size:
            found["batch_size"] = (
                f"batch_size must divide rollout_prompts ({self.rollout_prompts}), so that all optimizer steps of an "
                f"update are of one size; {self.batch_size} does not."
            )
        if self.algorithm != "ppo":
            found |= self._faults_by_trl()
        if self.max_new_tokens >= self.max_length:
            found["max_new_tokens"] = (
                f"max_new_tokens must be below max_length ({self.max_length}), which prompt and answer share; "
                f"{self.max_new_tokens} is not."
            )
        if self.engine == "vllm" and self.processes > 1:
            found["engine"] = "engine must be transformers where processes are several: each would load vLLM."
        if self.kl_control == "adaptive" and not self.beta:
            found["kl_control"] = "kl_control must be fixed where beta is 0, of which every multiple is 0."
        answers = self.rollout_prompts * self.answers_each
        if self.kl_control == "adaptive" and answers >= 5 * self.kl_horizon:
            found["kl_horizon"] = (
                f"kl_horizon must be above {answers // 5}, a fifth of an update's answers, as one update could take "
                f"beta below 0; {self.kl_horizon} is not."
            )
        if not self.reward_model_weight and not self.reward_functions.strip():
            found["reward_model_weight"] = "reward_model_weight must be above 0 where no reward function is named."
        return found

    def _faults_by_trl(self) -> dict[str, str]:
        """What RLOO and GRPO ask for, and what they leave out."""
        found = {}
        if self.answers_each < 2:
            found["answers_each"] = f"answers_each must be at least 2 for {self.algorithm}, which compares them."
        if self.processes > 1:
            found["processes"] = f"processes must be 1 for {self.algorithm}."
        for field in dataclasses.fields(self):
            if field.name in _PPO_ALONE and getattr(self, field.name) != field.default:
                found[field.name] = f"{field.name} is PPO's alone: leave it as it is for {self.algorithm}."
        return found
