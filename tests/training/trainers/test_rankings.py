"""Rankings as token ids: what is cut, by which setting, and which answers have an end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from training.records import RankingRow, RecordError
from training.trainers.chat import encode_completion, encode_prompt
from training.trainers.models import load_tokenizer
from training.trainers.rankings import check_posteriors, encode, tell_of_cuts

PROMPT = [{"role": "user", "content": "a b c d"}]


@pytest.fixture
def tokenizer(tiny: Path):
    return load_tokenizer(str(tiny))


def ranking(*completions: str, **fields: Any) -> RankingRow:
    values = {"id": "r", "prompt_id": "p", "prompt": PROMPT, "completions": list(completions)}
    values |= {"ranks": list(range(len(completions))), "unacceptable": [False] * len(completions)}
    return RankingRow(**(values | fields))


def told(encoded: list, **settings: int) -> tuple[int, list[str]]:
    sentences: list[str] = []
    job: Any = SimpleNamespace(events=SimpleNamespace(status=sentences.append))
    return tell_of_cuts(job, encoded, **settings), sentences


def test_an_answer_that_was_cut_off_has_no_end_token(tokenizer) -> None:
    row = ranking("a b", "a b", "c", ended=[True, False, False])
    [found] = encode(tokenizer, [row], max_length=100)
    end = tokenizer.eos_token_id
    assert found.completions[0] == [*found.completions[1], end]
    assert end not in found.completions[1] + found.completions[2]
    # The reward model reads its score at the last of these ids: a word, not the end.
    assert found.completions[2][-1] == tokenizer("c", add_special_tokens=False)["input_ids"][-1]


def test_what_fits_together_stays_whole_without_a_limit_of_its_own(tokenizer) -> None:
    long = "a " * 20
    row = ranking(long, "b")
    prompt, whole = encode_prompt(tokenizer, PROMPT), encode_completion(tokenizer, PROMPT, long)
    exact = len(prompt) + len(whole)
    assert len(whole) > exact // 2
    [found] = encode(tokenizer, [row], max_length=exact)
    assert (found.prompt, found.completions[0], found.cut) == (prompt, whole, 0)
    assert told([found], max_length=exact) == (0, [])
    # One token too many, and the answer loses its end; half of max_length is the answer's in any case.
    [found] = encode(tokenizer, [row], max_length=exact - 1)
    assert (found.prompt, found.completions[0], found.cut) == (prompt, whole[:-1], 1)
    [found] = encode(tokenizer, [row], max_length=16)
    assert len(found.completions[0]) == max(8, 16 - len(prompt)) and len(found.prompt) == 16 - len(found.completions[0])
    count, [sentence] = told([found], max_length=16)
    assert count == found.cut == 1 + (len(found.prompt) < len(prompt))
    assert "do not fit together into max_length (16 tokens)" in sentence


def test_the_setting_that_cut_is_named(tokenizer) -> None:
    row = ranking("a " * 20, "b " * 20, "c")
    lengths = {"max_length": 200, "max_completion_length": 6}
    [found] = encode(tokenizer, [row], **lengths)
    assert (found.cut, found.cut_completions) == (0, 2)
    assert [len(ids) for ids in found.completions[:2]] == [6, 6]
    assert told([found], **lengths) == (
        2,
        ["2 completions are longer than max_completion_length (6 tokens) and were cut."],
    )
    lengths = {"max_length": 10, "max_completion_length": 50}
    [found] = encode(tokenizer, [row], **lengths)
    assert found.cut_completions == 0 and found.cut == 3


def test_labels_that_need_posteriors_are_refused_where_there_are_none() -> None:
    sentences: list[str] = []
    job: Any = SimpleNamespace(data="old.parquet", events=SimpleNamespace(status=sentences.append))
    old, new = ranking("A", "B"), ranking("A", "B", posteriors=[0.8])
    check_posteriors(job, [old], label="hard")
    with pytest.raises(RecordError, match="no posterior probabilities, which label = soft needs"):
        check_posteriors(job, [old, old], label="soft")
    check_posteriors(job, [new], label="weight")
    assert not sentences
    check_posteriors(job, [old, new], label="weight")
    assert sentences == ["1 of 2 rankings have no posterior probabilities; their labels count as hard."]


def test_posteriors_are_one_for_each_comparison_and_shares() -> None:
    with pytest.raises(RecordError, match="a posterior for each"):
        ranking("A", "B", "C", posteriors=[0.5])
    with pytest.raises(RecordError, match="between 0 and 1"):
        ranking("A", "B", posteriors=[1.5])
