"""Hidden checks and consensus in words, for the pages: people with their scores, gold items, items to look at."""

from typing import Any

from django.db.models import QuerySet

from hone.accounts.models import User
from labeling.models import Item
from labeling.quality.showing import bar

Body = dict[str, Any]


def scores(body: Body | None) -> dict[int, dict[str, Any]]:
    """By person: `gold`, `consistency` and `reliability` as JSON shares, `tau_b`, `is_reversed`; None where unknown.

    A report of an earlier version has none of them.
    """
    found: dict[int, dict[str, Any]] = {}
    nothing = {"gold": None, "consistency": None, "tau_b": None, "reliability": None, "is_reversed": False}
    for row in (body or {}).get("checks", {}).get("people", []):
        found[row["person"]] = {**nothing, **{key: row[key] for key in ("gold", "consistency", "tau_b")}}
    for row in (body or {}).get("consensus", {}).get("people", []):
        own = found.setdefault(row["person"], dict(nothing))
        own["reliability"] = {"value": row["reliability"], "low": row["low"], "high": row["high"], "n": None}
        own["is_reversed"] = row["is_reversed"]
    return found


def shown(row: dict[str, Any] | None) -> dict[str, Any] | None:
    """One person's scores with bars."""
    if row is None:
        return None
    return {**row, **{key: bar(row[key]) for key in ("gold", "consistency", "reliability")}}


def people(body: Body, users: dict[int, User]) -> list[dict[str, Any]]:
    """Everybody with a score, reversed and unreliable ones first."""
    rows = [{"person": person, "user": users.get(person), **(shown(row) or {})} for person, row in scores(body).items()]

    def order(row: dict[str, Any]) -> Any:
        reliability = row["reliability"]
        return (not row["is_reversed"], reliability["value"] if reliability else 100.0, row["person"])

    return sorted(rows, key=order)


def gold_items(body: Body | None) -> dict[int, dict[str, Any]]:
    """How each gold item fared, by item, shares in percent."""
    rows = (body or {}).get("checks", {}).get("gold_items", [])
    return {row["item"]: {**row, "percent": 100 * row["agreement"]} for row in rows}


def suspects(body: Body | None, of_project: QuerySet[Item]) -> list[dict[str, Any]]:
    """Gold items that those who do well elsewhere get wrong."""
    rows = [row for row in gold_items(body).values() if row["is_suspect"]]
    found = of_project.select_related("prompt").in_bulk([row["item"] for row in rows])
    return [{**row, "row": found[row["item"]]} for row in rows if row["item"] in found]


def items(body: Body | None, name: str, of_project: QuerySet[Item]) -> list[dict[str, Any]]:
    """The report's `disagreements` or `suggestions` with their items, as far as those are there still."""
    rows = (body or {}).get("consensus", {}).get(name, [])
    found = of_project.select_related("prompt").in_bulk([row["item"] for row in rows])
    share = "agreement" if name == "disagreements" else "sure"
    return [{**row, "row": found[row["item"]], "percent": 100 * row[share]} for row in rows if row["item"] in found]
