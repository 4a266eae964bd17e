"""Trainer processes: start one for a claimed run, watch it, end it, and read its result.

Each trainer is the leader of a process group of its own, with an environment free of our secrets and its output
in a file. Success is exit code 0 and a valid result.json; the end of the process is what frees a GPU's memory.
"""

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from celery.signals import worker_shutting_down
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from training import ingest, outcomes, runs
from training.models import Run

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
HEARTBEAT_SECONDS = 5.0
# How long a trainer may take to save its state after SIGTERM before its group is killed.
GRACE_SECONDS = 120.0
STOPPED = 3  # the trainers' exit code for "stopped by a signal, state saved"

# What a trainer may see of our environment: where things are and how the hardware is set up; no keys, no URLs.
_PASSED_ON = {"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "USER", "LD_LIBRARY_PATH", "LD_PRELOAD"}
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


def execute(run_id: int) -> None:
    """Runs a queued run's trainer from claim to end. Does nothing when the run is not queued."""
    if _shutting_down.is_set():
        return
    run = runs.claim(run_id, host=socket.gethostname(), boot_id=boot_id())
    if run is None:
        return
    process: subprocess.Popen[bytes] | None = None
    try:
        process = _start(run)
        runs.update(run, process_group=process.pid, process_started=psutil.Process(process.pid).create_time())
        code = _watch(run, process)
        end_group(process.pid)  # whatever the trainer left behind
        _patiently(lambda: _read_to_end(run))
        _patiently(lambda: _conclude(run, code))
    except runs.LostRun:
        logger.warning("run %s was taken over; its process is ended here", run.pk)
    except (OperationalError, InterfaceError):
        # The reaper queues the run again when the database is back; the trainer's saved state is kept.
        logger.exception("run %s lost the database", run.pk)
    except Exception as error:
        logger.exception("run %s could not be followed", run.pk)
        _fail(run, f"The run's result could not be stored: {type(error).__name__}: {error}")
    finally:
        if process is not None:
            end_group(process.pid)
            process.wait()


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


def _start(run: Run) -> subprocess.Popen[bytes]:
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / "result.json").unlink(missing_ok=True)  # of an earlier attempt
    (run.folder / "config.json").write_text(json.dumps(runs.config(run), indent=2), encoding="utf-8")
    with run.log_path.open("ab") as log:
        return subprocess.Popen(
            runs.command(run),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=run.folder,
            env=environment(),
            start_new_session=True,
        )


def environment() -> dict[str, str]:
    passed = {
        name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith(_PASSED_PREFIXES)
    }
    return {
        **passed,
        "PYTHONPATH": str(settings.BASE_DIR),
        "PYTHONUNBUFFERED": "1",
        # A trainer whose worker was killed stops itself instead of going on unseen.
        "HONE_PARENT_PID": str(os.getpid()),
    }


def _watch(run: Run, process: subprocess.Popen[bytes]) -> int:
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
                cancelled = runs.heartbeat(run)
                next_beat = now + HEARTBEAT_SECONDS
        except (OperationalError, InterfaceError):
            connection.close()  # the database restarted, perhaps; the trainer goes on meanwhile
        if asked_at is None and (cancelled or _shutting_down.is_set()):
            asked_at = now
            process.send_signal(signal.SIGTERM)
        if asked_at is not None and now - asked_at > GRACE_SECONDS:
            end_group(process.pid)
    return process.returncode


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


def _conclude(run: Run, code: int) -> None:
    """Turns exit code and result into the run's end. Raises runs.LostRun."""
    result = read_result(run)
    cancelled = Run.objects.values_list("cancel_requested", flat=True).get(pk=run.pk)
    if code == 0 and result and result.get("status") == "succeeded":
        outcomes.accept(run, result)
    elif code == STOPPED and cancelled:
        runs.update(
            run,
            result=result or {},
            ended_at=timezone.now(),
            lease_expires_at=None,
            state=Run.State.CANCELLED,
        )
    elif code == STOPPED:
        runs.requeue(run, why="Its worker was stopped; the run goes on from its saved state.", counts=False)
    elif cancelled:
        runs.update(run, ended_at=timezone.now(), lease_expires_at=None, state=Run.State.CANCELLED)
    elif code < 0 and not result:
        name = signal.Signals(-code).name
        runs.requeue(run, why=f"The trainer was ended from outside by {name} (often: out of memory).")
    else:
        runs.update(run, result=result or {})
        _fail(
            run,
            (result or {}).get("error") or f"The trainer ended with exit code {code} and no valid result.",
        )


def reap() -> None:
    """Ends the processes of runs whose worker is gone, and queues those runs again."""
    for run in runs.take_over_lost():
        if run.host == socket.gethostname() and run.boot_id == boot_id() and _is_ours(run):
            assert run.process_group is not None
            end_group(run.process_group)
        with contextlib.suppress(runs.LostRun):
            runs.requeue(run, why="Its worker was lost.")


def _is_ours(run: Run) -> bool:
    """Whether the group's leader is still the process that we started, and not a later one of the same number."""
    if run.process_group is None:
        return False
    try:
        return abs(psutil.Process(run.process_group).create_time() - (run.process_started or 0)) < 1.0
    except psutil.NoSuchProcess:
        return False


def log_tail(run: Run, *, lines: int = 50) -> str:
    """The last lines of the trainer's output; an empty string when there is none."""
    try:
        with run.log_path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 200_000))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.replace("\r", "\n").splitlines()[-lines:])
