"""Trainer processes: start one for a claimed run, watch it, end it, and read its result.

Each trainer is the leader of a process group of its own, with an environment free of our secrets and its output
in a file. Success is exit code 0 and a valid result.json; the end of the process is what frees a GPU's memory.
"""

import contextlib
import json
import logging
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from celery.signals import worker_shutting_down
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from training import ingest, outcomes, runs
from training.models import Run
from training.trainers import reward_functions
from training.trainers.resume import clear_states

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
HEARTBEAT_SECONDS = 5.0
# How long a trainer may take to save its state after SIGTERM before its group is killed.
GRACE_SECONDS = 120.0
# A worker that cannot renew its lease ends its trainer so long before the reaper may give the run to another one.
LEASE_MARGIN_SECONDS = 5.0
STOPPED = 3  # the trainers' exit code for "stopped by a signal, state saved"

# What a trainer may see of our environment: where things are and how the hardware is set up; no keys, no URLs.
_PASSED_ON = {
    "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "USER", "LD_LIBRARY_PATH", "LD_PRELOAD", "HONE_COMMIT",
}  # fmt: skip
_PASSED_PREFIXES = (
    "CUDA_",
    "NVIDIA_",
    "NCCL_",
    "OMP_",
    "MKL_",
    "VLLM_",
    "HF_HOME",
    "TORCH_",
    "PYTORCH_",
    "MALLOC_",
)

_shutting_down = threading.Event()


@worker_shutting_down.connect
def _on_shutdown(**_kwargs: Any) -> None:
    """The worker was told to stop: trainers save their state, and their runs go back to the queue."""
    _shutting_down.set()


def boot_id() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return str(psutil.boot_time())


@dataclass
class _Lease:
    """When this worker last had its lease renewed, by this machine's own clock: the database may be out of reach."""

    renewed_at: float = field(default_factory=time.monotonic)

    @property
    def is_over(self) -> bool:
        return time.monotonic() - self.renewed_at > runs.LEASE.total_seconds() - LEASE_MARGIN_SECONDS


@dataclass(frozen=True)
class _End:
    """How a trainer ended: its exit code, and whether this worker had asked it to stop."""

    code: int
    asked: bool


def execute(run_id: int) -> None:
    """Runs a queued run's trainer from claim to end. Does nothing when the run is not queued."""
    if _shutting_down.is_set():
        return
    lease = _Lease()
    run = runs.claim(run_id, host=socket.gethostname(), boot_id=boot_id())
    if run is None:
        return
    process: subprocess.Popen[bytes] | None = None
    try:
        if _has_succeeded(run):
            # An earlier attempt's worker or database went away between the trainer's end and its acceptance.
            end = _End(code=0, asked=False)
        else:
            process = _start(run)
            started = psutil.Process(process.pid).create_time()
            runs.update(run, process_group=process.pid, process_started=started)
            with _ended_with(lease, process):
                end = _watch(run, process, lease)
            end_group(process.pid)  # whatever the trainer left behind
        _patiently(lambda: _read_to_end(run))
        _patiently(lambda: _conclude(run, end))
    except runs.LostRun:
        logger.warning("run %s was taken over; its process is ended here", run.pk)
    except (OperationalError, InterfaceError):
        # The reaper queues the run again when the database is back; the trainer's saved state is kept.
        logger.exception("run %s lost the database", run.pk)
    except _NotStarted as error:
        logger.warning("run %s: %s", run.pk, error)
        _fail(run, str(error))
    except Exception as error:
        logger.exception("run %s could not be followed", run.pk)
        _fail(run, f"The run's result could not be stored: {type(error).__name__}: {error}")
    finally:
        if process is not None:
            end_group(process.pid)
            process.wait()


def _has_succeeded(run: Run) -> bool:
    """Whether an earlier attempt has left a whole result and its products: then nothing is to be trained again."""
    result = read_result(run)
    return result is not None and result.get("status") == "succeeded" and outcomes.problem_with(run, result) is None


def _patiently(action: Callable[[], None]) -> None:
    """Does it, with new connections while the database is away, for as long as the lease lasts."""
    deadline = time.monotonic() + runs.LEASE.total_seconds()
    while True:
        try:
            return action()
        except (OperationalError, InterfaceError):
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(1.0)


def _read_to_end(run: Run) -> None:
    while ingest.follow(run):
        pass


def _fail(run: Run, error: str) -> None:
    with contextlib.suppress(runs.LostRun):
        runs.update(run, error=error, ended_at=timezone.now(), lease_expires_at=None, state=Run.State.FAILED)


class _NotStarted(Exception):
    """The trainer's process could not be started; the text is a sentence for the lead."""


def _start(run: Run) -> subprocess.Popen[bytes]:
    """Writes config.json and starts the trainer. Raises _NotStarted."""
    config, command = json.dumps(runs.config(run), indent=2), runs.command(run)
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        (run.folder / "result.json").unlink(missing_ok=True)  # of an earlier attempt
        (run.folder / "config.json").write_text(config, encoding="utf-8")
        with run.log_path.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=run.folder,
                env=environment(),
                start_new_session=True,
            )
    except OSError as error:
        what = f" {error.filename}" if error.filename else ""
        raise _NotStarted(f"The trainer could not be started:{what}: {error.strerror or error}.") from error


