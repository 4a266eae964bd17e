"""What models wrote, for people to read: an evaluation's by reward, others' by step."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any

from hone.markdown import render
from training.models import Run
from training.reports.files import lines_of
from training.reports.shapes import count, number, part, rounded, rows, text

FILE = "samples.jsonl"
SHOWN_AS = ("best", "worst")
# Longer texts are folded, in characters and in lines: about a third of a screen.
LONG, LONG_LINES = 700, 12


@dataclass(frozen=True, kw_only=True)
class Text:
    """What somebody wrote, and its opening where it is too long to stand open."""

    content: str

    @property
    def html(self) -> str:
        """As the pages of labeling show it: Markdown, raw HTML as its source."""
        return render(self.content)

    @property
    def is_long(self) -> bool:
        """Whether it is folded."""
        return len(self.content) > LONG or self.content.count("\n") >= LONG_LINES

    @property
    def opening(self) -> str:
        """Its first words."""
        return self.content[:600]


def rewarded(run: Run, *, shown_as: str) -> list[dict[str, Any]] | None:
    """An evaluation's samples of one kind, in the file's order; None where there is no file. Raises Unreadable."""
    found = lines_of(run, FILE)
    return None if found is None else [_rewarded(row) for row in found if row.get("shown_as") == shown_as]


def by_step(run: Run) -> list[dict[str, Any]] | None:
    """What was written while a run went on, in groups of one step, the newest first; None where there is no file.

    A pretraining's samples, or the answers of PPO's updates with their scores.
    """
    found = lines_of(run, FILE)
    if found is None:
        return None
    return grouped([(reinforced if run.kind == "ppo" else _written)(row) for row in found])


def grouped(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows in groups of one `step`, the newest first; within a group they keep their places."""
    newest_first = sorted(rows, key=lambda row: -row["step"])
    return [{"step": step, "samples": list(of)} for step, of in groupby(newest_first, key=lambda row: row["step"])]


def reinforced(row: dict[str, Any]) -> dict[str, Any]:
    """An answer that a policy was taught by: `step` is its update, `judged` each reward by its name before weights."""
    judged = part(row, "judged")
    score, kl = number(row, "score"), number(row, "kl")
    return {
        "step": count(row, "update"),
        "prompt": _turns(row),
        "asked": Text(content=text((rows(row, "prompt") or [{}])[-1], "content")),
        "completion": Text(content=text(row, "text")),
        "score": None if score is None else rounded(score),
        "judged": [(name, rounded(value)) for name in judged if (value := number(judged, name)) is not None],
        "kl": None if kl is None else rounded(kl),
        "tokens": count(row, "tokens"),
        "ended": row.get("ended") is True,
    }


def _rewarded(row: dict[str, Any]) -> dict[str, Any]:
    reward, other = number(row, "reward"), number(row, "reference_reward")
    return {
        "category": text(row, "category"),
        "prompt": _turns(row),
        "completion": Text(content=text(row, "completion")),
        "reward": None if reward is None else rounded(reward),
        "tokens": count(row, "token_count"),
        "ended": text(row, "finish_reason") == "stop",
        "repetition": number(row, "repetition"),
        "seed": row.get("seed"),
        "reference": Text(content=text(row, "reference_completion")) if "reference_completion" in row else None,
        "reference_reward": None if other is None else rounded(other),
        "gap": None if reward is None or other is None else rounded(reward - other),
        "wins": None if reward is None or other is None else reward > other,
    }


def _turns(row: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": text(one, "role"), "content": Text(content=text(one, "content"))} for one in rows(row, "prompt")]


def _written(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "step": count(row, "step"),
        "prompt": text(row, "prompt"),
        "text": Text(content=text(row, "text")),
        "tokens": count(row, "token_count"),
        "ended": text(row, "finish_reason") == "stop",
    }
