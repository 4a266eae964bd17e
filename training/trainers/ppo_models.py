"""The four models of PPO, and what each reads of answers: two are trained, and the others are what those began as.

| model | begins as | with `full` | with `lora` |
| --- | --- | --- | --- |
| policy | the SFT model | all of its weights | an adapter on it |
| reference | the SFT model | a second copy, none at beta 0 | the policy with its adapter off |
| critic | the reward model | all of its weights | an adapter on it, and a head of its own |
| reward | the reward model | a second copy | the critic with its adapter off |

So an adapter run holds two models in place of four, and one where the reward model is itself an adapter on the SFT
model (`ppo_trunk.py`); second copies are in memory only while they are read (`resting.py`). The critic's head is the
reward's at first (Huang et al. 2024, N+ section 3.2; Ouyang et al. 2022, appendix C.4). Dropout is off in all of them:
log-probabilities before and after a step differ by the step alone.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.records import Message, RankingRow
from training.trainers import hardware, models, ppo_trunk, rankings, shared_prompt
from training.trainers.adapters import inner_model
from training.trainers.chat import encode_prompt
from training.trainers.config import PpoConfig
from training.trainers.logps import (
    adapter_off,
    measures_of,
    plain_logits,
    plain_token_log_probs,
    shared_token_log_probs,
    token_measures,
)
from training.trainers.padding import length_mask, pad_right
from training.trainers.ppo_trunk import CRITIC, JUDGE, POLICY, RewardAdapter, Trunk
from training.trainers.program import Job, TrainerError
from training.trainers.resting import Resting
from training.trainers.scorer import Scorer, head_scores, load_reward_model, make_scorer

if TYPE_CHECKING:
    import torch

# What two reads of the same may differ by, in nats or in points of a score.
_STEADY = 1e-4
# What the ways of reading are tried on.
_PROBE: list[Message] = [{"role": "user", "content": "Name a river."}]
PROBE_RANKING = RankingRow(
    id="", prompt_id="", prompt=_PROBE, completions=["The Rhine.", "No."], ranks=[0, 1], unacceptable=[False] * 2
)


@dataclass(frozen=True, kw_only=True)
class Answers:
    """A prompt as ids, and the ids of the answers that were drawn to it (the end token last where one was drawn)."""

    prompt: list[int]
    completions: list[list[int]]

    @property
    def lengths(self) -> list[int]:
        return [len(ids) for ids in self.completions]


class PolicyReader:
    """Log-probabilities of answers' tokens at the temperature that they are drawn with.

    By the shared prompt where the model allows it; in training's number format, or in float32 where it is `exact`.
    """

    def __init__(self, model: Any, *, pad_id: int, temperature: float, shared: bool, exact: bool = False) -> None:
        self.model, self.pad_id, self.temperature = model, pad_id, temperature
        self.shared, self.exact = shared, exact

    def log_probs(self, group: Sequence[Answers], *, temperature: float = 0.0) -> torch.Tensor:
        """Of all tokens of all answers behind one another, (T,), in float32; at its own temperature or a given one."""
        import torch

        own = temperature or self.temperature
        with contextlib.nullcontext() if self.exact else hardware.autocast():
            if self.shared:
                return shared_token_log_probs(
                    self.model, [one.prompt for one in group], [one.completions for one in group], temperature=own
                )
            return torch.cat(
                [
                    plain_token_log_probs(self.model, one.prompt, one.completions, pad_id=self.pad_id, temperature=own)
                    for one in group
                ]
            )

    def going_on(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Log-probabilities of each token of some rows of text after those before it, (T,); the first has none.

        So a row is an answer to its own first token.
        """
        return self.log_probs([Answers(prompt=[*row[:1]], completions=[[*row[1:]]]) for row in rows], temperature=1.0)

    def measured(self, group: Sequence[Answers]) -> tuple[torch.Tensor, torch.Tensor]:
        """The same without gradients, and the entropy over the vocabulary before each token (nats), (T,) each."""
        import torch

        with torch.no_grad(), contextlib.nullcontext() if self.exact else hardware.autocast():
            if not self.shared:
                found = [self._measured_plainly(one) for one in group]
                return torch.cat([picked for picked, _ in found]), torch.cat([entropies for _, entropies in found])
            layout = shared_prompt.lay_out([one.prompt for one in group], [one.completions for one in group])
            hidden = shared_prompt.read(self.model, layout)[layout.before]
            targets = torch.tensor(
                [token for one in group for ids in one.completions for token in ids], device=hidden.device
            )
            head = inner_model(self.model).get_output_embeddings()
            return token_measures(hidden, head, targets, temperature=self.temperature)

    def _measured_plainly(self, one: Answers) -> tuple[torch.Tensor, torch.Tensor]:
        """Of one prompt, whose logits are gone before the next one's come."""
        logits, targets = plain_logits(self.model, one.prompt, one.completions, pad_id=self.pad_id)
        return measures_of(logits.div_(self.temperature), targets)


