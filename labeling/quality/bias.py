"""Habits of a person that have nothing to do with the answers: position, length, haste, leaving the order as it was."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from labeling.quality.agreement import ENOUGH_ITEMS, Share, bootstrap_share


@dataclass(frozen=True)
class Shown:
    """One ranking with what its author saw.

    order: answers as shown, first to last. ranks: answer -> tier, 0 the best. lengths: answer -> characters.
    seconds: time the page was in use, 0 where nobody measured it.
    agreed: share of this ranking's preferences that others share, if anybody did.
    refused: every answer was placed below the "unacceptable" line, so that none is tied with another.
    """

    item: int
    order: Sequence[int]
    ranks: Mapping[int, int]
    lengths: Mapping[int, int]
    seconds: float
    agreed: float | None = None
    refused: bool = False


@dataclass(frozen=True)
class Habits:
    """One person's habits.

    earlier: share of preferences for the answer shown earlier; 0.5 without a habit.
    longer: share of preferences for the longer answer; not a fault by itself, since longer can be better.
    unmoved: share of rankings left in the order shown; `unmoved_by_chance` is what a fair judge would leave (1/K!).
    tied: share of rankings with a single tier, of those that have an acceptable answer.
    seconds: the median time on a ranking, of those that were timed.
    haste: Spearman's rank correlation between time and agreement with others, over `timed` rankings; above 0, quick
        work is worse work.
    """

    rankings: int
    earlier: Share | None
    longer: Share | None
    unmoved: Share | None
    unmoved_by_chance: float
    tied: Share | None
    seconds: float | None
    haste: float | None
    timed: int

    @property
    def warnings(self) -> list[str]:
        """Codes of what somebody should look at: the interval excludes what chance explains, with margin.

        None from a share of fewer than ENOUGH_ITEMS rankings.
        """
        found = []
        if _is_outside(self.earlier, 0.45, 0.55):
            found.append("position")
        if _is_outside(self.longer, 0.3, 0.7):
            found.append("length")
        if _is_outside(self.unmoved, 0, max(0.2, 2 * self.unmoved_by_chance)):
            found.append("unmoved")
        if _is_outside(self.tied, 0, 0.3):
            found.append("tied")
        if self.haste is not None and self.timed >= ENOUGH_ITEMS and _at_least(self.haste, self.timed) > 0.2:
            found.append("haste")
        return found


def habits(rankings: Sequence[Shown], *, seed: int = 0) -> Habits:
    """The habits that these rankings of one person show. Raises ValueError where there is none."""
    if not rankings:
        raise ValueError("There is no ranking to look at.")
    places = [
        _preferred(ranking, {answer: -place for place, answer in enumerate(ranking.order)}) for ranking in rankings
    ]
    lengths = [_preferred(ranking, ranking.lengths) for ranking in rankings]
    ones = [1.0] * len(rankings)
    return Habits(
        rankings=len(rankings),
        earlier=bootstrap_share(*zip(*places, strict=True), seed=seed),
        longer=bootstrap_share(*zip(*lengths, strict=True), seed=seed),
        unmoved=bootstrap_share([float(_unmoved(ranking)) for ranking in rankings], ones, seed=seed),
        unmoved_by_chance=sum(1 / math.factorial(len(ranking.order)) for ranking in rankings) / len(rankings),
        tied=bootstrap_share(
            [float(len(set(ranking.ranks.values())) == 1 and not ranking.refused) for ranking in rankings],
            [float(not ranking.refused) for ranking in rankings],
            seed=seed,
        ),
        seconds=statistics.median(timed) if (timed := [r.seconds for r in rankings if r.seconds]) else None,
        haste=_haste(rankings),
        timed=len(_timed(rankings)),
    )


def _is_outside(share: Share | None, low: float, high: float) -> bool:
    """Whether enough rankings say that the share lies beyond low or high."""
    return share is not None and share.items >= ENOUGH_ITEMS and (share.low > high or share.high < low)


def _preferred(ranking: Shown, larger: Mapping[int, float]) -> tuple[int, int]:
    """How often the preferred answer has the larger value, and of how many strict preferences with unequal values."""
    hits = total = 0
    for i, one in enumerate(ranking.order):
        for other in ranking.order[i + 1 :]:
            better = ranking.ranks[other] - ranking.ranks[one]
            gap = larger[one] - larger[other]
            if better and gap:
                total += 1
                hits += (better > 0) == (gap > 0)
    return hits, total


def _unmoved(ranking: Shown) -> bool:
    return [ranking.ranks[answer] for answer in ranking.order] == list(range(len(ranking.order)))


def _timed(rankings: Sequence[Shown]) -> list[tuple[float, float]]:
    """(seconds, agreed) of the rankings that have both."""
    return [(ranking.seconds, ranking.agreed) for ranking in rankings if ranking.seconds and ranking.agreed is not None]


def _haste(rankings: Sequence[Shown]) -> float | None:
    """None below ten rankings that somebody else judged too, or where either value never changes."""
    known = _timed(rankings)
    if len(known) < 10 or len({a for a, _ in known}) < 2 or len({b for _, b in known}) < 2:
        return None
    seconds, agreed = (_mid_ranks(column) for column in zip(*known, strict=True))
    return float(np.corrcoef(seconds, agreed)[0, 1])


def _mid_ranks(values: Sequence[float]) -> np.ndarray:
    """[n] places from 1, equal values sharing the middle one."""
    _known, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[which]


def _at_least(correlation: float, n: int) -> float:
    """The lower end of a correlation's 95 % interval, by Fisher's z; n is over 3."""
    return math.tanh(math.atanh(min(correlation, 0.999)) - 1.96 / math.sqrt(n - 3))
