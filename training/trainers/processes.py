"""One run as several processes on this machine, one a device: starts them, passes signals on, and ends with them.

For more than one machine `torchrun` starts the same stage by hand; it names each process in the same variables.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from training.trainers import parallel
from training.trainers.program import FAILED, StopFlag

# How long the others may go on after one has failed: they wait for it, and cannot end by themselves.
_GRACE_SECONDS = 10.0
# The same where all were asked to stop: the first one may still be saving the state. A worker waits for 120 s.
_STOPPING_SECONDS = 100.0


def run(stage: str, config: Path, *, count: int, run_dir: Path, stop: StopFlag) -> int:
    """Runs the stage in `count` processes; gives 0 where all succeeded, else the exit code of one that did not.

    `run_dir/result.json` is the first process's, or that of the one that was the first to tell why it failed.
    """
    result = run_dir / "result.json"
    result_before = result.stat().st_mtime_ns if result.exists() else 0
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", f"training.trainers.{stage}", "--config", str(config)],
            env={**os.environ, **_environment(rank, count, port)},
        )
        for port in [_free_port()]
        for rank in range(count)
    ]
    told, failed_at = False, None
    try:
        while any(process.poll() is None for process in processes):
            if stop and not told:
                told = True
                for process in processes:
                    process.send_signal(signal.SIGTERM)
            failed = [process for process in processes if process.poll() not in (None, 0)]
            if failed and failed_at is None:
                failed_at = time.monotonic()
            grace = _STOPPING_SECONDS if told else _GRACE_SECONDS
            if failed_at is not None and time.monotonic() - failed_at > grace:
                for process in processes:
                    process.kill()
            time.sleep(0.1)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    sides = [parallel.side_folder(run_dir, number) for number in range(1, count)]
    if any(process.returncode for process in processes):
        _keep_first_failure([result, *(side / "result.json" for side in sides)], result_before)
    for side in sides:
        shutil.rmtree(side, ignore_errors=True)
    codes = [process.returncode for process in processes]
    # One that was killed (by its number) says less than one that told why it failed.
    return next((code for code in codes if code > 0), FAILED if any(codes) else 0)


def _keep_first_failure(results: list[Path], before: int) -> None:
    """Puts what failed first in the place of the first result: what fails after it fails for want of the others."""
    told = [path for path in results if path.exists() and path.stat().st_mtime_ns > before]
    failed = [path for path in told if json.loads(path.read_text(encoding="utf-8"))["status"] == "failed"]
    if failed:
        first = min(failed, key=lambda path: path.stat().st_mtime_ns)
        if first != results[0]:
            shutil.copyfile(first, results[0])


def _environment(rank: int, count: int, port: int) -> dict[str, str]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, cores // count))),
        # They follow this process, which follows the worker.
        "HONE_PARENT_PID": str(os.getpid()),
    }


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
