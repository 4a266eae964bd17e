"""What a reward model is worth on held-out rankings, beside what people agree on; no torch.

Accuracy with its interval beside the agreement of the people who judged the same pairs (a model can hardly do better
than they do: InstructGPT's labelers agree on 72.6 %), by category and by annotator; calibration (Guo et al. 2017);
and how far the scores follow mere length (Singhal et al. 2023, "A Long Way to Go").
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from training.records import RankingRow, comparisons
from training.trainers.heldout import ranking_accuracy, right_comparisons
from training.trainers.kwise import preference

# Of fewer prompts a resampled interval is far too narrow: three alike have no width at all.
ENOUGH_PROMPTS = 20
# Equal steps of the model's confidence, from 0.5 to 1.
BINS = 10
# The 97.5 % point of the normal distribution.
_Z = 1.959964


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A ranking with the model's score and the number of tokens read of each of its K completions."""

    row: RankingRow
    scores: list[float]
    tokens: list[int]


def report(
    judged: Sequence[Judged],
    *,
    trained_on: Mapping[str, int],
    seed: int,
    tie_threshold: float | None = None,
) -> dict[str, Any]:
    """All of it as plain JSON; null where nothing was there to measure.

    `trained_on` has the number of training rankings of each annotator: whom the model never learnt from is told apart
    (InstructGPT's held-out labelers). Shares have their 95 % interval and the numbers they rest on.
    """
    return {
        "prompts": len({one.row.prompt_id for one in judged}),
        "rankings": len(judged),
        "comparisons": sum(len(comparisons(one.row.ranks)) for one in judged),
        "accuracy": accuracy(judged, seed=seed),
        "people": agreement(judged, seed=seed),
        "by_category": _by(judged, key=lambda row: row.category, seed=seed),
        "by_annotator": {
            name: share | {"trained_on": trained_on.get(name, 0)}
            for name, share in _by(judged, key=lambda row: row.annotator, seed=seed).items()
        },
        "calibration": calibration(judged, tie_threshold=tie_threshold),
        "length": length(judged),
    }


def accuracy(judged: Sequence[Judged], *, seed: int) -> dict[str, Any] | None:
    """Share of people's comparisons that the model orders as they did; a tied score counts half."""
    return share(
        (
            (one.row.prompt_id, right_comparisons(one.scores, pairs), len(pairs))
            for one in judged
            for pairs in [_of(one)]
        ),
        seed=seed,
    )


def share(counts: Iterable[tuple[str, float, int]], *, seed: int) -> dict[str, Any] | None:
    """Right of all, from (prompt, right, all), with a 95 % interval; None where nothing was compared.

    The interval is a percentile bootstrap over prompts. Of fewer than ENOUGH_PROMPTS it holds Wilson's too, each
    prompt one trial, as the intervals of people's agreement do.
    """
    by_prompt: dict[str, tuple[float, int]] = {}
    for prompt, right, count in counts:
        before = by_prompt.get(prompt, (0.0, 0))
        by_prompt[prompt] = (before[0] + right, before[1] + count)
    compared = [numbers for numbers in by_prompt.values() if numbers[1]]
    found = ranking_accuracy(compared, seed=seed)
    if not found:
        return None
    value, low, high = found["accuracy"], found["accuracy_low"], found["accuracy_high"]
    if len(compared) < ENOUGH_PROMPTS:
        lowest, highest = wilson(value, len(compared))
        low, high = min(low, lowest), max(high, highest)
    return {
        "value": value,
        "low": low,
        "high": high,
        "comparisons": sum(count for _, count in compared),
        "prompts": len(compared),
    }


