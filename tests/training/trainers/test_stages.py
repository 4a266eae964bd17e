"""Each stage as a real process on the tiny model: its products, its refusals, stopping and resuming."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from tests.training.trainers.warm import Stage
from training.records import CompletionRow, PromptRow, RankingRow, read_jsonl, read_parquet, write_parquet

pytestmark = pytest.mark.slow

SMALL = {"batch_size": 4, "micro_batch_size": 2}
LONG = SMALL | {"max_steps": 60, "checkpoint_steps": 7, "lora_dropout": 0.1}


def after_step(step: int, number: signal.Signals, *, kind: str = "metrics") -> Callable[..., None]:
    """Send a signal once an event of `kind` tells of `step` or a later one."""

    def disturb(process: subprocess.Popen[str] | Stage, folder: Path) -> None:
        path = folder / "events.jsonl"
        deadline = time.monotonic() + 250
        while process.poll() is None and time.monotonic() < deadline:
            lines = path.read_text().splitlines(keepends=True) if path.exists() else []
            events = [json.loads(line) for line in lines if line.endswith("\n")]
            if any(event["type"] == kind and event["step"] >= step for event in events):
                process.send_signal(number)
                return
            time.sleep(0.005)
        raise AssertionError("the run ended before the signal")

    return disturb


def weights(run: Any) -> dict[str, Any]:
    return load_file(run.output / "model.safetensors")


def assert_same_weights(first: Any, second: Any) -> None:
    import torch

    one, two = weights(first), weights(second)
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert torch.allclose(tensor, two[name], atol=1e-6), name


def assert_whole(run: Any, stage: str) -> None:
    assert run.code == 0, run.stderr
    result = run.result
    assert (result["status"], result["error"], result["stage"]) == ("succeeded", None, stage)
    assert result["checkpoint"] == str(run.output)
    assert len(result["data_sha256"]) == 64
    assert result["started_at"] < result["finished_at"]
    assert result["versions"]["torch"] and result["hardware"]["device"]
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= {
        path.name for path in run.output.iterdir()
    }
    assert not (run.folder / "resume").exists() and not (run.folder / "trainer").exists()
    steps = [event for event in run.events if event["type"] == "metrics"]
    assert steps[-1]["step"] == steps[-1]["total_steps"] == result["metrics"]["steps"]


def test_sft_lowers_the_heldout_loss(launch, tiny: Path, demonstrations: Path) -> None:
    run = launch("sft", model=tiny, data=demonstrations, epochs=4, learning_rate=5e-3, **SMALL)
    assert_whole(run, "sft")
    metrics = run.result["metrics"]
    assert metrics["heldout_loss"] < metrics["heldout_loss_before"] - 0.1
    assert metrics["truncated_rows"] == 0
    # 10 rows in batches of 4 are 3 steps an epoch.
    assert sorted(run.losses()) == list(range(1, 13))
    assert (run.output / "adapter" / "adapter_config.json").is_file()
    assert run.result["consumed"]["rows"] == 10


def test_full_sft_keeps_no_adapter_and_counts_what_it_cuts(launch, tiny: Path, demonstrations: Path) -> None:
    run = launch("sft", model=tiny, data=demonstrations, method="full", epochs=1, max_length=40, **SMALL)
    assert_whole(run, "sft")
    assert not (run.output / "adapter").exists()
    assert run.result["metrics"]["truncated_rows"] > 0
    assert any("were cut" in event.get("message", "") for event in run.events)


def test_reward_learns_the_order(launch, tiny: Path, rankings: Path) -> None:
    run = launch("reward", model=tiny, data=rankings, epochs=6, learning_rate=2e-3, **SMALL)
    assert_whole(run, "reward")
    metrics = run.result["metrics"]
    assert metrics["heldout_accuracy"] >= 0.8
    assert metrics["heldout_accuracy_low"] <= metrics["heldout_accuracy"] <= metrics["heldout_accuracy_high"]
    # 8 of 9 rankings have a comparison: orders of 6, 5 and 5 by turns give 6 5 5 6 5 5 6 5.
    assert run.result["consumed"]["rows"] == 8
    assert run.result["consumed"]["comparisons"] == 43
    facts = json.loads((run.output / "reward.json").read_text())
    # 3 held-out rankings of 4 completions.
    assert (facts["source"], facts["count"]) == ("heldout", 12)
    config = json.loads((run.output / "config.json").read_text())
    assert config["architectures"] == ["LlamaForSequenceClassification"]


def test_a_reward_model_can_be_trained_on(launch, tiny: Path, rankings: Path) -> None:
    first = launch("reward", model=tiny, data=rankings, name="a", method="full", epochs=4, **SMALL)
    second = launch("reward", model=first.output, data=rankings, name="b", epochs=1, **SMALL)
    assert_whole(second, "reward")
    before = second.result["metrics"]["heldout_loss_before"]
    assert before == pytest.approx(first.result["metrics"]["heldout_loss"], abs=1e-4)


@pytest.mark.parametrize(("method", "loss"), [("lora", "sigmoid"), ("full", "ipo")])
def test_dpo_widens_the_margin(launch, tiny: Path, rankings: Path, method: str, loss: str) -> None:
    run = launch("dpo", model=tiny, data=rankings, method=method, loss=loss, epochs=3, learning_rate=1e-3, **SMALL)
    assert_whole(run, "dpo")
    margins = [e["metrics"]["rewards/margins"] for e in run.events if "rewards/margins" in e.get("metrics", {})]
    assert margins[0] == pytest.approx(0.0, abs=1e-3)
    assert margins[-1] > 0.01
    # 8 rankings as the reward model has them, all of their pairs.
    assert run.result["consumed"]["comparisons"] == 43
    metrics = run.result["metrics"]
    assert metrics["heldout_accuracy_low"] <= metrics["heldout_accuracy"] <= metrics["heldout_accuracy_high"]
    assert {"heldout_loss", "heldout_rewards/margins", "heldout_rewards/chosen"} <= set(metrics)
    # Orders of 6, 5 and 5.
    assert metrics["heldout_pairs"] == 16


def test_sample_writes_k_completions_for_each_prompt(launch, tiny: Path, prompts: Path) -> None:
    run = launch("sample", model=tiny, data=prompts, k=3, max_new_tokens=8, batch_size=3, engine="transformers")
    assert run.code == 0, run.stderr
    rows = read_jsonl(Path(run.result["outputs"]["completions"]), row_type=CompletionRow)
    assert len({(row.prompt_id, row.index) for row in rows}) == len(rows) == 24
    assert all(0 < row.token_count <= 8 for row in rows)
    assert "<|" not in "".join(row.text for row in rows)
    steps = [(event["step"], event["total_steps"]) for event in run.events if event["type"] == "metrics"]
    assert steps == [(3, 8), (6, 8), (8, 8)]


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("stage", ["sft", "reward", "dpo"])
def test_stopped_killed_and_resumed_equals_uninterrupted(
    launch, tiny: Path, demonstrations: Path, rankings: Path, stage: str, method: str
) -> None:
    arguments: dict[str, Any] = LONG | {"model": tiny, "data": demonstrations if stage == "sft" else rankings}
    arguments |= {"method": method}
    whole = launch(stage, name="whole", **arguments)
    stopped = launch(stage, name="cut", meanwhile=after_step(10, signal.SIGTERM), **arguments)
    assert stopped.code == 3, stopped.stderr
    assert stopped.result["status"] == "cancelled" and stopped.result["checkpoint"] is None
    assert not stopped.output.exists()
    assert len(list((stopped.folder / "resume").iterdir())) == 1
    done = max(stopped.losses())
    assert 10 <= done < 60
    if method == "lora":
        killed = launch(
            stage,
            name="cut",
            resume=True,
            meanwhile=after_step(done + 1, signal.SIGKILL, kind="checkpoint"),
            **arguments,
        )
        assert killed.code == -signal.SIGKILL
        assert not (killed.folder / "result.json").exists()
        # What a kill in the middle of a save leaves behind is no state.
        (killed.folder / "resume" / ".incomplete").mkdir(exist_ok=True)
    resumed = launch(stage, name="cut", resume=True, **arguments)
    assert_whole(resumed, stage)
    assert f"Resuming after step {done}." in [event.get("message") for event in resumed.events]
    assert resumed.losses() == pytest.approx(whole.losses(), rel=1e-5)
    assert_same_weights(whole, resumed)


def test_a_stopped_sampling_goes_on_to_the_same_completions(launch, tiny: Path, prompts: Path) -> None:
    params = {"k": 2, "max_new_tokens": 300, "batch_size": 2, "engine": "transformers"}
    whole = launch("sample", model=tiny, data=prompts, name="whole", **params)
    stopped = launch("sample", model=tiny, data=prompts, name="cut", meanwhile=after_step(2, signal.SIGTERM), **params)
    assert stopped.code == 3, stopped.stderr
    path = stopped.folder / "completions.jsonl"
    before = read_jsonl(path, row_type=CompletionRow)
    assert 4 <= len(before) < 16
    kill = after_step(len(before) // 2 + 1, signal.SIGKILL)
    killed = launch("sample", model=tiny, data=prompts, name="cut", resume=True, meanwhile=kill, **params)
    assert killed.code == -signal.SIGKILL
    assert len(read_jsonl(path, row_type=CompletionRow, torn_end=True)) >= len(before)
    with open(path, "a") as file:
        file.write('{"prompt_id": "p0", "ind')
    resumed = launch("sample", model=tiny, data=prompts, name="cut", resume=True, **params)
    assert resumed.code == 0, resumed.stderr
    assert read_jsonl(path, row_type=CompletionRow) == read_jsonl(
        whole.folder / "completions.jsonl", row_type=CompletionRow
    )


def test_bad_input_is_refused_before_the_model_loads(launch, tiny: Path, rankings: Path, tmp_path: Path) -> None:
    cases: list[tuple[str, dict[str, Any], str]] = []
    torn = tmp_path / "torn.parquet"
    torn.write_bytes(rankings.read_bytes()[:-30])
    empty = tmp_path / "empty.parquet"
    write_parquet(empty, [], row_type=PromptRow)
    ties = tmp_path / "ties.parquet"
    only = [row for row in read_parquet(rankings, row_type=RankingRow) if set(row.ranks) == {1}]
    write_parquet(ties, only, row_type=RankingRow)
    cases.append(("reward", {"data": torn}, "torn.parquet is not a whole Parquet file"))
    cases.append(("sample", {"data": empty}, "empty.parquet has no prompt"))
    cases.append(("dpo", {"data": ties}, "no comparison to train on"))
    cases.append(("sft", {"data": rankings}, "lacks the column(s) messages"))
    cases.append(("sft", {"data": tmp_path / "none.parquet"}, "does not exist"))
    cases.append(("reward", {"data": rankings, "model": tmp_path}, "has no config.json"))
    cases.append(("dpo", {"data": rankings, "gamma": 1}, "gamma is no field of the stage dpo"))
    cases.append(("dpo", {"data": rankings, "beta": -1}, "beta must be a number from 0.0001 to 100"))
    for number, (stage, arguments, words) in enumerate(cases):
        run = launch(stage, name=str(number), cold=True, **({"model": tiny} | arguments))
        assert run.code == 1, run.stderr
        assert words in run.result["error"]
        assert run.result["status"] == "failed" and run.result["checkpoint"] is None
        assert "Traceback" in run.stderr
        # A device is named once torch was imported: it was not, so no model was loaded.
        assert "torch" in run.result["versions"] and "device" not in run.result["hardware"]


@pytest.mark.parametrize("stage", ["sft", "reward"])
def test_a_loss_that_is_no_number_ends_the_run_and_names_its_step(
    launch, tiny: Path, demonstrations: Path, rankings: Path, tmp_path: Path, stage: str
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny, broken)
    tensors = load_file(broken / "model.safetensors")
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    run = launch(stage, model=broken, data=demonstrations if stage == "sft" else rankings, **SMALL)
    assert run.code == 1, run.stderr
    assert "At step 1 the loss is not a finite number" in run.result["error"]
    assert not run.output.exists()


@pytest.mark.parametrize("stage", ["sft", "reward", "dpo", "sample", "prepare", "evaluate", "best_of_n"])
def test_help_loads_no_heavy_library(stage: str) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['{stage}', '--help']\n"
        "try:\n"
        f"    runpy.run_module('training.trainers.{stage}', run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0\n"
        "assert not {'torch', 'transformers', 'trl', 'datasets', 'pyarrow', 'numpy'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout


def test_two_processes_take_the_steps_of_one_also_when_stopped_between(launch, tiny: Path, rankings: Path) -> None:
    long = SMALL | {"max_steps": 40, "checkpoint_steps": 7}
    one = launch("reward", model=tiny, data=rankings, name="one", **long)
    shared = {"model": tiny, "data": rankings, "name": "two", "processes": 2, **long}
    stopped = launch("reward", **shared, meanwhile=after_step(9, signal.SIGTERM))
    assert (stopped.code, stopped.result["status"]) == (3, "cancelled"), stopped.stderr
    resumed = launch("reward", **shared, resume=True)
    assert_whole(resumed, "reward")
    assert_same_weights(one, resumed)
    assert not list(resumed.folder.glob("process-*"))
    assert resumed.losses().keys() == one.losses().keys()
    for step, loss in one.losses().items():
        assert resumed.losses()[step] == pytest.approx(loss, abs=1e-5)


def test_what_fails_in_several_processes_is_told_once(launch, tiny: Path, demonstrations: Path) -> None:
    run = launch("reward", model=tiny, data=demonstrations, processes=2, **SMALL)
    assert run.code == 1
    assert run.result["status"] == "failed" and run.result["error"]
    assert not list(run.folder.glob("process-*"))
