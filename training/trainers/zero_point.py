"""The zero point of a reward model: the mean reward of what people wrote themselves.

A reward model's scores are determined up to a constant. PPO needs one: the demonstrations' mean reward becomes zero
(Ouyang et al. 2022, section 3.5; Huang et al. 2024, "The N+ Implementation Details of RLHF with PPO"), and so does a
person who reads a score. It is stored, not built in: whoever uses the model subtracts it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from training.records import DemonstrationRow, RankingRow, RecordError, read_parquet, sha256_file
from training.trainers.rankings import EncodedRanking, encode_answers

# The mean of so many is known to a twentieth of their spread; more would only cost time.
AT_MOST = 400


def read_demonstrations(path: Path) -> list[DemonstrationRow]:
    """Demonstrations that answer a user, at most AT_MOST, evenly from the whole file.

    Raises RecordError where there is none.
    """
    rows = [
        row
        for row in read_parquet(path, row_type=DemonstrationRow)
        if len(row.messages) > 1 and row.messages[-2]["role"] == "user"
    ]
    if not rows:
        raise RecordError(f"The demonstrations {path} hold no answer to a user's turn.")
    return [rows[place * len(rows) // AT_MOST] for place in range(AT_MOST)] if len(rows) > AT_MOST else rows


def encode(tokenizer: Any, rows: Sequence[DemonstrationRow], **lengths: int) -> list[EncodedRanking]:
    """The last answer of each demonstration, as a ranking of one."""
    encoded = []
    for row in rows:
        prompt, answers, cut, cut_completions = encode_answers(
            tokenizer, row.messages[:-1], [row.messages[-1]["content"]], ended=[True], **lengths
        )
        encoded.append(
            EncodedRanking(
                prompt_id=row.id,
                prompt=prompt,
                completions=answers,
                ranks=[0],
                weight=row.weight,
                cut=cut,
                cut_completions=cut_completions,
            )
        )
    return encoded


def of_demonstrations(
    tokenizer: Any,
    rows: Sequence[DemonstrationRow],
    *,
    path: Path,
    score: Callable[[Sequence[EncodedRanking]], list[list[float]]],
    **lengths: int,
) -> dict[str, Any]:
    """The zero point by demonstrations; `score` gives each one's score in a list of its own."""
    found = [one for (one,) in score(encode(tokenizer, rows, **lengths))]
    return _zero(found, source="demonstrations") | {"data_sha256": sha256_file(path)}


def of_best_ranked(rows: Sequence[RankingRow], scores: Sequence[Sequence[float]], *, split: str) -> dict[str, Any]:
    """The stand-in where no demonstrations are given: the mean reward of the completions that people ranked first.

    It lies higher or lower than demonstrations would, by as much as the model's best answers are better or worse
    than people's own; `source` says so.
    """
    best = {
        (row.prompt_id, text): score
        for row, found in zip(rows, scores, strict=True)
        for text, score, rank in zip(row.completions, found, row.ranks, strict=True)
        if rank == min(row.ranks)
    }
    return _zero(list(best.values()), source=f"completions ranked first ({split})")


def _zero(scores: Sequence[float], *, source: str) -> dict[str, Any]:
    mean = math.fsum(scores) / len(scores)
    spread = math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / len(scores))
    return {"reward": mean, "std": spread, "count": len(scores), "source": source}
