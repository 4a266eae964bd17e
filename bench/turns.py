"""Two sides of a benchmark in turn, each run in a process of its own: its last line of output is a JSON object."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def in_turn(
    module: str,
    arguments: Sequence[str],
    *,
    sides: Sequence[str],
    rounds: int,
    pythons: Mapping[str, str] | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """What each side printed in each round, the sides following each other in every round.

    `pythons` names another interpreter for a side.
    """
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    quiet = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}
    quiet |= {"HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "GOMP_SPINCOUNT": "1000"}
    for _ in range(rounds):
        for side in sides:
            command = [(pythons or {}).get(side, sys.executable), "-m", module, *arguments, "--side", side]
            done = subprocess.run(command, capture_output=True, text=True, env=os.environ | quiet)
            if done.returncode:
                raise SystemExit(f"The side {side} failed:\n{done.stderr[-2000:]}")
            found[side].append(json.loads(done.stdout.strip().splitlines()[-1]))
    return found


def median(runs: Sequence[dict[str, Any]], name: str) -> float:
    """The median of one number over a side's rounds."""
    return float(statistics.median(run[name] for run in runs))