def environment() -> dict[str, str]:
    passed = {
        name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith(_PASSED_PREFIXES)
    }
    return {
        **passed,
        reward_functions.ALLOWED: settings.REWARD_FUNCTIONS,
        "PYTHONPATH": str(settings.BASE_DIR),
        "PYTHONUNBUFFERED": "1",
        # Its output goes into a file, which has no colours and no width.
        "NO_COLOR": "1",
        "TERM": "dumb",
        # A trainer whose worker was killed stops itself instead of going on unseen.
        "HONE_PARENT_PID": str(os.getpid()),
    }


def _watch(run: Run, process: subprocess.Popen[bytes], lease: _Lease) -> _End:
    """Follows the trainer until it ends; passes on a cancel or a worker's shutdown. Raises runs.LostRun."""
    next_beat = 0.0
    asked_at: float | None = None
    cancelled = False
    while process.poll() is None:
        time.sleep(POLL_SECONDS)
        now = time.monotonic()
        try:
            ingest.follow(run)
            if now >= next_beat:
                sent_at = time.monotonic()
                cancelled = runs.heartbeat(run)
                lease.renewed_at = sent_at
                next_beat = now + HEARTBEAT_SECONDS
        except (OperationalError, InterfaceError):
            connection.close()  # the database restarted, perhaps; the trainer goes on meanwhile
        if asked_at is None and (cancelled or _shutting_down.is_set()):
            asked_at = now
            process.send_signal(signal.SIGTERM)
        if asked_at is not None and now - asked_at > GRACE_SECONDS:
            end_group(process.pid)
    return _End(code=process.returncode, asked=asked_at is not None)


@contextlib.contextmanager
def _ended_with(lease: _Lease, process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Kills the trainer's group once the lease is over, and leaves with runs.LostRun.

    Fences keep a worker that lost its run from writing rows, but not its trainer from writing files, beside those of
    the next attempt. A thread of its own, since a query may hang for as long as the network pleases.
    """
    done = threading.Event()

    def guard() -> None:
        while not done.wait(POLL_SECONDS):
            if lease.is_over:
                return end_group(process.pid)

    thread = threading.Thread(target=guard, name=f"lease of trainer {process.pid}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    if lease.is_over:
        raise runs.LostRun


def end_group(process_group: int) -> None:
    """Kills what is left of a process group; nothing when there is none."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process_group, signal.SIGKILL)


def read_result(run: Run) -> dict[str, Any] | None:
    """The trainer's result.json, or None when it is missing or no JSON object."""
    try:
        result = json.loads((run.folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return result if isinstance(result, dict) else None


def _conclude(run: Run, end: _End) -> None:
    """Turns exit code and result into the run's end. Raises runs.LostRun."""
    result = read_result(run)
    cancelled = Run.objects.values_list("cancel_requested", flat=True).get(pk=run.pk)
    if end.code == 0 and result and result.get("status") == "succeeded":
        problem = outcomes.problem_with(run, result)
        if problem:
            return _fail(run, problem)
        outcomes.accept(run, result)
        clear_states(run.folder)  # only now: a run that was not accepted goes on from them
    elif cancelled:
        stopped = {"result": result or {}} if end.code == STOPPED else {}
        runs.update(run, **stopped, ended_at=timezone.now(), lease_expires_at=None, state=Run.State.CANCELLED)
    elif end.code == STOPPED:
        runs.requeue(run, why="Its worker was stopped; the run goes on from its saved state.", counts=False)
    elif end.code < 0 and not result and end.asked:
        why = "Its worker was stopped before the trainer had saved its state; the run goes on from the one before."
        runs.requeue(run, why=why, counts=False)
    elif end.code < 0 and not result:
        name = signal.Signals(-end.code).name
        runs.requeue(run, why=f"The trainer was ended from outside by {name} (often: out of memory).")
    else:
        runs.update(run, result=result or {})
        _fail(
            run,
            (result or {}).get("error") or f"The trainer ended with exit code {end.code} and no valid result.",
        )


def reap() -> None:
    """Ends the processes of runs whose worker is gone, and queues those runs again."""
    for run in runs.take_over_lost():
        if run.host == socket.gethostname() and run.boot_id == boot_id():
            _end_orphans(run)
        with contextlib.suppress(runs.LostRun):
            runs.requeue(run, why="Its worker was lost.")


def _end_orphans(run: Run) -> None:
    """Ends the trainer that a lost worker left, or what its leader left; never a later process of the same number."""
    if run.process_group is None or run.process_started is None:
        return
    try:
        leader = psutil.Process(run.process_group).create_time()
    except psutil.NoSuchProcess:
        for process in _left_behind(run.process_group, since=run.process_started):
            with contextlib.suppress(psutil.Error):
                process.kill()  # psutil looks at the start time again first
    else:
        # While any process of a group lives, Linux gives its number to no other process.
        if abs(leader - run.process_started) < 1.0:
            end_group(run.process_group)


def _left_behind(process_group: int, *, since: float) -> list[psutil.Process]:
    """The processes of a group or session whose leader is gone, which started with it or later."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            ours = process_group in (os.getpgid(process.pid), os.getsid(process.pid))
            if ours and process.create_time() > since - 1.0:
                found.append(process)
    return found


# Colours and cursor movements (ECMA-48), titles, and the control characters that browsers draw as boxes.
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)


def log_tail(run: Run, *, lines: int = 50) -> str:
    """The last lines of the trainer's output as plain text; an empty string when there is none."""
    try:
        with run.log_path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 200_000))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    text = _ESCAPES.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return "\n".join(text.splitlines()[-lines:])
