"""Direct preference optimisation on rankings (Rafailov et al. 2023, equation 7; IPO: Azar et al. 2023).

    python -m training.trainers.dpo --config run/config.json

Reads RankingRow Parquet and spreads each ranking into pairs, the widest rank gaps first. Trains by TRL's
DPOTrainer on rows tokenised and cut here, as TRL drops rows whose prompt is too long and tokenises answers
together with prompts. With LoRA the reference is the policy with its adapter off; a full run computes the
reference's log-probabilities once, before the first step, and keeps no second model. With `label` soft a pair of
posterior p has p times its loss and 1 - p times that of the pair turned round (conservative DPO: Mitchell 2023,
"A note on DPO with noisy preferences"); with weight |2p - 1| times the loss in the direction that p says. Row weights
choose (0 leaves a ranking out) but do not scale, which TRL's loss has no place for; a status tells where that
matters. A ranking keeps its completions whole where they fit `max_length` with their prompt; one that was cut off
while it was sampled gets no end token. A step's loss is the mean over its pairs, whatever the micro batches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from training.trainers import hardware, rankings
from training.trainers.config import DpoConfig
from training.trainers.program import Job, Outcome, main
from training.trainers.rankings import EncodedRanking

if TYPE_CHECKING:
    import torch


def widest_pairs(ranks: Sequence[int], pairs: Sequence[tuple[int, int]], *, limit: int) -> list[tuple[int, int]]:
    """The `limit` pairs with the widest rank gap (0: all), ties between gaps in the order of the completions."""
    ordered = sorted(pairs, key=lambda pair: (ranks[pair[0]] - ranks[pair[1]], pair))
    return ordered[:limit] if limit else ordered


def preference_rows(
    group: Sequence[EncodedRanking], *, pairs_per_prompt: int, label: str = "hard"
) -> list[dict[str, Any]]:
    """TRL's rows: `prompt_ids`, `chosen_ids`, `rejected_ids`; pairs of the same text give none.

    With a `label` that needs it also `posterior`, 1 for a ranking without.
    """
    rows = []
    for ranking in group:
        texts = ranking.completions
        distinct = [(i, j) for i, j in ranking.pairs if texts[i] != texts[j]]
        posterior = dict(zip(ranking.pairs, ranking.posteriors, strict=True)) if ranking.posteriors else {}
        for i, j in widest_pairs(ranking.ranks, distinct, limit=pairs_per_prompt):
            row: dict[str, Any] = {"prompt_ids": ranking.prompt, "chosen_ids": texts[i], "rejected_ids": texts[j]}
            rows.append({**row, "posterior": posterior.get((i, j), 1.0)} if label != "hard" else row)
    return rows


@dataclass(frozen=True, kw_only=True)
class PairRatios:
    """How far a trained policy moved on one pair: log-probability under it minus under the reference, and tokens."""

    chosen: float
    rejected: float
    chosen_tokens: int
    rejected_tokens: int

    def loss(self, *, beta: float, kind: str) -> float:
        """The pair's loss; `kind` is sigmoid, or ipo, which TRL takes of means over tokens."""
        if kind == "ipo":
            return (self.chosen / self.chosen_tokens - self.rejected / self.rejected_tokens - 1 / (2 * beta)) ** 2
        gap = beta * (self.chosen - self.rejected)
        return max(-gap, 0.0) + math.log1p(math.exp(-abs(gap)))


