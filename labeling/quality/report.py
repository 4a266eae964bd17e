"""A project's quality report: agreement in groups, and each person's habits, from the rankings that stand.

Reads the rankings once and the answers' lengths once, in chunks, into columns of numbers; the texts never leave the
database. Simulated labels are left out unless asked for, retracted ones always.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import numpy as np
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Length

from hone.accounts.models import Project
from labeling.comparisons import ranks
from labeling.models import Category, Completion, Ranking
from labeling.quality import hidden_report
from labeling.quality.agreement import Columns, Pairs, by_two, pair_up, shared, summary
from labeling.quality.bias import Shown, habits

_CHUNK = 5000
_NO_VERSION = 0


@dataclass(frozen=True)
class _Rankings:
    """n rankings as columns. order: [n, K] answers as shown, -1 after the last; week: the Monday's ordinal (UTC).

    refused: 1 where no answer is acceptable.
    """

    judged: Columns
    order: np.ndarray
    category: np.ndarray
    version: np.ndarray
    week: np.ndarray
    seconds: np.ndarray
    refused: np.ndarray


def body(*, project: Project, include_simulated: bool) -> dict[str, Any]:
    """The report as JSON: shares with their intervals, people by their id.

    A version's or a week's agreement is that of two people who both ranked under it, or of whom the later one ranked
    in it. Two people meet once for each item that both ranked.
    """
    rows = _read(project, include_simulated=include_simulated)
    pairs = pair_up(rows.judged)
    first, second = pairs.first, pairs.second
    versions = np.where(rows.version[first] == rows.version[second], rows.version[first], -1)
    weeks = np.maximum(rows.week[first], rows.week[second])
    categories = list(Category.values)
    return {
        "rankings": len(rows.judged.item),
        "people": len(np.unique(rows.judged.person)),
        "agreement": asdict(summary(pairs)),
        "by_category": list(_groups(pairs, rows.category[first], lambda key: {"category": categories[key]})),
        "by_version": list(_groups(pairs, versions, lambda key: {"version": key or None})),
        "by_week": list(_groups(pairs, weeks, lambda key: {"week": date.fromordinal(key).isoformat()})),
        "pairs": [{"a": a, "b": b, **asdict(share)} for (a, b), share in by_two(pairs).items()],
        "habits": _people(rows, pairs, _answers(_standing(project, include_simulated=include_simulated))),
        "checks": hidden_report.body(project=project, include_simulated=include_simulated),
    }


def _groups(pairs: Pairs, keys: np.ndarray, name: Callable[[int], dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One entry for each key of the pairs, least first; -1 is no key."""
    for key in np.unique(keys[keys >= 0]).tolist():
        yield {**name(key), **asdict(summary(pairs.where(keys == key)))}


def _standing(project: Project, *, include_simulated: bool) -> QuerySet[Ranking]:
    found = Ranking.objects.orders().filter(project=project, retraction=None)
    return found if include_simulated else found.filter(simulated=False)


def _answers(rankings: QuerySet[Ranking]) -> QuerySet[Completion]:
    """The answers of items that have one of these rankings: most items of a large project may have none yet."""
    return Completion.objects.filter(Exists(rankings.filter(item=OuterRef("item")))).order_by()


