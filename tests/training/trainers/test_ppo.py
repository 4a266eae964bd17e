"""PPO as a real process on the tiny model: it learns, its invariants hold, and it goes on where it was stopped."""

from __future__ import annotations

import itertools
import json
import math
import signal
import statistics
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.training.trainers.test_stages import after_step, assert_same_weights
from training.records import DemonstrationRow, write_parquet
from training.trainers.program import check_model
from training.trainers.resume import latest_state
from training.trainers.scorer import is_reward_model

pytestmark = pytest.mark.slow

# What is wanted is the share of an answer's characters that are an e.
WANTED = {"reward_model_weight": 0.0, "reward_functions": "share_of_e=1", "no_end": "neither"}
LEARNS = WANTED | {"rollout_prompts": 16, "batch_size": 16, "micro_batch_size": 16, "answers_each": 8, "updates": 16}
LEARNS |= {"lr_scheduler": "constant", "beta": 0.0, "checkpoint_steps": 0}

# Text of pretraining beside the answers.
MIXED = {"ptx_coefficient": 27.8, "ptx_length": 32, "ptx_rows": 2}


def updates(run: Any) -> list[dict[str, float]]:
    return [event["metrics"] for event in run.events if event["type"] == "metrics"]


def state_of(run: Any) -> Path:
    """The newest state that a run has left."""
    found = latest_state(run.folder)
    assert found is not None
    return found


def assert_it_learnt(run: Any) -> None:
    """From its first five updates to its last five the mean reward rises by over 5 standard errors."""
    assert run.code == 0, run.stderr
    rewards = [numbers["reward"] for numbers in updates(run)]
    early, late = rewards[:5], rewards[-5:]
    error = math.sqrt((statistics.variance(early) + statistics.variance(late)) / 5)
    assert statistics.mean(late) - statistics.mean(early) > 5 * error, rewards


