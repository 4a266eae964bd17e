"""The progress of a run as lines of JSON, appended to `events.jsonl` and flushed one by one.

A reader follows the file by byte offset and ignores a torn last line; a writer that resumes ends such a line first.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Events:
    """Appends to one run's `events.jsonl`; times are seconds since 1970."""

    def __init__(self, run_dir: Path) -> None:
        path = run_dir / "events.jsonl"
        end_torn_line(path)
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - open as long as the program runs

    def metrics(self, *, step: int, total_steps: int, metrics: Mapping[str, float]) -> None:
        """Numbers after `step` of `total_steps`; numbers that are not finite are left out, as JSON has none."""
        finite = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
        self._write({"type": "metrics", "step": step, "total_steps": total_steps, "metrics": finite})

    def status(self, message: str) -> None:
        """One sentence for people."""
        self._write({"type": "status", "message": message})

    def checkpoint(self, *, step: int, path: Path) -> None:
        """A state to resume from, or a finished checkpoint, is whole at `path`."""
        self._write({"type": "checkpoint", "step": step, "path": str(path)})

    def close(self) -> None:
        self._file.close()

    def _write(self, event: dict[str, Any]) -> None:
        self._file.write(json.dumps(event | {"time": time.time()}) + "\n")
        self._file.flush()


def end_torn_line(path: Path) -> None:
    """Cut a last line that a killed writer left without its end, so that the next line stands alone."""
    if not path.exists():
        return
    with open(path, "rb+") as file:
        size = file.seek(0, os.SEEK_END)
        end = size
        while end > 0:
            start = max(0, end - 65_536)
            file.seek(start)
            if (found := file.read(end - start).rfind(b"\n")) >= 0:
                end = start + found + 1
                break
            end = start
        if end < size:
            file.truncate(end)
