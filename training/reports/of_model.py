"""What is known of a model from the runs that measured it."""

from __future__ import annotations

from typing import Any

from training.models import Checkpoint, Run
from training.reports import evaluate, names
from training.reports.files import Unreadable
from training.reports.shapes import part, text

SHOWN = 20


def evaluations(checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """The newest evaluations of this model: the run, its headline numbers, and what it stood beside."""
    runs = Run.objects.filter(kind="evaluate", model=checkpoint, state=Run.State.SUCCEEDED)
    against = {run: _reference(run) for run in runs.order_by("-id")[:SHOWN]}
    known = names.models(against.values())
    return [{"run": run, "against": known.get(path), **evaluate.of_metrics(run)} for run, path in against.items()]


def _reference(run: Run) -> str:
    """The reference's folder; empty without one, and where the report is gone or broken: the numbers are in the row."""
    try:
        found = evaluate.raw(run)
        return text(part(found["report"], "reference"), "model") if found else ""
    except Unreadable:
        return ""
