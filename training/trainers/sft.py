"""Supervised fine-tuning on demonstrations (Ouyang et al. 2022, section 3.5, "SFT").

    python -m training.trainers.sft --config run/config.json

Reads DemonstrationRow Parquet, or by hand any file of `datafiles.py`; trains on every assistant turn and on nothing
else. A step's loss is the mean over its learnt tokens (`sft_loss.py`). A row's weight, times that of its category,
multiplies its loss. A conversation over `max_length` is cut at its end and counted; one that keeps no assistant token
is left out and counted too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from training.records import DemonstrationRow, RecordError
from training.trainers import category_weights, datafiles, hardware, sharding
from training.trainers.heldout import check_patience, token_loss
from training.trainers.program import Job, Outcome, TrainerError, main
from training.trainers.sft_loss import IGNORED

if TYPE_CHECKING:
    import torch


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
    """The training and the held-out demonstrations, the training ones weighted by their category too.

    Raises RecordError where there is none to train on.
    """
    found = datafiles.demonstrations(job.data)
    for note in found.notes:
        job.events.status(note)
    weights = category_weights.parse(job.config.category_weights)
    if unknown := sorted(set(weights) - {row.category for row in found.rows}):
        job.events.status(f"No demonstration is of the category {', '.join(unknown)}, which category_weights names.")
    train = [
        dataclasses.replace(row, weight=row.weight * weights.get(row.category, 1.0))
        for row in found.rows
        if row.split == "train" and row.weight * weights.get(row.category, 1.0) > 0
    ]
    if not train:
        raise RecordError(f"The data file {job.data} has no demonstration to train on.")
    return train, [row for row in found.rows if row.split == "heldout"]


def prepare_rows(tokenizer: Any, rows: Sequence[DemonstrationRow], *, max_length: int) -> Prepared:
    """Tokenise demonstrations; the rule for long ones is to keep the first `max_length` tokens."""
    from training.trainers.chat import encode_conversation

    prepared, truncated, left_out = [], 0, 0
    for row in rows:
        encoded = encode_conversation(tokenizer, row.messages)
        ids = encoded.ids[:max_length]
        # The first token is never predicted, so a mark there counts for nothing.
        marks = [False, *encoded.by_assistant[1:max_length]]
        truncated += len(encoded.ids) > max_length
        if not any(marks):
            left_out += 1
            continue
        labels = [token if mark else IGNORED for token, mark in zip(ids, marks, strict=True)]
        prepared.append({"input_ids": ids, "labels": labels, "weight": row.weight})
    return Prepared(rows=prepared, truncated=truncated, left_out=left_out)


def run(job: Job) -> Outcome:
    """Train, and leave a whole model folder in `output_dir`."""
    return fine_tune(job, *read(job))


def fine_tune(job: Job, train_rows: Sequence[DemonstrationRow], heldout_rows: Sequence[DemonstrationRow]) -> Outcome:
    """As `run`, on demonstrations that were read or made before; `job.data` is their file."""
    check_patience(job.config, heldout_rows)

    import torch

    from training.trainers import models, sft_loss
    from training.trainers.chat import use_template

    hardware.limit_threads()
    config = job.config
    torch.manual_seed(config.seed)
    job.events.status("Loading the model.")
    tokenizer = models.load_tokenizer(job.model)
    use_template(tokenizer, config.chat_template)
    train = prepare_rows(tokenizer, train_rows, max_length=config.max_length)
    heldout = prepare_rows(tokenizer, heldout_rows, max_length=config.max_length)
    if not train.rows:
        raise TrainerError(f"No demonstration keeps an assistant token within max_length ({config.max_length} tokens).")
    if train.truncated:
        job.events.status(
            f"{train.truncated} of {len(train_rows)} demonstrations are longer than {config.max_length} tokens "
            f"and were cut; {train.left_out} of them kept nothing to learn from and were left out."
        )
    in_4_bits = config.method == "qlora"
    model = models.load_causal_model(job.model, tokenizer, dtype=hardware.training_dtype(), in_4_bits=in_4_bits)
    packing = config.packing
    if packing and (reason := sft_loss.why_not_packed(model, train.rows)):
        packing = False
        job.events.status(f"Conversations are padded, as this model cannot read them end to end: {reason}.")
    if config.trains_adapter:
        model = models.with_lora(model, config=config, task="CAUSAL_LM")
    sharding.place(model, config)

    def look() -> dict[str, float]:
        return token_loss(model, heldout.rows, pad_id=tokenizer.pad_token_id, rows_at_once=config.micro)

    before = look()
    metrics = learn(job, model, train.rows, pad_id=tokenizer.pad_token_id, packing=packing, evaluate=look)
    after = look()
    metrics |= {f"heldout_{name}_before": value for name, value in before.items()}
    metrics |= {f"heldout_{name}": value for name, value in after.items()}
    metrics |= {"truncated_rows": train.truncated, "left_out_rows": train.left_out}
    steps = int(metrics["steps"])
    if after:
        job.events.metrics(
            step=steps, total_steps=steps, metrics={f"heldout_{name}": value for name, value in after.items()}
        )
    models.save_model(job.output_dir, model=model, tokenizer=tokenizer)
    job.events.checkpoint(step=steps, path=job.output_dir)
    tokens = round(train.tokens * metrics["epoch"])
    return Outcome(metrics=metrics, consumed={"rows": len(train.rows), "tokens": tokens}, checkpoint=job.output_dir)


def learn(
    job: Job,
    model: Any,
    rows: Sequence[dict[str, Any]],
    *,
    pad_id: int,
    packing: bool,
    evaluate: Callable[[], dict[str, float]] | None = None,
) -> dict[str, float]:
    """Train on tokenised rows by `loop.fit`. A step's loss is the mean over its learnt tokens, whatever their rows."""
    from training.trainers import models, sft_loss
    from training.trainers.loop import fit

    noise = job.config.neftune_alpha
    loss_of = sft_loss.SftLoss(model, pad_id=pad_id, packing=packing, first=rows[0], neftune_alpha=noise)
    models.save_memory(model, job.config)
    rows_a_token = 0.0  # the loop takes the mean over a step's rows

    def before_step(batch: list[int]) -> None:
        nonlocal rows_a_token
        rows_a_token = len(batch) / sum(label != IGNORED for at in batch for label in rows[at]["labels"])

    def micro_step(positions: list[int]) -> tuple[torch.Tensor, dict[str, float]]:
        loss, numbers = loss_of([rows[at] for at in positions])
        return loss * rows_a_token, numbers

    return fit(
        model,
        job=job,
        rows=len(rows),
        micro_step=micro_step,
        summary=lambda sums: {"token_accuracy": sums["right"] / sums["learnt"]},
        evaluate=evaluate,
        before_step=before_step,
    )


if __name__ == "__main__":
    raise SystemExit(main("sft", run, about="Fine-tune a model on demonstrations."))
