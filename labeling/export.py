"""Comparisons as lines of JSON in TRL's preference format, streamed from a server-side cursor.

The formats are those of TRL's "Dataset formats and types", section Preference, conversational and standard.
"""

import json
from collections.abc import Iterator
from typing import Any

from hone.accounts.models import Project
from labeling.queries import comparison_rows

FORMATS = ("conversational", "plain")
_CHUNK = 2000


def comparison_lines(
    *, project: Project, fmt: str, include_simulated: bool = False, limit: int | None = None
) -> Iterator[bytes]:
    """One comparison a line, oldest first, in blocks of lines; memory does not grow with their number.

    `conversational`: prompt, chosen and rejected are lists of messages; `plain`: they are strings, the prompt
    with a role before each turn where it has more than one. The other columns say where the comparison is from.
    """
    shape = _conversational if fmt == "conversational" else _plain
    block: list[str] = []
    rows = comparison_rows(project=project, include_simulated=include_simulated)[:limit]
    for row in rows.iterator(chunk_size=_CHUNK):
        block.append(json.dumps({**shape(row), **_provenance(row), **_judged(row)}, ensure_ascii=False))
        if len(block) == _CHUNK:
            yield ("\n".join(block) + "\n").encode()
            block.clear()
    if block:
        yield ("\n".join(block) + "\n").encode()


def _conversational(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "prompt": row["messages"],
        "chosen": [{"role": "assistant", "content": row["chosen_text"]}],
        "rejected": [{"role": "assistant", "content": row["rejected_text"]}],
    }


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "prompt": plain_prompt(row["messages"]),
        "chosen": row["chosen_text"],
        "rejected": row["rejected_text"],
    }


def plain_prompt(messages: list[dict[str, str]]) -> str:
    """A single user turn as it is; a longer conversation as "Role: text" blocks that end with "Assistant: "."""
    if len(messages) == 1:
        return messages[0]["content"]
    turns = "\n\n".join(f"{turn['role'].capitalize()}: {turn['content']}" for turn in messages)
    return f"{turns}\n\nAssistant: "


def annotator(author_id: int) -> str:
    """How a person is named in everything that leaves the platform."""
    return f"a{author_id}"


def _judged(row: dict[str, Any]) -> dict[str, Any]:
    """What the ranking form asked for besides the order.

    Readers such as `datasets` take each column's type from the first megabytes and refuse what comes later and is
    new: no column, no null that becomes a number, no list that was empty, no object with another key. A project may
    be given a form, or another one, after any number of rows; so every row of every project has these columns, in
    types that fit all forms, and never null.
    """
    scales = [scale["key"] for scale in (row["form"] or {}).get("scales", [])]
    found: dict[str, Any] = {"strength": row["strength"] or 0, "reason": row["reason"]}
    for name in ("chosen", "rejected"):
        index = str(row[f"{name}_index"])
        given = row["ratings"].get(index, {})
        found[f"{name}_ratings"] = json.dumps({key: given.get(key) for key in scales})
        found[f"{name}_flags"] = " ".join(row["flags"].get(index, []))
    return found


def _provenance(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "comparison_id": row["id"],
        "ranking_id": row["ranking_uid"],
        "prompt_id": row["prompt_uid"],
        "annotator": annotator(row["annotator"]),
        # Not "margin": TRL's RewardTrainer would take a column of that name into its loss.
        "tier_distance": row["margin"],
        "chosen_acceptable": row["chosen_acceptable"],
        "rejected_acceptable": row["rejected_acceptable"],
        # 1, as the person said it, where nothing was measured yet: without nulls the column has one type for all.
        "posterior": 1.0 if row["posterior"] is None else row["posterior"],
        "category": row["category"],
        "language": row["language"],
        "guideline_version": row["guideline_version"] or 0,  # never null, as in _judged
        "simulated": row["simulated"],
        "created_at": row["created_at"].isoformat(),
    }


def plain(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in "=+-@\t\r" else text
