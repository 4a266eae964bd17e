"""What PPO's steps are made of: gradients as a plain loop has them, states between any two steps, less memory."""

from __future__ import annotations

import contextlib
import json
import math
import random
import statistics
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.training.trainers.test_ppo_faults import apart, job_of, messages
from tests.training.trainers.test_ppo_models import four
from training.trainers import by_trl, hardware, policy_drawing, ppo, ppo_loop, samplers
from training.trainers.config import build, validate
from training.trainers.judging import Drawn, Judge, drawn_of
from training.trainers.policy_updates import Samples
from training.trainers.ppo_loop import Ppo
from training.trainers.ppo_models import PolicyReader, ValueReader
from training.trainers.program import Stopped
from training.trainers.samplers import TransformersSampler

# Two answers to each of three prompts, of unlike lengths.
LENGTHS = [(3, 5), (1, 4), (6, 2)]


@pytest.fixture(autouse=True)
def stages_in_this_process_keep_to_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def answers_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the policy too, as where it learns in another number format than it draws in; here in float32 all the same."""
    monkeypatch.setattr(hardware, "autocasts", lambda: True)
    monkeypatch.setattr(hardware, "autocast", contextlib.nullcontext)


def group(models: Any) -> list[Drawn]:
    """Answers with numbers that lie near the models', so that some ratios and values are clipped and some are not."""
    chance, found = random.Random(3), []
    for at, lengths in enumerate(LENGTHS):
        answers = [[chance.randrange(5, 400) for _ in range(length)] for length in lengths]
        one = Drawn(at=at, prompt=[5 + at, 9, 11], answers=answers, texts=["", ""], ended=[True, True])
        with torch.no_grad():
            logs = models.policy.log_probs(ppo_loop.answers_of([one])).tolist()
            values = models.critic.values(ppo_loop.answers_of([one])).tolist()
        one.log_probs = [value + chance.uniform(-0.4, 0.4) for value in logs]
        one.reference, one.values = logs, [value + chance.uniform(-0.4, 0.4) for value in values]
        one.scores = [chance.uniform(-1, 1) for _ in lengths]
        found.append(one)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("micro", [1, 3])
def test_a_steps_gradient_is_that_of_a_plain_loop_over_tokens(
    tiny: Path, judges: dict[str, Path], many: Path, tmp_path: Path, micro: int
) -> None:
    """Policy and critic: the mean over the tokens of the whole batch, whatever micro batches it comes in."""
    size = {"rollout_prompts": 3, "batch_size": 3, "micro_batch_size": micro, "epochs": 1}
    given: dict[str, Any] = {"method": "full", "beta": 0.0, "value_coefficient": 0.3, "temperature": 0.7, **size}
    job = job_of(tmp_path / "run", tiny, many, judges["whole"], **given)
    models = four(tiny, judges["whole"], **given)
    rollouts: Any = SimpleNamespace(judge=None, prompts=[])
    trainer = Ppo(job, models, rollouts, None)
    trainer.drawn = group(models)
    chance = random.Random(5)
    trainer.advantages = [torch.tensor([chance.uniform(-2, 2) for _ in one.values]) for one in trainer.drawn]
    trainer.returns = [torch.tensor([chance.uniform(-2, 2) for _ in one.values]) for one in trainer.drawn]
    trainer.batch_tokens = sum(map(sum, LENGTHS))
    for gradients in trainer.gradients.values():
        gradients.of([2, 0, 1], step=1, random_state={})
    ours = {name: parameter.grad.clone() for name, parameter in models.parameters.items() if parameter.grad is not None}
    for gradients in trainer.gradients.values():
        gradients.drop()

    whole = torch.zeros(())
    for one, advantages, returns in zip(trainer.drawn, trainer.advantages, trainer.returns, strict=True):
        at = 0
        for ids in one.answers:
            read = torch.tensor([[*one.prompt, *ids]])
            logs = (models.policy.model(input_ids=read).logits[0].float() / 0.7).log_softmax(-1)
            hidden = models.critic.model.model(input_ids=read).last_hidden_state[0]
            for place, token in enumerate(ids):
                before = len(one.prompt) + place - 1
                ratio = (logs[before, token] - one.log_probs[at]).exp()
                held = ratio.clamp(1 - job.config.clip, 1 + job.config.clip)
                policy = -torch.minimum(ratio * advantages[at], held * advantages[at])
                value = models.critic.model.score(hidden[before])[0]
                near = one.values[at] + (value - one.values[at]).clamp(-job.config.value_clip, job.config.value_clip)
                critic = 0.5 * torch.maximum((value - returns[at]) ** 2, (near - returns[at]) ** 2)
                whole = whole + policy + 0.3 * critic
                at += 1
    (whole / trainer.batch_tokens).backward()
    plain = {name: parameter.grad for name, parameter in models.parameters.items() if parameter.grad is not None}
    assert set(ours) == set(plain)
    largest = max(float(value.abs().max()) for value in plain.values())
    assert largest > 1e-2
    assert max(float((ours[name] - value).abs().max()) for name, value in plain.items()) < 1e-4 * largest


def stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run is asked to stop after its next step."""
    for kind in (Ppo, by_trl.ByTrl):
        take = kind._take_step

        def step(self: Any, *given: Any, take: Any = take) -> Any:
            found = take(self, *given)
            self.job.stop.set()
            return found

        monkeypatch.setattr(kind, "_take_step", step)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "method"), [("ppo", "full"), ("ppo", "lora"), ("rloo", "lora"), ("grpo", "lora")]
)
def test_a_run_that_is_stopped_between_any_two_steps_comes_to_the_same_end(
    tiny: Path, many: Path, judges: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str,
    method: str,
) -> None:  # fmt: skip
    given = {"algorithm": algorithm, "method": method, "epochs": 1, "updates": 2, "checkpoint_steps": 0}
    whole = job_of(tmp_path / "whole", tiny, many, judges["adapted"], **given)
    uninterrupted = ppo.run(whole)
    stops = 0
    with monkeypatch.context() as patch:
        stopping(patch)
        while True:
            job = job_of(tmp_path / "cut", tiny, many, judges["adapted"], resume=stops > 0, **given)
            try:
                resumed = ppo.run(job)
                break
            except Stopped:
                stops += 1
    assert stops == 3  # the fourth step is the last
    assert apart(uninterrupted, resumed) < 1e-6
    left, right = uninterrupted.metrics, resumed.metrics
    assert {*left} == {*right}, "what the steps before a stop have added up is not lost"
    for name in left:
        if not name.endswith("_seconds"):
            assert right[name] == pytest.approx(left[name], rel=1e-4, abs=1e-6), name


@pytest.mark.slow
def test_the_average_of_the_weights_is_what_is_saved(
    tiny: Path, many: Path, judges: dict[str, Path], tmp_path: Path
) -> None:
    given = {"method": "full", "updates": 1, "epochs": 1, "batch_size": 8, "learning_rate": 1e-2}
    plain = ppo.run(job_of(tmp_path / "plain", tiny, many, judges["whole"], **given))
    mean = ppo.run(job_of(tmp_path / "mean", tiny, many, judges["whole"], ema_decay=0.75, **given))
    start = SimpleNamespace(checkpoint=tiny)
    # One step, of which a quarter is kept.
    assert apart(plain, start) > 1e-3
    assert apart(mean, start) == pytest.approx(apart(plain, start) / 4, rel=1e-3)


def held_by(trainer: Any, scores: list[float]) -> list[float]:
    trainer.drawn = [
        Drawn(at=0, prompt=[1], answers=[[2]] * len(scores), texts=[""] * len(scores), ended=[True] * len(scores))
    ]
    trainer.drawn[0].scores = list(scores)
    trainer._scale()
    found: list[float] = trainer.drawn[0].scores
    return found


def test_scores_are_divided_by_the_standard_deviation_of_all_so_far() -> None:
    job: Any = SimpleNamespace(config=build("ppo", {"scale_scores": True}))
    trainer: Any = object.__new__(Ppo)
    trainer.config, trainer.moments = job.config, [0.0, 0.0, 0.0]
    trainer.rollouts = SimpleNamespace(judge=Judge(job, scoring=None, tokenizer=None, zero_point=0.0))  # type: ignore[arg-type]
    first, second = [1.0, 2.0, 4.0], [8.0, -3.0]
    assert held_by(trainer, first) == pytest.approx([score / statistics.pstdev(first) for score in first])
    assert held_by(trainer, second) == pytest.approx([score / statistics.pstdev(first + second) for score in second])


def test_whitened_rewards_become_the_advantages() -> None:
    config = build("ppo", {"beta": 0.0, "whiten_rewards": True, "whiten_advantages": False, "gae_lambda": 1.0})
    trainer: Any = object.__new__(Ppo)
    trainer.config, trainer.beta, trainer.step, trainer.steps_an_update = config, 0.0, 0, 1
    judge: Any = Judge(SimpleNamespace(config=config), scoring=None, tokenizer=None, zero_point=0.0)  # type: ignore[arg-type]
    trainer.rollouts = SimpleNamespace(judge=judge)
    one = Drawn(at=0, prompt=[1], answers=[[2, 3], [4]], texts=["", ""], ended=[True, True])
    one.log_probs, one.values, one.scores = [-1.0] * 3, [0.0] * 3, [2.0, 5.0]
    one.judged = {"reward_model": one.scores}
    trainer.drawn = [one]
    trainer._prepare()
    rewards = [0.0, 2.0, 5.0]
    mean, spread = statistics.mean(rewards), math.sqrt(statistics.pvariance(rewards))
    white = [(value - mean) / spread + mean for value in rewards]
    [advantages] = trainer.advantages
    assert advantages.tolist() == pytest.approx([white[0] + white[1], white[1], white[2]], rel=1e-4)


@pytest.mark.slow
def test_memory_that_runs_out_costs_time_and_changes_nothing(
    tiny: Path, many: Path, judges: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"updates": 2, "micro_batch_size": 4}
    whole = ppo.run(job_of(tmp_path / "whole", tiny, many, judges["adapted"], **given))
    draw, read = TransformersSampler.generate, PolicyReader.log_probs

    def little(self: Any, prompts: Any, **words: Any) -> Any:
        if len(prompts) > 3:
            raise torch.OutOfMemoryError("no room")
        return draw(self, prompts, **words)

    def less(self: Any, group: Any) -> Any:
        if len(group) > 1 and not torch.is_grad_enabled():  # the reference's
            raise torch.OutOfMemoryError("no room")
        return read(self, group)

    monkeypatch.setattr(TransformersSampler, "generate", little)
    monkeypatch.setattr(PolicyReader, "log_probs", less)
    job = job_of(tmp_path / "little", tiny, many, judges["adapted"], **given)
    assert apart(whole, ppo.run(job)) < 1e-5
    told = [message for message in messages(job) if "Memory ran out" in message]
    assert told == [
        "Memory ran out in drawing from 8 prompts at once; it goes on with 4.",
        "Memory ran out in drawing from 4 prompts at once; it goes on with 2.",
        "Memory ran out with 4 prompts at once in reading answers; it goes on with 2.",
        "Memory ran out with 2 prompts at once in reading answers; it goes on with 1.",
    ]
    stopped = job_of(tmp_path / "stopped", tiny, many, judges["adapted"], checkpoint_steps=1, **given)
    tell = ppo_loop.Ppo._tell

    def stop_at_the_second(self: Any, update: int, metrics: Any, **words: Any) -> None:
        tell(self, update, metrics, **words)
        if update == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ppo_loop.Ppo, "_tell", stop_at_the_second)
        ppo.run(stopped)
    again = job_of(tmp_path / "stopped", tiny, many, judges["adapted"], checkpoint_steps=1, resume=True, **given)
    assert apart(whole, ppo.run(again)) < 1e-5
    assert [message for message in messages(again) if "Memory ran out" in message] == told  # nothing is tried again


@pytest.mark.slow
def test_a_policy_that_learns_from_other_numbers_than_were_measured_is_told(
    tiny: Path, many: Path, judges: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = job_of(tmp_path / "plain", tiny, many, judges["adapted"], updates=1)
    assert ppo.run(plain).metrics["ratio_error"] < 1e-5
    assert not any("from 1 on the mean" in message for message in messages(plain))

    def lower(*given: Any, **words: Any) -> Drawn:
        one = drawn_of(*given, **words)
        one.log_probs = [log - 0.2 for log in one.log_probs]
        return one

    monkeypatch.setattr(policy_drawing, "drawn_of", lower)
    job = job_of(tmp_path / "mended", tiny, many, judges["adapted"], updates=2)
    assert ppo.run(job).metrics["ratio_error"] < 1e-5  # all were read in place of what drawing had told
    assert [message for message in messages(job) if "nats from those of reading" in message] == [
        "Log-probabilities of drawing are 0.2 nats from those of reading on the mean: such answers are read again."
    ]
    read = PolicyReader.measured

    def read_lower(self: Any, group: Any) -> Any:
        logs, entropies = read(self, group)
        return logs - 0.2, entropies

    monkeypatch.setattr(PolicyReader, "measured", read_lower)
    job = job_of(tmp_path / "lower", tiny, many, judges["adapted"], updates=2)
    assert ppo.run(job).metrics["ratio_error"] == pytest.approx(math.expm1(0.2), rel=1e-4)
    [told] = [message for message in messages(job) if "from 1 on the mean" in message]
    assert "is 0.22 from 1" in told


@pytest.mark.slow
@pytest.mark.parametrize("judge", ["whole", "adapted"])
def test_what_drawing_tells_of_tokens_is_what_reading_them_tells(
    tiny: Path, many: Path, judges: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, judge: str
) -> None:
    """At another temperature than 1, also of answers that end before others; the same update comes of either."""
    given = {"updates": 1, "temperature": 0.7, "no_end": "neither", "max_new_tokens": 40}
    told: list[Drawn] = []

    def kept(*words: Any, **named: Any) -> Drawn:
        told.append(drawn_of(*words, **named))
        return told[-1]

    monkeypatch.setattr(policy_drawing, "drawn_of", kept)
    unread = ppo.run(job_of(tmp_path / "told", tiny, many, judges[judge], **given))
    assert told and all(len(one.log_probs) == sum(one.lengths) for one in told)
    models = four(tiny, judges[judge], method="lora", temperature=0.7)
    logs, entropies = models.policy.measured(ppo_loop.answers_of(told))
    assert logs.tolist() == pytest.approx([log for one in told for log in one.log_probs], abs=1e-4)
    assert float(entropies.sum()) == pytest.approx(sum(one.entropy for one in told), rel=1e-4)
    times: list[int] = []
    read = PolicyReader.measured

    def counted(self: Any, group: Any) -> Any:
        times.append(len(group))
        return read(self, group)

    monkeypatch.setattr(PolicyReader, "measured", counted)
    with monkeypatch.context() as patch:
        answers_are_read(patch)
        reads = ppo.run(job_of(tmp_path / "read", tiny, many, judges[judge], **given))
    assert sum(times) == 8 and apart(reads, unread) < 1e-4
    # As are those of a model that our decoder does not suit.
    monkeypatch.setattr(samplers, "why_not_decode", lambda *_, **__: "it is odd")
    generated = ppo.run(job_of(tmp_path / "generated", tiny, many, judges[judge], **given))
    assert sum(times) == 16 and apart(generated, unread) < 1e-4


def test_where_no_smaller_part_fits_the_state_is_saved(
    tiny: Path, many: Path, judges: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any, **__: Any) -> Iterator[Any]:
        raise torch.OutOfMemoryError("no room")

    answers_are_read(monkeypatch)
    monkeypatch.setattr(PolicyReader, "measured", none)
    job = job_of(tmp_path / "run", tiny, many, judges["adapted"])
    with pytest.raises(torch.OutOfMemoryError):
        ppo.run(job)
    assert list((job.run_dir / "resume").iterdir())


@pytest.mark.slow
def test_memory_that_runs_out_while_it_learns_loses_no_answers(
    tiny: Path, many: Path, judges: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ppo.run(job_of(tmp_path / "whole", tiny, many, judges["whole"], method="full", updates=1))
    read = ValueReader.values

    def none(self: Any, group: Any) -> Any:
        if torch.is_grad_enabled():
            raise torch.OutOfMemoryError("no room")
        return read(self, group)

    job = job_of(tmp_path / "run", tiny, many, judges["whole"], method="full", updates=1)
    with monkeypatch.context() as patch, pytest.raises(torch.OutOfMemoryError):
        patch.setattr(ValueReader, "values", none)
        ppo.run(job)
    assert len(json.loads(next(iter((job.run_dir / "resume").glob("*/state.json"))).read_text())["drawn"]) == 8
    assert not list(job.run_dir.glob("resting-*"))
    again = job_of(tmp_path / "run", tiny, many, judges["whole"], method="full", updates=1, resume=True)
    assert apart(whole, ppo.run(again)) < 1e-6


def test_no_answer_is_forgotten_for_an_end_of_line_within_it_or_a_torn_character(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    rows = [json.dumps({"update": update, "text": "一\u2028二\u0085"}, ensure_ascii=False) for update in (1, 2, 3)]
    path.write_bytes("\n".join(rows).encode()[:-5])  # within the last character but one
    Samples(path).keep_before(3)
    assert path.read_text(encoding="utf-8") == "".join(f"{row}\n" for row in rows[:2])


def test_what_cannot_go_together_is_refused() -> None:
    assert "kl_horizon must be above 102" in validate(
        "ppo", {"kl_control": "adaptive", "rollout_prompts": 512, "batch_size": 512, "kl_horizon": 102}
    ).get("kl_horizon", "")
    assert not validate("ppo", {"kl_control": "adaptive", "rollout_prompts": 512, "batch_size": 512, "kl_horizon": 103})
    assert validate("ppo", {"beta": 0.0, "kl_control": "adaptive"}) == {
        "kl_control": "kl_control must be fixed where beta is 0, of which every multiple is 0."
    }
    alone = {"gamma": 0.9, "value_clip": 0.1, "whiten_rewards": True, "critic_learning_rate": 1e-5}
    assert set(validate("ppo", {"algorithm": "rloo", "answers_each": 2, **alone})) == set(alone)
    assert not validate("ppo", alone)
    for name in ("lora_dropout", "sharding"):
        assert "is no field of the stage ppo" in validate("ppo", {name: 0})[name]
