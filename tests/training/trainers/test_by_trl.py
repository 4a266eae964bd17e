"""RLOO and GRPO by TRL, as real processes: they learn, go on where they were stopped, and end where they must."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.trainers.test_ppo import LEARNS, WANTED, assert_it_learnt, stopped_and_killed, updates
from training.trainers.config import validate
from training.trainers.program import check_model

pytestmark = pytest.mark.slow

ALGORITHMS = pytest.mark.parametrize("algorithm", ["rloo", "grpo"])


@ALGORITHMS
def test_they_learn_a_reward_that_can_be_computed(ppo: Any, algorithm: str) -> None:
    run = ppo(algorithm=algorithm, method="full", **LEARNS | {"learning_rate": 3e-3})
    assert_it_learnt(run)
    check_model(str(run.output))


@ALGORITHMS
def test_interrupted_and_resumed_equals_uninterrupted(ppo: Any, algorithm: str) -> None:
    runs = stopped_and_killed(ppo, algorithm=algorithm, method="lora")
    shown = [(run.folder / "samples.jsonl").read_text() for run in runs]
    assert shown[0] == shown[1]
    assert not list(runs[1].folder.rglob("*.pt")) and not list(runs[1].folder.rglob("*.bin"))


@ALGORITHMS
def test_the_first_step_is_at_the_first_model_and_micro_batches_change_nothing(ppo: Any, algorithm: str) -> None:
    given = {"algorithm": algorithm, "method": "full", "updates": 1, "epochs": 1, "batch_size": 8, "answers_each": 4}
    runs = [ppo(str(micro), micro_batch_size=micro, **given) for micro in (8, 2)]
    for run in runs:
        assert run.code == 0, run.stderr
        [numbers] = updates(run)
        assert numbers["kl"] == pytest.approx(0.0, abs=1e-4) and numbers["clip_fraction"] == 0
        assert {"reward", "score", "entropy", "answer_tokens", "end_rate", "grad_norm", "learn_seconds"} <= {*numbers}
    norms = [updates(run)[0]["grad_norm"] for run in runs]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"min_entropy": 50.0}, "min_entropy asks for 50"),
        ({"max_kl": 1e-6, "learning_rate": 1e-2}, "max_kl allows 1e-06"),
    ],
)
def test_a_guard_ends_them_with_state_and_model(ppo: Any, given: dict[str, Any], sentence: str) -> None:
    run = ppo(algorithm="grpo", **given)
    assert run.code == 1 and sentence in run.result["error"], run.result["error"]
    assert list((run.folder / "resume").iterdir())
    check_model(run.result["checkpoint"])
    told = run.result["error"], len([event for event in run.events if event["type"] == "metrics"])
    again = ppo(algorithm="grpo", resume=True, **given)
    assert again.code == 1  # before another update
    assert (again.result["error"], len([event for event in again.events if event["type"] == "metrics"])) == told


def test_a_reward_that_raises_is_told_with_a_state(ppo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_REWARD_FUNCTIONS", "tests.training.trainers.odd_rewards:raises")
    run = ppo(algorithm="rloo", **WANTED | {"reward_functions": "raises=1"})
    assert run.code == 1 and "The reward function raises raised ValueError: no number today" in run.result["error"]
    assert list((run.folder / "resume").iterdir())


def test_what_is_ppos_alone_is_refused() -> None:
    found = validate("ppo", {"algorithm": "grpo", "ptx_coefficient": 1.0, "processes": 2, "ema_decay": 0.9})
    assert set(found) == {"answers_each", "ptx_coefficient", "processes", "ema_decay"}
    assert found["answers_each"] == "answers_each must be at least 2 for grpo, which compares them."
    assert not validate("ppo", {"algorithm": "rloo", "answers_each": 2})


def test_what_people_read_has_the_scores(ppo: Any) -> None:
    run = ppo(algorithm="rloo", updates=1)
    rows = [json.loads(line) for line in (run.folder / "samples.jsonl").read_text().splitlines()]
    assert len(rows) == 4 and all({"prompt", "text", "score", "judged", "tokens", "ended"} <= {*row} for row in rows)
    assert Path(run.result["outputs"]["samples"]) == run.folder / "samples.jsonl"


@ALGORITHMS
def test_policy_and_reference_are_of_one_number_format(ppo: Any, algorithm: str) -> None:
    given = WANTED | {"algorithm": algorithm, "method": "full", "updates": 1, "epochs": 1, "batch_size": 8}
    given |= {"answers_each": 4}
    found = {}
    for precision, beta in (("float32", 0.0), ("bfloat16", 0.0), ("bfloat16", 0.05)):
        run = ppo(f"{precision}-{beta}", precision=precision, beta=beta, **given)
        assert run.code == 0, run.stderr
        [found[precision, beta]] = updates(run)
    # TRL's estimate of the distance is squared: rounding of one of the two alone is about 1e-7.
    assert found["bfloat16", 0.05]["kl"] == pytest.approx(0.0, abs=1e-10)
    exact, rounded = (found[precision, 0.0]["grad_norm"] for precision in ("float32", "bfloat16"))
    assert exact != pytest.approx(rounded, rel=1e-5) and exact == pytest.approx(rounded, rel=0.1)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_activations_are_computed_again_where_the_recipe_asks_for_it(
    ppo: Any, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setenv("HONE_REWARD_FUNCTIONS", "tests.training.trainers.odd_rewards:activations_again")
    given = {"algorithm": "grpo", "method": method, "updates": 1, "epochs": 1, "batch_size": 8, "answers_each": 4}
    given |= {"reward_functions": "activations_again=1", "reward_model_weight": 0.0}
    norms = []
    for asked in ("off", "on"):
        run = ppo(asked, gradient_checkpointing=asked, **given)
        assert run.code == 0, run.stderr
        [numbers] = updates(run)
        assert numbers["reward"] == (asked == "on")
        norms.append(numbers["grad_norm"])
    # Where the answers have ended, a point more: advantages are over a spread with 1e-4 added.
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)
