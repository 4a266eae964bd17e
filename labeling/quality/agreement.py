"""How far people agree when they rank the same answers.

Three measures, because each hides what another shows: the share of equal pairwise judgements (what InstructGPT and
MT-bench report), Krippendorff's alpha (corrected for chance, any number of people), Kendall's tau-b (of whole orders).

Everything is counted once for each two people who judged an item (`pair_up`), in columns, so that 100,000 rankings
take seconds; every group (a category, a week, two people) is then a selection of these pairs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from labeling.quality.intervals import wilson

RESAMPLES = 2000
ENOUGH_ITEMS = 20  # of fewer, a resampled interval is far too narrow: three alike have no width at all
_BLOCK = 100_000  # pairs of people compared at once: a bound on memory
_NOT_JUDGED = 2  # a sign that is none of -1, 0, 1


@dataclass(frozen=True)
class Judgement:
    """One person's weak order of an item's answers. `ranks`: answer -> tier, 0 the best, equal tiers are ties.

    An answer is its place in the item, 0 to K - 1.
    """

    item: int
    annotator: int
    ranks: Mapping[int, int]


@dataclass(frozen=True)
class Columns:
    """n judgements. item, person: [n] ints; ranks: [n, K] tiers by answer, -1 where it was not judged."""

    item: np.ndarray
    person: np.ndarray
    ranks: np.ndarray

    @classmethod
    def of(cls, judgements: Iterable[Judgement]) -> "Columns":
        rows = list(judgements)
        width = 1 + max((answer for row in rows for answer in row.ranks), default=0)
        ranks = np.full((len(rows), width), -1, dtype=np.int16)
        for n, row in enumerate(rows):
            for answer, rank in row.ranks.items():
                ranks[n, answer] = rank
        people = np.array([row.annotator for row in rows], dtype=np.int64)
        return cls(np.array([row.item for row in rows], dtype=np.int64), people, ranks)


@dataclass(frozen=True)
class Pairs:
    """p meetings of two people at one item; `first` and `second` are rows of the Columns, the smaller person first.

    compared, same: [p] pairs of answers that both judged, and judged the same, a tie being a judgement of its own.
    preferred, shared: [p] those where both preferred one, and the same one. tau: [p] tau-b, NaN where it is undefined.
    """

    judged: Columns
    first: np.ndarray
    second: np.ndarray
    compared: np.ndarray
    same: np.ndarray
    preferred: np.ndarray
    shared: np.ndarray
    tau: np.ndarray

    @property
    def item(self) -> np.ndarray:
        return self.judged.item[self.first]

    def where(self, chosen: np.ndarray) -> "Pairs":
        """Those of a mask [p], or with these numbers."""
        columns = (self.first, self.second, self.compared, self.same, self.preferred, self.shared, self.tau)
        return Pairs(self.judged, *(column[chosen] for column in columns))


@dataclass(frozen=True)
class Share:
    """A share with its 95 % interval; `n` counts what was compared, `items` what the interval is drawn over."""

    value: float
    low: float
    high: float
    n: int
    items: int


@dataclass(frozen=True)
class Agreement:
    """Every measure over one group of judgements; None where nothing overlaps.

    with_ties: share of (two people, two answers) judged the same, a tie being a judgement of its own
        (Zheng et al. 2023, "Judging LLM-as-a-Judge", section 4.1, setup S1).
    without_ties: the same where both people preferred one (setup S2); Ouyang et al. 2022 report 72.6 +- 1.5 %.
    alpha: Krippendorff's alpha on tiers as ordinal values, 1 perfect, 0 chance (Krippendorff 2011).
    tau_b: Kendall's tau-b, the mean over items and pairs of people, -1 to 1 (Kendall 1945).
    """

    with_ties: Share | None
    without_ties: Share | None
    alpha: float | None
    tau_b: float | None
    items: int
    people: int


def pair_up(judged: Columns) -> Pairs:
    """Every two people who judged the same item, with what they agree on."""
    order = np.lexsort((judged.person, judged.item))
    item = judged.item[order]
    # An item's judgements stand together now: pair each with the next one of its item, then with the one after.
    firsts, seconds = [order[:0]], [order[:0]]
    for gap in range(1, len(item)):
        at = np.flatnonzero(item[gap:] == item[:-gap])
        if not at.size:
            break
        firsts.append(order[at])
        seconds.append(order[at + gap])
    first, second = np.concatenate(firsts), np.concatenate(seconds)
    signs = _signs(judged.ranks)
    blocks = [
        _compare(signs[first[at : at + _BLOCK]], signs[second[at : at + _BLOCK]])
        for at in range(0, max(len(first), 1), _BLOCK)
    ]
    return Pairs(judged, first, second, *(np.concatenate(column) for column in zip(*blocks, strict=True)))


def summary(pairs: Pairs, *, seed: int = 0) -> Agreement:
    """All measures over these pairs; alpha over the judgements in them, so also of two of these that are no pair here.

    Of a group such as a week that matters where three people or more judged an item, some of them in another week.
    """
    rows = np.unique(np.concatenate([pairs.first, pairs.second]))
    known = pairs.tau[~np.isnan(pairs.tau)]
    return Agreement(
        with_ties=_share(pairs.item, pairs.same, pairs.compared, seed=seed),
        without_ties=shared(pairs, seed=seed),
        alpha=_alpha_of_ranks(pairs.judged.item[rows], pairs.judged.ranks[rows]),
        tau_b=float(known.mean()) if known.size else None,
        items=len(np.unique(pairs.item)),
        people=len(np.unique(pairs.judged.person[rows])),
    )


def shared(pairs: Pairs, *, seed: int = 0) -> Share | None:
    """The agreement without ties."""
    return _share(pairs.item, pairs.shared, pairs.preferred, seed=seed)


def by_two(pairs: Pairs, *, seed: int = 0) -> dict[tuple[int, int], Share]:
    """The agreement without ties of each two people."""
    people, place = np.unique(pairs.judged.person, return_inverse=True)
    couple = place[pairs.first].astype(np.int64) * len(people) + place[pairs.second]
    if not couple.size:
        return {}
    order = np.argsort(couple, kind="stable")  # once, so that no two people cost a look at all meetings
    couples, start = np.unique(couple[order], return_index=True)
    found = {}
    for one, meetings in zip(couples.tolist(), np.split(order, start[1:]), strict=True):
        share = shared(pairs.where(meetings), seed=seed)
        if share is not None:
            found[int(people[one // len(people)]), int(people[one % len(people)])] = share
    return found


def tau_b(a: Mapping[int, int], b: Mapping[int, int]) -> float | None:
    """Kendall's tau-b of two orders of the same answers; None where one of them ties everything."""
    found = pair_up(Columns.of([Judgement(0, 0, a), Judgement(0, 1, b)])).tau[0]
    return None if np.isnan(found) else float(found)


