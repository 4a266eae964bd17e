"""Rows, their files, and what is fixed by a prompt's hash."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from training.records import (
    CompletionRow,
    DemonstrationRow,
    PromptRow,
    RankingRow,
    RecordError,
    comparisons,
    read_jsonl,
    read_parquet,
    sha256_file,
    split_of,
    to_json,
    write_jsonl,
    write_parquet,
)

USER = {"role": "user", "content": "Why?"}
ASSISTANT = {"role": "assistant", "content": "Because."}
RANKING = RankingRow(
    id="r",
    prompt_id="p",
    prompt=[USER],
    completions=["a", "b", "c"],
    ranks=[1, 0, 1],
    unacceptable=[False, False, True],
    weight=0.5,
)


def test_ties_give_no_comparison() -> None:
    assert comparisons([1, 0, 1]) == [(1, 0), (1, 2)]
    assert comparisons([2, 2]) == []
    assert len(comparisons([3, 1, 0, 2])) == 6


def test_rows_come_back_from_parquet_as_they_went(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    rows = [replace(RANKING, id=str(i)) for i in range(5)]
    assert write_parquet(path, rows, row_type=RankingRow, rows_per_group=2) == 5
    assert read_parquet(path, row_type=RankingRow) == rows
    assert [p.name for p in tmp_path.iterdir()] == ["rows.parquet"]


def test_a_file_without_ends_says_that_all_ended(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path = tmp_path / "rows.parquet"
    row = replace(RANKING, ended=[True, False, True])
    write_parquet(path, [row], row_type=RankingRow)
    assert read_parquet(path, row_type=RankingRow) == [row]
    pq.write_table(pq.read_table(path).drop(["ended"]), path)
    assert read_parquet(path, row_type=RankingRow) == [RANKING]
    assert RANKING.ended == [True, True, True]


def test_rows_come_back_from_jsonl_and_a_torn_line_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    row = CompletionRow(prompt_id="p", index=0, text="é\n", finish_reason="stop", token_count=2, seed=1)
    write_jsonl(path, [row, row])
    with open(path, "a", encoding="utf-8") as file:
        file.write(to_json(row)[:20])
    assert read_jsonl(path, row_type=CompletionRow, torn_end=True) == [row, row]
    with pytest.raises(RecordError, match="line 3"):
        read_jsonl(path, row_type=CompletionRow)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write_parquet(path, [RANKING], row_type=RankingRow)
    before = sha256_file(path)

    def broken():
        yield RANKING
        raise RuntimeError("gone")

    with pytest.raises(RuntimeError):
        write_parquet(path, broken(), row_type=RankingRow)
    assert sha256_file(path) == before
    assert len(list(tmp_path.iterdir())) == 1


def test_a_truncated_or_missing_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write_parquet(path, [RANKING], row_type=RankingRow)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RecordError, match="not a whole Parquet file"):
        read_parquet(path, row_type=RankingRow)
    with pytest.raises(RecordError, match="does not exist"):
        read_parquet(tmp_path / "none.parquet", row_type=RankingRow)


def test_a_file_of_other_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write_parquet(path, [PromptRow(id="p", prompt=[USER])], row_type=PromptRow)
    with pytest.raises(RecordError, match="lacks the column.* completions, prompt_id, ranks"):
        read_parquet(path, row_type=RankingRow)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ranks": [0, 1]}, "needs 3 ranks"),
        ({"ranks": [0, 1, -1]}, "at least 0"),
        ({"ended": [True]}, "3 marks of their ends"),
        ({"completions": ["a"], "ranks": [0], "unacceptable": [False], "ended": []}, "at least 2 completions"),
        ({"prompt": [USER, ASSISTANT]}, "end with a message of the user"),
        ({"split": "test"}, "'train' or 'heldout'"),
        ({"weight": float("nan")}, "weight"),
    ],
)
def test_a_bad_ranking_is_refused(changes: dict, words: str) -> None:
    with pytest.raises(RecordError, match=words):
        replace(RANKING, **changes)


def test_a_demonstration_ends_with_the_assistant() -> None:
    system = {"role": "system", "content": "Be kind."}
    DemonstrationRow(id="d", messages=[system, USER, ASSISTANT])
    for messages in ([USER], [], [USER, system, ASSISTANT], [{"role": "bot", "content": ""}]):
        with pytest.raises(RecordError):
            DemonstrationRow(id="d", messages=messages)


def test_the_split_is_fixed_and_only_grows() -> None:
    """The first 16 hex digits, modulo 100, are below the percentage: 0x64 = 100 -> 0, 0x63 = 99 -> 99."""
    assert split_of("0000000000000064" + "f" * 48, 1) == "heldout"
    assert split_of("0000000000000063" + "f" * 48, 99) == "train"
    hashes = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(2000)]
    at_10 = {h for h in hashes if split_of(h, 10) == "heldout"}
    at_20 = {h for h in hashes if split_of(h, 20) == "heldout"}
    assert at_10 < at_20
    assert 140 < len(at_10) < 260
