"""A run whose memory is really limited, by the system and in the middle of training."""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.trainers.warm import Stage
from training.records import DemonstrationRow, write_parquet

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs Linux's prlimit")]


def test_out_of_memory_by_a_real_limit_halves_the_micro_batch_and_changes_no_loss(
    launch: Any, tiny: Path, tmp_path: Path
) -> None:
    """The limit lies between what 16 rows of 512 tokens at once take, and what 4 take."""
    data = tmp_path / "long.parquet"
    rows = [
        DemonstrationRow(
            id=str(n),
            messages=[
                {"role": "user", "content": f"Count from {n}."},
                {"role": "assistant", "content": " ".join(str(n + i) for i in range(600))},
            ],
        )
        for n in range(16)
    ]
    write_parquet(data, rows, row_type=DemonstrationRow)
    arguments: dict[str, Any] = {"model": tiny, "data": data, "method": "full", "max_length": 512, "max_steps": 3}
    arguments |= {"batch_size": 16, "learning_rate": 1e-3}
    peaks: dict[int, int] = {}

    def watch(micro: int) -> Callable[..., None]:
        def until_the_end(process: subprocess.Popen[str] | Stage, folder: Path) -> None:
            while process.poll() is None:
                peaks[micro] = max(peaks.get(micro, 0), largest_address_space(process.pid))
                time.sleep(0.02)

        return until_the_end

    runs = {n: launch("sft", name=f"free-{n}", micro_batch_size=n, meanwhile=watch(n), **arguments) for n in (16, 4)}
    assert runs[16].code == runs[4].code == 0, runs[16].stderr + runs[4].stderr
    # What is measured differs by some megabytes from run to run; this by 300 here.
    assert peaks[16] - peaks[4] > 100 * 2**20, peaks
    room = (peaks[16] + peaks[4]) // 2

    def limit(process: subprocess.Popen[str] | Stage, folder: Path) -> None:
        resource.prlimit(process.pid, resource.RLIMIT_AS, (room, room))

    limited = launch("sft", name="limited", micro_batch_size=16, meanwhile=limit, **arguments)
    assert limited.code == 0, limited.stderr
    said = [event["message"] for event in limited.events if event["type"] == "status"]
    assert any("Step 1 ran out of memory with 16 rows at once; it goes on with 8." in message for message in said), said
    assert limited.result["metrics"]["micro_batch_size"] in (4, 8)
    assert limited.losses() == pytest.approx(runs[16].losses(), rel=1e-4)


def largest_address_space(pid: int) -> int:
    """The most bytes of addresses that the process has had at once, 0 where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmPeak:")), 0)
