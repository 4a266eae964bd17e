"""Direct preference optimisation on rankings (Rafailov et al. 2023, equation 7; IPO: Azar et al. 2023).

    python -m training.trainers.dpo --config run/config.json

Reads RankingRow Parquet and spreads each ranking into pairs, the widest rank gaps first. Trains by TRL's
DPOTrainer on rows tokenised and cut here, as TRL drops rows whose prompt is too long and tokenises answers
together with prompts. With LoRA the reference is the policy with its adapter off; a full run computes the
reference's log-probabilities once, before the first step, and keeps no second model. Row weights choose (0 leaves
a ranking out) but do not scale, which TRL's loss has no place for; a status tells where that matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from training.trainers import hardware, rankings
from training.trainers.config import DpoConfig
from training.trainers.program import Job, Outcome, main
from training.trainers.rankings import EncodedRanking


def widest_pairs(ranks: Sequence[int], pairs: Sequence[tuple[int, int]], *, limit: int) -> list[tuple[int, int]]:
    """The `limit` pairs with the widest rank gap (0: all), ties between gaps in the order of the completions."""
    ordered = sorted(pairs, key=lambda pair: (ranks[pair[0]] - ranks[pair[1]], pair))
    return ordered[:limit] if limit else ordered


def preference_rows(group: Sequence[EncodedRanking], *, pairs_per_prompt: int) -> list[dict[str, list[int]]]:
    """TRL's rows: `prompt_ids`, `chosen_ids`, `rejected_ids`; pairs of the same text give none."""
    rows = []
    for ranking in group:
        texts = ranking.completions
        distinct = [(i, j) for i, j in ranking.pairs if texts[i] != texts[j]]
        for i, j in widest_pairs(ranking.ranks, distinct, limit=pairs_per_prompt):
            rows.append({"prompt_ids": ranking.prompt, "chosen_ids": texts[i], "rejected_ids": texts[j]})
    return rows


def run(job: Job) -> Outcome:
    """Train, and leave a whole model folder in `output_dir`."""
    train_rows, heldout_rows = rankings.read(job)

    from datasets import Dataset
    from trl import DPOConfig

    from training.records import RecordError
    from training.trainers import models, trl_run

    hardware.limit_threads()
    config: DpoConfig = job.config
    start_from = job.reference if job.reference and not same_folder(job.reference, job.model) else None
    job.events.status("Loading the model.")
    tokenizer = models.load_tokenizer(job.model)
    lengths = {"max_length": config.max_length, "max_completion_length": config.max_length // 2}
    encoded = rankings.encode(tokenizer, train_rows, **lengths)
    held = rankings.encode(tokenizer, heldout_rows, **lengths)
    cut = rankings.tell_of_cuts(job, [*encoded, *held])
    train = preference_rows(encoded, pairs_per_prompt=config.pairs_per_prompt)
    heldout = preference_rows(held, pairs_per_prompt=config.pairs_per_prompt)
    if not train:
        raise RecordError(f"The data file {job.data} has no pair of different completions to train on.")
    if len({row.weight for row in train_rows}) > 1:
        job.events.status("DPO does not scale pairs by row weights; only rankings of weight 0 are left out.")
    model = models.load_causal_model(job.model, tokenizer, dtype=hardware.training_dtype())
    reference = None
    if start_from is not None:
        reference = models.load_causal_model(start_from, tokenizer, dtype=hardware.training_dtype())
    full = config.method == "full"
    trainer = _trainer()(
        model=model,
        ref_model=reference,
        args=DPOConfig(
            **trl_run.arguments(job, rows=len(train)),
            beta=config.beta,
            loss_type=[config.loss],
            # Rows are cut already; TRL's own rule would drop some without a word.
            max_length=None,
            precompute_ref_log_probs=full or reference is not None,
            per_device_eval_batch_size=config.micro,
        ),
        train_dataset=Dataset.from_list(train),
        eval_dataset=Dataset.from_list(heldout) if heldout else None,
        processing_class=tokenizer,
        peft_config=None if full else models.lora_config(config=config, task="CAUSAL_LM"),
    )
    metrics = trl_run.train(trainer, job=job)
    steps = trainer.state.global_step
    if heldout:
        found = trainer.evaluate()
        after = {
            f"heldout_{name.removeprefix('eval_')}": float(value)
            for name, value in found.items()
            if name == "eval_loss" or name.startswith("eval_rewards")
        }
        metrics |= after
        job.events.metrics(step=steps, total_steps=steps, metrics=after)
    models.save_model(job.output_dir, model=trainer.model, tokenizer=tokenizer)
    trl_run.finish(job, step=steps)
    tokens = sum(2 * len(r["prompt_ids"]) + len(r["chosen_ids"]) + len(r["rejected_ids"]) for r in train)
    return Outcome(
        metrics=metrics | {"cut_sequences": cut, "heldout_pairs": len(heldout)},
        consumed={
            "rows": len(encoded),
            "tokens": round(tokens * (trainer.state.epoch or 0)),
            "comparisons": len(train),
        },
        checkpoint=job.output_dir,
    )


def same_folder(first: str, second: str) -> bool:
    """Whether two model names mean one folder, however they are written."""
    from pathlib import Path

    return Path(first).resolve() == Path(second).resolve()


def _trainer() -> Any:
    from trl import DPOTrainer

    class TokenisedDpoTrainer(DPOTrainer):
        """TRL's DPO on rows that are tokenised already."""

        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

    return TokenisedDpoTrainer


if __name__ == "__main__":
    raise SystemExit(main("dpo", run, about="Train a policy directly on preferences."))