class ValueReader:
    """What the critic expects of the rest of an answer, before each of its tokens; read as the policy is.

    A critic that begins as the reward model begins with the rewards that PPO is given of it, which are `weight` times
    what its score is above the `zero_point`: a constant between both would look like a reward that never came.
    """

    def __init__(
        self,
        model: Any,
        *,
        pad_id: int,
        shared: bool,
        exact: bool = False,
        weight: float = 1.0,
        zero_point: float = 0.0,
    ) -> None:
        self.model, self.pad_id, self.shared, self.exact = model, pad_id, shared, exact
        self.weight, self.zero_point = weight, zero_point

    def values(self, group: Sequence[Answers]) -> torch.Tensor:
        """Before each token of all answers behind one another, (T,), in float32."""
        import torch

        with contextlib.nullcontext() if self.exact else hardware.autocast():
            if self.shared:
                layout = shared_prompt.lay_out([one.prompt for one in group], [one.completions for one in group])
                scores = head_scores(self.model, shared_prompt.read(self.model, layout)[layout.before])
            else:
                scores = torch.cat([self._plain(one) for one in group])
        return self.weight * (scores - self.zero_point)

    def _plain(self, one: Answers) -> torch.Tensor:
        trunk = shared_prompt.trunk_of(self.model)
        device = next(trunk.parameters()).device
        whole = [[*one.prompt, *ids] for ids in one.completions]
        mask = length_mask(whole).to(device)
        hidden = trunk(
            input_ids=pad_right(whole, value=self.pad_id).to(device), attention_mask=mask, use_cache=False
        ).last_hidden_state[:, len(one.prompt) - 1 : -1]
        return head_scores(self.model, hidden[mask[:, len(one.prompt) :].bool()])


@dataclass(frozen=True, kw_only=True)
class Models:
    """The four, on this process's device, with the readers of those that are trained.

    `parameters` are the trained ones by `policy.<name>` and `critic.<name>`; `first` reads a copy of the policy as it
    began, where there is one; `trunk` holds all of them where one does. `resting` are those of `first` and `reward`
    that are out of memory until they are asked. `attention` is the policy's and the critic's own, which draws and is
    saved.
    """

    policy: PolicyReader
    critic: ValueReader
    reward: Scorer
    tokenizer: Any
    reward_tokenizer: Any
    stop_text: str | None
    start: str
    parameters: dict[str, Any]
    attention: str
    first: PolicyReader | None = None
    trunk: Trunk | None = None
    resting: dict[str, Resting] = field(default_factory=dict)

    def use(self, kind: str) -> None:
        """Makes ready the `policy` or the `critic`: over one trunk only one of them can be read at a time."""
        if self.trunk is not None:
            self.trunk.use(_ADAPTERS[kind])

    @contextlib.contextmanager
    def reference(self) -> Iterator[PolicyReader]:
        """Within it the reader of what the policy began as."""
        if self.first is not None:
            with self._awake("reference"):
                yield self.first
            return
        with adapter_off(self.policy.model):
            yield self.policy

    @contextlib.contextmanager
    def judging(self) -> Iterator[Scorer]:
        """Within it the reward model is as it was given."""
        if self.trunk is not None:
            self.trunk.use(JUDGE)
            yield self.reward
        elif self.reward.model is self.critic.model:
            with adapter_off(self.critic.model):
                yield self.reward
        else:
            with self._awake("reward"):
                yield self.reward

    def _awake(self, name: str) -> contextlib.AbstractContextManager[None]:
        found = self.resting.get(name)
        return contextlib.nullcontext() if found is None else found.awake()

    def save_critic(self, path: Path) -> None:
        """The critic as a reward model's folder; over a trunk the policy can be saved after it."""
        if self.trunk is not None:
            self.trunk.save_critic(path, start=self.start, tokenizer=self.tokenizer, seed=0)
            return
        shared_prompt.use_attention(self.critic.model, self.attention)
        models.save_model(path, model=self.critic.model, tokenizer=self.tokenizer)

    def save_policy(self, path: Path) -> None:
        """The policy's folder, which ends the use of all of them."""
        model = self.policy.model if self.trunk is None else self.trunk.policy_alone()
        shared_prompt.use_attention(model, self.attention)
        models.save_model(path, model=model, tokenizer=self.tokenizer)


