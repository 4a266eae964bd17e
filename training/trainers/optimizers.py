"""The optimizers a recipe may name, as torch has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from training.trainers.config import OptimizingConfig

if TYPE_CHECKING:
    import torch


def make(
    parameters: Mapping[str, torch.nn.Parameter], config: OptimizingConfig, *, epsilon: float = 1e-8
) -> torch.optim.Optimizer:
    """The recipe's optimizer over these parameters; `epsilon` is AdamW's.

    AdamW: Loshchilov and Hutter 2019. Adafactor: Shazeer and Stern 2018, at our own learning rate. SGD with momentum
    `beta1`. Weight decay draws matrices to zero, not biases and the scales of norms, as is usual for transformers.
    """
    import torch

    wide = [parameter for parameter in parameters.values() if parameter.ndim >= 2]
    narrow = [parameter for parameter in parameters.values() if parameter.ndim < 2]
    groups: list[dict[str, Any]] = [
        {"params": group, "weight_decay": decay}
        for group, decay in ((wide, config.weight_decay), (narrow, 0.0))
        if group
    ]
    if config.optimizer == "adafactor":
        return torch.optim.Adafactor(groups, lr=config.learning_rate)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.beta1)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), eps=epsilon)