def heldout_numbers(
    ratios: Sequence[PairRatios], prompt_ids: Sequence[str], *, beta: float, kind: str, seed: int
) -> dict[str, float]:
    """Loss, rewards and accuracy over all held-out pairs, each counting alike, under the names the console reads.

    `accuracy_low` and `accuracy_high` are its 95 % bootstrap interval over prompts; an equal pair counts half.
    """
    from training.trainers.heldout import ranking_accuracy, right_comparisons

    by_prompt: dict[str, tuple[float, int]] = {}
    for pair, prompt_id in zip(ratios, prompt_ids, strict=True):
        right, count = by_prompt.get(prompt_id, (0.0, 0))
        by_prompt[prompt_id] = (right + right_comparisons([pair.chosen, pair.rejected], [(0, 1)]), count + 1)
    accuracy = ranking_accuracy(list(by_prompt.values()), seed=seed)

    def mean(values: list[float]) -> float:
        return math.fsum(values) / len(values)

    numbers = accuracy | {
        "loss": mean([pair.loss(beta=beta, kind=kind) for pair in ratios]),
        "rewards/margins": mean([beta * (pair.chosen - pair.rejected) for pair in ratios]),
        "rewards/chosen": mean([beta * pair.chosen for pair in ratios]),
        "rewards/rejected": mean([beta * pair.rejected for pair in ratios]),
    }
    return {f"heldout_{name}": value for name, value in numbers.items()}


