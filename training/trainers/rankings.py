"""Rankings as token ids, cut to length by rule; used by the reward model and by DPO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from training.records import Message, RankingRow, RecordError, comparisons
from training.trainers import datafiles
from training.trainers.program import Job


@dataclass(frozen=True, kw_only=True)
class EncodedRanking:
    """One ranking: the prompt's ids and those of its K completions.

    A completion has its end token where it ended by itself and fits. `cut` counts the sequences that `max_length`
    shortened, `cut_completions` those that `max_completion_length` did.
    """

    prompt_id: str
    prompt: list[int]
    completions: list[list[int]]
    ranks: list[int]
    weight: float
    cut: int
    cut_completions: int
    posteriors: list[float] = field(default_factory=list)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Its comparisons, (better, worse)."""
        return comparisons(self.ranks)

    @property
    def tokens(self) -> int:
        """Tokens read when the prompt is read once."""
        return len(self.prompt) + sum(len(ids) for ids in self.completions)


def read(job: Job, *, keep_ties: bool = False) -> tuple[list[RankingRow], list[RankingRow]]:
    """The training and the held-out rankings that have a comparison; `keep_ties` keeps training ones without, too.

    Raises RecordError where there is no comparison to train on; tells how many rankings of ties only are left out.
    """
    rows = datafiles.rankings(job.data).rows
    if not rows:
        raise RecordError(f"The data file {job.data} has no ranking.")
    useful = [row for row in rows if row.weight > 0 and comparisons(row.ranks)]
    train = [row for row in useful if row.split == "train"]
    if not train:
        raise RecordError(
            f"The data file {job.data} has no comparison to train on: all of its training rankings are ties."
        )
    heldout = [row for row in useful if row.split == "heldout"]
    if keep_ties:
        train = [row for row in rows if row.weight > 0 and row.split == "train"]
    if left_out := len(rows) - len(train) - len(heldout):
        job.events.status(f"{left_out} of {len(rows)} rankings hold no comparison and are left out.")
    return train, heldout


def check_posteriors(job: Job, rows: Sequence[RankingRow], *, label: str) -> None:
    """Raises RecordError where `label` needs posteriors and no training ranking has them, tells where some lack."""
    if label == "hard":
        return
    compared = [row for row in rows if comparisons(row.ranks)]
    lacking = sum(not row.posteriors for row in compared)
    if lacking == len(compared):
        raise RecordError(
            f"The data file {job.data} has no posterior probabilities, which label = {label} needs; train on a newer "
            "snapshot, or with label = hard."
        )
    if lacking:
        job.events.status(
            f"{lacking} of {len(compared)} rankings have no posterior probabilities; their labels count as hard."
        )


def encode(
    tokenizer: Any, rows: Sequence[RankingRow], *, max_length: int, max_completion_length: int | None = None
) -> list[EncodedRanking]:
    """Tokenise rankings.

    The rule for long ones: with `max_completion_length` a completion keeps that many of its first tokens; without,
    it keeps what the prompt leaves of `max_length`, or half of it where the prompt leaves less. Then the prompt
    keeps its last tokens that fit `max_length` together with the longest completion.
    """
    encoded = []
    for row in rows:
        prompt, completions, cut, cut_completions = encode_answers(
            tokenizer,
            row.prompt,
            row.completions,
            ended=row.ended,
            max_length=max_length,
            max_completion_length=max_completion_length,
        )
        encoded.append(
            EncodedRanking(
                prompt_id=row.prompt_id,
                prompt=prompt,
                completions=completions,
                ranks=row.ranks,
                weight=row.weight,
                cut=cut,
                cut_completions=cut_completions,
                posteriors=row.posteriors,
            )
        )
    return encoded


def encode_answers(
    tokenizer: Any,
    messages: Sequence[Message],
    answers: Sequence[str],
    *,
    ended: Sequence[bool],
    max_length: int,
    max_completion_length: int | None = None,
) -> tuple[list[int], list[list[int]], int, int]:
    """A prompt's ids and its answers', by the rule of `encode`; then how many sequences each of the settings cut."""
    from training.trainers.chat import encode_completion, encode_prompt

    prompt = encode_prompt(tokenizer, messages)
    completions = [
        encode_completion(tokenizer, messages, text, ended=end) for text, end in zip(answers, ended, strict=True)
    ]
    if max_completion_length is None:
        limit = max(max_length // 2, max_length - len(prompt))
    else:
        limit = min(max_completion_length, max_length - 1)
    kept = [ids[:limit] for ids in completions]
    room = max_length - max(len(ids) for ids in kept)
    shortened = sum(len(ids) > limit for ids in completions)
    by_setting = shortened if limit == max_completion_length else 0
    return prompt[-room:], kept, shortened - by_setting + (len(prompt) > room), by_setting


def tell_of_cuts(
    job: Job, encoded: Sequence[EncodedRanking], *, max_length: int, max_completion_length: int | None = None
) -> int:
    """Say how many sequences each setting cut, where any was; gives their number."""
    together = sum(ranking.cut for ranking in encoded)
    if together:
        job.events.status(
            f"{together} prompts or completions do not fit together into max_length ({max_length} tokens) and were cut."
        )
    alone = sum(ranking.cut_completions for ranking in encoded)
    if alone:
        job.events.status(
            f"{alone} completions are longer than max_completion_length ({max_completion_length} tokens) and were cut."
        )
    return together + alone
