"""Several processes of one run end together, whichever of them ends first."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from training.trainers import processes
from training.trainers.program import FAILED, STOPPED, StopFlag

# The first process is deaf to signals, as one that waits for the others inside a collective.
_DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
_STOPS = (
    "import signal, sys, time\n"
    f"signal.signal(signal.SIGTERM, lambda *_: sys.exit({STOPPED})); print(flush=True); time.sleep(60)"
)
_FAILS = "raise SystemExit(1)"


@pytest.mark.parametrize(("second", "asked", "code"), [(_STOPS, True, STOPPED), (_FAILS, False, FAILED)])
def test_a_process_that_waits_for_one_that_has_ended_is_ended_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, second: str, asked: bool, code: int
) -> None:
    real = subprocess.Popen

    def start(_command: list[str], *, env: dict[str, str]) -> Any:
        rank = int(env["RANK"])
        process = real([sys.executable, "-c", second if rank else _DEAF], stdout=subprocess.PIPE)
        if asked:
            assert process.stdout is not None
            process.stdout.readline()  # its signals are set
        return process

    monkeypatch.setattr(processes.subprocess, "Popen", start)
    monkeypatch.setattr(processes, "_STOPPING_SECONDS", 0.5)
    monkeypatch.setattr(processes, "_GRACE_SECONDS", 0.5)
    stop = StopFlag()
    if asked:
        stop.set()
    started = time.monotonic()
    assert processes.run("sft", tmp_path / "config.json", count=2, run_dir=tmp_path, stop=stop) == code
    assert time.monotonic() - started < 20