def run(job: Job) -> Outcome:
    """Train, and leave a whole model folder in `output_dir`."""
    train_rows, heldout_rows = rankings.read(job)

    from datasets import Dataset
    from trl import DPOConfig

    from training.records import RecordError
    from training.trainers import models, trl_run

    hardware.limit_threads()
    config: DpoConfig = job.config
    rankings.check_posteriors(job, train_rows, label=config.label)
    job.events.status("Loading the model.")
    tokenizer = models.load_tokenizer(job.model)
    encoded = rankings.encode(tokenizer, train_rows, max_length=config.max_length)
    held = rankings.encode(tokenizer, heldout_rows, max_length=config.max_length)
    cut = rankings.tell_of_cuts(job, [*encoded, *held], max_length=config.max_length)
    train = preference_rows(encoded, pairs_per_prompt=config.pairs_per_prompt, label=config.label)
    by_ranking = [preference_rows([ranking], pairs_per_prompt=config.pairs_per_prompt) for ranking in held]
    heldout = [row for rows in by_ranking for row in rows]
    heldout_prompts = [ranking.prompt_id for ranking, rows in zip(held, by_ranking, strict=True) for _ in rows]
    if not train:
        raise RecordError(f"The data file {job.data} has no pair of different completions to train on.")
    if len({row.weight for row in train_rows}) > 1:
        job.events.status("DPO does not scale pairs by row weights; only rankings of weight 0 are left out.")
    model = models.load_causal_model(job.model, tokenizer, dtype=hardware.training_dtype())
    full = config.method == "full"
    trainer = _trainer(config.label)(
        model=model,
        args=DPOConfig(
            **trl_run.arguments(job, rows=len(train)),
            beta=config.beta,
            loss_type=[config.loss],
            # Rows are cut already; TRL's own rule would drop some without a word.
            max_length=None,
            precompute_ref_log_probs=full,
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
        after = heldout_numbers(
            trainer.pair_ratios(), heldout_prompts, beta=config.beta, kind=config.loss, seed=config.seed
        )
        metrics |= after
        job.events.metrics(step=steps, total_steps=steps, metrics=after)
    models.save_model(job.output_dir, model=trainer.model, tokenizer=tokenizer)
    job.events.checkpoint(step=steps, path=job.output_dir)
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


def believed_loss(
    chosen: torch.Tensor, rejected: torch.Tensor, posteriors: torch.Tensor, *, label: str, beta: float, kind: str
) -> torch.Tensor:
    """The pairs' losses by their posteriors, (pairs,); `chosen` and `rejected` are log-ratios, of a token for ipo."""
    from torch.nn.functional import logsigmoid

    from training.trainers.kwise import pair_weights

    gap = chosen - rejected
    right, turned = pair_weights(label, posteriors)
    if kind == "ipo":
        return right * (gap - 1 / (2 * beta)) ** 2 + turned * (-gap - 1 / (2 * beta)) ** 2
    return -right * logsigmoid(beta * gap) - turned * logsigmoid(-beta * gap)


def _trainer(label: str = "hard") -> Any:
    import torch
    from trl import DPOTrainer
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    class WithPosteriors(DataCollatorForPreference):
        """TRL's collator, which keeps each pair's posterior too."""

        def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
            batch = super().torch_call(examples)
            if "posterior" in examples[0]:
                batch["posterior"] = torch.tensor([example["posterior"] for example in examples])
            return batch

    class TokenisedDpoTrainer(DPOTrainer):
        """TRL's DPO on rows that are tokenised already, a step's loss being the mean over all of its pairs."""

        data_collator: Any
        _signature_columns: Any
        # TRL takes the mean of the micro batches' means, in which a short last one weighs as much as a whole one.
        loss_is_scaled_for_ga = True
        _pairs_in_step = 0

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            if label != "hard":
                whole = self.data_collator
                self.data_collator = WithPosteriors(pad_token_id=whole.pad_token_id, max_length=whole.max_length)

        def _set_signature_columns_if_needed(self) -> None:
            super()._set_signature_columns_if_needed()
            if "posterior" not in self._signature_columns:
                self._signature_columns = [*self._signature_columns, "posterior"]

        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

        def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
            batches, items = super().get_batch_samples(*args, **kwargs)
            self._pairs_in_step = sum(len(batch["input_ids"]) // 2 for batch in batches)
            return batches, items

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            share = len(inputs["input_ids"]) // 2 / self._pairs_in_step
            if label == "hard":
                return share * super().compute_loss(model, inputs)
            posteriors = inputs.pop("posterior")
            chosen, rejected, *tokens = self._moved(model, inputs)
            self._tell(chosen.detach(), rejected.detach(), inputs)
            [kind] = self.loss_types
            if kind == "ipo":
                chosen, rejected = chosen / tokens[0], rejected / tokens[1]
            losses = believed_loss(chosen, rejected, posteriors, label=label, beta=self.beta, kind=kind)
            return share * losses.mean()

        def _tell(self, chosen: torch.Tensor, rejected: torch.Tensor, inputs: dict[str, Any]) -> None:
            """The metrics that TRL's own loss keeps and the console reads."""
            self._total_train_tokens += int(inputs["attention_mask"].sum())
            found = self._metrics["train"]
            found["num_tokens"] = [self._total_train_tokens]
            found["rewards/chosen"].append(self.beta * chosen.mean().item())
            found["rewards/rejected"].append(self.beta * rejected.mean().item())
            found["rewards/accuracies"].append((chosen > rejected).float().mean().item())
            found["rewards/margins"].append(self.beta * (chosen - rejected).mean().item())

        def _moved(self, model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, ...]:
            """Log-ratios of the chosen and the rejected answers to the reference, and their tokens, (pairs,) each."""
            marks = inputs["completion_mask"]
            policy = model(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                labels=inputs["input_ids"].masked_fill(marks == 0, -100),
                use_cache=False,
                fused_lm_head=True,
            ).log_probs.sum(dim=1)
            if "ref_chosen_logps" in inputs:
                reference = torch.cat([inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]])
            else:
                reference = torch.cat(self.compute_ref_log_probs(model, inputs))
            moved = policy.float() - reference.float()
            return (*moved.chunk(2), *marks.sum(dim=1).chunk(2))

        def pair_ratios(self) -> list[PairRatios]:
            """The held-out pairs' log-ratios, in their order."""
            self.model.eval()
            found = []
            for batch in self.get_eval_dataloader():
                inputs = self._prepare_inputs(batch)
                with torch.no_grad(), hardware.autocast():
                    parts = self._moved(self.model, inputs)
                found += [
                    PairRatios(chosen=c, rejected=r, chosen_tokens=n, rejected_tokens=m)
                    for c, r, n, m in zip(*(part.tolist() for part in parts), strict=True)
                ]
            return found

    return TokenisedDpoTrainer


if __name__ == "__main__":
    raise SystemExit(main("dpo", run, about="Train a policy directly on preferences."))
