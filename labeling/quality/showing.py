"""The quality report in words, for its page: a verdict, percentages for bars, names, warnings."""

from typing import Any

from django.utils.translation import gettext as _

from hone.accounts.models import User
from labeling import given
from labeling.models import Category, Ranking
from labeling.responses import LETTERS

# Ouyang et al. 2022, section 3.4: how often InstructGPT's labelers agreed with each other, and the error of that.
PUBLISHED, PUBLISHED_ERROR = 0.726, 0.015
# Below this many comparisons an interval says little, whatever it is.
ENOUGH = 100
# Nor on fewer items: the judgements of one hang together, and nine people who rank one item are 36 pairs of people.
ENOUGH_ITEMS = 30
WEEKS_SHOWN = 12
PEOPLE_IN_MATRIX = 12
# Two people who met at fewer items are not called low: their interval is too narrow to be believed.
MET_OFTEN = 5


def headline(share: dict[str, Any] | None) -> tuple[str, str]:
    """(state of the design system, sentence): whether these labels can be trusted, as far as agreement tells."""
    if share is None:
        return "draft", _("Nobody knows yet: no two people have ranked the same item.")
    if share["n"] < ENOUGH or share["high"] - share["low"] > 0.2:
        return "waiting", _("Too early to say: too few answers were compared by two people.")
    if share["items"] < ENOUGH_ITEMS:
        return "waiting", _("Too early to say: two people ranked too few of the same items.")
    if share["low"] > PUBLISHED + PUBLISHED_ERROR:
        return "done", _("Yes: people agree more often than InstructGPT's labelers did.")
    if share["high"] >= PUBLISHED - PUBLISHED_ERROR:
        return "done", _("Yes: people agree about as often as InstructGPT's labelers did.")
    if share["low"] > 0.6:
        return "waiting", _("With care: people agree, but less often than InstructGPT's labelers did.")
    return "failed", _("Not yet: people agree little more often than by chance. Look at the guideline first.")


def bar(share: dict[str, Any] | None) -> dict[str, Any] | None:
    """The share in percent, with what its bar needs."""
    if share is None:
        return None
    value, low, high = (round(100 * share[key], 1) for key in ("value", "low", "high"))
    return {"value": value, "low": low, "high": high, "width": round(max(high - low, 0.6), 1), "n": share["n"]}


def groups(rows: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Table rows of by_category, by_version or by_week."""
    labels: dict[Any, Any] = dict(Category.choices)
    shown = []
    for row in rows:
        key = row[name]
        if name == "category":
            key = labels.get(key, key)
        elif name == "version":
            key = _("version %(n)d") % {"n": key} if key else _("none published")
        shown.append({**row, "name": key, "bar": bar(row["without_ties"])})
    return shown


def people(rows: list[dict[str, Any]], users: dict[int, User]) -> list[dict[str, Any]]:
    """The habits with names, bars and warnings in words, those to look at first."""
    shown = [
        {
            **row,
            "user": users.get(row["person"]),
            "agreement": bar(row["agreement"]),
            **{key: bar(row[key]) for key in ("earlier", "longer", "unmoved", "tied")},
            "warnings": [warning(code, row) for code in row["warnings"]],
        }
        for row in rows
    ]
    return sorted(shown, key=lambda row: not row["warnings"])


def warning(code: str, row: dict[str, Any]) -> str:
    """What a warning's code means for this person."""
    first = code == "position" and row["earlier"]["value"] > 0.5
    longer = code == "length" and row["longer"]["value"] > 0.5
    return {
        "position": _("prefers what stands first") if first else _("prefers what stands last"),
        "length": _("prefers the longer answer") if longer else _("prefers the shorter answer"),
        "unmoved": _("often leaves the order as shown"),
        "tied": _("often ties all answers"),
        "haste": _("agrees less where quick"),
    }[code]


def matrix(body: dict[str, Any], users: dict[int, User]) -> dict[str, Any] | None:
    """The agreement of each two of the busiest people; None where fewer than two met.

    A cell is low where its interval ends below the project's begins.
    """
    busiest = [row["person"] for row in body["habits"]][:PEOPLE_IN_MATRIX]
    met = {(row["a"], row["b"]): row for row in body["pairs"]}
    chosen = [p for p in busiest if any(tuple(sorted((p, other))) in met for other in busiest if other != p)]
    if len(chosen) < 2:
        return None
    least = body["agreement"]["without_ties"]["low"]

    def cell(a: int, b: int) -> dict[str, Any] | None:
        share = met.get((min(a, b), max(a, b)))
        return share and {**(bar(share) or {}), "is_low": share["high"] < least and share["items"] >= MET_OFTEN}

    rows = [
        {"user": users.get(a), "cells": [{"is_self": a == b, "share": None if a == b else cell(a, b)} for b in chosen]}
        for a in chosen
    ]
    left_out = len(body["habits"]) - len(chosen)
    return {"users": [users.get(p) for p in chosen], "rows": rows, "left_out": left_out}


def order_of(ranking: Ranking) -> dict[str, Any]:
    """The ranking in the letters that its author saw, "B > A = C", and its answers from best to worst."""
    letter = dict(zip(ranking.order_shown, LETTERS, strict=False))
    texts = {completion.index: completion.text for completion in ranking.item.completions.all()}
    tiers = [*ranking.tiers, *([ranking.unacceptable] if ranking.unacceptable else [])]
    if ranking.verdict:  # no order; the answers as they were shown
        tiers = [ranking.order_shown]
    answers = [
        {
            "letter": letter.get(index, "?"),
            "text": texts.get(index, ""),
            "is_bad": index in ranking.unacceptable,
            **given.of_answer(ranking, index),
        }
        for tier in tiers
        for index in tier
    ]
    order = " > ".join(" = ".join(letter.get(index, "?") for index in tier) for tier in ranking.tiers)
    bad = " ".join(letter.get(index, "?") for index in ranking.unacceptable)
    strength = given.strength(ranking, answers[0]["letter"]) if answers else ""
    return {"order": order, "bad": bad, "answers": answers, "strength": strength}