_ADAPTERS = {"policy": POLICY, "critic": CRITIC}


def load(job: Job, *, reward_model: str, zero_point: float = 0.0, aside: Path | None = None) -> Models:
    """All four, over one trunk where the reward model is an adapter on the model that the policy starts from.

    `zero_point` is the score of the reward model that PPO counts as nothing, by which the critic begins. A reward model
    of another vocabulary judges text alone: the critic then begins as the policy does. Models of their own that nobody
    trains rest in the folder `aside` where the recipe says so. Raises TrainerError where a model has no head to score
    or no token to end with, or the folder cannot be written.
    """
    config: PpoConfig = job.config
    job.events.status("Loading the policy.")
    tokenizer, stop_text = models.load_tokenizer_and_stop(job.model)
    policy = models.load_causal_model(job.model, tokenizer, dtype=hardware.training_dtype())
    job.events.status("Loading the reward model.")
    reward_tokenizer = models.load_tokenizer(reward_model)
    same_words = reward_tokenizer.get_vocab() == tokenizer.get_vocab()
    common = {
        "tokenizer": tokenizer,
        "reward_tokenizer": reward_tokenizer,
        "stop_text": stop_text,
        "start": job.model,
        "attention": shared_prompt.attention_of(policy),
    }
    adapter = ppo_trunk.adapter_of(reward_model, job.model) if config.trains_adapter and same_words else None
    # Where its score is no reward, it tells the critic no scale.
    shift = {"weight": config.reward_model_weight or 1.0, "zero_point": zero_point} if same_words else {}
    if adapter is not None:
        return _over_one_trunk(job, policy, adapter, common, shift)
    reward = load_reward_model(reward_model, reward_tokenizer, seed=config.seed)
    if same_words:
        critic = reward
    else:
        job.events.status(
            "The reward model has another vocabulary: it judges the answers' text, and the critic begins as the policy."
        )
        critic = load_reward_model(job.model, tokenizer, seed=config.seed)
    reference = None
    if config.trains_adapter:
        policy = models.with_lora(policy, config=config, task="CAUSAL_LM")
        critic = models.with_lora(critic, config=config, task="SEQ_CLS", also_train=["score"])
        if same_words:
            reward = critic
    else:
        if config.beta > 0:
            reference = copy.deepcopy(policy)
        if critic is reward:
            critic = copy.deepcopy(reward)
    for model in (policy, critic, reward, reference):
        if model is not None:
            model.to(hardware.device())
            without_dropout(model)
    for model in (reward, reference):
        if model is not None and model is not critic:
            model.requires_grad_(False).eval()
    for model in (policy, critic):
        models.save_memory(model, config, by_itself=False)
    read, pad_id = _readers(job, tokenizer, policy)
    if reference is not None and read.shared:
        shared_prompt.use_shared_attention(reference)
    values = _value_reader(job, tokenizer, critic, **shift)
    reward_pad = reward_tokenizer.pad_token_id
    if reward is critic:
        judge = Scorer(reward, pad_id=reward_pad, shared=values.shared)
    else:
        [first] = rankings.encode(reward_tokenizer, [PROBE_RANKING], max_length=config.max_length)
        judge = make_scorer(reward, pad_id=reward_pad, first=first, job=job)
    resting: dict[str, Resting] = {}
    if config.offload_frozen and aside is not None:
        frozen = {"reference": reference, "reward": None if reward is critic else reward}
        resting = {
            name: Resting(model, aside / f"{name}.safetensors") for name, model in frozen.items() if model is not None
        }
    return Models(
        policy=read,
        critic=values,
        reward=judge,
        resting=resting,
        parameters={
            f"{kind}.{name}": parameter
            for kind, model in (("policy", policy), ("critic", critic))
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        },
        first=None
        if reference is None
        else PolicyReader(reference, pad_id=pad_id, temperature=config.temperature, shared=read.shared),
        **common,
    )


