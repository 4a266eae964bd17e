"""Direct preference losses, their rewards, and the numbers that tell of them.

| loss | compares | source |
| --- | --- | --- |
| sigmoid | log-ratios to the reference | Rafailov et al. 2023, equation 7 |
| ipo | log-ratios a token | Azar et al. 2023, equation 17; means over tokens as its authors and TRL have them |
| simpo | log-probabilities a token, without a reference | Meng et al. 2024, equation 6 |
| kto | log-ratios of single completions to a baseline | Ethayarajh et al. 2024, section 4.1, equation 8 |
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from training.trainers.config import DpoConfig
from training.trainers.preference_groups import Group

if TYPE_CHECKING:
    import torch


def pair_losses(
    better: torch.Tensor,
    worse: torch.Tensor,
    posteriors: torch.Tensor,
    *,
    kind: str,
    beta: float,
    label: str = "hard",
    smoothing: float = 0.0,
    gamma: float = 0.0,
) -> torch.Tensor:
    """The losses of pairs, (pairs,), from what `kind` compares of their two completions, (pairs,) each.

    A pair weighs `right` as it was labelled and `turned` the other way round: 1 and 0 with the `label` hard, else by
    its posterior (`kwise.pair_weights`). `smoothing` e moves the share e of either weight to the other: with hard
    labels that is conservative DPO (Mitchell 2023, "A note on DPO with noisy preferences", equation 3).
    `gamma` is simpo's target margin.
    """
    import torch
    from torch.nn.functional import logsigmoid

    from training.trainers.kwise import pair_weights

    def loss(gap: torch.Tensor) -> torch.Tensor:
        if kind == "ipo":
            return (gap - 1 / (2 * beta)) ** 2
        return -logsigmoid(beta * gap - (gamma if kind == "simpo" else 0.0))

    if label == "hard":
        right, turned = torch.ones_like(posteriors), torch.zeros_like(posteriors)
    else:
        right, turned = pair_weights(label, posteriors)
    right, turned = (1 - smoothing) * right + smoothing * turned, (1 - smoothing) * turned + smoothing * right
    gap = better - worse
    return right * loss(gap) + turned * loss(-gap)


def kto_losses(
    ratios: torch.Tensor,
    desirable: torch.Tensor,
    baseline: float,
    *,
    beta: float,
    desirable_weight: float,
    undesirable_weight: float,
) -> torch.Tensor:
    """The losses of single completions, (labels,), from their log-ratios and whether each is desirable.

    `baseline` is the estimate of the policy's KL to its reference, at least 0; no gradient flows through it.
    """
    import torch

    drawn = beta * (ratios - baseline)
    return torch.where(
        desirable, desirable_weight * (1 - drawn.sigmoid()), undesirable_weight * (1 - (-drawn).sigmoid())
    )


def group_loss(
    log_probs: torch.Tensor, reference: torch.Tensor | None, group: Group, config: DpoConfig, *, baseline: float = 0.0
) -> tuple[torch.Tensor, dict[str, float]]:
    """The mean loss of a group's pairs or labels, a scalar, and numbers to add up (`summary`).

    `log_probs` and `reference` have shape (K,). Rewards are beta times what the loss compares: log-ratios, a
    token's for ipo; log-probabilities a token for simpo (Meng et al. 2024, equation 4).
    """
    import torch

    values = log_probs.float() if reference is None else log_probs.float() - reference.to(log_probs.device)
    if config.loss in ("ipo", "simpo"):
        values = values / torch.tensor([len(ids) for ids in group.completions], device=values.device)
    rewards = [config.beta * value for value in values.detach().tolist()]
    if config.loss == "kto":
        said = torch.tensor([desirable for _, desirable in group.labels], device=values.device)
        losses = kto_losses(
            values[[at for at, _ in group.labels]],
            said,
            baseline,
            beta=config.beta,
            desirable_weight=config.desirable_weight,
            undesirable_weight=config.undesirable_weight,
        )
        zero = config.beta * baseline
        better = [rewards[at] for at, desirable in group.labels if desirable]
        worse = [rewards[at] for at, desirable in group.labels if not desirable]
        right = math.fsum(_share(reward - zero) for reward in better) + math.fsum(_share(zero - r) for r in worse)
    else:
        losses = pair_losses(
            values[[i for i, _ in group.pairs]],
            values[[j for _, j in group.pairs]],
            torch.tensor(group.posteriors, device=values.device),
            kind=config.loss,
            beta=config.beta,
            label=config.label,
            smoothing=config.label_smoothing,
            gamma=config.simpo_gamma,
        )
        better, worse = [rewards[i] for i, _ in group.pairs], [rewards[j] for _, j in group.pairs]
        right = math.fsum(_share(a - b) for a, b in zip(better, worse, strict=True))
    numbers = {
        "chosen": math.fsum(better),
        "rejected": math.fsum(worse),
        "chosen_count": float(len(better)),
        "rejected_count": float(len(worse)),
        "right": right,
        "judged": float(len(losses)),
        "tokens": float(group.tokens),
    }
    return losses.mean(), numbers


def summary(sums: dict[str, float]) -> dict[str, float]:
    """Means over the pairs, or with kto over the labels, under the names the console reads.

    The accuracy is the share of pairs in the right order; with kto that of labels on their side of the baseline. Equal
    ones count half.
    """
    found = {"rewards/accuracies": sums["right"] / sums["judged"]}
    for name in ("chosen", "rejected"):
        if sums[f"{name}_count"]:
            found[f"rewards/{name}"] = sums[name] / sums[f"{name}_count"]
    if len(found) == 3:
        found["rewards/margins"] = found["rewards/chosen"] - found["rewards/rejected"]
    return found


def heldout_numbers(
    log_probs: Sequence[torch.Tensor],
    reference: Sequence[torch.Tensor | None],
    groups: Sequence[Group],
    config: DpoConfig,
    *,
    baseline: float = 0.0,
) -> dict[str, float]:
    """Loss (labels taken as they were given), rewards and accuracy of the held-out groups.

    `accuracy_low` and `accuracy_high` are the accuracy's 95 % bootstrap interval over prompts. Nothing for no groups.
    """
    from training.trainers.heldout import ranking_accuracy

    if not groups:
        return {}
    plain = dataclasses.replace(config, label="hard", label_smoothing=0.0)
    sums: dict[str, float] = {}
    by_prompt: dict[str, tuple[float, int]] = {}
    losses = []
    for values, before, group in zip(log_probs, reference, groups, strict=True):
        loss, numbers = group_loss(values, before, group, plain, baseline=baseline)
        losses.append(loss.item())
        for name, value in numbers.items():
            sums[name] = sums.get(name, 0.0) + value
        right, count = by_prompt.get(group.prompt_id, (0.0, 0))
        by_prompt[group.prompt_id] = (right + numbers["right"], count + int(numbers["judged"]))
    found = ranking_accuracy(list(by_prompt.values()), seed=config.seed) | {"loss": math.fsum(losses) / len(losses)}
    found |= {name: value for name, value in summary(sums).items() if name != "rewards/accuracies"}
    return {f"heldout_{name}": value for name, value in found.items()}


def _share(gap: float) -> float:
    """1 for a gap the right way, 0 for the wrong way, a half for none."""
    return 1.0 if gap > 0 else 0.5 if gap == 0 else 0.0
