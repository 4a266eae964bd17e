"""Held-out numbers by hand."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy
import pytest
import torch

from training.trainers import hardware
from training.trainers.heldout import ranking_accuracy, right_comparisons, token_loss
from training.trainers.models import load_causal_model, load_tokenizer


def test_accuracy_is_over_comparisons_and_resamples_prompts() -> None:
    """Prompts with 6 of 6 and 0 of 2 right: 6 / 8. Drawing two prompts again gives 1, 0.75 or 0."""
    found = ranking_accuracy([(6, 6), (0, 2)], seed=0)
    assert found == {"accuracy": 0.75, "accuracy_low": 0.0, "accuracy_high": 1.0}
    assert ranking_accuracy([], seed=0) == {}


def test_the_interval_narrows_with_prompts() -> None:
    """100 prompts of one comparison, 70 right: about 0.7 +- 1.96 x sqrt(0.7 x 0.3 / 100) = 0.61 to 0.79."""
    found = ranking_accuracy([(1, 1)] * 70 + [(0, 1)] * 30, seed=1)
    assert found["accuracy_low"] == pytest.approx(0.61, abs=0.015)
    assert found["accuracy_high"] == pytest.approx(0.79, abs=0.015)


@pytest.mark.slow
@pytest.mark.parametrize("halves", [True, False])
def test_a_hundred_thousand_prompts_need_little_memory_and_give_the_same_interval(halves: bool) -> None:
    """The interval of a ratio by the delta method: 1.96 x the deviation of right - ratio x count, over mean count and
    the root of the number of prompts. Once with few different pairs of numbers, once with every one its own."""
    random = numpy.random.default_rng(3)
    counts = random.integers(1, 37, size=100_000)
    right = counts * random.random(100_000)
    if halves:
        right = numpy.round(2 * right) / 2
    per_prompt = list(zip(right.tolist(), counts.tolist(), strict=True))
    tracemalloc.start()
    found = ranking_accuracy(per_prompt, seed=0, resamples=400)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120e6  # all draws at once would take 400 x 100,000 x 8 bytes and more
    ratio = right.sum() / counts.sum()
    half = 1.96 * numpy.std(right - ratio * counts) / counts.mean() / 100_000**0.5
    assert found["accuracy"] == pytest.approx(ratio)
    assert found["accuracy_low"] == pytest.approx(ratio - half, abs=half / 4)
    assert found["accuracy_high"] == pytest.approx(ratio + half, abs=half / 4)


def test_a_tied_score_counts_half() -> None:
    assert right_comparisons([1.0, 1.0, 0.0], [(0, 1), (0, 2), (2, 1)]) == 1.5


def test_every_token_counts_alike_in_any_batch(tiny: Path) -> None:
    model = load_causal_model(str(tiny), load_tokenizer(str(tiny)), dtype=torch.float32)
    rows = [
        {"input_ids": [5, 6, 7, 8, 9], "labels": [-100, -100, 7, 8, 9]},
        {"input_ids": [5, 6, 7], "labels": [-100, -100, 7]},
    ]
    alone = [token_loss(model, [row], pad_id=0, rows_at_once=1)["loss"] for row in rows]
    together = token_loss(model, rows, pad_id=0, rows_at_once=2)
    assert together["loss"] == pytest.approx((3 * alone[0] + alone[1]) / 4, rel=1e-5)
    assert token_loss(model, rows, pad_id=0, rows_at_once=1)["loss"] == pytest.approx(together["loss"], rel=1e-5)
    assert token_loss(model, [], pad_id=0, rows_at_once=1) == {}


def test_the_heldout_loss_has_trainings_number_format(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before training nothing wraps the model, after it accelerate does: both numbers must be of one format."""
    model = load_causal_model(str(tiny), load_tokenizer(str(tiny)), dtype=torch.float32)
    rows = [{"input_ids": [5, 6, 7, 8, 9], "labels": [-100, -100, 7, 8, 9]}]
    formats: list[torch.dtype] = []
    model.lm_head.register_forward_hook(lambda module, inputs, output: formats.append(output.dtype))
    token_loss(model, rows, pad_id=0, rows_at_once=1)
    monkeypatch.setattr(hardware, "autocast", lambda: torch.autocast("cpu", dtype=torch.bfloat16))
    token_loss(model, rows, pad_id=0, rows_at_once=1)
    assert formats == [torch.float32, torch.bfloat16]
