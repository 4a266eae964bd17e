"""Supervised fine-tuning on demonstrations (Ouyang et al. 2022, section 3.5, "SFT").

    python -m training.trainers.sft --config run/config.json

Reads DemonstrationRow Parquet, trains on every assistant turn and on nothing else, by TRL's SFTTrainer. The rows
are tokenised here (`chat.py`), as TRL refuses templates without generation marks. A row's weight multiplies its
loss. A conversation over `max_length` is cut at its end and counted; one that keeps no assistant token is left out
and counted too. It leaves out packing, which saves little on conversations and hides rows from each other badly on
a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.records import DemonstrationRow, RecordError, read_parquet
from training.trainers import hardware
from training.trainers.program import Job, Outcome, TrainerError, main

IGNORED = -100  # torch's label for a token that no loss is taken of


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Tokenised rows: `input_ids`, `labels` (IGNORED off the assistant's tokens), `weight`; and what was cut."""

    rows: list[dict[str, Any]]
    truncated: int
    left_out: int

    @property
    def tokens(self) -> int:
        """Tokens in all rows."""
        return sum(len(row["input_ids"]) for row in self.rows)


def read(job: Job) -> tuple[list[DemonstrationRow], list[DemonstrationRow]]:
    """The training and the held-out demonstrations; raises RecordError where there is none to train on."""
    rows = read_parquet(job.data, row_type=DemonstrationRow)
    train = [row for row in rows if row.split == "train" and row.weight > 0]
    if not train:
        raise RecordError(f"The data file {job.data} has no demonstration to train on.")
    return train, [row for row in rows if row.split == "heldout"]


def prepare_rows(tokenizer: Any, rows: Sequence[DemonstrationRow], *, max_length: int) -> Prepared:
    """Tokenise demonstrations; the rule for long ones is to keep the first `max_length` tokens."""
    from training.trainers.chat import encode_conversation

    prepared, truncated, left_out = [], 0, 0
    for row in rows:
        encoded = encode_conversation(tokenizer, row.messages)
        ids = encoded.ids[:max_length]
        marks = encoded.by_assistant[:max_length]
        truncated += len(encoded.ids) > max_length
        # The first token is never predicted, so a mark there counts for nothing.
        if not any(marks[1:]):
            left_out += 1
            continue
        labels = [token if mark else IGNORED for token, mark in zip(ids, marks, strict=True)]
        prepared.append({"input_ids": ids, "labels": labels, "weight": row.weight})
    return Prepared(rows=prepared, truncated=truncated, left_out=left_out)


def run(job: Job) -> Outcome:
    """Train, and leave a whole model folder in `output_dir`."""
    train_rows, heldout_rows = read(job)

    from datasets import Dataset
    from trl import SFTConfig

    from training.trainers import models, trl_run
    from training.trainers.heldout import token_loss

    hardware.limit_threads()
    config = job.config
    job.events.status("Loading the model.")
    tokenizer = models.load_tokenizer(job.model)
    train = prepare_rows(tokenizer, train_rows, max_length=config.max_length)
    heldout = prepare_rows(tokenizer, heldout_rows, max_length=config.max_length)
    if not train.rows:
        raise TrainerError(f"No demonstration keeps an assistant token within max_length ({config.max_length} tokens).")
    if train.truncated:
        job.events.status(
            f"{train.truncated} of {len(train_rows)} demonstrations are longer than {config.max_length} tokens "
            f"and were cut; {train.left_out} of them kept nothing to learn from and were left out."
        )
    model = models.load_causal_model(job.model, tokenizer, dtype=hardware.training_dtype())
    trainer = _weighted_trainer()(
        model=model,
        args=SFTConfig(
            **trl_run.arguments(job, rows=len(train.rows)),
            max_length=config.max_length,
            remove_unused_columns=False,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        data_collator=_collate(tokenizer.pad_token_id),
        train_dataset=Dataset.from_list(train.rows),
        processing_class=tokenizer,
        peft_config=models.lora_config(config=config, task="CAUSAL_LM") if config.method == "lora" else None,
    )
    before = token_loss(trainer.model, heldout.rows, pad_id=tokenizer.pad_token_id, rows_at_once=config.micro)
    metrics = trl_run.train(trainer, job=job)
    after = token_loss(trainer.model, heldout.rows, pad_id=tokenizer.pad_token_id, rows_at_once=config.micro)
    metrics |= {f"heldout_{name}_before": value for name, value in before.items()}
    metrics |= {f"heldout_{name}": value for name, value in after.items()}
    metrics |= {"truncated_rows": train.truncated, "left_out_rows": train.left_out}
    steps = trainer.state.global_step
    if after:
        job.events.metrics(
            step=steps, total_steps=steps, metrics={f"heldout_{name}": value for name, value in after.items()}
        )
    models.save_model(job.output_dir, model=trainer.model, tokenizer=tokenizer)
    job.events.checkpoint(step=steps, path=job.output_dir)
    tokens = round(train.tokens * (trainer.state.epoch or 0))
    return Outcome(metrics=metrics, consumed={"rows": len(train.rows), "tokens": tokens}, checkpoint=job.output_dir)


def _collate(pad_id: int) -> Any:
    """Pad rows on the right to the longest one; the attention mask comes from lengths, never from the pad id."""
    import torch

    from training.trainers.padding import pad_right

    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        ids = [row["input_ids"] for row in rows]
        batch = {
            "input_ids": pad_right(ids, value=pad_id),
            "attention_mask": pad_right([[1] * len(row) for row in ids], value=0),
            "labels": pad_right([row["labels"] for row in rows], value=IGNORED),
        }
        weights = [row["weight"] for row in rows]
        if any(weight != 1 for weight in weights):
            batch["weight"] = torch.tensor(weights)
        return batch

    return collate


def _weighted_trainer() -> Any:
    from trl import SFTTrainer

    class WeightedSftTrainer(SFTTrainer):
        """TRL's SFT, but a row's weight multiplies the loss of its tokens."""

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            weight = inputs.pop("weight", None)
            if weight is None:
                return super().compute_loss(
                    model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch
                )
            outputs = model(**inputs, use_cache=False, fused_lm_head=True)
            tokens = outputs.label_mask.sum() if num_items_in_batch is None else num_items_in_batch
            self._total_train_tokens += int(inputs["attention_mask"].sum())
            self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
            return -(outputs.log_probs * weight[:, None]).sum() / tokens

    return WeightedSftTrainer


if __name__ == "__main__":
    raise SystemExit(main("sft", run, about="Fine-tune a model on demonstrations."))
