"""RLOO and GRPO by TRL's trainers, on the prompts, the sampler and the rewards that PPO has here.

TRL gives the advantages among a prompt's answers and the loss (Ahmadian et al. 2024, "Back to Basics"; Shao et al.
2024, "DeepSeekMath"); neither has a critic. Its steps are taken one by one, between our own drawing, judge, guards and
states: TRL's loop would draw with `generate`, and keeps its optimizer in a pickle.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, NoReturn

from training.records import PromptRow
from training.trainers import hardware, models, optimizers, policy_updates, states
from training.trainers.config import PpoConfig
from training.trainers.judging import Drawn, Judge
from training.trainers.policy_drawing import PolicySampler
from training.trainers.ppo_models import without_dropout
from training.trainers.program import Job, Stopped, TrainerError
from training.trainers.schedule import rate_factor

# What TRL calls its numbers, and what we do.
_NAMES = {
    "kl": "kl_token",
    "entropy": "entropy",
    "clip_ratio/region_mean": "clip_fraction",
    "frac_reward_zero_std": "alike_share",
}
_BUFFER = "buffer"


class ByTrl:
    """One run around a TRL trainer; all of its state is in a saved state.

    `model` is the policy's, to be saved when `run` is over; `answers` and `tokens` were drawn so far.
    """

    def __init__(
        self, job: Job, judge: Judge, *, prompts: Sequence[PromptRow], prompt_ids: Sequence[list[int]]
    ) -> None:
        self.job, self.judge, self.prompts, self.prompt_ids = job, judge, prompts, prompt_ids
        self.config: PpoConfig = job.config
        self.tokenizer, self.stop_text = models.load_tokenizer_and_stop(job.model)
        self.steps_an_update = policy_updates.steps_an_update(self.config)
        self.total = self.config.updates * self.steps_an_update
        self.step = self.answers = self.tokens = 0
        # Of the update at hand, also of an attempt before.
        self.seconds: dict[str, float] = {}
        self.norms: list[float] = []
        # The numbers of the last update that is done.
        self.last: dict[str, float] = {}
        # The answers of the update at hand, in the order in which TRL asked for them.
        self.drawn: list[Drawn] = []
        self.samples = policy_updates.Samples(job.run_dir / "samples.jsonl")
        self.trainer = _trainer(self)
        self.model = self.trainer.model
        without_dropout(self.model)
        models.save_memory(self.model, self.config, by_itself=False)  # TRL's own loop, not asked here, would do it
        self.parameters = {name: one for name, one in self.model.named_parameters() if one.requires_grad}
        self.optimizer = optimizers.make(self.parameters, self.config, epsilon=policy_updates.EPSILON)
        self.states = states.States(job)
        self.sampler = PolicySampler(
            job, self.model, tokenizer=self.tokenizer, stop_text=self.stop_text, prompt_ids=prompt_ids
        )

    def run(self) -> dict[str, float]:
        """All updates; gives the last one's numbers."""
        config = self.config
        self._restore()
        metrics = self.last
        self._guard()
        while self.step < self.total:
            update, done = divmod(self.step, self.steps_an_update)
            if not done:
                self.seconds, self.norms, self.drawn = {"learn_seconds": 0.0}, [], []
                self.trainer._metrics["train"].clear()
            for _ in range(self.steps_an_update - done):
                if self.job.stop:
                    self._save()
                    raise Stopped
                clock, known = time.monotonic(), math.fsum(self.seconds.values())
                self.norms.append(self._take_step(update))
                # What the step did not spend on drawing and judging.
                self.seconds["learn_seconds"] += time.monotonic() - clock - math.fsum(self.seconds.values()) + known
            metrics = self._numbers() | self.seconds | {"grad_norm": math.fsum(self.norms) / len(self.norms)}
            self.last = metrics
            asked = [self.prompts[one.at] for one in self.drawn]
            self.samples.write(update + 1, asked, self.drawn, total=config.updates, astray=bool(self._astray()))
            self.job.events.metrics(step=update + 1, total_steps=config.updates, metrics=metrics)
            self._guard()
            if config.checkpoint_steps and (update + 1) % config.checkpoint_steps == 0 and self.step < self.total:
                self._save()
        return metrics

    def encoded(self, ids: Sequence[str]) -> list[list[int]]:
        """The prompts with these ids as tokens; TRL calls for it."""
        return [self.prompt_ids[int(place)] for place in ids]

    def draw(self, asked: Sequence[str]) -> list[list[int]]:
        """Answers to prompts that stand there once for each answer; TRL calls for it. Raises Stopped."""
        config, update = self.config, self.step // self.steps_an_update
        own = [int(place) for place in asked[:: config.answers_each]]
        clock = time.monotonic()
        self.drawn = self.sampler.draw(update, own, self.prompts)
        self.seconds["sample_seconds"] = time.monotonic() - clock
        return [ids for one in self.drawn for ids in one.answers]

    def rewards(self, **_: Any) -> list[float]:
        """What the answers at hand are worth, in their order; TRL calls for it."""
        clock = time.monotonic()
        self.judge.score([self.prompts[one.at] for one in self.drawn], self.drawn)
        for one in self.drawn:
            one.scores = [
                self.judge.held(score, ended=ended) for score, ended in zip(one.scores, one.ended, strict=True)
            ]
        self.seconds["score_seconds"] = time.monotonic() - clock
        return [score for one in self.drawn for score in one.scores]

    def _take_step(self, update: int) -> float:
        """One optimizer step on TRL's loss; gives the gradient's norm."""
        import torch

        config = self.config
        rows = [
            {"prompt": str(at)}
            for at in policy_updates.places(len(self.prompts), update, config)
            for _ in range(config.answers_each)
        ]
        factor = rate_factor(
            self.step,
            total=self.total,
            warmup=int(config.warmup_ratio * self.total),
            kind=config.lr_scheduler,
            lowest=config.min_rate_ratio,
        )
        try:
            losses = [float(self.trainer.training_step(self.model, rows, None)) for _ in range(config.accumulation)]
        except Exception:
            self._drop()
            self._save()
            raise
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters.values(), config.max_grad_norm))
        if not math.isfinite(norm) or not all(map(math.isfinite, losses)):
            self._drop()
            self._give_up(f"At step {self.step + 1} {policy_updates.NOT_FINITE}")
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * factor
        self.optimizer.step()
        self._drop()
        if not self.step % self.steps_an_update:  # now that these answers are not drawn again
            self.answers += sum(len(one.answers) for one in self.drawn)
            self.tokens += sum(sum(one.lengths) for one in self.drawn)
        self.step += 1
        return norm

    def _numbers(self) -> dict[str, float]:
        """The update's numbers: TRL's means over its steps, and those of the answers."""
        logged = self.trainer._metrics["train"]
        numbers = {ours: math.fsum(logged[name]) / len(logged[name]) for name, ours in _NAMES.items() if logged[name]}
        lengths = [length for one in self.drawn for length in one.lengths]
        ended = [end for one in self.drawn for end in one.ended]
        numbers |= self.judge.summary(self.drawn) | {
            "score": math.fsum(score for one in self.drawn for score in one.scores) / len(lengths),
            "answer_tokens": sum(lengths) / len(lengths),
            "end_rate": sum(ended) / len(ended),
        }
        if "kl_token" in numbers:
            numbers["kl"] = numbers["kl_token"] * numbers["answer_tokens"]
        return numbers

    def _drop(self) -> None:
        for parameter in self.parameters.values():
            parameter.grad = None

    def _astray(self) -> str:
        return policy_updates.gone_astray(self.last, self.config) if self.last else ""

    def _guard(self) -> None:
        """Raises TrainerError where the last update, also of an attempt before, went where nobody wants the policy."""
        if astray := self._astray():
            self._give_up(f"At update {self.step // self.steps_an_update} {astray}")

    def _give_up(self, sentence: str) -> NoReturn:
        """Ends the run with its state and the policy as it is in the run's folder."""
        self._save()
        path = self.job.run_dir / "stopped"
        models.save_model(path, model=self.model, tokenizer=self.tokenizer)
        raise TrainerError(f"{sentence}. The state is saved, and the policy in {path}.", checkpoint=path)

    def _save(self) -> None:
        """A state; in the middle of an update with what TRL still has to learn from."""
        tensors = {f"weight.{name}": value for name, value in self.parameters.items()}
        tensors |= states.moments(self.optimizer, self.parameters)
        buffered: list[dict[str, Any]] = []
        if self.step % self.steps_an_update:
            for number, part in enumerate(self.trainer._buffered_inputs):
                buffered.append({name: value for name, value in part.items() if not hasattr(value, "dtype")})
                for name, value in part.items():
                    if hasattr(value, "dtype"):  # cloned: some are one tensor in all parts, which safetensors refuses
                        tensors[f"{_BUFFER}.{number}.{name}"] = value.clone()
        facts = {
            "answers": self.answers,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "norms": self.norms,
            "last": {} if self.step % self.steps_an_update else self.last,
            "buffered": buffered,
            "at_once": self.sampler.at_once,
            "drawn": [vars(one) for one in self.drawn] if buffered else [],
            "logged": dict(self.trainer._metrics["train"]) if buffered else {},
        }
        self.states.save(self.step, tensors={**states.random_state(), **tensors}, facts=facts)

    def _restore(self) -> None:
        import torch

        found = self.states.load()
        if found is None:
            self.samples.path.unlink(missing_ok=True)
            return
        with torch.no_grad():
            for name, value in states.part(found.tensors, "weight").items():
                self.parameters[name].copy_(value)
        states.restore_moments(self.optimizer, self.parameters, found.tensors)
        states.restore_random(found.tensors)
        facts = found.facts
        self.step, self.answers, self.tokens = int(facts["step"]), int(facts["answers"]), int(facts["tokens"])
        self.seconds, self.norms = dict(facts["seconds"]), list(facts["norms"])
        self.last = dict(facts["last"])
        self.sampler.at_once = int(facts.get("at_once", self.sampler.at_once))
        self.trainer._step = self.step * self.config.accumulation
        self.samples.keep_before(self.step // self.steps_an_update + 1)
        if facts["buffered"]:
            self.drawn = [Drawn(**one) for one in facts["drawn"]]
            self.trainer._buffered_inputs = []
            for number, plain in enumerate(facts["buffered"]):
                kept = states.part(found.tensors, f"{_BUFFER}.{number}")
                there = {name: value.to(hardware.device()) for name, value in kept.items()}
                self.trainer._buffered_inputs.append({**plain, **there})
            self.trainer._metrics["train"].update(facts["logged"])


def _trainer(run: ByTrl) -> Any:
    """TRL's trainer of the recipe's algorithm, which asks the run for ids, answers and rewards."""
    import trl
    from datasets import Dataset

    config = run.config
    kind, arguments = {
        "rloo": (trl.RLOOTrainer, trl.RLOOConfig),
        "grpo": (trl.GRPOTrainer, trl.GRPOConfig),
    }[config.algorithm]

    class OnOurAnswers(kind):  # type: ignore[misc,valid-type]
        """Whose prompts are our places, and whose answers our sampler draws."""

        def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
            self.asked = prompts
            return run.encoded(prompts), None, {}

        def _generate_single_turn(self, *_: Any, **__: Any) -> Any:
            answers = run.draw(self.asked)
            return (answers, None) if config.algorithm == "grpo" else answers

    each = config.micro * config.answers_each
    made = OnOurAnswers(
        model=models.load_causal_model(run.job.model, run.tokenizer, dtype=hardware.training_dtype()),
        reward_funcs=[_named(run.rewards)],
        args=arguments(
            output_dir=str(run.job.run_dir / "trl"),
            per_device_train_batch_size=each,
            gradient_accumulation_steps=config.accumulation,
            steps_per_generation=config.rollout_prompts // config.micro,
            num_generations=config.answers_each,
            num_iterations=int(config.epochs),
            max_completion_length=config.max_new_tokens,
            temperature=config.temperature,
            beta=config.beta,
            epsilon=config.clip,
            max_steps=run.total,
            seed=config.seed,
            bf16=hardware.autocasts(),
            use_cpu=hardware.device().type == "cpu",
            gradient_checkpointing=False,
            gradient_checkpointing_kwargs={"use_reentrant": False},  # switched off for the reference, and on again so
            report_to=[],
            disable_tqdm=True,
            save_strategy="no",
            logging_strategy="no",
        ),
        train_dataset=Dataset.from_dict({"prompt": [str(at) for at in range(len(run.prompts))]}),
        processing_class=run.tokenizer,
        peft_config=models.lora_config(config=config, task="CAUSAL_LM") if config.trains_adapter else None,
    )
    made.current_gradient_accumulation_steps = config.accumulation
    return made


def _named(call: Any) -> Any:
    """TRL names a reward by its function, which a bound method does not let it."""

    def reward(**given: Any) -> list[float]:
        found: list[float] = call(**given)
        return found

    return reward
