"""Held-out numbers: token loss, and ranking accuracy with its bootstrap interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from training.trainers import hardware
from training.trainers.config import TrainingConfig
from training.trainers.padding import length_mask, pad_right
from training.trainers.program import TrainerError

# How many numbers a bootstrap holds at once, 16 MB.
BOOTSTRAP_CELLS = 2_000_000


def check_patience(config: TrainingConfig, heldout: Sequence[Any]) -> None:
    """Refuse to wait for held-out rows where there are none; raises TrainerError."""
    if config.patience and not heldout:
        raise TrainerError("patience needs held-out rows, and the data has none.")


def token_loss(model: Any, rows: Sequence[dict[str, Any]], *, pad_id: int, rows_at_once: int) -> dict[str, float]:
    """Mean loss (nats a token) and share of right first guesses over the labelled tokens of all rows.

    Rows have `input_ids` and `labels` (-100 where no loss is taken). Every token counts alike, whatever batch
    it lies in. Computed in training's number format, before and after alike. Gives nothing for no rows.
    """
    if not rows:
        return {}
    import torch
    from torch.nn.functional import cross_entropy

    device = next(model.parameters()).device
    loss = right = count = 0.0
    was_training = model.training
    model.eval()
    with torch.no_grad(), hardware.autocast():
        for start in range(0, len(rows), rows_at_once):
            batch = rows[start : start + rows_at_once]
            ids = [row["input_ids"] for row in batch]
            labels = pad_right([row["labels"] for row in batch], value=-100)[:, 1:].to(device)
            logits = model(
                input_ids=pad_right(ids, value=pad_id).to(device),
                attention_mask=length_mask(ids).to(device),
                use_cache=False,
            ).logits[:, :-1]
            labelled = labels != -100
            picked, wanted = logits[labelled].float(), labels[labelled]
            loss += float(cross_entropy(picked, wanted, reduction="sum"))
            right += int((picked.argmax(-1) == wanted).sum())
            count += len(wanted)
    model.train(was_training)
    return {"loss": loss / count, "token_accuracy": right / count}


def ranking_accuracy(per_prompt: Sequence[tuple[float, int]], *, seed: int, resamples: int = 2000) -> dict[str, float]:
    """Share of comparisons a reward model gets right, with a 95 % percentile bootstrap interval over prompts.

    `per_prompt` has for each prompt its number of right comparisons (a tied score counts half) and its number of
    comparisons. Prompts, not comparisons, are drawn again: the comparisons of one prompt hang together. Prompts with
    the same two numbers are drawn together, by how many they are, which is the same distribution; memory stays bounded
    for any number of prompts. Gives nothing where there is no comparison.
    """
    total = sum(count for _, count in per_prompt)
    if not total:
        return {}
    import numpy

    right = numpy.array([value for value, _ in per_prompt], dtype=float)
    counts = numpy.array([count for _, count in per_prompt], dtype=float)
    alike, times = numpy.unique(right + 1j * counts, return_counts=True)
    random = numpy.random.default_rng(seed)
    at_once = max(1, BOOTSTRAP_CELLS // len(alike))
    ratios = []
    for start in range(0, resamples, at_once):
        drawn = random.multinomial(len(right), times / len(right), size=min(at_once, resamples - start))
        sums = drawn @ alike.imag
        ratios.append((drawn @ alike.real)[sums > 0] / sums[sums > 0])
    low, high = numpy.percentile(numpy.concatenate(ratios), [2.5, 97.5])
    return {"accuracy": float(right.sum() / total), "accuracy_low": float(low), "accuracy_high": float(high)}


def right_comparisons(scores: Sequence[float], pairs: Sequence[tuple[int, int]]) -> float:
    """How many (better, worse) pairs the scores order rightly; a tied score counts half."""
    return math.fsum(1.0 if scores[i] > scores[j] else 0.5 if scores[i] == scores[j] else 0.0 for i, j in pairs)