def _read(project: Project, *, include_simulated: bool) -> _Rankings:
    found = _standing(project, include_simulated=include_simulated)
    place = {category: n for n, category in enumerate(Category.values)}
    numbers: list[np.ndarray] = []
    orders: list[np.ndarray] = []
    tiers: list[np.ndarray] = []
    columns = ("item", "author", "prompt__category", "guideline__number", "created_at", "active_seconds")
    query = found.order_by("id").values_list(*columns, "tiers", "unacceptable", "order_shown")
    for chunk in _chunks(query.iterator(chunk_size=_CHUNK)):
        number = np.zeros((len(chunk), len(columns) + 1), dtype=np.int64)
        width = max(
            len(row[-1]) for row in chunk
        )  # of the rows that came: a wider one may be new since any other query
        order = np.full((len(chunk), width), -1, dtype=np.int16)
        rank = np.full((len(chunk), width), -1, dtype=np.int16)
        for n, (item, author, category, version, at, seconds, placed, below, shown) in enumerate(chunk):
            day = at.toordinal()
            number[n] = item, author, place[category], version or _NO_VERSION, day - (day - 1) % 7, seconds, not placed
            order[n, : len(shown)] = shown
            for answer, tier in ranks(placed, below).items():
                rank[n, answer] = tier
        numbers.append(number)
        orders.append(order)
        tiers.append(rank)
    if not numbers:
        numbers, orders = [np.zeros((0, len(columns) + 1), dtype=np.int64)], [np.zeros((0, 1), dtype=np.int16)]
        tiers = orders
    width = max(part.shape[1] for part in orders)
    orders, tiers = ([_widened(part, width) for part in parts] for parts in (orders, tiers))
    item, author, category, version, week, seconds, refused = np.concatenate(numbers).T
    judged = Columns(item, author, np.concatenate(tiers))
    return _Rankings(judged, np.concatenate(orders), category, version, week, seconds, refused)


def _widened(part: np.ndarray, width: int) -> np.ndarray:
    return np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=-1)


def _chunks(rows: Iterator[Any]) -> Iterator[list[Any]]:
    chunk = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _people(rows: _Rankings, pairs: Pairs, answers: QuerySet[Completion]) -> list[dict[str, Any]]:
    """Each person's habits and agreement with others, the busiest first. `answers`: at least those that were ranked."""
    judged = rows.judged
    size = len(judged.item)
    preferred = np.zeros(size)
    agreed = np.zeros(size)
    for side in (pairs.first, pairs.second):
        preferred += np.bincount(side, weights=pairs.preferred, minlength=size)
        agreed += np.bincount(side, weights=pairs.shared, minlength=size)
    share_agreed = np.divide(agreed, preferred, out=np.full(size, np.nan), where=preferred > 0)
    lengths = _lengths(answers, np.unique(judged.item), width=judged.ranks.shape[1])
    first, second = judged.person[pairs.first], judged.person[pairs.second]
    found = []
    for person in np.unique(judged.person).tolist():
        mine = np.flatnonzero(judged.person == person)
        seen = habits([_shown(rows, n, lengths, share_agreed) for n in mine.tolist()])
        with_others = shared(pairs.where((first == person) | (second == person)))
        found.append(
            {
                "person": person,
                **asdict(seen),
                "warnings": seen.warnings,
                "agreement": asdict(with_others) if with_others else None,
            }
        )
    return sorted(found, key=lambda row: (-row["rankings"], row["person"]))


def _shown(rows: _Rankings, n: int, lengths: dict[int, np.ndarray], agreed: np.ndarray) -> Shown:
    item, ranked = int(rows.judged.item[n]), rows.judged.ranks[n].tolist()
    order = [answer for answer in rows.order[n].tolist() if answer >= 0]
    chars = lengths[item]
    return Shown(
        item=item,
        order=order,
        ranks={answer: ranked[answer] for answer in order},
        lengths={answer: int(chars[answer]) for answer in order},
        seconds=float(rows.seconds[n]),
        agreed=None if np.isnan(agreed[n]) else float(agreed[n]),
        refused=bool(rows.refused[n]),
    )


def _lengths(answers: QuerySet[Completion], items: np.ndarray, *, width: int) -> dict[int, np.ndarray]:
    """Characters of each answer, by item: [K] int32 each."""
    wanted = set(items.tolist())  # somebody may have ranked one more item meanwhile
    found: dict[int, np.ndarray] = defaultdict(lambda: np.zeros(width, dtype=np.int32))
    for item, index, chars in answers.values_list("item_id", "index", Length("text")).iterator(chunk_size=_CHUNK):
        if item in wanted and index < width:  # more answers may have come since, which nobody here ranked
            found[item][index] = chars
    return found
