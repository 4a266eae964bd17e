"""Best of n: the reward of the best of n completions, against how far choosing it leads from the model."""

from __future__ import annotations

from typing import Any

from training.models import Run
from training.reports import plots
from training.reports.files import json_of
from training.reports.shapes import count, measure, rows

SAMPLES = False


def raw(run: Run) -> dict[str, Any] | None:
    """`report` as the trainer wrote it; None without one."""
    found = json_of(run, "best_of_n.json")
    return None if found is None else {"report": found}


def body(run: Run, found: dict[str, Any]) -> dict[str, Any]:
    """The curve, what choosing gained, and what was trained on."""
    report = found["report"]
    return {
        "curve": plots.curve_of(rows(report, "curve")),
        "chosen": measure(report, "chosen_reward"),
        "left_out": count(report, "left_out"),
    }
