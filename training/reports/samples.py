"""What models wrote, for people to read: an evaluation's best and worst rewarded answers, a pretraining's by step."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any

from hone.markdown import render
from training.models import Run
from training.reports.files import lines_of
from training.reports.shapes import count, number, rounded, rows, text

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
    """A pretraining's samples in groups of one step, the newest first; None where there is no file."""
    found = lines_of(run, FILE)
    if found is None:
        return None
    written = sorted(
        (_written(row) for row in found), key=lambda row: -row["step"]
    )  # a stable sort: prompts keep places
    return [{"step": step, "samples": list(group)} for step, group in groupby(written, key=lambda row: row["step"])]


def _rewarded(row: dict[str, Any]) -> dict[str, Any]:
    reward, other = number(row, "reward"), number(row, "reference_reward")
    return {
        "category": text(row, "category"),
        "prompt": [
            {"role": text(one, "role"), "content": Text(content=text(one, "content"))} for one in rows(row, "prompt")
        ],
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


def _written(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "step": count(row, "step"),
        "prompt": text(row, "prompt"),
        "text": Text(content=text(row, "text")),
        "tokens": count(row, "token_count"),
        "ended": text(row, "finish_reason") == "stop",
    }
