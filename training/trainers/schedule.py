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


def rate_factor(step: int, *, total: int, warmup: int, kind: str, lowest: float = 0.0) -> float:
    """The share of the largest learning rate used at `step` (from 0), as in transformers' schedules.

    After the warm-up it falls no lower than `lowest`: cosine and linear reach that at the end, inverse_sqrt (Vaswani et
    al. 2017, section 5.3) follows one over the root of the step from there on, or as if 10,000 steps had warmed it up.
    """
    if step < warmup:
        return step / warmup
    done = (step - warmup) / max(1, total - warmup)
    if kind == "cosine":
        share = 0.5 * (1 + math.cos(math.pi * done))
    elif kind == "linear":
        share = 1 - done
    elif kind == "inverse_sqrt":
        scale = warmup or 10_000
        return max(lowest, math.sqrt(scale / (step + scale - warmup)))
    else:
        return 1.0
    return lowest + (1 - lowest) * share