def bootstrap_share(
    hits: Sequence[float] | np.ndarray, totals: Sequence[float] | np.ndarray, *, seed: int = 0
) -> Share | None:
    """sum(hits) / sum(totals) with a 95 % percentile interval over resampled items (Efron & Tibshirani 1993, ch. 13).

    Items are resampled, not judgements: those of one item hang together. Items with the same hits and totals are
    drawn together, by how many they are, which is the same distribution and needs no more memory for a million
    items than for ten. Of fewer than ENOUGH_ITEMS the interval holds Wilson's too, each item one trial: a few that are
    alike would have none at all. None where nothing was compared.
    """
    hit, total = np.asarray(hits, dtype=float), np.asarray(totals, dtype=float)
    if total.sum() == 0:
        return None
    alike, counts = np.unique(hit + 1j * total, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(total), counts / len(total), size=RESAMPLES)
    sums = drawn @ alike.imag
    shares = (drawn @ alike.real)[sums > 0] / sums[sums > 0]
    low, high = (float(end) for end in np.percentile(shares, [2.5, 97.5]))
    value, items = float(hit.sum() / total.sum()), int((total > 0).sum())
    if items < ENOUGH_ITEMS:
        lowest, highest = wilson(value, items)
        low, high = min(low, lowest), max(high, highest)
    return Share(value, low, high, int(total.sum()), items)