def _over_one_trunk(
    job: Job, policy: Any, adapter: RewardAdapter, common: dict[str, Any], shift: dict[str, float]
) -> Models:
    job.events.status("The reward model is an adapter on the policy's own start: one trunk serves all four models.")
    config: PpoConfig = job.config
    trunk = Trunk(policy, adapter, config=config)
    trunk.to(hardware.device())
    without_dropout(trunk.policy)
    models.save_memory(trunk.policy, config, by_itself=False)
    read, pad_id = _readers(job, common["tokenizer"], trunk.policy)
    trunk.use(CRITIC)
    values = _value_reader(job, common["tokenizer"], trunk.headed(CRITIC), **shift)
    trunk.use(POLICY)
    return Models(
        policy=read,
        critic=values,
        reward=Scorer(trunk.headed(JUDGE), pad_id=pad_id, shared=values.shared),
        parameters={
            f"{kind}.{name}": parameter
            for kind, adapter_name in _ADAPTERS.items()
            for name, parameter in trunk.parameters(adapter_name)
        },
        trunk=trunk,
        **common,
    )


def _probe(tokenizer: Any) -> Answers:
    return Answers(prompt=encode_prompt(tokenizer, _PROBE), completions=[[5, 6, 7, 8], [9, 10]])


def _readers(job: Job, tokenizer: Any, policy: Any) -> tuple[PolicyReader, int]:
    """The policy's reader by the faster way that is exact, and the id that pads."""
    pad_id, temperature = tokenizer.pad_token_id, job.config.temperature
    probe = _probe(tokenizer)

    def numbers(shared: bool) -> list[float]:
        reader = PolicyReader(policy, pad_id=pad_id, temperature=temperature, shared=shared, exact=True)
        return reader.log_probs([probe]).tolist()

    require_steady(policy, numbers)
    shares = _shares(policy, numbers, job=job)
    return PolicyReader(policy, pad_id=pad_id, temperature=temperature, shared=shares), pad_id


def _value_reader(
    job: Job, tokenizer: Any, critic: Any, *, weight: float = 1.0, zero_point: float = 0.0
) -> ValueReader:
    pad_id, probe = tokenizer.pad_token_id, _probe(tokenizer)

    def reader(shared: bool, exact: bool) -> ValueReader:
        return ValueReader(critic, pad_id=pad_id, shared=shared, exact=exact, weight=weight, zero_point=zero_point)

    def numbers(shared: bool) -> list[float]:
        found: list[float] = reader(shared, True).values([probe]).tolist()
        return found

    require_steady(critic, numbers)
    return reader(_shares(critic, numbers, job=job), False)


def _shares(model: Any, numbers: Callable[[bool], list[float]], *, job: Job) -> bool:
    """Whether the model reads a prompt once for all of its answers, tried with these numbers by either way."""
    import torch

    with torch.no_grad():
        return shared_prompt.is_exact(
            model, plain=lambda: numbers(False), shared=lambda: numbers(True), tell=job.events.status
        )


def without_dropout(model: Any) -> None:
    """Takes every dropout out of a model: layers of it, and the rates that modules keep as numbers of their own."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():
            if "drop" in name and isinstance(value, float):  # attention_dropout, hidden_dropout, layerdrop …
                setattr(module, name, 0.0)


def require_steady(model: Any, numbers: Callable[[bool], list[float]]) -> None:
    """Raises TrainerError where a model reads the same answers differently twice while it is trained."""
    import torch

    was_training = model.training
    model.train()
    with torch.no_grad():
        first, second = numbers(False), numbers(False)
    model.train(was_training)
    if max(abs(one - other) for one, other in zip(first, second, strict=True)) > _STEADY:
        raise TrainerError(
            f"{type(inner_model(model)).__name__} drops numbers at random at rates of its config.json, so that a token "
            "has no one probability; set the rates that are named …drop… there to 0."
        )
