"""What hidden checks say: people's agreement with gold references and with themselves, and gold items' faults.

Pure functions over weak orders, without a database. The pairs of one ranking hang together, so intervals count
rankings and not pairs: Wilson's score interval (Wilson 1927), which also holds for three answers that are all right.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from labeling.quality.agreement import Share, tau_b
from labeling.quality.intervals import wilson

Ranks = Mapping[int, int]
# Fewer people say nothing about an item's discrimination.
ENOUGH_PEOPLE = 5
STRONGLY_NEGATIVE = -0.3


@dataclass(frozen=True)
class GoldAnswer:
    """One person's answer to a gold item, beside the item's reference."""

    person: int
    item: int
    reference: Ranks
    ranks: Ranks


@dataclass(frozen=True)
class Repeat:
    """One person's two rankings of the same answers."""

    person: int
    first: Ranks
    second: Ranks


@dataclass(frozen=True)
class Consistency:
    """pairs: judged alike the second time, a tie beside a preference counting half. tau_b: the mean of whole orders."""

    pairs: Share
    tau_b: float | None


@dataclass(frozen=True)
class GoldFaults:
    """How a gold item fared. wrong: people who agreed with less than half of its reference.

    discrimination: the correlation of people's score here with their mean score on the other gold items (the
    corrected item-total correlation of classical test theory); None for fewer than ENOUGH_PEOPLE, or without a spread.
    """

    item: int
    answers: int
    wrong: int
    agreement: float
    discrimination: float | None

    @property
    def is_suspect(self) -> bool:
        """Those who do well elsewhere fail here: a fault of the guideline or of the reference, not of people."""
        return self.discrimination is not None and self.discrimination <= STRONGLY_NEGATIVE


def gold_score(reference: Ranks, ranks: Ranks) -> tuple[float, int]:
    """(points, strict pairs of the reference): 1 for the same preference, 0.5 for a tie. Its ties are left out."""
    points, pairs = 0.0, 0
    for a, b in combinations(sorted(reference), 2):
        if reference[a] != reference[b] and a in ranks and b in ranks:
            pairs += 1
            points += _alike(reference[a] - reference[b], ranks[a] - ranks[b])
    return points, pairs


def repeat_score(first: Ranks, second: Ranks) -> tuple[float, int]:
    """(points, pairs): 1 for the same judgement, 0.5 for a tie beside a preference, 0 for the reverse."""
    both = sorted(set(first) & set(second))
    pairs = list(combinations(both, 2))
    return sum(_alike(first[a] - first[b], second[a] - second[b]) for a, b in pairs), len(pairs)


def _alike(one: int, other: int) -> float:
    if one == 0 and other == 0:
        return 1.0
    return 0.5 if one == 0 or other == 0 else float((one > 0) == (other > 0))


def share(scores: Sequence[tuple[float, int]]) -> Share | None:
    """The share of points in pairs, with Wilson's interval over the rankings; None where no pair was compared."""
    counted = [(points, pairs) for points, pairs in scores if pairs]
    if not counted:
        return None
    n = sum(pairs for _points, pairs in counted)
    value = sum(points for points, _pairs in counted) / n
    low, high = wilson(value, len(counted))
    return Share(value, low, high, n, len(counted))


def gold_by_person(answers: Iterable[GoldAnswer]) -> dict[int, Share]:
    """Each person's agreement with the references."""
    scores: dict[int, list[tuple[float, int]]] = {}
    for answer in answers:
        scores.setdefault(answer.person, []).append(gold_score(answer.reference, answer.ranks))
    found = {person: share(rows) for person, rows in scores.items()}
    return {person: value for person, value in found.items() if value is not None}


def consistency_by_person(repeats: Iterable[Repeat]) -> dict[int, Consistency]:
    """Each person's agreement with themselves."""
    mine: dict[int, list[Repeat]] = {}
    for repeat in repeats:
        mine.setdefault(repeat.person, []).append(repeat)
    found = {}
    for person, rows in mine.items():
        pairs = share([repeat_score(row.first, row.second) for row in rows])
        taus = [tau for row in rows if (tau := tau_b(row.first, row.second)) is not None]
        if pairs is not None:
            found[person] = Consistency(pairs, sum(taus) / len(taus) if taus else None)
    return found


def gold_by_item(answers: Iterable[GoldAnswer]) -> list[GoldFaults]:
    """Each gold item's faults, those to look at first on top."""
    score: dict[int, dict[int, float]] = {}  # item -> person -> share
    for answer in answers:
        points, pairs = gold_score(answer.reference, answer.ranks)
        if pairs:
            score.setdefault(answer.item, {})[answer.person] = points / pairs
    totals: dict[int, tuple[float, int]] = {}
    for people in score.values():
        for person, value in people.items():
            total, n = totals.get(person, (0.0, 0))
            totals[person] = (total + value, n + 1)
    found = []
    for item, people in score.items():
        rest = {p: (totals[p][0] - value) / (totals[p][1] - 1) for p, value in people.items() if totals[p][1] > 1}
        found.append(
            GoldFaults(
                item=item,
                answers=len(people),
                wrong=sum(value < 0.5 for value in people.values()),
                agreement=sum(people.values()) / len(people),
                discrimination=_correlation([(people[p], rest[p]) for p in sorted(rest)]),
            )
        )
    return sorted(found, key=lambda row: (not row.is_suspect, row.agreement, row.item))


def _correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    if len(pairs) < ENOUGH_PEOPLE:
        return None
    mean_a, mean_b = (sum(column) / len(pairs) for column in zip(*pairs, strict=True))
    spread_a = sum((a - mean_a) ** 2 for a, _b in pairs)
    spread_b = sum((b - mean_b) ** 2 for _a, b in pairs)
    if spread_a * spread_b <= 1e-18:
        return None
    return sum((a - mean_a) * (b - mean_b) for a, b in pairs) / math.sqrt(spread_a * spread_b)
