"""The numbers of an evaluation, in plain Python and numpy, so that each can be checked by hand.

Intervals are 95 % percentile bootstraps over prompts: the completions of one prompt hang together. Two models are
compared prompt by prompt (paired), so what makes a prompt hard for both cancels out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

RESAMPLES = 2000


def interval(values: Sequence[float], *, seed: int) -> dict[str, float]:
    """The mean of one number a prompt, with `low` and `high` of its interval; nothing for no prompts."""
    return ratio_interval(values, [1.0] * len(values), seed=seed)


def ratio_interval(sums: Sequence[float], counts: Sequence[float], *, seed: int) -> dict[str, float]:
    """sum(sums) / sum(counts) over prompts with its interval: a mean per token has tokens for counts."""
    if not sums or not sum(counts):
        return {}
    import numpy

    top, bottom = numpy.array(sums, dtype=float), numpy.array(counts, dtype=float)
    random = numpy.random.default_rng(seed)
    ratios = []
    # Some at a time, so that memory stays bounded for any number of prompts.
    at_once = max(1, 2_000_000 // len(top))
    for start in range(0, RESAMPLES, at_once):
        drawn = random.integers(0, len(top), size=(min(at_once, RESAMPLES - start), len(top)))
        below = bottom[drawn].sum(axis=1)
        ratios.append(top[drawn].sum(axis=1)[below > 0] / below[below > 0])
    low, high = numpy.percentile(numpy.concatenate(ratios), [2.5, 97.5])
    mean = math.fsum(sums) / math.fsum(counts)
    return {"mean": mean, "low": float(low), "high": float(high)}


def win_rate(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The share of pairs (one of ours, one of theirs, of one prompt) in which ours scores higher; ties count half."""
    won = math.fsum(1.0 if a > b else 0.5 if a == b else 0.0 for a in ours for b in theirs)
    return won / (len(ours) * len(theirs))


def distinct(completions: Sequence[Sequence[int]], n: int) -> float | None:
    """Different n-grams over all n-grams of all completions together (Li et al. 2016); None where there is none.

    It falls as there is more text: compare it only between as many completions.
    """
    grams = [gram for ids in completions for gram in _grams(ids, n)]
    return len(set(grams)) / len(grams) if grams else None


def repetition(ids: Sequence[int], n: int = 4) -> float | None:
    """The share of a completion's n-grams that it said before (seq-rep-n, Welleck et al. 2020); None without any."""
    grams = _grams(ids, n)
    return 1 - len(set(grams)) / len(grams) if grams else None


def kl_of_sequence(logps: Sequence[float], reference_logps: Sequence[float]) -> float:
    """The log-ratio of one drawn sequence, the sum of its tokens': its mean over draws is the KL (nats).

    The plain Monte-Carlo estimator, k1 in Schulman 2020 ("Approximating KL Divergence"): without bias, and below
    zero for single sequences.
    """
    return math.fsum(a - b for a, b in zip(logps, reference_logps, strict=True))


def kl_of_tokens(logps: Sequence[float], reference_logps: Sequence[float]) -> list[float]:
    """An estimate of the KL at each drawn token, (r - 1) - log r with r = reference / policy (nats).

    k3 in Schulman 2020: without bias at each position, never below zero, and it varies less than k1.
    """
    found = []
    for a, b in zip(logps, reference_logps, strict=True):
        # An exponent over 700 is no float; a ratio like that is infinite for any purpose.
        found.append(math.expm1(min(b - a, 700.0)) - (b - a))
    return found


def best_of(rewards: Sequence[float], n: int) -> float:
    """The expected reward of the best of n draws, without bias, from N >= n draws.

    The mean over all subsets of n (Nakano et al. 2021, WebGPT, on best-of-n): with rewards sorted upwards, the i-th
    (from 1) is the best of C(i-1, n-1) of the C(N, n) subsets.
    """
    count = len(rewards)
    if not 1 <= n <= count:
        raise ValueError(f"best of {n} needs at least {n} rewards, not {count}")
    total = math.comb(count, n)
    return math.fsum(
        math.comb(i - 1, n - 1) / total * reward for i, reward in enumerate(sorted(rewards), start=1) if i >= n
    )


def best_of_kl(n: int) -> float:
    """log n - (n - 1) / n, the KL (nats) of the best of n to the policy (Stiennon et al. 2020).

    Exact where no two draws are alike; where they may be, an upper bound (Beirami et al. 2024, theorem 1).
    """
    return math.log(n) - (n - 1) / n


def best_of_curve(rewards: Sequence[Sequence[float]], *, seed: int) -> list[dict[str, float]]:
    """Reward against KL for n = 1, 2, 4 ... as far as every prompt has draws; one list of rewards a prompt."""
    curve = []
    n = 1
    while rewards and n <= min(len(row) for row in rewards):
        found = interval([best_of(row, n) for row in rewards], seed=seed)
        curve.append({"n": n, "kl": best_of_kl(n)} | {f"reward_{name}": value for name, value in found.items()})
        n *= 2
    return curve


def _grams(ids: Sequence[int], n: int) -> list[tuple[int, ...]]:
    return [tuple(ids[start : start + n]) for start in range(len(ids) - n + 1)]
