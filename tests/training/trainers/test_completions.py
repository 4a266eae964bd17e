"""Completions in a file: rows of before, and what a resumed run may keep."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from training.records import CompletionRow, PromptRow, read_jsonl, write_jsonl
from training.trainers.best_of_n import best_index, demonstration
from training.trainers.completions import Drawing, kept, seed_of
from training.trainers.program import TrainerError

PROMPTS = [PromptRow(id=id, prompt=[{"role": "user", "content": f"Say {id}."}]) for id in ("a", "b")]
DRAWING = Drawing(model="m", k=2, max_new_tokens=5, temperature=0.8, top_p=0.9, batch_size=1, seed=3)


def rows(prompt: str, **words: Any) -> list[CompletionRow]:
    told = {"checkpoint": "m", "parameters": DRAWING.parameters("vllm"), "token_ids": [1, 2]} | words
    return [
        CompletionRow(
            prompt_id=prompt,
            index=i,
            text="t",
            finish_reason="stop",
            token_count=2,
            seed=seed_of(3, prompt) + i,
            **told,
        )
        for i in range(2)
    ]


def keep(path: Path, *, resume: bool = True, drawing: Drawing = DRAWING) -> dict[str, list[CompletionRow]]:
    return kept(SimpleNamespace(resume=resume), path, prompts=PROMPTS, drawing=drawing)  # type: ignore[arg-type]


def test_a_row_of_before_is_read_without_what_it_lacked(tmp_path: Path) -> None:
    path = tmp_path / "old.jsonl"
    path.write_text(
        '{"prompt_id": "a", "index": 0, "text": "t", "finish_reason": "stop", "token_count": 2, "seed": 5}\n'
    )
    (row,) = read_jsonl(path, row_type=CompletionRow)
    assert (row.checkpoint, row.parameters, row.token_ids) == ("", {}, [])


def test_whole_prompts_are_kept_and_half_ones_drawn_again(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    write_jsonl(path, [*rows("a"), rows("b")[0]])
    assert keep(path) == {"a": rows("a")}
    assert read_jsonl(path, row_type=CompletionRow) == rows("a")
    # Files of before told neither model nor parameters.
    old = rows("a", checkpoint="", parameters={}, token_ids=[])
    write_jsonl(path, old)
    assert keep(path) == {"a": old}
    assert keep(path, resume=False) == {} and not path.exists()


@pytest.mark.parametrize(
    "change", [{"model": "n"}, {"temperature": 0.7}, {"seed": 4}, {"extra": {"adapter": "x"}}, {"max_new_tokens": 6}]
)
def test_what_was_drawn_otherwise_is_not_taken_for_this_runs(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "c.jsonl"
    write_jsonl(path, rows("a"))
    with pytest.raises(TrainerError, match="were drawn otherwise than this run says"):
        keep(path, drawing=dataclasses.replace(DRAWING, **change))
    assert path.exists()


def test_the_best_is_the_first_of_equals_among_those_that_ended() -> None:
    assert best_index([1.0, 3.0, 3.0], [True] * 3, only_ended=True) == 1
    assert best_index([1.0, 3.0, 2.0], [True, False, True], only_ended=True) == 2
    assert best_index([1.0, 3.0], [False, False], only_ended=True) is None
    assert best_index([1.0, 3.0], [False, False], only_ended=False) == 1


def test_a_prompts_split_goes_by_its_text_alone() -> None:
    prompts = [dataclasses.replace(PROMPTS[0], prompt=[{"role": "user", "content": str(i)}]) for i in range(200)]
    splits = [demonstration(prompt, "x", heldout_percent=30).split for prompt in prompts]
    assert 40 <= splits.count("heldout") <= 80
    renamed = dataclasses.replace(prompts[0], id="other")
    assert demonstration(renamed, "y", heldout_percent=30).split == splits[0]
