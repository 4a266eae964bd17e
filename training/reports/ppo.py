"""Reinforcement learning: what the policy gained and what it cost, and the newest answers with their scores."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _

from training.models import Metric, Run
from training.reports import samples
from training.reports.files import lines_of
from training.reports.shapes import rounded

SAMPLES = True
# An update's seconds by part, in this order on the page.
_PARTS = {
    "sample_seconds": _("sampling"),
    "score_seconds": _("scoring"),
    "read_seconds": _("reading"),
    "learn_seconds": _("learning"),
}
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
    seconds = [{"part": part, "seconds": last[name]} for name, part in _PARTS.items() if name in last]
    return {
        "numbers": {
            name: {"first": rounded(first[name]), "last": rounded(last[name]), "value": last[name]}
            for name in _NUMBERS
            if name in last
        },
        "updates": logged.filter(name="reward").count(),
        "seconds": seconds,
        "seconds_in_all": sum(one["seconds"] for one in seconds),
        "newest": newest,
    }
