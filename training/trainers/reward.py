"""A reward model from rankings, K-wise (Ouyang et al. 2022, section 3.5, equation 1).

    python -m training.trainers.reward --config run/config.json

Reads RankingRow Parquet. One row is one prompt with its K completions; all are scored in one forward and every
comparison of the ranking enters one loss (`kwise.py`). The trunk comes from a language model (usually the SFT
checkpoint) or from an earlier reward model; a new head starts from N(0, 1/sqrt(d + 1)) (Stiennon et al. 2020). It
writes a sequence-classification folder with one label, and `reward.json` with the mean and spread of its scores.

It leaves out a tie term: ties drop out.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from training.trainers import hardware, rankings
from training.trainers.config import RewardConfig
from training.trainers.program import Job, Outcome, TrainerError, main
from training.trainers.rankings import EncodedRanking

if TYPE_CHECKING:
    import torch

# Scores by a shared prompt and by the plain path may differ by the rounding of float32 only.
_SAME_SCORES = 1e-3


def load_reward_model(model: str, tokenizer: Any, *, seed: int) -> Any:
    """A sequence classifier with one label from a language model's folder or an earlier reward model's."""
    import torch
    from transformers import AutoModelForSequenceClassification

    from training.trainers.models import describe_folder

    loaded = AutoModelForSequenceClassification.from_pretrained(
        model, num_labels=1, dtype=hardware.training_dtype(), use_safetensors=True
    )
    loaded.config.pad_token_id = tokenizer.pad_token_id
    names = describe_folder(model).get("architectures") or []
    if not any(name.endswith("ForSequenceClassification") for name in names):
        if not hasattr(loaded, "score"):
            raise TrainerError(f"No reward model can be made of {model}: its architecture has no scoring head.")
        width = loaded.score.weight.shape[1]
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            loaded.score.weight.normal_(0, 1 / math.sqrt(width + 1), generator=generator)
    return loaded


class Scorer:
    """Scores encoded rankings with one model, by the shared prompt where the model allows it.

    In training's number format, or in float32 where it is `exact`.
    """

    def __init__(self, model: Any, *, pad_id: int, shared: bool, exact: bool = False) -> None:
        self.model, self.pad_id, self.shared, self.exact = model, pad_id, shared, exact

    def scores(self, group: Sequence[EncodedRanking]) -> list[torch.Tensor]:
        """Rewards of shape (K,) for each ranking."""
        from training.trainers.kwise import kwise_scores_batch, plain_scores

        with contextlib.nullcontext() if self.exact else hardware.autocast():
            if self.shared:
                return kwise_scores_batch(
                    self.model,
                    [ranking.prompt for ranking in group],
                    [ranking.completions for ranking in group],
                    pad_id=self.pad_id,
                )
            return [
                plain_scores(self.model, ranking.prompt, ranking.completions, pad_id=self.pad_id) for ranking in group
            ]

    def all_scores(self, group: Sequence[EncodedRanking], *, rows_at_once: int) -> list[list[float]]:
        """Rewards as plain numbers, without gradients or dropout."""
        import torch

        was_training = self.model.training
        self.model.eval()
        found: list[list[float]] = []
        with torch.no_grad():
            for start in range(0, len(group), rows_at_once):
                found += [row.float().tolist() for row in self.scores(group[start : start + rows_at_once])]
        self.model.train(was_training)
        return found


def make_scorer(model: Any, *, pad_id: int, first: EncodedRanking, job: Job) -> Scorer:
    """The fast scorer where it is exact for this model, checked on one ranking; else the plain one, and says so.

    The check computes in float32: in bfloat16 rounding would hide a model that reads a shared prompt otherwise.
    """
    from training.trainers.kwise import why_not_shared

    plain = Scorer(model, pad_id=pad_id, shared=False)
    reason = why_not_shared(model)
    if reason is None:
        one, two = (
            Scorer(model, pad_id=pad_id, shared=shared, exact=True).all_scores([first], rows_at_once=1)[0]
            for shared in (True, False)
        )
        if all(abs(a - b) <= _SAME_SCORES * max(1.0, abs(b)) for a, b in zip(one, two, strict=True)):
            return Scorer(model, pad_id=pad_id, shared=True)
        reason = "its scores came out different"
    job.events.status(f"The prompt is read again for each completion, as this model cannot share it: {reason}.")
    return plain


def evaluate(
    scorer: Scorer, group: Sequence[EncodedRanking], *, seed: int, rows_at_once: int
) -> tuple[dict[str, float], list[float]]:
    """Accuracy over all comparisons with its 95 % interval over prompts, the mean loss, and all scores."""
    from training.trainers.heldout import ranking_accuracy, right_comparisons

    if not group:
        return {}, []
    found = scorer.all_scores(group, rows_at_once=rows_at_once)
    by_prompt: dict[str, tuple[float, int]] = {}
    loss = 0.0
    for ranking, scores in zip(group, found, strict=True):
        right, count = by_prompt.get(ranking.prompt_id, (0.0, 0))
        pairs = ranking.pairs
        by_prompt[ranking.prompt_id] = (right + right_comparisons(scores, pairs), count + len(pairs))
        loss += sum(_softplus(scores[j] - scores[i]) for i, j in pairs) / len(pairs)
    numbers = ranking_accuracy(list(by_prompt.values()), seed=seed) | {"loss": loss / len(group)}
    return numbers, [score for scores in found for score in scores]


def run(job: Job) -> Outcome:
    """Train, and leave a whole reward model folder with `reward.json` in `output_dir`."""
    train_rows, heldout_rows = rankings.read(job)

    import torch

    from training.trainers import models
    from training.trainers.kwise import kwise_loss
    from training.trainers.loop import fit

    hardware.limit_threads()
    config: RewardConfig = job.config
    rankings.check_posteriors(job, train_rows, label=config.label)
    torch.manual_seed(config.seed)
    job.events.status("Loading the model.")
    tokenizer = models.load_tokenizer(job.model)
    lengths = {"max_length": config.max_length, "max_completion_length": config.max_completion_length}
    train = rankings.encode(tokenizer, train_rows, **lengths)
    heldout = rankings.encode(tokenizer, heldout_rows, **lengths)
    cut = rankings.tell_of_cuts(job, [*train, *heldout], **lengths)
    model = load_reward_model(job.model, tokenizer, seed=config.seed)
    if config.method == "lora":
        model = models.with_lora(model, config=config, task="SEQ_CLS", also_train=["score"])
    model.to(hardware.device())
    scorer = make_scorer(model, pad_id=tokenizer.pad_token_id, first=train[0], job=job)
    before, _ = evaluate(scorer, heldout, seed=config.seed, rows_at_once=config.micro)

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
                )
            )
            values = scores.detach().float().tolist()
            gaps = [values[i] - values[j] for i, j in ranking.pairs]
            numbers["right"] += sum(gap > 0 for gap in gaps)
            numbers["margins"] += sum(gaps)
            numbers["pairs"] += len(gaps)
            numbers["tokens"] += ranking.tokens
        return torch.stack(losses).sum(), numbers

    metrics = fit(model, job=job, rows=len(train), micro_step=micro_step, summary=_summary)
    after, scores = evaluate(scorer, heldout, seed=config.seed, rows_at_once=config.micro)
    source = "heldout"
    if not scores:
        _, scores = evaluate(scorer, train, seed=config.seed, rows_at_once=config.micro)
        source = "train"
    steps = int(metrics["steps"])
    if after:
        job.events.metrics(
            step=steps, total_steps=steps, metrics={f"heldout_{name}": value for name, value in after.items()}
        )
    mean = math.fsum(scores) / len(scores)
    spread = math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / len(scores))
    facts = {"mean": mean, "std": spread, "count": len(scores), "source": source} | after
    models.save_model(job.output_dir, model=model, tokenizer=tokenizer, files={"reward.json": facts})
    job.events.checkpoint(step=steps, path=job.output_dir)
    metrics |= {f"heldout_{name}_before": value for name, value in before.items()}
    metrics |= {f"heldout_{name}": value for name, value in after.items()}
    metrics |= {"reward_mean": mean, "reward_std": spread, "cut_sequences": cut}
    return Outcome(
        metrics=metrics,
        consumed={
            "rows": len(train),
            "tokens": round(sum(ranking.tokens for ranking in train) * metrics["epoch"]),
            "comparisons": sum(len(ranking.pairs) for ranking in train),
        },
        checkpoint=job.output_dir,
    )


def _summary(sums: dict[str, float]) -> dict[str, float]:
    return {"accuracy": sums["right"] / sums["pairs"], "margin": sums["margins"] / sums["pairs"]}


def _softplus(value: float) -> float:
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))


if __name__ == "__main__":
    raise SystemExit(main("reward", run, about="Train a reward model on rankings."))
