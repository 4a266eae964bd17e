"""The list of sources: its defaults, and a sentence for each way to get it wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from training.records import RecordError
from training.trainers.corpus.manifest import Manifest, read_manifest


def read(folder: Path, value: Any) -> Manifest:
    (folder / "sources.json").write_text(value if isinstance(value, str) else json.dumps(value))
    return read_manifest(folder / "sources.json")


def test_paths_start_at_the_manifest_and_fields_have_defaults(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        {
            "sources": [{"name": "a", "path": "sub/a.txt", "weight": 2}, {"name": "乙", "path": "/b", "weight": 0}],
            "evaluation": [{"path": "e.jsonl", "text_field": "turns"}],
            "sample_prompts": ["Once"],
        },
    )
    first, second = found.sources
    assert (first.path, first.text_field, first.documents, first.quality_filter) == (
        tmp_path / "sub/a.txt",
        "text",
        "file",
        True,
    )
    assert second.path == Path("/b") and found.weights == [2, 0]
    assert found.evaluation[0].documents == "lines" and found.evaluation[0].text_field == "turns"
    assert read(tmp_path, {"sources": [{"name": "a", "path": "x"}]}).weights is None


A = {"name": "a", "path": "a.txt"}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "must be a JSON object with a list named sources"),
        ({"sources": []}, "names no source"),
        ({"sources": [A], "more": 1}, "unknown field.*more"),
        ({"sources": [A, A]}, "Two sources have the name a"),
        ({"sources": [{"name": "a b", "path": "x"}]}, "Source 1 needs a name"),
        ({"sources": [{"name": "a"}]}, "The source a needs a path"),
        ({"sources": [A | {"wieght": 1}]}, "The source a has the unknown field.*wieght; known are"),
        ({"sources": [A | {"weight": -1}]}, "The source a: weight must be a number of at least 0, not -1"),
        ({"sources": [A | {"weight": True}]}, "weight must be a number"),
        ({"sources": [A | {"weight": 0}]}, "weights of all sources are zero"),
        ({"sources": [A | {"weight": 1}, {"name": "b", "path": "b"}]}, "The source b has no weight"),
        ({"sources": [A | {"heldout_percent": 51}]}, "heldout_percent must be a number from 0 to 50, not 51"),
        ({"sources": [A | {"documents": "pages"}]}, "documents must be one of file, lines, paragraphs, not 'pages'"),
        ({"sources": [A | {"encoding": "utf-9"}]}, "encoding 'utf-9' is not known"),
        ({"sources": [A | {"text_field": ""}]}, "text_field must be a text"),
        ({"sources": [A | {"quality_filter": 1}]}, "quality_filter must be true or false"),
        ({"sources": [A], "evaluation": ["x"]}, "Evaluation file 1 must be a JSON object with a path"),
        ({"sources": [A], "sample_prompts": "x"}, "sample_prompts must be a list of texts"),
    ],
)
def test_a_bad_manifest_gives_one_sentence(tmp_path: Path, value: Any, words: str) -> None:
    with pytest.raises(RecordError, match=words):
        read(tmp_path, value)
    with pytest.raises(RecordError, match="does not exist"):
        read_manifest(tmp_path / "nothing.json")
