"""Direct preference optimisation on rankings (Rafailov et al. 2023) and on single judged completions (KTO).

    python -m training.trainers.dpo --config run/config.json

Reads RankingRow Parquet, or by hand any file of `datafiles.py`. One row is one prompt with its ranking, and a step is
made of whole prompts: each distinct completion is read once, its prompt once for all of them (`logps.py`), and the
mean over the ranking's pairs, times its weight, is the prompt's loss (`preference.py` has the losses). A step's
loss is the mean over its prompts, whatever the micro batches.

The reference is the model the run starts from: its log-probabilities are computed once, before the first step, with
LoRA by the model without its adapter; a second model is never kept. With `label` soft a pair of posterior p has p
times its loss and 1 - p times that of the pair turned round; with weight |2p - 1| times the loss in the direction that
p says. A ranking keeps its completions whole where they fit `max_length` with their prompt; one that was cut off while
it was sampled gets no end token. With the loss kto a ranking gives labels (`preference_groups.labels_of`), and a file
may have single judged completions in place of rankings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from training.records import RecordError, UnpairedRow
from training.trainers import datafiles, hardware, preference, rankings, sharding, shared_prompt
from training.trainers.config import WITH_REFERENCE, ConfigError, DpoConfig
from training.trainers.heldout import check_patience
from training.trainers.preference_groups import Group, encode_unpaired, groups_of, labels_of, mismatched
from training.trainers.program import Job, Outcome, TrainerError, main

if TYPE_CHECKING:
    import torch


def run(job: Job) -> Outcome:
    """Train, and leave a whole model folder in `output_dir`."""
    config: DpoConfig = job.config
    _check(config)
    train_rows, heldout_rows = _read(job)
    check_patience(config, heldout_rows)

    import torch

    from training.trainers import models
    from training.trainers.kto import Baseline
    from training.trainers.logps import adapter_off, make_reader
    from training.trainers.loop import fit

    hardware.limit_threads()
    torch.manual_seed(config.seed)
    job.events.status("Loading the model.")
    tokenizer = models.load_tokenizer(job.model)
    (train, cut), (heldout, cut_heldout) = (_groups(tokenizer, rows, config) for rows in (train_rows, heldout_rows))
    if not train:
        raise TrainerError(
            f"No ranking has two completions that differ within max_length ({config.max_length} tokens)."
        )
    _tell(job, rows=len(train_rows) + len(heldout_rows), groups=len(train) + len(heldout), cut=cut + cut_heldout)
    apart, apart_heldout = ([], []) if config.loss != "kto" else (mismatched(train, train), mismatched(heldout, train))
    in_4_bits = config.method == "qlora"
    model = models.load_causal_model(job.model, tokenizer, dtype=hardware.training_dtype(), in_4_bits=in_4_bits)
    if config.trains_adapter:
        model = models.with_lora(model, config=config, task="CAUSAL_LM")
    sharding.place(model, config)
    models.save_memory(model, config, by_itself=False)  # few logits exist at once: memory is short later than elsewhere
    attention = shared_prompt.attention_of(model)
    reader = make_reader(model, pad_id=tokenizer.pad_token_id, first=train[0], job=job)

    def by_reference(groups: Sequence[Group], rows: Sequence[int]) -> dict[int, torch.Tensor]:
        if config.loss not in WITH_REFERENCE or not groups:
            return {}
        with adapter_off(model):
            found = reader.all_log_probs([groups[at] for at in rows], rows_at_once=config.micro, job=job)
        return dict(zip(rows, found, strict=True))

    if config.loss in WITH_REFERENCE:
        job.events.status("Computing the reference's log-probabilities.")
    visited, held = _visited(config, rows=len(train)), range(len(heldout))
    reference, reference_heldout = by_reference(train, visited), by_reference(heldout, held)
    baseline, baseline_heldout = (
        Baseline(reader, groups, by_reference(groups, rows), rows_at_once=config.micro)
        for groups, rows in ((apart, visited), (apart_heldout, held))
    )

    def micro_step(positions: list[int]) -> tuple[torch.Tensor, dict[str, float]]:
        groups = [train[at] for at in positions]
        losses, sums = [], dict[str, float]()
        for at, group, log_probs in zip(positions, groups, reader.log_probs(groups), strict=True):
            loss, numbers = preference.group_loss(
                log_probs, reference[at] if reference else None, group, config, baseline=baseline.value
            )
            losses.append(group.weight * loss)
            for name, value in numbers.items():
                sums[name] = sums.get(name, 0.0) + value
        return torch.stack(losses).sum(), sums

    def look() -> dict[str, float]:
        if not heldout:
            return {}
        return preference.heldout_numbers(
            reader.all_log_probs(heldout, rows_at_once=config.micro),
            [reference_heldout.get(at) for at in held],
            heldout,
            config,
            baseline=baseline_heldout.renew(held) if apart else 0.0,
        )

    metrics = fit(
        model,
        job=job,
        rows=len(train),
        micro_step=micro_step,
        summary=lambda sums: preference.summary(sums) | ({"kl": baseline.value} if apart else {}),
        evaluate=lambda: {name.removeprefix("heldout_"): value for name, value in look().items()},
        before_step=baseline.renew if apart else None,
    )
    steps = int(metrics["steps"])
    if found := look():
        metrics |= found
        job.events.metrics(step=steps, total_steps=steps, metrics=found)
    shared_prompt.use_attention(model, attention)
    models.save_model(job.output_dir, model=model, tokenizer=tokenizer)
    job.events.checkpoint(step=steps, path=job.output_dir)
    return Outcome(
        metrics=metrics | {"cut_sequences": cut + cut_heldout, "heldout_pairs": _judged(heldout)},
        consumed={
            "rows": len(train),
            "tokens": round(sum(group.tokens for group in train) * metrics["epoch"]),
            "comparisons": _judged(train),
        },
        checkpoint=job.output_dir,
    )


def _visited(config: DpoConfig, *, rows: int) -> list[int]:
    """The rows that the run comes to: a run of a few steps does not come to all, and its first epoch says to which."""
    from training.trainers.loop import order
    from training.trainers.schedule import total_steps

    return sorted(order(rows, seed=config.seed, epoch=0)[: total_steps(config, rows) * config.batch_size])


def _judged(groups: Sequence[Group]) -> int:
    """Pairs, or labels, of all groups."""
    return sum(len(group.pairs) + len(group.labels) for group in groups)


def _check(config: DpoConfig) -> None:
    """Refuse values that do not go together; raises ConfigError."""
    if config.loss != "kto":
        return
    if config.label != "hard":
        raise ConfigError({"label": f"label must be hard with the loss kto, not {config.label!r}."})
    if config.label_smoothing:
        raise ConfigError({"label_smoothing": "label_smoothing must be 0 with the loss kto."})
    if not config.desirable_weight and not config.undesirable_weight:
        raise ConfigError({"desirable_weight": "desirable_weight and undesirable_weight cannot both be 0."})


def _read(job: Job) -> tuple[Sequence[Any], Sequence[Any]]:
    """The training and the held-out rows: rankings, or with the loss kto also single labels.

    Raises RecordError where there is nothing to train on, or only labels of one kind.
    """
    config: DpoConfig = job.config
    if datafiles.is_unpaired(job.data):
        if config.loss != "kto":
            raise RecordError(
                f"The data file {job.data} has single judged completions, which the loss {config.loss} cannot use; "
                "the loss kto can."
            )
        rows = [row for row in datafiles.unpaired(job.data).rows if row.weight > 0]
        train, heldout = ([row for row in rows if row.split == split] for split in ("train", "heldout"))
        kinds = {row.desirable for row in train}
    else:
        train, heldout = rankings.read(job)  # type: ignore[assignment]
        rankings.check_posteriors(job, train, label=config.label)  # type: ignore[arg-type]
        if config.loss != "kto":
            return train, heldout
        kinds = {kind for row in train for kind in labels_of(row.ranks, row.unacceptable).values()}  # type: ignore[attr-defined]
    if len(kinds) < 2:
        found = "none" if not kinds else "only desirable ones" if True in kinds else "only undesirable ones"
        raise RecordError(f"The loss kto needs desirable and undesirable completions; {job.data} has {found}.")
    return train, heldout


def _groups(tokenizer: Any, rows: Sequence[Any], config: DpoConfig) -> tuple[list[Group], int]:
    """What the loss takes of the rows, and how many sequences were cut."""
    if rows and isinstance(rows[0], UnpairedRow):
        return encode_unpaired(tokenizer, rows, max_length=config.max_length)
    encoded = rankings.encode(tokenizer, rows, max_length=config.max_length)
    groups = groups_of(rows, encoded, loss=config.loss, limit=config.pairs_per_prompt)
    return groups, sum(ranking.cut for ranking in encoded)


def _tell(job: Job, *, rows: int, groups: int, cut: int) -> None:
    """Say what was cut and what was left out."""
    if cut:
        job.events.status(
            f"{cut} prompts or completions do not fit together into max_length "
            f"({job.config.max_length} tokens) and were cut."
        )
    if groups < rows:
        job.events.status(f"{rows - groups} of {rows} rankings compare equal completions only and are left out.")


if __name__ == "__main__":
    raise SystemExit(main("dpo", run, about="Train a policy directly on preferences."))
