"""Prompts of RL that SFT has an answer to are found, listed, and refused unless they are allowed."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from training.records import DemonstrationRow, Message, PromptRow, write_parquet
from training.trainers import prompts_of_sft
from training.trainers.program import TrainerError


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def said(text: str) -> Message:
    return {"role": "assistant", "content": text}


DEMONSTRATIONS = [
    DemonstrationRow(id="d1", messages=[user("Name a river."), said("The Rhine."), user("另一条？"), said("长江。")]),
    DemonstrationRow(id="d2", messages=[{"role": "system", "content": "Be brief."}, user("Why?"), said("So.")]),
]


def prompt(key: str, *messages: Message) -> PromptRow:
    return PromptRow(id=key, prompt=list(messages))


def test_a_prompt_is_shared_where_any_turn_of_a_demonstration_answers_it() -> None:
    prompts = [
        prompt("first", user("  name a\nRIVER. ")),
        prompt("second", user("Name a river."), said("The Rhine."), user("另一条？")),
        prompt("another-answer", user("Name a river."), said("The Elbe."), user("另一条？")),
        prompt("without-system", user("Why?")),
        prompt("with-system", {"role": "system", "content": "Be brief."}, user("Why?")),
        prompt("other", user("Name a rivers.")),
    ]
    found = [(one.id, of) for one, of in prompts_of_sft.shared(prompts, DEMONSTRATIONS)]
    assert found == [("first", "d1"), ("second", "d1"), ("with-system", "d2")]


@pytest.fixture
def job(tmp_path: Path) -> Any:
    told: list[str] = []
    return SimpleNamespace(run_dir=tmp_path, main_dir=tmp_path, events=SimpleNamespace(status=told.append), told=told)


def test_they_are_refused_and_listed_unless_they_are_allowed(job: Any, tmp_path: Path) -> None:
    path = tmp_path / "demonstrations.parquet"
    write_parquet(path, DEMONSTRATIONS, row_type=DemonstrationRow)
    shared = [prompt(f"p{number}", user("Name a river.")) for number in range(7)]
    with pytest.raises(TrainerError, match=r"7 of 8 prompts occur in SFT rows \(p0, p1, p2, p3, p4, …; all of them"):
        prompts_of_sft.check(job, [*shared, prompt("other", user("Else?"))], path, allowed=False)
    listed = [json.loads(line) for line in (tmp_path / prompts_of_sft.FILE).read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in listed] == [f"p{number}" for number in range(7)]
    assert listed[0] == {"id": "p0", "prompt": [user("Name a river.")], "demonstration": "d1"}
    assert not job.told
    prompts_of_sft.check(job, shared, path, allowed=True)
    assert "which allow_sft_prompts allows" in job.told[0]


def test_where_there_is_none_nothing_is_written(job: Any, tmp_path: Path) -> None:
    path = tmp_path / "demonstrations.parquet"
    write_parquet(path, DEMONSTRATIONS, row_type=DemonstrationRow)
    (tmp_path / prompts_of_sft.FILE).write_text("of an earlier attempt")
    prompts_of_sft.check(job, [prompt("other", user("Else?"))], path, allowed=False)
    assert not (tmp_path / prompts_of_sft.FILE).exists() and not job.told
