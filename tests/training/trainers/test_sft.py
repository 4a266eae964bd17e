"""A row's weight multiplies its loss, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.trainers.models import load_causal_model, load_tokenizer
from training.trainers.sft import IGNORED, _collate, _weighted_trainer


def test_a_rows_weight_multiplies_its_loss_and_its_gradient(tiny: Path, tmp_path: Path) -> None:
    """Rows of 3 and 1 labelled tokens, weights 2 and 0.5: (2 x sum of 3 losses + 0.5 x 1 loss) / 4 tokens.

    The weights must not enter the number of tokens: then two rows of weight 2 would count as one.
    """
    from datasets import Dataset
    from trl import SFTConfig

    rows = [
        {"input_ids": [5, 6, 7, 8, 9], "labels": [IGNORED, IGNORED, 7, 8, 9], "weight": 2.0},
        {"input_ids": [10, 11, 12], "labels": [IGNORED, IGNORED, 12], "weight": 0.5},
    ]
    tokenizer = load_tokenizer(str(tiny))
    model = load_causal_model(str(tiny), tokenizer, dtype=torch.float32)

    def loss_of(row: dict, at: int) -> torch.Tensor:
        logits = model(input_ids=torch.tensor([row["input_ids"]]), use_cache=False).logits[0]
        return -logits[at - 1].log_softmax(-1)[row["input_ids"][at]]

    by_hand = (2.0 * sum(loss_of(rows[0], at) for at in (2, 3, 4)) + 0.5 * loss_of(rows[1], 2)) / 4
    by_hand.backward()
    expected = torch.cat([p.grad.flatten() for p in model.parameters()])
    model.zero_grad()
    trainer = _weighted_trainer()(
        model=model,
        args=SFTConfig(
            output_dir=str(tmp_path),
            bf16=False,
            use_cpu=True,
            gradient_checkpointing=False,
            report_to="none",
            remove_unused_columns=False,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        data_collator=_collate(tokenizer.pad_token_id),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    loss = trainer.compute_loss(trainer.model, _collate(0)(rows))
    loss.backward()
    found = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert loss.item() == pytest.approx(by_hand.item(), rel=1e-5)
    assert (found - expected).norm() / expected.norm() < 1e-5
    # Of a step of two micro batches with 10 labelled tokens in all, this one has its share.
    share = trainer.compute_loss(trainer.model, _collate(0)(rows), num_items_in_batch=torch.tensor(10))
    assert share.item() == pytest.approx(by_hand.item() * 4 / 10, rel=1e-5)
