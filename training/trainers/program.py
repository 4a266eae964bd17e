"""The frame every stage runs in: read and check the config, catch signals, write `result.json` last.

    python -m training.trainers.<stage> --config run/config.json

Exit codes: 0 succeeded; 3 stopped by a signal with a state to resume from; 1 failed, with a traceback on standard
error and one sentence in `result.json`; 2 when the command line or the envelope itself cannot be read.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.records import RecordError, replacing, sha256_file
from training.trainers import card, hardware, inputs, model_folders, parallel, quantized
from training.trainers.config import ConfigError, build, validate
from training.trainers.events import Events
from training.trainers.resume import clear_states

SUCCEEDED, FAILED, UNREADABLE, STOPPED = 0, 1, 2, 3
_ENVELOPE = {"stage", "run_dir", "model", "data", "inputs", "output_dir", "resume", "params"}


class TrainerError(Exception):
    """A run that cannot go on; its text is one clear sentence for the person who launched it.

    `checkpoint` is a whole model folder that the run leaves for all that.
    """

    def __init__(self, sentence: str, *, checkpoint: Path | None = None) -> None:
        super().__init__(sentence)
        self.checkpoint = checkpoint


class Stopped(Exception):
    """Raised inside a stage that was asked to stop, once its state is saved."""


class StopFlag:
    """Set by SIGTERM or SIGINT; stages look at it after each micro step."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def __bool__(self) -> bool:
        return self._event.is_set()

    def set(self, *_: Any) -> None:
        """Ask the stage to stop; fits as a signal handler."""
        self._event.set()


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a stage is given: where to read and write, its checked hyper-parameters, and its way to tell of progress."""

    stage: str
    run_dir: Path
    model: str
    data: Path
    output_dir: Path
    resume: bool
    config: Any
    events: Events
    stop: StopFlag
    # Paths and addresses beside the model and the data, by the names of `inputs.KNOWN`.
    inputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def main_dir(self) -> Path:
        """The first process's `run_dir`, where the states lie."""
        return self.run_dir if parallel.is_main() else self.run_dir.parent


@dataclass(kw_only=True)
class Outcome:
    """What a stage gives back: final numbers, what it consumed, and where its products lie."""

    status: str = "succeeded"
    metrics: dict[str, float] = field(default_factory=dict)
    consumed: dict[str, int] = field(default_factory=dict)
    checkpoint: Path | None = None
    outputs: dict[str, str] = field(default_factory=dict)


def main(stage: str, run: Callable[[Job], Outcome], *, about: str, argv: Sequence[str] | None = None) -> int:
    """Run one stage from the command line and give its exit code."""
    parser = argparse.ArgumentParser(prog=f"python -m training.trainers.{stage}", description=about)
    parser.add_argument("--config", required=True, type=Path, help="the run's config.json")
    arguments = parser.parse_args(argv)
    try:
        envelope = read_envelope(arguments.config, stage=stage)
    except TrainerError as error:
        print(error, file=sys.stderr)
        return UNREADABLE
    stop = StopFlag()
    signal.signal(signal.SIGTERM, stop.set)
    signal.signal(signal.SIGINT, stop.set)
    _stop_with_parent(stop)
    _prepare_environment(envelope["model"])
    params = envelope.get("params", {})
    if params.get("method") != "qlora":
        # PEFT imports it wherever it is installed: two seconds that no other method needs.
        sys.modules.setdefault(quantized.PACKAGE, None)  # type: ignore[arg-type]
    count = int(params.get("processes", 1)) if not validate(stage, params) else 1
    if count > 1 and parallel.world_size() == 1:
        from training.trainers import processes

        return processes.run(stage, arguments.config, count=count, run_dir=Path(envelope["run_dir"]), stop=stop)
    try:
        return _run(stage, run, envelope, stop)
    finally:
        parallel.end()


