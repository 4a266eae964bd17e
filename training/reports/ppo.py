"""Reinforcement learning: what the policy gained and what it cost, and the newest answers with their scores."""

from __future__ import annotations

from typing import Any

from training.models import Metric, Run
from training.reports import samples
from training.reports.files import lines_of
from training.reports.shapes import rounded

SAMPLES = True
# In this order on the page, with the update's seconds by part.
_PARTS = ("sample_seconds", "score_seconds", "read_seconds", "learn_seconds")
_NUMBERS = ("reward", "kl", "entropy", "end_rate", "answer_tokens")


def raw(run: Run) -> dict[str, Any] | None:
    """`samples` as the trainer wrote them; None before the first update."""
    found = lines_of(run, samples.FILE)
    return {"samples": found} if found else None


def body(run: Run, found: dict[str, Any]) -> dict[str, Any]:
    """The first and the newest update's numbers, the newest one's seconds by part, and its answers."""
    logged = Metric.objects.filter(run=run, name__in=[*_NUMBERS, *_PARTS])
    first, last = (
        dict(logged.order_by("name", step).distinct("name").values_list("name", "value")) for step in ("step", "-step")
    )
    newest = samples.grouped([samples.reinforced(row) for row in found["samples"]])[0]
    seconds = [(name, last[name]) for name in _PARTS if name in last]
    return {
        "numbers": {
            name: {"first": rounded(first[name]), "last": rounded(last[name]), "value": last[name]}
            for name in _NUMBERS
            if name in last
        },
        "updates": logged.filter(name="reward").count(),
        "seconds": [{"name": name, "seconds": value} for name, value in seconds],
        "seconds_in_all": sum(value for _name, value in seconds),
        "newest": newest,
    }
