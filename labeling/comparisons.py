"""From a ranking (a weak order with an "unacceptable" line) to the strict preferences that it implies."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Preference:
    """`chosen` stands `margin` tiers above `rejected`; both are completion indexes."""

    chosen: int
    rejected: int
    margin: int
    chosen_acceptable: bool
    rejected_acceptable: bool


def ranks(tiers: Sequence[Sequence[int]], unacceptable: Sequence[int]) -> dict[int, int]:
    """Each completion's tier, 0 the best; everything unacceptable shares the tier under all others."""
    order = [*tiers, unacceptable] if unacceptable else list(tiers)
    return {index: rank for rank, tier in enumerate(order) for index in tier}


def from_ranking(tiers: Sequence[Sequence[int]], unacceptable: Sequence[int]) -> list[Preference]:
    """Every pair of completions in different tiers, the better one chosen, best pairs first.

    K completions without ties give K(K-1)/2 preferences (InstructGPT, section 3.5); a tie gives none.
    """
    rank = ranks(tiers, unacceptable)
    below = set(unacceptable)
    ordered = sorted(rank, key=lambda index: (rank[index], index))
    return [
        Preference(
            chosen=a,
            rejected=b,
            margin=rank[b] - rank[a],
            chosen_acceptable=a not in below,
            rejected_acceptable=b not in below,
        )
        for position, a in enumerate(ordered)
        for b in ordered[position + 1 :]
        if rank[a] < rank[b]
    ]