def _stop_with_parent(stop: StopFlag) -> None:
    """Stops, with the state saved, once the worker that started us is gone: nobody would read the result.

    The worker names itself in HONE_PARENT_PID; a run by hand has no such name and follows nobody.
    """
    parent = os.environ.get("HONE_PARENT_PID", "")
    if not parent.isdigit():
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(1.0)
        stop.set()

    threading.Thread(target=watch, daemon=True).start()


def read_envelope(path: Path, *, stage: str) -> dict[str, Any]:
    """The run's config.json with its paths; raises TrainerError where it cannot be read or lacks its paths."""
    try:
        envelope = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainerError(f"The config {path} cannot be read: {error}.") from error
    if not isinstance(envelope, dict):
        raise TrainerError(f"The config {path} is not a JSON object.")
    for name in ("run_dir", "model", "data", "output_dir"):
        if not isinstance(envelope.get(name), str) or not envelope[name]:
            raise TrainerError(f"The config {path} needs the text field {name}.")
    if unknown := sorted(set(envelope) - _ENVELOPE):
        raise TrainerError(f"The config {path} has the unknown field(s) {', '.join(unknown)}.")
    if envelope.get("stage", stage) != stage:
        raise TrainerError(f"The config {path} is for the stage {envelope['stage']}, not {stage}.")
    if not isinstance(envelope.get("params", {}), dict):
        raise TrainerError(f"In the config {path}, params must be an object.")
    if problem := inputs.fault(stage, envelope.get("inputs", {})):
        raise TrainerError(f"In the config {path}, {problem}.")
    return envelope


def _prepare_environment(model: str) -> None:
    # Read by the libraries when they are first imported, which happens inside the stages.
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # OpenMP threads that wait for each other spin; where a web server or a second run shares the cores, spinning
    # long made both ten times slower (measured: 49 against 441 layers a second on 2 cores).
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # No GPU reports, experiment trackers or progress bars of the libraries' own: events.jsonl is the one account.
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    if Path(model).is_dir():
        os.environ["HF_HUB_OFFLINE"] = "1"
    if "WORLD_SIZE" not in os.environ:
        # transformers' Trainer would spread one process over all visible GPUs and multiply the batch size by them.
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")


