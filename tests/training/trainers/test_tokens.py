"""Streams of tokens: nothing lost between documents and rows, held-out shares, documents that do not see each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from tests.training.corpus.test_preparing import made
from training.trainers import models, scratch
from training.trainers.program import TrainerError
from training.trainers.tokens import (
    IGNORED,
    Document,
    Stream,
    collate,
    cut_before,
    encode,
    end_of_text_id,
    open_stream,
    split_documents,
    tokenise,
    training_texts,
)

LINES = [f"Line {n} of the river, the egg and the sky.\n中文第{n}行。" for n in range(40)]


@pytest.fixture(scope="module")
def tokenizer(tiny: Path) -> Any:
    return models.load_tokenizer(str(tiny))


def corpus(folder: Path, texts: list[str], *, percent: float) -> dict[str, Any]:
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    source = {"name": "a", "path": "a.jsonl", "quality_filter": False, "heldout_percent": percent}
    return made(folder, {"sources": [source]}, deduplicate="exact")["sources"][0]


def streams(folder: Path, facts: dict[str, Any], tokenizer: Any, *, length: int = 7) -> tuple[Stream, Stream]:
    end = end_of_text_id(tokenizer)
    found = tokenise(
        folder / "tokens",
        corpus=folder / "corpus",
        sources=[facts],
        tokenizer=tokenizer,
        end_of_text=end,
        identity={},
        between=lambda: None,
    )
    one, two = (
        open_stream(folder / "tokens", f"{name}-000.bin", dtype=found["dtype"], length=length)
        for name in ("train", "heldout")
    )
    assert found["sources"][0]["train_tokens"] == len(one.ids)
    return one, two


def test_rows_predict_every_token_once_and_give_the_documents_back(tmp_path: Path, tokenizer: Any) -> None:
    facts = corpus(tmp_path, LINES, percent=0)
    train, heldout = streams(tmp_path, facts, tokenizer)
    rows = [train.row(n) for n in range(train.rows)]
    assert all(len(row) == 8 for row in rows[:-1]) and 2 <= len(rows[-1]) <= 8
    predicted = [token for row in rows for token in row[1:]]
    assert [rows[0][0], *predicted] == train.ids.tolist()
    # Each row goes on with the last token that the one before predicted.
    assert all(a[-1] == b[0] for a, b in zip(rows, rows[1:], strict=False))
    end = end_of_text_id(tokenizer)
    assert predicted.count(end) == len(LINES) and rows[0][0] == predicted[-1] == end
    assert tokenizer.decode(train.ids).split("<|endoftext|>")[1:-1] == LINES
    assert heldout.rows == 0


def test_documents_are_held_out_by_their_hash_alone(tmp_path: Path) -> None:
    facts = corpus(tmp_path, LINES, percent=25)
    one = list(split_documents(tmp_path / "corpus", 0, facts))
    held = {document.text for document in one if document.heldout}
    assert 3 <= len(held) <= 20 and [document.text for document in one] == LINES
    facts = corpus(tmp_path, LINES[20:] + ["A new one."], percent=25)
    two = {document.text for document in split_documents(tmp_path / "corpus", 0, facts) if document.heldout}
    assert two - {"A new one."} == held & set(LINES[20:])


def test_a_source_of_one_document_gives_its_end(tmp_path: Path) -> None:
    text = "\n\n".join(LINES)
    facts = corpus(tmp_path, [text], percent=10)
    train, heldout = split_documents(tmp_path / "corpus", 0, facts)
    assert (train.heldout, heldout.heldout) == (False, True)
    assert train.text + heldout.text == text and heldout.text.startswith("Line 3")
    assert len(heldout.text) == pytest.approx(len(text) / 10, abs=60)
    assert list(split_documents(tmp_path / "corpus", 0, facts | {"heldout_percent": 0})) == [
        Document(text=text, heldout=False)
    ]


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [("one two\nthree four", 15, 8), ("one two three", 12, 8), ("一二三。四五六", 6, 4), ("abcdef", 3, 3)],
)
def test_texts_are_cut_at_the_largest_end_near_by(text: str, position: int, expected: int) -> None:
    assert cut_before(text, position) == expected


def test_a_special_token_in_a_text_is_ordinary_text(tokenizer: Any) -> None:
    end = end_of_text_id(tokenizer)
    ids = encode(tokenizer, ["Of <|endoftext|> and <|im_end|>."], end_of_text=end)[0]
    assert end not in ids and tokenizer.decode(ids) == "Of <|endoftext|> and <|im_end|>."
    with pytest.raises(TrainerError, match="reads the end-of-text token inside a document"):
        encode(tokenizer, ["river"], end_of_text=encode(tokenizer, ["river"], end_of_text=-1)[0][0])


def test_rows_become_inputs_labels_and_positions() -> None:
    """Row 0 goes on with a document of two tokens, then come documents of one and of two; 9 is the end of text."""
    batch = collate([[1, 2, 9, 3, 9, 4, 5], [9, 6, 7]], pad_id=0, end_of_text=9, isolate=True)
    assert batch["input_ids"].tolist() == [[1, 2, 9, 3, 9, 4], [9, 6, 0, 0, 0, 0]]
    assert batch["labels"].tolist() == [[2, 9, 3, 9, 4, 5], [6, 7, *[IGNORED] * 4]]
    assert batch["position_ids"].tolist() == [[0, 1, 0, 1, 0, 1], [0, 1, 2, 3, 4, 5]]
    assert "position_ids" not in collate([[1, 2]], pad_id=0, end_of_text=9, isolate=False)


@pytest.mark.slow
def test_an_isolated_document_has_the_logits_it_has_alone(tiny: Path, tokenizer: Any) -> None:
    model = models.load_causal_model(str(tiny), tokenizer, dtype=torch.float32).eval()
    end = end_of_text_id(tokenizer)
    first, second = ([end, *ids] for ids in encode(tokenizer, LINES[:2], end_of_text=end))
    row = [*first, *second, end]
    with torch.inference_mode():
        isolated, open_, alone = (
            model(**{k: v for k, v in collate([ids], **options).items() if k != "labels"}, use_cache=False).logits[0]
            for ids, options in (
                (row, {"pad_id": 0, "end_of_text": end, "isolate": True}),
                (row, {"pad_id": 0, "end_of_text": end, "isolate": False}),
                ([*second, end], {"pad_id": 0, "end_of_text": end, "isolate": False}),
            )
        )
    assert torch.allclose(isolated[len(first) :], alone, atol=1e-5)
    assert not torch.allclose(open_[len(first) :], alone, atol=1e-3)
    assert torch.allclose(isolated[: len(first)], open_[: len(first)], atol=1e-5)


@pytest.mark.slow
def test_an_own_tokenizer_loses_no_byte_and_reads_its_corpus_in_fewer_tokens(tmp_path: Path) -> None:
    facts = corpus(tmp_path, LINES, percent=0)
    own = scratch.train_tokenizer(training_texts(tmp_path / "corpus", [facts]), vocabulary=400)
    assert len(own) <= 400
    for text in (LINES[3], "naïve 🙂 \t\n 日本語 \x00"):
        assert own.decode(encode(own, [text], end_of_text=end_of_text_id(own))[0]) == text
    assert len(own(LINES[3])["input_ids"]) < len(LINES[3].encode()) / 2


def test_a_large_corpus_gives_the_tokenizer_an_even_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.trainers.tokens.TOKENIZER_CHARACTERS", sum(map(len, LINES)) // 4)
    facts = corpus(tmp_path, LINES, percent=0)
    taken = "".join(training_texts(tmp_path / "corpus", [facts]))
    assert sum(map(len, LINES)) / 5 <= len(taken) <= sum(map(len, LINES)) / 3
    # From the whole of it, not from its beginning.
    assert "第37行" in taken or "第38行" in taken or "第39行" in taken or "第36行" in taken


def test_streams_are_read_in_their_number_format(tmp_path: Path) -> None:
    numpy.arange(70_000, 70_011, dtype=numpy.uint32).tofile(tmp_path / "x.bin")
    stream = open_stream(tmp_path, "x.bin", dtype="uint32", length=4)
    assert stream.rows == 3 and stream.row(2) == [70_008, 70_009, 70_010]
    numpy.arange(9, dtype=numpy.uint16).tofile(tmp_path / "y.bin")
    # 8 predictions are two full rows, no third.
    assert open_stream(tmp_path, "y.bin", dtype="uint16", length=4).rows == 2