@pytest.mark.parametrize(
    "given",
    [
        {"method": "full", "learning_rate": 3e-3},
        # Random weights under an adapter give it little to work with.
        {"method": "lora", "learning_rate": 1e-2, "epochs": 4, "lora_r": 32, "lora_alpha": 128},
    ],
    ids=["full", "lora"],
)
def test_it_learns_a_reward_that_can_be_computed(ppo: Any, given: dict[str, Any]) -> None:
    assert_it_learnt(ppo(**LEARNS | given))


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A list of one source of running text."""
    lines = [f"The {word} of the river is {word} and long, and many boats go by it." for word in ("bank", "bed", "end")]
    (tmp_path / "text.txt").write_text("\n\n".join(line * 6 for line in lines), encoding="utf-8")
    path = tmp_path / "sources.json"
    source = {"name": "rivers", "path": str(tmp_path / "text.txt"), "quality_filter": False}
    path.write_text(json.dumps({"sources": [source]}), encoding="utf-8")
    return path


WAYS = pytest.mark.parametrize(("method", "judge"), [("full", "whole"), ("lora", "whole"), ("lora", "adapted")])


@WAYS
def test_before_the_first_step_policy_and_reference_are_one(ppo: Any, method: str, judge: str) -> None:
    run = ppo(judge=judge, method=method, updates=1, epochs=1, batch_size=8, micro_batch_size=8)
    assert run.code == 0, run.stderr
    [numbers] = updates(run)
    assert numbers["kl"] == pytest.approx(0.0, abs=1e-4)
    # One step a pass: its only batch is read before any weight has moved.
    assert numbers["ratio"] == pytest.approx(1.0, abs=1e-5)
    assert numbers["clip_fraction"] == 0 and numbers["approximate_kl"] == pytest.approx(0.0, abs=1e-6)
    assert numbers["entropy"] > 0 and 0 <= numbers["end_rate"] <= 1 and numbers["grad_norm"] > 0
    shown = [json.loads(line) for line in (run.folder / "samples.jsonl").read_text().splitlines()]
    assert {row["update"] for row in shown} == {1} and all(row["kl"] == pytest.approx(0, abs=1e-4) for row in shown)


def stopped_and_killed(ppo: Any, **params: Any) -> tuple[Any, Any]:
    """A run in one go, and the same stopped after its second update, killed after its fourth; their weights are one."""
    params |= {"updates": 6}
    whole = ppo("whole", **params)
    stopped = ppo("broken", meanwhile=after_step(2, signal.SIGTERM), **params)
    assert stopped.code == 3 and stopped.result["status"] == "cancelled", stopped.stderr
    killed = ppo("broken", resume=True, meanwhile=after_step(4, signal.SIGKILL), **params)
    assert killed.code == -signal.SIGKILL, killed.stderr
    again = ppo("broken", resume=True, **params)
    assert whole.code == again.code == 0, whole.stderr + again.stderr
    resumed = [event for event in again.events if event.get("message", "").startswith("Resuming after step")]
    assert len(resumed) == 2
    assert_same_weights(whole, again)
    return whole, again


@WAYS
def test_interrupted_and_resumed_equals_uninterrupted(ppo: Any, sources: Path, method: str, judge: str) -> None:
    params: dict[str, Any] = {"kl_control": "adaptive", "kl_horizon": 100, "scale_scores": True, "ema_decay": 0.5}
    if judge == "adapted":
        params |= MIXED | {"inputs": {"pretraining": str(sources)}}
    runs = stopped_and_killed(ppo, method=method, judge=judge, **params)
    whole, again = (updates(run) for run in runs)
    for name in ("beta", "kl", "ratio", "grad_norm", *(["ptx_loss"] if judge == "adapted" else [])):
        assert whole[-1][name] == pytest.approx(again[-1][name], rel=1e-4, abs=1e-4), name
    # Beta follows the distance by a fifth at most (Ziegler et al. 2019), 16 answers an update.
    for before, after in itertools.pairwise(whole):
        error = min(0.2, max(-0.2, before["kl"] / 6.0 - 1))
        assert after["beta"] == pytest.approx(before["beta"] * (1 + error * 16 / 100))
    assert whole[-1]["beta"] < 0.9 * whole[0]["beta"]


@pytest.mark.parametrize(("method", "judge"), [("full", "whole"), ("lora", "adapted")])
def test_two_processes_take_the_update_of_one(ppo: Any, sources: Path, method: str, judge: str) -> None:
    params: dict[str, Any] = {"method": method, "judge": judge, "updates": 2}
    if method == "lora":  # of 9 prompts one process has more than the other
        params |= MIXED | {"rollout_prompts": 9, "batch_size": 3, "micro_batch_size": 1}
        params |= {"inputs": {"pretraining": str(sources)}}
    one, two = ppo("one", **params), ppo("two", pair=True, processes=2, **params)
    assert one.code == two.code == 0, one.stderr + two.stderr
    for ours, theirs in zip(updates(one), updates(two), strict=True):
        for name in ("reward", "kl", "entropy", "ratio", "value_loss", "grad_norm"):
            assert theirs[name] == pytest.approx(ours[name], rel=1e-3, abs=1e-4), name
    ours, theirs = (load_file(run.output / "model.safetensors") for run in (one, two))
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < 1e-4


def test_two_processes_that_are_stopped_while_they_draw_go_on_to_the_end_of_one(ppo: Any) -> None:
    """The first hears of it before the second, as a signal may come to them."""

    def stop_the_first(pair: Any, folder: Path) -> None:
        after_step(1, signal.SIGTERM)(pair.first, folder)

    # Long answers, so that it comes while they are drawn.
    params = {"method": "full", "updates": 3, "max_new_tokens": 64, "epochs": 1, "no_end": "neither"}
    one = ppo("one", **params)
    cut = ppo("two", pair=True, processes=2, meanwhile=stop_the_first, **params)
    assert cut.code == 3 and cut.result["status"] == "cancelled", cut.stderr
    facts = json.loads((state_of(cut) / "state.json").read_text())
    assert facts["step"] % 2 == 0 and facts["drawn"] == [], "it came while they learnt: nothing is shown"
    again = ppo("two", resume=True, **params)
    assert one.code == again.code == 0, again.stderr
    assert_same_weights(one, again)


def test_what_fails_in_one_process_ends_both_with_its_sentence_and_a_state(
    ppo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_REWARD_FUNCTIONS", "tests.training.trainers.odd_rewards:raises_at_3")
    # All 32 prompts come in the first update, the third in one process.
    size = {"rollout_prompts": 32, "batch_size": 32, "answers_each": 1, "updates": 1}
    run = ppo(pair=True, processes=2, **WANTED | {"reward_functions": "raises_at_3=1"}, **size)
    assert run.code == 1 and "raised ValueError: no number for 3. The prompt was p3." in run.result["error"]
    assert list((run.folder / "resume").iterdir())


def test_a_guard_ends_two_processes_with_the_policy_in_the_runs_own_folder(ppo: Any) -> None:
    run = ppo(processes=2, method="full", max_kl=1e-6, learning_rate=1e-2)
    assert run.code == 1 and "max_kl allows 1e-06" in run.result["error"], run.result["error"]
    assert run.result["checkpoint"] == str(run.folder / "stopped") and run.result["checkpoint"] in run.result["error"]
    check_model(run.result["checkpoint"])
    assert list((run.folder / "resume").iterdir()) and not list(run.folder.glob("process-*"))


def test_without_a_price_the_distance_is_not_known(ppo: Any) -> None:
    run = ppo(updates=1, beta=0.0, max_kl=1e-9, learning_rate=1e-2)
    assert run.code == 0, run.stderr
    [numbers] = updates(run)
    assert "kl" not in numbers and numbers["reward"] != 0
    rows = [json.loads(line) for line in (run.folder / "samples.jsonl").read_text().splitlines()]
    assert rows and not any("kl" in row for row in rows)


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
    if "reward_functions" not in given:
        assert run.result["checkpoint"] == str(run.folder / "stopped")
        check_model(run.result["checkpoint"])


def test_a_run_that_a_guard_stopped_goes_on_once_the_guard_is_eased(ppo: Any) -> None:
    stopped = ppo(judge="adapted", max_kl=1e-6, learning_rate=1e-2, checkpoint_steps=1)
    assert stopped.code == 1
    seen = updates(stopped)[-1]
    done = [event["step"] for event in stopped.events if event["type"] == "metrics"]
    again = ppo(judge="adapted", max_kl=0.0, learning_rate=1e-2, checkpoint_steps=1, resume=True)
    assert again.code == 0, again.stderr
    # The answers that the guard stopped at are learnt from, and not drawn a second time.
    drawn = ("sample_seconds", "score_seconds", "read_seconds", "score", "kl")
    assert {name: updates(again)[2][name] for name in drawn} == {name: seen[name] for name in drawn}
    told = [event["step"] for event in again.events if event["type"] == "metrics"]
    assert done == [1, 2] and told == [1, 2, 2, 3]  # what a guard stopped is told, too, and again when it is done
    shown = [json.loads(line)["update"] for line in (again.folder / "samples.jsonl").read_text().splitlines()]
    assert shown == [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]


@WAYS
def test_the_critic_is_kept_as_a_reward_model(ppo: Any, method: str, judge: str) -> None:
    run = ppo(judge=judge, method=method, updates=1)
    assert run.code == 0, run.stderr
    critic = run.folder / "critic"
    check_model(str(critic))
    check_model(str(run.output))
    assert is_reward_model(str(critic)) and not is_reward_model(str(run.output))
    assert run.result["outputs"]["critic"] == str(critic / "config.json")


def test_as_many_steps_are_taken_as_the_batches_say_and_no_gradient_is_longer_than_allowed(ppo: Any) -> None:
    """TRL 1.12 took a step a micro batch, and more for the last one; and it clipped nothing."""
    size = {"rollout_prompts": 8, "batch_size": 4, "micro_batch_size": 1, "epochs": 3, "updates": 1}
    rate = {"optimizer": "sgd", "beta1": 0.0, "learning_rate": 1.0, "lr_scheduler": "constant", "warmup_ratio": 0.0}
    run = ppo(**size, **rate, method="full", max_grad_norm=1e-3, weight_decay=0.0, max_kl=0.0)
    assert run.code == 0, run.stderr
    [numbers] = updates(run)
    assert numbers["grad_norm"] > 1e-3
    before = load_file(Path(json.loads((run.folder / "config.json").read_text())["model"]) / "model.safetensors")
    after = load_file(run.output / "model.safetensors")
    moved = math.sqrt(sum(float((after[name] - value).square().sum()) for name, value in before.items()))
    # 3 passes of 2 steps, each of length 1e-3 at most over policy and critic together.
    assert 0 < moved <= 6e-3 * 1.01
    # The state between two updates, and the optimizers' own count.
    stopped = ppo("stopped", **size | {"updates": 2}, method="full", meanwhile=after_step(1, signal.SIGTERM))
    assert stopped.code == 3, stopped.stderr
    assert [event["step"] for event in stopped.events if event["type"] == "checkpoint"][0] == 6
    state = state_of(stopped)
    found = load_file(state / "state.safetensors")
    taken = {name.split(".")[2]: int(value) for name, value in found.items() if name.startswith("optimizer.step.")}
    steps = json.loads((state / "state.json").read_text())["step"]
    assert taken == {"policy": steps, "critic": steps} and 6 <= steps < 12


def test_prompts_of_sft_are_refused_before_a_model_loads(ppo: Any, tmp_path: Path) -> None:
    path = tmp_path / "demonstrations.parquet"
    row = DemonstrationRow(
        id="d7",
        messages=[{"role": "user", "content": "say 3 OF it."}, {"role": "assistant", "content": "It."}],
    )
    write_parquet(path, [row], row_type=DemonstrationRow)
    given = {"inputs": {"demonstrations": str(path)}, "updates": 1}
    run = ppo(**given)
    assert run.code == 1 and "1 of 32 prompts occur in SFT rows (p3; all of them in" in run.result["error"]
    assert not any(event.get("message") == "Loading the policy." for event in run.events)
    run = ppo("allowed", allow_sft_prompts=True, **given)
    assert run.code == 0, run.stderr


def test_pretraining_text_is_mixed_in(ppo: Any, sources: Path) -> None:
    given = MIXED | {"judge": "adapted", "method": "lora", "updates": 4, "beta": 0.0}
    run = ppo(**given, inputs={"pretraining": str(sources)})
    assert run.code == 0, run.stderr
    losses = [numbers["ptx_loss"] for numbers in updates(run)]
    assert losses[-1] < losses[0] - 0.1, losses
    refused = ppo("refused", **given)
    assert refused.code == 1 and refused.result["error"] == "ptx_coefficient (27.8) needs the input pretraining."
