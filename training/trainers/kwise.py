"""The K-wise ranking loss.

Equation 1 of InstructGPT (Ouyang et al. 2022, section 3.5): all comparisons of one ranking are one element of the
batch, each completion is scored once (`shared_prompt.py`), and the loss is the mean over its comparisons. Two answers
of one tier either drop out or are an outcome of their own (Rao and Kupper 1967).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from training.records import comparisons

if TYPE_CHECKING:
    import torch


def ties(ranks: Sequence[int]) -> list[tuple[int, int]]:
    """Every (i, j), i before j, where two completions have one tier."""
    return [(i, j) for i, a in enumerate(ranks) for j in range(i + 1, len(ranks)) if a == ranks[j]]


def pair_weights(label: str, posteriors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How much the loss of each comparison counts as it was labelled, and turned round; `label` is soft or weight."""
    if label == "soft":
        return posteriors, 1 - posteriors
    lean = 2 * posteriors - 1
    return lean.clamp(min=0), (-lean).clamp(min=0)


def kwise_loss(
    scores: torch.Tensor,
    ranks: Sequence[int],
    *,
    weight: float = 1.0,
    margin: str = "none",
    margin_size: float = 0.0,
    center_coefficient: float = 0.0,
    label: str = "hard",
    posteriors: Sequence[float] = (),
    tie_threshold: float | None = None,
) -> torch.Tensor:
    """Mean over the ranking's comparisons of -log sigmoid(r_i - r_j - margin), times `weight`; a scalar.

    `posteriors` has the probability p of each comparison, in the order of `comparisons(ranks)`; empty is p = 1 for all.
    With the `label` hard they are not looked at. soft: p times the loss, and 1 - p times that of the comparison turned
    round (the soft target of conservative DPO, Mitchell 2023). weight: |2p - 1| times the loss of the comparison in the
    direction that p says, which has the same slope as soft where the two scores are equal.

    `scores` has shape (K,); `ranks` has K tiers, 0 the best; ties give no comparison. `margin` is none, constant
    (`margin_size`), or tier_distance (`margin_size` times the tiers between; Touvron et al. 2023, section 3.2.2,
    uses a margin that grows with the preference). `center_coefficient` adds the mean of (r_i + r_j)^2 times it
    (Eisenstein et al. 2023).

    `tie_threshold` eta, above 0, makes ties an outcome (Rao and Kupper 1967; for reward models Liu et al. 2024,
    "Reward Learning From Preference With Ties"): i wins with sigmoid(r_i - r_j - eta), which is a margin for every
    comparison, and the two are equal with what is left, (e^(2 eta) - 1) sigmoid(r_i - r_j - eta) sigmoid(r_j - r_i -
    eta). The mean is then over comparisons and ties. None leaves ties out. Raises ValueError where nothing has a loss.
    """
    import torch
    from torch.nn.functional import logsigmoid

    pairs, equal = comparisons(ranks), ties(ranks) if tie_threshold is not None else []
    if not pairs and not equal:
        raise ValueError("a ranking of ties only has no loss")
    both = pairs + equal
    above, below = scores[[i for i, _ in both]].float(), scores[[j for _, j in both]].float()
    gap = above - below
    wanted = torch.zeros_like(gap)
    if margin == "constant":
        wanted = wanted + margin_size
    elif margin == "tier_distance":
        tiers = torch.tensor([ranks[j] - ranks[i] for i, j in both], device=gap.device, dtype=gap.dtype)
        wanted = margin_size * tiers
    wins = slice(0, len(pairs))
    won, asked = gap[wins], wanted[wins] + (tie_threshold or 0.0)
    if label == "hard" or not posteriors:
        losses = -logsigmoid(won - asked)
    else:
        right, turned = pair_weights(label, torch.tensor(posteriors, device=gap.device, dtype=gap.dtype))
        losses = -(right * logsigmoid(won - asked) + turned * logsigmoid(-won - asked))
    if equal and tie_threshold is not None:
        drawn = gap[len(pairs) :]
        tied = -logsigmoid(drawn - tie_threshold) - logsigmoid(-drawn - tie_threshold)
        losses = torch.cat([losses, tied - math.log(math.expm1(2 * tie_threshold))])
    loss = losses.mean()
    if center_coefficient:
        loss = loss + center_coefficient * (above + below).square().mean()
    return weight * loss


def preference(gap: float, *, tie_threshold: float | None = None) -> float:
    """The model's probability that the first of two completions is preferred, given that one of them is.

    `gap` is its score less the other's. With a threshold eta the two ways to win are sigmoid(+-gap - eta) and what
    is tied is left out.
    """
    eta = tie_threshold or 0.0
    win, loss = _sigmoid(gap - eta), _sigmoid(-gap - eta)
    return win / (win + loss)


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))
