"""What a person gave beside the order of answers, in the words of the form that they saw."""

from typing import Any

from labeling.models import Ranking
from labeling.templatetags.ranking import strengths


def of_answer(ranking: Ranking, index: int) -> dict[str, Any]:
    """`ratings`: [{label, value, high}] of the scales that were filled in; `flags`: [label]."""
    form = ranking.form or {}
    values, keys = ranking.ratings.get(str(index), {}), ranking.flags.get(str(index), [])
    return {
        "ratings": [
            {"label": scale["label"], "value": values[scale["key"]], "high": scale["high"]}
            for scale in form.get("scales", [])
            if scale["key"] in values
        ],
        "flags": [flag["label"] for flag in form.get("flags", []) if flag["key"] in keys],
    }


def strength(ranking: Ranking, better: str) -> str:
    """How much better the better of two answers is, a sentence; empty where it was not asked. `better`: its letter."""
    return next((step["name"] for step in strengths(better) if step["value"] == ranking.strength), "")