def wilson(value: float, trials: int) -> tuple[float, float]:
    """The 95 % interval of a share of `trials` independent ones (Wilson 1927)."""
    middle = (value + _Z**2 / (2 * trials)) / (1 + _Z**2 / trials)
    half = _Z / (1 + _Z**2 / trials) * (value * (1 - value) / trials + _Z**2 / (4 * trials**2)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def agreement(judged: Sequence[Judged], *, seed: int) -> dict[str, Any] | None:
    """How far two people agree about the pairs that both put in an order, and the model with them on the same pairs.

    An answer is known by its prompt and text, since two people may have it at other places. Rankings without an
    annotator's name are left out: two of them may be one person's. None where no two people judged one pair.
    """
    orders: dict[tuple[str, str, str], dict[str, bool]] = defaultdict(dict)
    model: dict[tuple[str, str, str], float] = {}
    for one in judged:
        if not one.row.annotator:
            continue
        for i, j in _of(one):
            first, second = sorted((i, j), key=one.row.completions.__getitem__)
            pair = (one.row.prompt_id, one.row.completions[first], one.row.completions[second])
            orders[pair][one.row.annotator] = first == i
            model[pair] = one.scores[first] - one.scores[second]
    people, beside = [], []
    for pair, said in orders.items():
        if len(said) < 2:
            continue
        met = list(combinations(said.values(), 2))
        people.append((pair[0], float(sum(a == b for a, b in met)), len(met)))
        gap = model[pair]
        right = sum(0.5 if gap == 0 else float((gap > 0) == word) for word in said.values())
        beside.append((pair[0], right, len(said)))
    found = share(people, seed=seed)
    return None if found is None else {"agreement": found, "model_on_the_same_pairs": share(beside, seed=seed)}


def calibration(judged: Sequence[Judged], *, tie_threshold: float | None = None) -> dict[str, Any] | None:
    """Expected calibration error and the bins of a reliability plot.

    Confidence is the model's probability of the completion that it prefers, from 0.5 to 1; `right` is the share of
    people's comparisons in a bin that went that way. The error is the mean of |right - confidence|, each bin
    counting by its comparisons.
    """
    sums = [[0, 0.0, 0.0] for _ in range(BINS)]
    for one in judged:
        for i, j in _of(one):
            chance = preference(one.scores[i] - one.scores[j], tie_threshold=tie_threshold)
            confidence = max(chance, 1 - chance)
            at = sums[min(BINS - 1, int((confidence - 0.5) * 2 * BINS))]
            at[0] += 1
            at[1] += confidence
            at[2] += 0.5 if chance == 0.5 else float(chance > 0.5)
    total = sum(count for count, _, _ in sums)
    if not total:
        return None
    bins = [
        {
            "low": 0.5 + n / (2 * BINS),
            "high": 0.5 + (n + 1) / (2 * BINS),
            "comparisons": count,
            "confidence": confidence / count if count else None,
            "right": right / count if count else None,
        }
        for n, (count, confidence, right) in enumerate(sums)
    ]
    error = sum(abs(right - confidence) for _, confidence, right in sums) / total
    return {"error": error, "bins": bins}


def length(judged: Sequence[Judged]) -> dict[str, Any]:
    """Spearman's correlation of score and tokens, and how often the longer of two completions wins.

    Each completion counts once for the correlation, however many people judged it; the shares are over people's
    comparisons of completions of unlike length, for the model (a tied score is half) and for people.
    """
    seen = {
        (one.row.prompt_id, text): (score, tokens)
        for one in judged
        for text, score, tokens in zip(one.row.completions, one.scores, one.tokens, strict=True)
    }
    count = 0
    model = people = 0.0
    for one in judged:
        for i, j in _of(one):
            if one.tokens[i] == one.tokens[j]:
                continue
            longer, shorter = (i, j) if one.tokens[i] > one.tokens[j] else (j, i)
            count += 1
            people += longer == i
            model += right_comparisons(one.scores, [(longer, shorter)])
    return {
        "spearman": spearman([score for score, _ in seen.values()], [float(tokens) for _, tokens in seen.values()]),
        "completions": len(seen),
        "comparisons": count,
        "longer_wins_model": model / count if count else None,
        "longer_wins_people": people / count if count else None,
    }


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Pearson's correlation of the mid-ranks; None where either list has fewer than two different values."""
    import numpy

    ranks = []
    for values in (first, second):
        different, place, times = numpy.unique(numpy.asarray(values), return_inverse=True, return_counts=True)
        if len(different) < 2:
            return None
        ends = numpy.cumsum(times)
        ranks.append((ends - (times - 1) / 2)[place])
    return float(numpy.corrcoef(ranks[0], ranks[1])[0, 1])


def headline(found: Mapping[str, Any]) -> dict[str, float]:
    """The report's main numbers under the names they have among a run's metrics."""
    people = found["people"] or {}
    numbers = {
        "people_agreement": people.get("agreement"),
        "heldout_accuracy_where_people_met": people.get("model_on_the_same_pairs"),
    }
    metrics = {
        f"{name}{end}": numbers_of[key]
        for name, numbers_of in numbers.items()
        if numbers_of
        for end, key in (("", "value"), ("_low", "low"), ("_high", "high"))
    }
    single = {
        "heldout_calibration_error": (found["calibration"] or {}).get("error"),
        "heldout_length_correlation": found["length"]["spearman"],
        "heldout_longer_wins_model": found["length"]["longer_wins_model"],
        "heldout_longer_wins_people": found["length"]["longer_wins_people"],
    }
    return metrics | {name: value for name, value in single.items() if value is not None}


def _of(one: Judged) -> list[tuple[int, int]]:
    return comparisons(one.row.ranks)


def _by(judged: Sequence[Judged], *, key: Callable[[RankingRow], str], seed: int) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[Judged]] = defaultdict(list)
    for one in judged:
        groups[key(one.row)].append(one)
    found = {name: accuracy(group, seed=seed) for name, group in sorted(groups.items())}
    return {name: numbers for name, numbers in found.items() if numbers is not None}
