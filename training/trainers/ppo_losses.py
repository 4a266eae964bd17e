"""The arithmetic of PPO on language: rewards of tokens, advantages, the two clipped losses, and the size of beta.

All of it works on the answers' own tokens laid behind one another, (T,), and `lengths` says how many each answer has.
So there is no padding to mask: a mean over tokens is a mean over real tokens, whichever rows lie in a batch.

Sources: PPO is Schulman et al. 2017, advantages are Schulman et al. 2016; what is particular to language is Ziegler et
al. 2019 ("lm-human-preferences"), Stiennon et al. 2020, Ouyang et al. 2022 and Huang et al. 2024 ("The N+
Implementation Details of RLHF with PPO").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def token_rewards(
    log_probs: torch.Tensor, reference: torch.Tensor, scores: Sequence[float], *, lengths: Sequence[int], beta: float
) -> torch.Tensor:
    """-beta (log pi - log pi_ref) at each token, (T,), and the answer's score on its last one.

    (Ziegler et al. 2019, equation 2; the estimator that Schulman 2020, "Approximating KL divergence", calls k1.)
    """
    rewards = -beta * (log_probs - reference)
    end = -1
    for length, score in zip(lengths, scores, strict=True):
        end += length
        rewards[end] += score
    return rewards


def advantages_and_returns(
    rewards: torch.Tensor, values: torch.Tensor, *, lengths: Sequence[int], gamma: float, lam: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Generalised advantages (Schulman et al. 2016, equation 16) and returns, (T,) each.

    The value is that of the state before a token; after an answer's last token it is 0. A return is advantage plus
    value, which is what the critic is to foretell.
    """
    import torch

    found: list[float] = []
    for own_rewards, own_values in zip(
        rewards.double().split(list(lengths)), values.double().split(list(lengths)), strict=True
    ):
        backwards: list[float] = []
        following, after = 0.0, 0.0
        for reward, value in zip(reversed(own_rewards.tolist()), reversed(own_values.tolist()), strict=True):
            following = reward + gamma * after - value + gamma * lam * following
            after = value
            backwards.append(following)
        found += reversed(backwards)
    advantages = torch.tensor(found, dtype=torch.float32, device=values.device)
    return advantages, advantages + values


def whitened(numbers: torch.Tensor, *, keep_mean: bool = False) -> torch.Tensor:
    """Numbers of variance 1 over all of them, and of mean 0 unless their own is to be kept.

    Given are the tokens of all processes, as each process knows the whole update (`rollout.py`).
    """
    exact = numbers.double()
    mean = exact.mean()
    scaled = (exact - mean) / (exact.var(correction=0) + 1e-8).sqrt()
    return (scaled + mean if keep_mean else scaled).to(numbers.dtype)


@dataclass(frozen=True, kw_only=True)
class PolicyLoss:
    """A sum over tokens with gradients, and numbers to add up: of shape () and plain."""

    loss: torch.Tensor
    ratio: float
    ratio_error: float
    clipped: float
    approximate_kl: float


def policy_loss(new: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor, *, clip: float) -> PolicyLoss:
    """The clipped surrogate (Schulman et al. 2017, equation 7), summed over tokens; log-probabilities are (T,) each.

    `ratio`, `ratio_error` and `clipped` are sums too: of pi / pi_old, of how far that is from 1, and of the tokens
    whose gradient the clip takes away.
    `approximate_kl` sums (r - 1) - log r (Schulman 2020, k3), how far this step has gone from the drawing policy.
    """
    import torch

    apart = new - old
    ratio = apart.exp()
    plain, held = -advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip)
    detached, logs = ratio.detach(), apart.detach()
    return PolicyLoss(
        loss=torch.maximum(plain, held).sum(),
        ratio=float(detached.sum()),
        ratio_error=float((detached - 1).abs().sum()),
        clipped=float((held > plain).sum()),
        approximate_kl=float((detached - 1 - logs).sum()),
    )


def value_loss(
    new: torch.Tensor, old: torch.Tensor, returns: torch.Tensor, *, clip: float
) -> tuple[torch.Tensor, float]:
    """Half the squared error of values, each kept within `clip` of its old one, summed; and how many were clipped.

    (Ziegler et al. 2019's code, and N+ section 4.3; of both errors the larger counts. A clip of 0 is none.)
    """
    import torch

    plain = (new - returns) ** 2
    if not clip:
        return 0.5 * plain.sum(), 0.0
    held = (torch.minimum(torch.maximum(new, old - clip), old + clip) - returns) ** 2
    return 0.5 * torch.maximum(plain, held).sum(), float((held > plain).sum())


def explained_variance(values: torch.Tensor, returns: torch.Tensor) -> float:
    """1 - Var(returns - values) / Var(returns): 1 is a critic that foretells all, 0 one that says the mean.

    Not a number where all returns are alike.
    """
    spread = float(returns.double().var(correction=0))
    return 1 - float((returns - values).double().var(correction=0)) / spread if spread > 0 else math.nan


def next_beta(beta: float, kl: float, *, target: float, horizon: int, answers: int) -> float:
    """Beta after `answers` more answers whose mean KL (nats an answer) was `kl` (Ziegler et al. 2019, section 2.2).

    The relative error is kept within 0.2 either way, so that one odd batch moves beta by little.
    """
    error = min(0.2, max(-0.2, kl / target - 1))
    return beta * (1 + error * answers / horizon)
