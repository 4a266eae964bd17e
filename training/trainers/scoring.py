"""Rewards of completions by a trained reward model, outside of its own training."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from training.records import CompletionRow, PromptRow, RankingRow
from training.trainers import hardware, models, rankings
from training.trainers.program import Job, Stopped, TrainerError, check_model
from training.trainers.rankings import EncodedRanking
from training.trainers.scorer import is_reward_model


def check_reward_model(model: str) -> None:
    """Refuse what is no reward model's folder, before anything is loaded; raises TrainerError."""
    if not model:
        raise TrainerError("reward_model must name a reward model's folder.")
    check_model(model)
    if not is_reward_model(model):
        names = models.describe_folder(model).get("architectures") or []
        raise TrainerError(f"The reward_model {model} is no reward model: its config.json names {', '.join(names)}.")


def rewards(
    job: Job,
    *,
    reward_model: str,
    prompts: Sequence[PromptRow],
    completions: Sequence[Sequence[CompletionRow]],
    max_length: int,
    rows_at_once: int,
) -> list[list[float]]:
    """One reward a completion, prompt by prompt, each with two completions at least.

    Every text is read by the reward model's own tokenizer. A completion that was cut off keeps no end token.
    Sequences over `max_length` are cut as in training, and told of.
    """
    from training.trainers.scorer import load_reward_model, make_scorer

    job.events.status("Scoring the completions with the reward model.")
    tokenizer = models.load_tokenizer(reward_model)
    encoded = rankings.encode(
        tokenizer,
        [
            RankingRow(
                id=prompt.id,
                prompt_id=prompt.id,
                prompt=prompt.prompt,
                completions=[row.text for row in rows],
                ended=[row.finish_reason == "stop" for row in rows],
                ranks=[0] * len(rows),
                unacceptable=[False] * len(rows),
            )
            for prompt, rows in zip(prompts, completions, strict=True)
        ],
        max_length=max_length,
    )
    rankings.tell_of_cuts(job, encoded, max_length=max_length)
    model = load_reward_model(reward_model, tokenizer, seed=0).to(hardware.device()).eval()
    scorer = make_scorer(model, pad_id=tokenizer.pad_token_id, first=_part(encoded[0], 0, 2), job=job)
    found = []
    for ranking in encoded:
        if job.stop:
            raise Stopped
        # Many completions of one prompt are read some at a time, the prompt with each.
        scores: list[float] = []
        for start in range(0, len(ranking.completions), rows_at_once):
            scores += scorer.all_scores([_part(ranking, start, rows_at_once)], rows_at_once=1)[0]
        found.append(scores)
    return found


def _part(ranking: EncodedRanking, start: int, count: int) -> EncodedRanking:
    end = start + count
    return dataclasses.replace(
        ranking, completions=ranking.completions[start:end], ranks=ranking.ranks[start:end], posteriors=[]
    )
