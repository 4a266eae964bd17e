"""How many steps a run takes, and its learning rate at each; no torch."""

from __future__ import annotations

import math

from training.trainers.config import TrainingConfig


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Optimizer steps in one pass; the last may have fewer rows."""
    return math.ceil(rows / batch_size)


def total_steps(config: TrainingConfig, rows: int) -> int:
    """Optimizer steps of a whole run."""
    return config.max_steps or max(1, math.ceil(config.epochs * steps_per_epoch(rows, config.batch_size)))


def warmup_steps(config: TrainingConfig, rows: int) -> int:
    """Steps over which the rate rises, rounded down: a run of a few steps wastes none at a rate of zero."""
    return int(config.warmup_ratio * total_steps(config, rows))


def rate_factor(step: int, *, total: int, warmup: int, kind: str) -> float:
    """The share of the largest learning rate used at `step` (from 0), as in transformers' schedules."""
    if step < warmup:
        return step / warmup
    done = (step - warmup) / max(1, total - warmup)
    if kind == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1 - done if kind == "linear" else 1.0
