"""A reward model's report (trainers.reward_report) and its scale with the zero point (trainers.zero_point)."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from training.models import Checkpoint, Run
from training.reports import plots
from training.reports.files import json_of
from training.reports.shapes import Measure, count, flat, is_share, measure, metrics_of, number, part, rows, share, text

SAMPLES = False
# Where the stage leaves its model (runs.config), and in it what it measured.
_FOLDER = "checkpoint"
# An interval wider than this says too little to judge by.
_TOO_WIDE = 0.2


def raw(run: Run) -> dict[str, Any] | None:
    """`report` as the trainer wrote it, and `scores`, the model's own reward.json; None without a report."""
    found = json_of(run, f"{_FOLDER}/report.json")
    return None if found is None else {"report": found, "scores": json_of(run, f"{_FOLDER}/reward.json") or {}}


def body(run: Run, found: dict[str, Any]) -> dict[str, Any]:
    """Accuracy beside people's agreement, calibration, length, zero point, and rows by category and by annotator."""
    report, scores = found["report"], found["scores"]
    people = part(report, "people")
    accuracy, agreement = share(report, "accuracy"), share(people, "agreement")
    beside = share(people, "model_on_the_same_pairs")
    state, headline = verdict(accuracy, agreement=agreement, beside=beside)
    length, calibration = part(report, "length"), part(report, "calibration")
    weights = part(report, "annotator_weights")
    annotators = _shares(report, "by_annotator")
    for row in annotators:
        row["weight"] = number(weights, row["name"])
    cut = flat(metrics_of(run.result), "cut_sequences")
    return {
        "state": state,
        "headline": headline,
        "accuracy": accuracy,
        "agreement": agreement,
        "beside": beside,
        "rankings": count(report, "rankings"),
        "prompts": count(report, "prompts"),
        "comparisons": count(report, "comparisons"),
        "calibration_error": share(calibration, "error"),
        "reliability": _reliability(calibration),
        "spearman": measure(length, "spearman"),
        "longer_model": share(length, "longer_wins_model"),
        "longer_people": share(length, "longer_wins_people"),
        "unlike_in_length": count(length, "comparisons"),
        "zero": _zero(scores),
        "spread": number(scores, "std"),
        "cut": None if cut is None else int(cut.value),
        "categories": _shares(report, "by_category"),
        "annotators": annotators,
        "weighted": any(row["weight"] is not None for row in annotators),
    }


def of_checkpoint(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """A reward model's accuracy beside people's agreement, from the metrics that its row keeps; None without any."""
    found: dict[str, Any] = checkpoint.metrics if isinstance(checkpoint.metrics, dict) else {}
    names = ("heldout_accuracy", "people_agreement", "heldout_accuracy_where_people_met")
    shares = (flat(found, name) for name in names)
    accuracy, agreement, beside = (one if one and is_share(one) else None for one in shares)
    if checkpoint.kind != Checkpoint.Kind.REWARD or accuracy is None:
        return None
    state, headline = verdict(accuracy, agreement=agreement, beside=beside)
    return {"accuracy": accuracy, "agreement": agreement, "beside": beside, "state": state, "headline": headline}


def verdict(accuracy: Measure | None, *, agreement: Measure | None, beside: Measure | None) -> tuple[str, str]:
    """(state of the design system, sentence): how good the model is, as far as held-out rankings tell.

    `beside` is its accuracy on the very pairs of which people's agreement is known.
    """
    if accuracy is None:
        return "draft", _("Nobody knows how good it is: no ranking was held out.")
    if accuracy.low is not None and accuracy.low <= 0.5:
        return "failed", _("Not told from chance: the interval of its accuracy holds 50 %.")
    if agreement is None or beside is None:
        return "waiting", _(
            "Better than chance. How far people agree is unknown: no two judged the same held-out pair."
        )
    ends = (beside.low, beside.high, agreement.low, agreement.high)
    if None in ends or _width(beside) > _TOO_WIDE or _width(agreement) > _TOO_WIDE:
        return "waiting", _("Better than chance. Too few held-out pairs were judged by two people to say more.")
    if beside.high < agreement.low:  # type: ignore[operator]
        return "waiting", _("Below what people agree on: more rankings, or longer training, may still help.")
    if beside.low > agreement.high:  # type: ignore[operator]
        return "done", _("It orders pairs as people do more often than they agree among themselves.")
    return "done", _("About as good as people agree among themselves.")


def _width(of: Measure) -> float:
    return (of.high or 0.0) - (of.low or 0.0)


def _shares(report: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """One row a name, the most comparisons first."""
    named = part(report, key)
    found = []
    for name, numbers in named.items():
        right = share(named, name)
        if right is not None and isinstance(numbers, dict):
            found.append({"name": name, "share": right, "trained_on": number(numbers, "trained_on")})
    return sorted(found, key=lambda row: (-(row["share"].n or 0), row["name"]))


def _zero(scores: dict[str, Any]) -> dict[str, Any] | None:
    zero = part(scores, "zero_point")
    reward = number(zero, "reward")
    if reward is None:
        return None
    return {
        "reward": Measure(value=reward),
        "std": measure(zero, "std"),
        "count": count(zero, "count"),
        "from_demonstrations": text(zero, "source") == "demonstrations",
    }


def _reliability(calibration: dict[str, Any]) -> dict[str, Any] | None:
    """The bins that hold comparisons, and their plot; None where there is none."""
    bins = []
    for row in rows(calibration, "bins"):
        low, high, confidence, right = (share(row, key) for key in ("low", "high", "confidence", "right"))
        n = count(row, "comparisons")
        if n > 0 and low and high and confidence and right:
            bins.append(
                {"low": low.value, "high": high.value, "confidence": confidence.value, "right": right.value, "n": n}
            )
    return {"bins": bins, "plot": plots.reliability(bins)} if bins else None
