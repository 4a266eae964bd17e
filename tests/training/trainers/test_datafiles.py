"""Files as people have them become rows; whatever cannot be read is refused by one sentence that names file and row."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training.records import DemonstrationRow, RankingRow, RecordError, UnpairedRow, write_parquet
from training.trainers.datafiles import demonstrations, is_unpaired, rankings, unpaired

ASKED = {"role": "user", "content": "Why?"}
SAID = {"role": "assistant", "content": "So."}


def write(path: Path, value: Any) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def messages(*rows: Any) -> list[list[tuple[str, str]]]:
    return [[(turn["role"], turn["content"]) for turn in row.messages] for row in rows]


def test_the_three_shapes_of_a_demonstration(tmp_path: Path) -> None:
    path = write(
        tmp_path / "all.json",
        [
            {"instruction": "Add.", "input": "1 and 2", "output": "3", "system": "Be brief.", "history": [["a", "b"]]},
            {"instruction": "Greet.", "input": "", "output": "Hello"},
            {"conversations": [{"from": "system", "value": "S"}, {"from": "human", "value": "a"},
                               {"from": "gpt", "value": "b"}]},
            {"messages": [ASKED, SAID], "category": "open_qa", "language": "en", "weight": 2, "split": "heldout",
             "id": "mine"},
        ],
    )  # fmt: skip
    read = demonstrations(path)
    assert messages(*read.rows) == [
        [("system", "Be brief."), ("user", "a"), ("assistant", "b"), ("user", "Add.\n\n1 and 2"), ("assistant", "3")],
        [("user", "Greet."), ("assistant", "Hello")],
        [("system", "S"), ("user", "a"), ("assistant", "b")],
        [("user", "Why?"), ("assistant", "So.")],
    ]
    last = read.rows[-1]
    assert (last.id, last.category, last.language, last.weight, last.split) == ("mine", "open_qa", "en", 2.0, "heldout")
    assert (read.rows[0].id, read.rows[0].weight, read.notes) == ("0", 1.0, [])


@pytest.mark.parametrize("packed", [False, True])
def test_lines_and_lists_plain_and_gzipped_are_told_apart_by_content(tmp_path: Path, packed: bool) -> None:
    rows = [{"instruction": "a\u2028b", "output": str(n)} for n in range(3)]
    # The line separator of Unicode stands as itself in the file, and ends no line of it.
    for text in (json.dumps(rows, ensure_ascii=False), "\n".join(json.dumps(r, ensure_ascii=False) for r in rows)):
        path = tmp_path / "any.name"
        data = ("\ufeff" + text).encode()
        path.write_bytes(gzip.compress(data) if packed else data)
        assert [row.messages[-1]["content"] for row in demonstrations(path).rows] == ["0", "1", "2"]


def test_turns_without_an_answer_are_left_out_and_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", [{"messages": [ASKED, SAID, ASKED]}, {"messages": [ASKED, SAID]}])
    read = demonstrations(path)
    assert messages(*read.rows) == [[("user", "Why?"), ("assistant", "So.")]] * 2
    assert read.notes == ["1 turns at the end of a conversation have no answer to learn and are left out."]


def test_the_split_is_the_platforms_for_the_same_prompt(tmp_path: Path) -> None:
    """By the hash that the platform keeps of a prompt; so another answer to it, or another space, stays on its side."""
    from labeling.messages import content_hash
    from training.records import split_of

    rows = [{"instruction": f"Question {n}", "output": "x"} for n in range(300)]
    read = demonstrations(write(tmp_path / "a.json", rows)).rows
    assert [row.split for row in read] == [split_of(content_hash(row.messages[:-1]), 10) for row in read]  # type: ignore[arg-type]
    assert 10 < sum(row.split == "heldout" for row in read) < 60
    again = [{"prompt": f" Question {n}\n", "chosen": "a", "rejected": "b"} for n in range(300)]
    assert [row.split for row in rankings(write(tmp_path / "b.json", again)).rows] == [row.split for row in read]


def test_the_shapes_of_a_preference(tmp_path: Path) -> None:
    turn = {"from": "human", "value": "q"}
    path = write(
        tmp_path / "all.jsonl",
        "\n".join(
            json.dumps(row)
            for row in (
                {"conversations": [turn], "chosen": {"from": "gpt", "value": "a"},
                 "rejected": {"from": "gpt", "value": "b"}},
                {"prompt": "q", "chosen": "a", "rejected": "b"},
                {"prompt": [{"role": "user", "content": "q"}], "chosen": [dict(SAID, content="a")],
                 "rejected": [dict(SAID, content="b")]},
                {"chosen": [dict(ASKED, content="q"), dict(SAID, content="a")],
                 "rejected": [dict(ASKED, content="q"), dict(SAID, content="b")]},
                {"instruction": "q", "input": "", "chosen": "a", "rejected": "b"},
                {"prompt": "q", "completions": ["b", "a"], "ranks": [1, 0], "unacceptable": [True, False]},
            )
        ),
    )  # fmt: skip
    rows = rankings(path).rows
    for row in rows[:5]:
        assert (row.prompt, row.completions, row.ranks) == ([{"role": "user", "content": "q"}], ["a", "b"], [0, 1])
    assert (rows[5].completions, rows[5].ranks, rows[5].unacceptable) == (["b", "a"], [1, 0], [True, False])
    assert len({row.prompt_id for row in rows}) == 1


def test_the_shapes_of_an_unpaired_label(tmp_path: Path) -> None:
    path = write(
        tmp_path / "all.json",
        [{"messages": [ASKED, SAID], "label": True}, {"prompt": "Why?", "completion": "So.", "label": False}],
    )
    rows = unpaired(path).rows
    assert [(row.prompt, row.completion, row.desirable) for row in rows] == [
        ([ASKED], "So.", True),
        ([ASKED], "So.", False),
    ]
    assert is_unpaired(path)
    pairs = write(tmp_path / "pairs.json", [{"prompt": "q", "chosen": "a", "rejected": "b", "label": 1}])
    assert not is_unpaired(pairs)


def test_parquet_is_read_whatever_its_name(tmp_path: Path) -> None:
    row = UnpairedRow(id="u", prompt=[ASKED], completion="So.", desirable=True)  # type: ignore[list-item]
    write_parquet(tmp_path / "labels.json", [row], row_type=UnpairedRow)
    assert is_unpaired(tmp_path / "labels.json") and unpaired(tmp_path / "labels.json").rows == [row]
    talk = DemonstrationRow(id="d", messages=[ASKED, SAID])  # type: ignore[list-item]
    write_parquet(tmp_path / "talks", [talk], row_type=DemonstrationRow)
    assert demonstrations(tmp_path / "talks").rows == [talk] and not is_unpaired(tmp_path / "talks")
    ranking = RankingRow(
        id="r", prompt_id="p", prompt=[ASKED], completions=["a", "b"], ranks=[0, 1], unacceptable=[False, True]  # type: ignore[list-item]
    )  # fmt: skip
    write_parquet(tmp_path / "rankings", [ranking], row_type=RankingRow)
    assert rankings(tmp_path / "rankings").rows == [ranking]


GOOD = {"instruction": "a", "output": "b"}
BROKEN: list[tuple[Callable[[Path], Any], Any, str]] = [
    (demonstrations, "", "file.json is empty"),
    (demonstrations, "  \n", "file.json is empty"),
    (demonstrations, b"\xff\xfe\x00", "neither Parquet nor UTF-8 text"),
    (demonstrations, gzip.compress(b"[]", mtime=0)[:-6], "file.json cannot be read"),
    (demonstrations, b"PAR1 and no more", "not a whole Parquet file"),
    (is_unpaired, b"PAR1 and no more", "not a whole Parquet file"),
    (demonstrations, "[{", "file.json is not valid JSON"),
    (demonstrations, "[" * 100_000, "file.json is not valid JSON"),
    (demonstrations, [GOOD, 7], "row 1 of .*file.json: not a JSON object"),
    (demonstrations, json.dumps(GOOD) + '\n{"instruction":', "line 2 of .*file.json: not valid JSON"),
    (demonstrations, [GOOD, {"text": "x"}], "row 1 of .*: the row has neither messages, nor conversations, nor instr"),
    (demonstrations, [{"instruction": "a", "output": 3}], "row 0 of .*: output must be text, not 3"),
    (demonstrations, [{"instruction": "", "output": "b"}], "instruction and input are empty"),
    (demonstrations, [{"instruction": "a", "output": " "}], "an answer is empty"),
    (demonstrations, [{"messages": [ASKED]}], "must end with a message of the assistant"),
    (demonstrations, [{"messages": []}], "messages must be a list of messages"),
    (demonstrations, [{"messages": [ASKED, "no"]}], "message 1 of messages is no object"),
    (demonstrations, [{"conversations": [{"from": "tool", "value": "x"}]}], "message 0 of conversations is by 'tool'"),
    (demonstrations, [{"messages": [ASKED, {"role": "assistant", "content": None}]}], "message 1 must be text"),
    (demonstrations, [{**GOOD, "weight": "2"}], "weight must be a number"),
    (demonstrations, [{**GOOD, "weight": -1}], "weight must be a finite number of at least 0"),
    (demonstrations, [{**GOOD, "split": "test"}], "split must be 'train' or 'heldout'"),
    (demonstrations, [{**GOOD, "history": [1]}], "row 0 of .*: the row has a value of the wrong kind"),
    (rankings, [{"prompt": "q", "chosen": "a"}], "neither chosen and rejected, nor completions and ranks"),
    (rankings, [{"chosen": "a", "rejected": "b"}], "neither a prompt, nor messages"),
    (rankings, [{"prompt": "q", "chosen": [ASKED], "rejected": "b"}], "chosen must be one turn of the assistant"),
    (rankings, [{"chosen": [ASKED, SAID], "rejected": [dict(ASKED, content="!"), SAID]}], "do not answer the same"),
    (rankings, [{"prompt": "q", "completions": ["a", "b"], "ranks": [0, 0.5]}], "ranks must be whole numbers"),
    (rankings, [{"prompt": "q", "completions": ["a", "b"], "ranks": [0]}], "needs 2 ranks"),
    (rankings, [{"prompt": "q", "completions": "ab", "ranks": [0, 1]}], "completions must be a list"),
    (rankings, [{"messages": [ASKED, SAID], "chosen": "a", "rejected": "b"}], "must end with a message of the user"),
    (unpaired, [{"messages": [ASKED, SAID], "label": 1}], "label must be true or false"),
    (unpaired, [{"messages": [ASKED], "label": True}], "must end with the judged answer of the assistant"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(BROKEN)))
def test_what_cannot_be_read_is_refused_by_one_sentence(tmp_path: Path, number: int) -> None:
    read, content, words = BROKEN[number]
    path = tmp_path / "file.json"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write(path, content)
    with pytest.raises(RecordError, match=words) as refusal:
        read(path)
    assert str(refusal.value).endswith(".") and "\n" not in str(refusal.value)
    assert str(path) in str(refusal.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for read in (demonstrations, rankings, unpaired, is_unpaired):
        with pytest.raises(RecordError, match="none.json does not exist"):
            read(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("name", "rows", "notes"),
    [
        ("alpaca_en_demo.json", 999, 0),
        ("alpaca_zh_demo.json", 1000, 0),
        ("identity.json", 91, 0),
        ("fastchat_dummy_conversation.json", 500, 0),
        ("smile_zh_conversations_500.json", 500, 1),
    ],
)
def test_real_demonstrations(shared_data: Path, name: str, rows: int, notes: int) -> None:
    read = demonstrations(shared_data / "sft" / name)
    assert (len(read.rows), len(read.notes)) == (rows, notes)
    assert {row.split for row in read.rows} == {"train", "heldout"}


def test_real_preferences_and_labels(shared_data: Path) -> None:
    for name in ("dpo_en_demo.json", "dpo_zh_demo.json"):
        rows = rankings(shared_data / "preferences" / name).rows
        assert len(rows) == 300 and all(row.ranks == [0, 1] for row in rows)
    rows = unpaired(shared_data / "preferences" / "kto_en_demo.json").rows
    assert sum(row.desirable for row in rows) == 150 and len(rows) == 300
    assert is_unpaired(shared_data / "preferences" / "kto_en_demo.json")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("glaive_toolcall_en_demo.json", "row 0 of .* is by 'function_call'"),
        ("dataset_info.json", "line 1 of .*: not valid JSON"),
        ("selfinstruct_seed_tasks.jsonl", "line 1 of .*neither messages"),
        ("smile_raw_20.zip", "neither Parquet nor UTF-8 text"),
    ],
)
def test_real_files_of_other_shapes_are_refused(shared_data: Path, name: str, words: str) -> None:
    with pytest.raises(RecordError, match=words):
        demonstrations(shared_data / "sft" / name)
