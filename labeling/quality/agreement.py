"""How far people agree when they rank the same answers.

Three measures, because each hides what another shows: the share of equal pairwise judgements (what InstructGPT and
MT-bench report), Krippendorff's alpha (corrected for chance, any number of people), Kendall's tau-b (of whole orders).
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import krippendorff
import numpy as np
from scipy import stats

RESAMPLES = 2000


@dataclass(frozen=True)
class Judgement:
    """One person's weak order of an item's answers. `ranks`: answer -> tier, 0 the best, equal tiers are ties."""

    item: int
    annotator: int
    ranks: Mapping[int, int]


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


def measure(judgements: Iterable[Judgement], *, seed: int = 0) -> Agreement:
    """All measures over these judgements. A person judges an item once; a repeat has to be an item of its own."""
    by_item = _by_item(judgements)
    shared = [group for group in by_item.values() if len(group) > 1]
    return Agreement(
        with_ties=_share(shared, ties=True, seed=seed),
        without_ties=_share(shared, ties=False, seed=seed),
        alpha=alpha(_matrix(shared)) if shared else None,
        tau_b=_mean_tau(shared),
        items=len(shared),
        people=len({judgement.annotator for group in shared for judgement in group}),
    )


def between(judgements: Iterable[Judgement], *, seed: int = 0) -> dict[tuple[int, int], Share]:
    """The agreement without ties of each two people who judged the same items, the smaller id first."""
    pairs: dict[tuple[int, int], list[list[Judgement]]] = defaultdict(list)
    for group in _by_item(judgements).values():
        for a, b in itertools.combinations(sorted(group, key=lambda judgement: judgement.annotator), 2):
            pairs[a.annotator, b.annotator].append([a, b])
    shares = {pair: _share(groups, ties=False, seed=seed) for pair, groups in pairs.items()}
    return {pair: share for pair, share in shares.items() if share is not None}


def alpha(matrix: Sequence[Sequence[float]], *, level: str = "ordinal") -> float | None:
    """Krippendorff's alpha of a people x units matrix with NaN where somebody did not judge.

    None where it is not defined: no unit judged twice, or a single value everywhere.
    """
    data = np.asarray(matrix, dtype=float)
    known = ~np.isnan(data)
    pairable = data[:, known.sum(axis=0) > 1]
    if pairable.size == 0 or len(np.unique(pairable[~np.isnan(pairable)])) < 2:
        return None
    return float(krippendorff.alpha(reliability_data=data, level_of_measurement=level))


def tau_b(a: Mapping[int, int], b: Mapping[int, int]) -> float | None:
    """Kendall's tau-b of two orders of the same answers; None where one of them ties everything."""
    answers = sorted(a.keys() & b.keys())
    if len(answers) < 2:
        return None
    value = stats.kendalltau([a[i] for i in answers], [b[i] for i in answers], variant="b").statistic
    return None if math.isnan(value) else float(value)


def bootstrap_share(hits: Sequence[float], totals: Sequence[float], *, seed: int = 0) -> Share | None:
    """sum(hits) / sum(totals) with a 95 % percentile interval over resampled items (Efron & Tibshirani 1993, ch. 13).

    Items are resampled, not judgements: those of one item hang together. None where nothing was compared.
    """
    hit, total = np.asarray(hits, dtype=float), np.asarray(totals, dtype=float)
    if total.sum() == 0:
        return None
    drawn = np.random.default_rng(seed).multinomial(len(total), np.full(len(total), 1 / len(total)), size=RESAMPLES)
    sums = drawn @ total
    shares = (drawn @ hit)[sums > 0] / sums[sums > 0]
    low, high = np.percentile(shares, [2.5, 97.5])
    return Share(float(hit.sum() / total.sum()), float(low), float(high), int(total.sum()), int((total > 0).sum()))


def _by_item(judgements: Iterable[Judgement]) -> dict[int, list[Judgement]]:
    by_item: dict[int, list[Judgement]] = defaultdict(list)
    for judgement in judgements:
        by_item[judgement.item].append(judgement)
    return by_item


def _share(groups: Sequence[Sequence[Judgement]], *, ties: bool, seed: int) -> Share | None:
    hits, totals = [], []
    for group in groups:
        same = compared = 0
        for a, b in itertools.combinations(group, 2):
            for one, other in itertools.combinations(sorted(a.ranks.keys() & b.ranks.keys()), 2):
                mine, theirs = _sign(a, one, other), _sign(b, one, other)
                if ties or (mine and theirs):
                    compared += 1
                    same += mine == theirs
        hits.append(same)
        totals.append(compared)
    return bootstrap_share(hits, totals, seed=seed) if groups else None


def _sign(judgement: Judgement, one: int, other: int) -> int:
    """1 where the person put `one` above `other`, -1 below, 0 for a tie."""
    gap = judgement.ranks[other] - judgement.ranks[one]
    return (gap > 0) - (gap < 0)


def _matrix(groups: Sequence[Sequence[Judgement]]) -> np.ndarray:
    """People x (item, answer): mid-ranks, so that a tie of two firsts is 1.5 for everybody who counts from 1."""
    people = sorted({judgement.annotator for group in groups for judgement in group})
    row = {person: index for index, person in enumerate(people)}
    columns = [(judgement.item, answer) for group in groups for judgement in group for answer in judgement.ranks]
    column = {unit: index for index, unit in enumerate(dict.fromkeys(columns))}
    matrix = np.full((len(people), len(column)), np.nan)
    for group in groups:
        for judgement in group:
            answers = sorted(judgement.ranks)
            middle = stats.rankdata([judgement.ranks[answer] for answer in answers], method="average")
            for answer, rank in zip(answers, middle, strict=True):
                matrix[row[judgement.annotator], column[judgement.item, answer]] = rank
    return matrix


def _mean_tau(groups: Sequence[Sequence[Judgement]]) -> float | None:
    values = [tau_b(a.ranks, b.ranks) for group in groups for a, b in itertools.combinations(group, 2)]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