def _signs(ranks: np.ndarray) -> np.ndarray:
    """[n, K(K-1)/2]: 1 where the earlier answer stands above the later one, -1 below, 0 a tie, 2 not judged."""
    one, other = np.triu_indices(ranks.shape[1], 1)
    signs = np.sign(ranks[:, other] - ranks[:, one]).astype(np.int8)
    signs[(ranks[:, one] < 0) | (ranks[:, other] < 0)] = _NOT_JUDGED
    return signs


def _compare(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
    """compared, same, preferred, shared and tau of each two rows of signs."""
    known = (a != _NOT_JUDGED) & (b != _NOT_JUDGED)
    same = known & (a == b)
    strict_a, strict_b = known & (a != 0), known & (b != 0)
    strict = strict_a & strict_b
    shared_ = (same & strict).sum(axis=1)
    preferred = strict.sum(axis=1)
    # Agreeing minus opposed pairs, over the geometric mean of the pairs that each of the two does not tie.
    untied = np.sqrt(strict_a.sum(axis=1) * strict_b.sum(axis=1).astype(float))
    tau = np.divide(2 * shared_ - preferred, untied, out=np.full(len(a), np.nan), where=untied > 0)
    return known.sum(axis=1), same.sum(axis=1), preferred, shared_, tau


def _share(item: np.ndarray, hits: np.ndarray, totals: np.ndarray, *, seed: int) -> Share | None:
    if not item.size:
        return None
    _items, which = np.unique(item, return_inverse=True)
    return bootstrap_share(np.bincount(which, weights=hits), np.bincount(which, weights=totals), seed=seed)


def _alpha_of_ranks(item: np.ndarray, ranks: np.ndarray) -> float | None:
    """Alpha over (item, answer) units of mid-ranks, so that a tie of two firsts is 1.5 for everybody.

    Chance is that of items with as many answers: place 4 is the last of four and a good one of nine, so that chance
    over all items together would be too large, and alpha above 0 for people who draw lots.
    """
    if not item.size:
        return None
    known = ranks >= 0
    above = ((ranks[:, None, :] < ranks[:, :, None]) & known[:, None, :]).sum(axis=2)
    beside = ((ranks[:, None, :] == ranks[:, :, None]) & known[:, None, :]).sum(axis=2)
    twice = 2 * above + beside + 1  # twice the mid-rank: a whole number up to 2 K
    _items, which = np.unique(item, return_inverse=True)
    width = ranks.shape[1]
    values = 2 * width + 1
    unit = which[:, None] * width + np.arange(width)
    counts = np.bincount((unit * values + twice)[known], minlength=(which.max() + 1) * width * values)
    counts = counts.reshape(-1, values)
    answers = (counts.reshape(-1, width, values).sum(axis=2) > 0).sum(axis=1).repeat(width)  # of each unit's item
    parts = [_disagreement(counts[answers == k]) for k in np.unique(answers)]
    observed, expected = (sum(column) for column in zip(*parts, strict=True))
    return float(1 - observed / expected) if expected else None


def _disagreement(counts: np.ndarray) -> tuple[float, float]:
    """Observed and expected, each summed over the judgements, by the coincidence matrix (Krippendorff 2011, B to D).

    counts: [units, values], the values in order. 0 and 0 where alpha is not defined. Ordinal distances are shares of
    the judgements, so that sums over groups of units weigh each group by its judgements.
    """
    judged = counts.sum(axis=1)
    counts, judged = counts[judged > 1].astype(float), judged[judged > 1]
    used = counts.sum(axis=0) > 0
    counts = counts[:, used]
    if counts.shape[1] < 2:
        return 0.0, 0.0
    weighted = counts / (judged - 1)[:, None]
    coincidences = counts.T @ weighted - np.diag(weighted.sum(axis=0))
    n = counts.sum(axis=0)
    # What share of the judgements lies between two values, half of those at either end included.
    middle = (np.cumsum(n) - n / 2) / n.sum()
    distance = (middle[:, None] - middle) ** 2
    expected = (np.outer(n, n) * distance).sum() / (n.sum() - 1)
    return float((coincidences * distance).sum()), float(expected)
