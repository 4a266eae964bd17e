"""PPO as a real process on the tiny model: it learns, its invariants hold, and it goes on where it was stopped."""

from __future__ import annotations

import json
import math
import signal
import statistics
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.training.trainers.test_stages import after_step
from training.records import PromptRow, write_parquet

pytestmark = pytest.mark.slow

WANTED = {"reward_model_weight": 0.0, "reward_functions": "share_of_e=1", "no_end": "neither"}
SMALL: dict[str, Any] = {
    "rollout_prompts": 8,
    "batch_size": 4,
    "micro_batch_size": 2,
    "epochs": 2,
    "updates": 3,
    "answers_each": 2,
    "max_new_tokens": 12,
    "max_length": 96,
    "learning_rate": 1e-3,
    "checkpoint_steps": 1,
}


@pytest.fixture(scope="module")
def judge(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model's folder, with a head drawn at random and a zero point."""
    from training.trainers.models import load_tokenizer, save_model
    from training.trainers.scorer import load_reward_model

    folder = tmp_path_factory.mktemp("models") / "rm"
    tokenizer = load_tokenizer(str(tiny))
    model = load_reward_model(str(tiny), tokenizer, seed=3)
    save_model(folder, model=model, tokenizer=tokenizer, files={"reward.json": {"zero_point": {"reward": 0.25}}})
    return folder


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """32 prompts."""
    rows = [PromptRow(id=f"p{i}", prompt=[{"role": "user", "content": f"Say {i} of it."}]) for i in range(32)]
    path = tmp_path / "prompts.parquet"
    write_parquet(path, rows, row_type=PromptRow)
    return path


@pytest.fixture
def ppo(launch: Any, tiny: Path, judge: Path, many: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def start(name: str = "run", **given: Any) -> Any:
        inputs = {"reward_model": str(judge)}
        return launch("ppo", model=tiny, data=many, name=name, inputs=inputs, **(SMALL | given))

    monkeypatch.setenv("HONE_REWARD_FUNCTIONS", "tests.training.trainers.odd_rewards:share_of_e")
    return start


def updates(run: Any) -> list[dict[str, float]]:
    return [event["metrics"] for event in run.events if event["type"] == "metrics"]


@pytest.mark.parametrize(
    "given",
    [
        {"method": "full", "learning_rate": 3e-3, "updates": 16},
        # Random weights under an adapter give it little to work with.
        {"method": "lora", "learning_rate": 1e-2, "updates": 24, "epochs": 4, "lora_r": 32, "lora_alpha": 128},
    ],
    ids=["full", "lora"],
)
def test_it_learns_a_reward_that_can_be_computed(ppo: Any, given: dict[str, Any]) -> None:
    """The share of answers' characters that are an e: from first updates to last it rises by over 5 standard errors."""
    size = {"rollout_prompts": 16, "batch_size": 16, "micro_batch_size": 16, "answers_each": 8}
    run = ppo(**WANTED, **size, lr_scheduler="constant", beta=0.0, **given)
    assert run.code == 0, run.stderr
    rewards = [numbers["reward"] for numbers in updates(run)]
    early, late = rewards[:5], rewards[-5:]
    error = math.sqrt((statistics.variance(early) + statistics.variance(late)) / 5)
    assert statistics.mean(late) - statistics.mean(early) > 5 * error, rewards


@pytest.mark.parametrize("method", ["full", "lora"])
def test_before_the_first_step_policy_and_reference_are_one(ppo: Any, method: str) -> None:
    run = ppo(method=method, updates=1, epochs=1, batch_size=8, micro_batch_size=8)
    assert run.code == 0, run.stderr
    [numbers] = updates(run)
    assert numbers["kl"] == pytest.approx(0.0, abs=1e-4)
    # One step a pass: its only batch is read before any weight has moved.
    assert numbers["ratio"] == pytest.approx(1.0, abs=1e-5)
    assert numbers["clip_fraction"] == 0 and numbers["approximate_kl"] == pytest.approx(0.0, abs=1e-6)
    assert numbers["entropy"] > 0 and 0 <= numbers["end_rate"] <= 1 and numbers["grad_norm"] > 0
    shown = [json.loads(line) for line in (run.folder / "samples.jsonl").read_text().splitlines()]
    assert {row["update"] for row in shown} == {1} and all(row["kl"] == pytest.approx(0, abs=1e-4) for row in shown)


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_interrupted_and_resumed_equals_uninterrupted(ppo: Any, method: str, number: signal.Signals) -> None:
    params = {"method": method, "updates": 6, "kl_control": "adaptive", "scale_scores": True, "ema_decay": 0.5}
    whole = ppo("whole", **params)
    broken = ppo("broken", meanwhile=after_step(2, number), **params)
    assert broken.code == (-signal.SIGKILL if number == signal.SIGKILL else 3), broken.stderr
    again = ppo("broken", resume=True, **params)
    assert whole.code == again.code == 0, whole.stderr + again.stderr
    assert any(event.get("message", "").startswith("Resuming after step") for event in again.events)
    ours, theirs = (load_file(run.output / "model.safetensors") for run in (whole, again))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert (value - theirs[name]).abs().max() < 1e-6, name
    last = [updates(run)[-1] for run in (whole, again)]
    assert last[0]["beta"] == pytest.approx(last[1]["beta"]) and last[0]["kl"] == pytest.approx(last[1]["kl"], abs=1e-4)


def test_two_processes_take_the_update_of_one(ppo: Any) -> None:
    params = {"method": "full", "updates": 2}
    one, two = ppo("one", **params), ppo("two", pair=True, processes=2, **params)
    assert one.code == two.code == 0, one.stderr + two.stderr
    for ours, theirs in zip(updates(one), updates(two), strict=True):
        for name in ("reward", "kl", "entropy", "ratio", "value_loss", "grad_norm"):
            assert theirs[name] == pytest.approx(ours[name], rel=1e-3, abs=1e-4), name
    ours, theirs = (load_file(run.output / "model.safetensors") for run in (one, two))
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < 1e-4


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"max_kl": 1e-6, "learning_rate": 1e-2}, "max_kl allows 1e-06"),
        ({"min_entropy": 50.0}, "min_entropy asks for 50"),
        ({"min_end_rate": 1.0}, "min_end_rate asks for 100%"),
        (WANTED | {"reward_functions": "raises=1"}, "The reward function raises raised ValueError: no number today"),
        (WANTED | {"reward_functions": "not_a_number=1"}, "The reward function not_a_number gave nan"),
    ],
)
def test_what_stops_it_is_told_and_the_state_is_saved(
    ppo: Any, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], sentence: str
) -> None:
    names = ("share_of_e", "raises", "not_a_number")
    allowed = ",".join(f"tests.training.trainers.odd_rewards:{name}" for name in names)
    monkeypatch.setenv("HONE_REWARD_FUNCTIONS", allowed)
    run = ppo(**given)
    assert run.code == 1 and sentence in run.result["error"], run.result["error"]
    assert list((run.folder / "resume").iterdir())
