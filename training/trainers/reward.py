"""A reward model from rankings, K-wise (Ouyang et al. 2022, section 3.5, equation 1).

    python -m training.trainers.reward --config run/config.json

Reads RankingRow Parquet. One row is one prompt with its K completions; all are scored in one forward
(`shared_prompt.py`), and every comparison of the ranking enters one loss (`kwise.py`). The trunk comes from a language
model of any size (usually the SFT checkpoint) or from an earlier reward model; a new head starts from
N(0, 1/sqrt(d + 1)) (Stiennon et al. 2020). It writes a sequence-classification folder with one label, `reward.json`
with the spread of its scores and its zero point (`zero_point.py`), and `report.json` with what it is worth on held-out
rankings (`reward_report.py`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.trainers import (
    annotator_weights,
    hardware,
    rankings,
    reward_report,
    sharding,
    shared_prompt,
    zero_point,
)
from training.trainers.config import RewardConfig
from training.trainers.heldout import check_patience, right_comparisons
from training.trainers.inputs import DEMONSTRATIONS
from training.trainers.program import Job, Outcome, main
from training.trainers.rankings import EncodedRanking
from training.trainers.reward_report import Judged
from training.trainers.scorer import Scorer, is_reward_model, load_reward_model, make_scorer

if TYPE_CHECKING:
    import torch


def evaluate(
    scorer: Scorer, group: Sequence[EncodedRanking], *, seed: int, rows_at_once: int, job: Job | None = None
) -> tuple[dict[str, float], list[list[float]]]:
    """Accuracy over all comparisons with its 95 % interval over prompts, the mean loss, and each ranking's scores.

    Raises Stopped where the `job` was asked to stop meanwhile.
    """
    if not group:
        return {}, []
    found = scorer.all_scores(group, rows_at_once=rows_at_once, job=job)
    counts, loss = [], 0.0
    for ranking, scores in zip(group, found, strict=True):
        pairs = ranking.pairs
        counts.append((ranking.prompt_id, right_comparisons(scores, pairs), len(pairs)))
        loss += sum(_softplus(scores[j] - scores[i]) for i, j in pairs) / len(pairs)
    share = reward_report.share(counts, seed=seed)
    assert share is not None  # held-out rankings have comparisons (`rankings.read`)
    numbers = {"accuracy": share["value"], "accuracy_low": share["low"], "accuracy_high": share["high"]}
    return numbers | {"loss": loss / len(group)}, found


def run(job: Job) -> Outcome:
    """Train, and leave a whole reward model folder with `reward.json` and `report.json` in `output_dir`."""
    config: RewardConfig = job.config
    train_rows, heldout_rows = rankings.read(job, keep_ties=config.ties != "leave_out")
    check_patience(config, heldout_rows)
    written = job.inputs.get(DEMONSTRATIONS)
    demonstrations = zero_point.read_demonstrations(Path(written)) if written else []
    rankings.check_posteriors(job, train_rows, label=config.label)
    factors: dict[str, float] = {}
    if config.annotator_weight == "reliability":
        train_rows, factors = annotator_weights.weigh(job, train_rows)

    import torch

    from training.trainers import models
    from training.trainers.kwise import kwise_loss
    from training.trainers.loop import fit

    hardware.limit_threads()
    torch.manual_seed(config.seed)
    job.events.status("Loading the model.")
    tokenizer = models.load_tokenizer(job.model)
    lengths = {"max_length": config.max_length, "max_completion_length": config.max_completion_length}
    train = rankings.encode(tokenizer, train_rows, **lengths)
    heldout = rankings.encode(tokenizer, heldout_rows, **lengths)
    cut = rankings.tell_of_cuts(job, [*train, *heldout], **lengths)
    model = load_reward_model(job.model, tokenizer, seed=config.seed, in_4_bits=config.method == "qlora")
    if config.trains_adapter:
        model = models.with_lora(model, config=config, task="SEQ_CLS", also_train=["score"])
    sharding.place(model, config)
    models.save_memory(model, config, by_itself=False)  # a score needs no logits: memory is short later than elsewhere
    attention = shared_prompt.attention_of(model)
    scorer = make_scorer(model, pad_id=tokenizer.pad_token_id, first=train[0], job=job)

    def look() -> dict[str, float]:
        return evaluate(scorer, heldout, seed=config.seed, rows_at_once=config.micro)[0]

    # A head that was drawn at random knows nothing worth the time; a trained one is looked at first.
    before: dict[str, float] = {}
    if is_reward_model(job.model):
        before = evaluate(scorer, heldout, seed=config.seed, rows_at_once=config.micro, job=job)[0]
    tie_threshold = config.tie_threshold if config.ties == "rao_kupper" else None

    def micro_step(positions: list[int]) -> tuple[torch.Tensor, dict[str, float]]:
        group = [train[position] for position in positions]
        losses = []
        numbers = {"right": 0.0, "margins": 0.0, "pairs": 0.0, "tokens": 0.0}
        for ranking, scores in zip(group, scorer.scores(group), strict=True):
            losses.append(
                kwise_loss(
                    scores,
                    ranking.ranks,
                    weight=ranking.weight,
                    margin=config.margin,
                    margin_size=config.margin_size,
                    center_coefficient=config.center_coefficient,
                    label=config.label,
                    posteriors=ranking.posteriors,
                    tie_threshold=tie_threshold,
                )
            )
            values = scores.detach().float().tolist()
            gaps = [values[i] - values[j] for i, j in ranking.pairs]
            numbers["right"] += sum(gap > 0 for gap in gaps)
            numbers["margins"] += sum(gaps)
            numbers["pairs"] += len(gaps)
            numbers["tokens"] += ranking.tokens
        return torch.stack(losses).sum(), numbers

    metrics = fit(model, job=job, rows=len(train), micro_step=micro_step, summary=_summary, evaluate=look)
    after, scores = evaluate(scorer, heldout, seed=config.seed, rows_at_once=config.micro)
    steps = int(metrics["steps"])
    if after:
        job.events.metrics(
            step=steps, total_steps=steps, metrics={f"heldout_{name}": value for name, value in after.items()}
        )
    metrics |= {f"heldout_{name}_before": value for name, value in before.items()}
    metrics |= {f"heldout_{name}": value for name, value in after.items()}
    report: dict[str, Any] = {"annotator_weights": factors}
    if heldout:
        judged = [
            Judged(row=row, scores=found, tokens=[len(ids) for ids in ranking.completions])
            for row, ranking, found in zip(heldout_rows, heldout, scores, strict=True)
        ]
        trained_on = Counter(row.annotator for row in train_rows)
        found = reward_report.report(judged, trained_on=trained_on, seed=config.seed, tie_threshold=tie_threshold)
        report |= found
        metrics |= reward_report.headline(found)
    scored_rows, split = (heldout_rows, "heldout") if heldout else (train_rows, "train")
    if not heldout:
        scores = scorer.all_scores(train, rows_at_once=config.micro)
    facts: dict[str, Any] = {**spread(scores), "source": split, **after}
    if written:
        facts["zero_point"] = zero_point.of_demonstrations(
            tokenizer,
            demonstrations,
            path=Path(written),
            score=lambda group: scorer.all_scores(group, rows_at_once=config.micro),
            **lengths,
        )
    else:
        facts["zero_point"] = zero_point.of_best_ranked(scored_rows, scores, split=split)
    metrics |= {"reward_mean": facts["mean"], "reward_std": facts["std"], "cut_sequences": cut}
    metrics |= {"zero_point": facts["zero_point"]["reward"]}
    shared_prompt.use_attention(model, attention)
    models.save_model(
        job.output_dir, model=model, tokenizer=tokenizer, files={"reward.json": facts, "report.json": report}
    )
    job.events.checkpoint(step=steps, path=job.output_dir)
    return Outcome(
        metrics=metrics,
        consumed={
            "rows": len(train),
            "tokens": round(sum(ranking.tokens for ranking in train) * metrics["epoch"]),
            "comparisons": sum(len(ranking.pairs) for ranking in train),
        },
        checkpoint=job.output_dir,
        outputs={"report": str(job.output_dir / "report.json")},
    )


def spread(scores: Sequence[Sequence[float]]) -> dict[str, float]:
    """Mean, standard deviation and number of all scores."""
    flat = [score for row in scores for score in row]
    mean = math.fsum(flat) / len(flat)
    return {
        "mean": mean,
        "std": math.sqrt(math.fsum((score - mean) ** 2 for score in flat) / len(flat)),
        "count": len(flat),
    }


def _summary(sums: dict[str, float]) -> dict[str, float]:
    # A step may hold rankings of ties alone.
    pairs = sums["pairs"] or math.nan
    return {"accuracy": sums["right"] / pairs, "margin": sums["margins"] / pairs}


def _softplus(value: float) -> float:
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))


if __name__ == "__main__":
    raise SystemExit(main("reward", run, about="Train a reward model on rankings."))
