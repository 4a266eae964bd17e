"""The frame of a run: finished ones are not done again, states outlive their results, memory has its sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from training.trainers import program, resume
from training.trainers.program import FAILED, SUCCEEDED, Job, Outcome, StopFlag


@pytest.fixture
def envelope(tiny: Path, tmp_path: Path) -> dict[str, Any]:
    data = tmp_path / "data.parquet"
    data.write_bytes(b"rows")
    return {
        "stage": "sft",
        "run_dir": str(tmp_path / "run"),
        "model": str(tiny),
        "data": str(data),
        "output_dir": str(tmp_path / "run" / "out"),
        "resume": True,
        "params": {"epochs": 3},
    }


def state_of(envelope: dict[str, Any]) -> Path:
    return Path(envelope["run_dir"]) / "resume" / "step-00000007"


def stage(envelope: dict[str, Any], calls: list[str]) -> Callable[[Job], Outcome]:
    def run(job: Job) -> Outcome:
        calls.append("trained")
        state_of(envelope).mkdir(parents=True, exist_ok=True)
        job.output_dir.mkdir(exist_ok=True)
        (job.output_dir / "config.json").write_text("{}")
        save_file({"weight": torch.zeros(1)}, job.output_dir / "model.safetensors")
        return Outcome(metrics={"loss": 1.0}, checkpoint=job.output_dir)

    return run


def start(envelope: dict[str, Any], calls: list[str]) -> int:
    return program._run("sft", stage(envelope, calls), envelope, StopFlag())


def test_states_are_kept_until_the_result_is_on_disk(envelope: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(program, "replacing", killed)
        with pytest.raises(KeyboardInterrupt):
            start(envelope, [])
    assert state_of(envelope).is_dir()
    assert start(envelope, []) == SUCCEEDED
    assert not state_of(envelope).parent.exists()


def test_a_run_that_finished_is_reported_and_not_done_again(envelope: dict[str, Any]) -> None:
    calls: list[str] = []
    assert start(envelope, calls) == SUCCEEDED
    path = Path(envelope["run_dir"]) / "result.json"
    before = path.read_bytes()
    # Killed between its result and the end of its states.
    state_of(envelope).mkdir(parents=True)
    assert start(envelope, calls) == SUCCEEDED
    assert calls == ["trained"] and path.read_bytes() == before
    assert not state_of(envelope).parent.exists()
    events = (path.parent / "events.jsonl").read_text().splitlines()
    assert "finished before" in json.loads(events[-1])["message"]


@pytest.mark.parametrize("change", ["failed", "torn", "params", "data", "checkpoint", "fresh"])
def test_another_run_or_half_a_result_is_done_again(envelope: dict[str, Any], change: str) -> None:
    calls: list[str] = []
    start(envelope, calls)
    path = Path(envelope["run_dir"]) / "result.json"
    if change == "failed":
        path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "failed"}))
    elif change == "torn":
        path.write_bytes(path.read_bytes()[:-20])
    elif change == "params":
        envelope["params"] = {"epochs": 4}
    elif change == "data":
        Path(envelope["data"]).write_bytes(b"other rows")
    elif change == "checkpoint":
        (Path(envelope["output_dir"]) / "model.safetensors").unlink()
    else:
        envelope["resume"] = False
    assert start(envelope, calls) == SUCCEEDED
    assert calls == ["trained", "trained"]


@pytest.mark.parametrize(
    "problem",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried ..."),
    ],
)
def test_no_memory_has_a_sentence_of_its_own(envelope: dict[str, Any], problem: Exception) -> None:
    def run(job: Job) -> Outcome:
        raise problem

    assert program._run("sft", run, envelope, StopFlag()) == FAILED
    result = json.loads((Path(envelope["run_dir"]) / "result.json").read_text())
    assert result["error"] == "The stage sft ran out of memory; a smaller micro_batch_size or max_length needs less."
    assert not program.is_out_of_memory(RuntimeError("CUDA error: device-side assert"))


def test_a_state_of_the_same_step_takes_the_place_of_the_one_before_it(tmp_path: Path) -> None:
    for number in range(3):
        temporary = tmp_path / "resume" / ".incomplete"
        temporary.mkdir(parents=True)
        (temporary / "state.json").write_text(str(number))
        path = resume.publish_state(temporary, run_dir=tmp_path, step=7)
        assert resume.latest_state(tmp_path) == path and (path / "state.json").read_text() == str(number)
        assert [one.name for one in (tmp_path / "resume").iterdir()] == [path.name]
    # Killed before the older one was removed: the newest counts.
    resume.state_folder(tmp_path, 7).mkdir()
    assert resume.latest_state(tmp_path) == path