def _run(stage: str, run: Callable[[Job], Outcome], envelope: dict[str, Any], stop: StopFlag) -> int:
    main_dir = Path(envelope["run_dir"])
    # What the other processes write is nobody's: it goes into a folder that is removed with them.
    run_dir = main_dir if parallel.is_main() else parallel.side_folder(main_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    result_path = run_dir / "result.json"
    events = Events(run_dir)
    if envelope.get("resume", False) and is_finished(envelope):
        # An earlier attempt ended between its result and its worker's note of it.
        events.status("This run was finished before; its result is kept.")
        events.close()
        clear_states(run_dir)
        return SUCCEEDED
    # A result of an earlier attempt must not be taken for this one's.
    result_path.unlink(missing_ok=True)
    started_at = time.time()
    outcome, error, code = Outcome(status="failed"), None, FAILED
    data = Path(envelope["data"])
    try:
        job = Job(
            stage=stage,
            run_dir=run_dir,
            model=envelope["model"],
            data=data,
            output_dir=Path(envelope["output_dir"]) if parallel.is_main() else run_dir / "checkpoint",
            resume=bool(envelope.get("resume", False)),
            config=build(stage, envelope.get("params", {})),
            events=events,
            stop=stop,
            inputs=envelope.get("inputs", {}),
        )
        hardware.compute_in(getattr(job.config, "precision", "auto"))
        quantized.check_installed(getattr(job.config, "method", None))
        if job.config.reads_model:
            check_model(job.model)
        outcome = run(job)
        code = SUCCEEDED
    except Stopped:
        outcome, code = Outcome(status="cancelled"), STOPPED
        events.status("Stopped; the state to resume from is saved.")
    except (TrainerError, ConfigError, RecordError) as problem:
        traceback.print_exc()
        error = str(problem)
        outcome.checkpoint = getattr(problem, "checkpoint", None)
    except Exception as problem:
        traceback.print_exc()
        if is_out_of_memory(problem):
            smaller = {
                "sample": "batch_size or max_new_tokens",
                "evaluate": "batch_size or max_new_tokens",
                "ppo": "micro_batch_size, answers_each or max_new_tokens",
            }.get(stage, "micro_batch_size or max_length")
            error = f"The stage {stage} ran out of memory; a smaller {smaller} needs less."
        else:
            first_line = (str(problem).strip() or "no message").splitlines()[0]
            error = f"The stage {stage} failed with {type(problem).__name__}: {first_line}"
    if error is not None:
        events.status(error)
    result = {
        "status": outcome.status,
        "error": error,
        "stage": stage,
        "model": envelope["model"],
        "params": envelope.get("params", {}),
        "inputs": envelope.get("inputs", {}),
        # JSON knows no NaN; a number that is none is left out.
        "metrics": {name: value for name, value in outcome.metrics.items() if math.isfinite(value)},
        "consumed": outcome.consumed,
        "checkpoint": str(outcome.checkpoint) if outcome.checkpoint else None,
        "outputs": outcome.outputs,
        "seed": envelope.get("params", {}).get("seed", 0),
        "versions": hardware.versions(),
        "hardware": hardware.describe(),
        "commit": hardware.commit(),
        "data_sha256": sha256_file(data) if data.is_file() else None,
        "inputs_sha256": inputs.hashes(envelope.get("inputs", {})),
        "started_at": started_at,
        "finished_at": time.time(),
    }
    if outcome.checkpoint:
        try:
            card.write(outcome.checkpoint, result)
        except OSError as problem:  # the model is whole without it
            events.status(f"The model card could not be written: {problem.strerror}.")
    events.close()
    with replacing(result_path) as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if code == SUCCEEDED:
        # Only now: a run killed before its result is on disk goes on from its last state.
        clear_states(run_dir)
    return code


def is_finished(envelope: dict[str, Any]) -> bool:
    """Whether the run's folder holds a whole result of this very run that succeeded, with all that it names."""
    try:
        result = json.loads((Path(envelope["run_dir"]) / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if not isinstance(result, dict) or result.get("status") != "succeeded":
        return False
    read = envelope.get("inputs", {})
    same = {"model": envelope["model"], "params": envelope.get("params", {}), "inputs": read}
    if any(result.get(name) != value for name, value in same.items()):
        return False
    if result.get("inputs_sha256") != inputs.hashes(read):
        return False
    data = Path(envelope["data"])
    if result.get("data_sha256") != (sha256_file(data) if data.is_file() else None):
        return False
    if not all(Path(path).is_file() for path in result.get("outputs", {}).values()):
        return False
    try:
        if result.get("checkpoint"):
            check_model(result["checkpoint"])
    except TrainerError:
        return False
    return True


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether Python, a GPU or torch's CPU allocator had no memory left; asks torch only where it is loaded already."""
    # torch.OutOfMemoryError is a RuntimeError, not a MemoryError; the CPU's allocator raises a bare RuntimeError.
    kinds = tuple(
        kind for kind in (MemoryError, getattr(sys.modules.get("torch"), "OutOfMemoryError", None)) if kind is not None
    )
    return isinstance(problem, kinds) or (isinstance(problem, RuntimeError) and "can't allocate memory" in str(problem))


def check_model(model: str) -> None:
    """Refuse a model folder that is missing, broken off or put together of two (`model_folders`); raises TrainerError.

    A name like `owner/model` that is no folder here is taken for a hub name and left to the hub.
    """
    folder = Path(model)
    if not folder.is_dir() and not folder.is_absolute() and not model.startswith(".") and model.count("/") == 1:
        return
    if problem := model_folders.fault(folder):
        raise TrainerError(problem)
