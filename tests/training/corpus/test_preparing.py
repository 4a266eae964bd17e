"""A whole corpus from files: what stays, what goes and why, and real files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.training.corpus.test_cleaning import CHINESE, ENGLISH
from training.records import RecordError
from training.trainers.config import build
from training.trainers.corpus.manifest import read_manifest
from training.trainers.corpus.preparing import file_name, prepare, settings_of

PROMPT = "Compose an engaging travel blog post about a recent trip to Hawaii, highlighting cultural experiences"


def made(folder: Path, manifest: dict[str, Any], told: list[str] | None = None, **params: Any) -> dict[str, Any]:
    """Prepare a corpus in `folder/corpus` and give its report, as it was written."""
    path = folder / "sources.json"
    path.write_text(json.dumps(manifest))
    config = build("pretrain", params)
    told = [] if told is None else told
    report = prepare(
        folder / "corpus",
        manifest=read_manifest(path),
        config=config,
        settings=settings_of(config, data=path),
        tell=told.append,
        between=lambda: None,
    )
    assert json.loads((folder / "corpus" / "report.json").read_text()) == report
    return report


def kept(folder: Path, number: int = 0) -> list[str]:
    return pq.read_table(folder / "corpus" / file_name(number))["text"].to_pylist()


def dropped(report: dict[str, Any], number: int = 0) -> dict[str, int]:
    return {reason: entry["documents"] for reason, entry in report["sources"][number]["dropped"].items()}


def jsonl(path: Path, *texts: object) -> None:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def test_each_document_goes_for_one_reason_and_the_rest_stays_in_order(tmp_path: Path) -> None:
    other = ENGLISH.replace("river", "road").replace("water", "carts").replace("book", "song").replace("snow", "ice")
    jsonl(
        tmp_path / "a.jsonl",
        ENGLISH + "\r\n",
        "short",
        ENGLISH.upper(),
        ENGLISH + " A last word is new.",
        f"{other} {PROMPT}.",
        None,
        "\u200b",
        CHINESE,
        other.replace("village", "town") + " lorem ipsum",
    )
    jsonl(tmp_path / "e.jsonl", PROMPT)
    jsonl(tmp_path / "b.jsonl", CHINESE, other)
    manifest = {
        "sources": [{"name": "a", "path": "a.jsonl"}, {"name": "b", "path": "b.jsonl"}],
        "evaluation": [{"path": "e.jsonl"}],
    }
    told: list[str] = []
    report = made(tmp_path, manifest, told)
    assert kept(tmp_path, 0) == [ENGLISH, CHINESE] and kept(tmp_path, 1) == [other]
    assert dropped(report) == {
        "contaminated": 1,
        "empty": 1,
        "exact_duplicate": 1,
        "near_duplicate": 1,
        "no_text": 1,
        "placeholder": 1,
        "too_short": 1,
    }
    # Across sources: what an earlier one has, a later one loses.
    assert dropped(report, 1) == {"exact_duplicate": 1}
    first, second = report["sources"]
    assert first["dropped"]["near_duplicate"]["twins"] == {"a": 1} == first["dropped"]["exact_duplicate"]["twins"]
    assert second["dropped"]["exact_duplicate"]["twins"] == {"a": 1} and "twins" not in first["dropped"]["empty"]
    assert (first["documents"], first["kept_documents"], first["languages"]) == (9, 2, {"en": 1, "zh": 1})
    example = first["dropped"]["near_duplicate"]["examples"][0]
    assert example["where"].endswith("a.jsonl:4") and example["text"].startswith("The river")
    assert example["detail"].startswith("of ") and "a.jsonl:1, 9" in example["detail"]
    assert first["dropped"]["contaminated"]["examples"][0]["detail"].startswith("compose an engaging travel")
    assert first["files"][0]["bytes"] == (tmp_path / "a.jsonl").stat().st_size
    assert told[0].startswith("Source a: 2 of 9 documents kept; dropped: contaminated 1, ")


def test_switches_and_languages(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", "short", "short", ENGLISH, CHINESE)
    spared = {"sources": [{"name": "a", "path": "a.jsonl", "quality_filter": False}]}
    assert dropped(made(tmp_path, spared, deduplicate="exact")) == {"exact_duplicate": 1}
    assert dropped(made(tmp_path, spared, deduplicate="none")) == {}
    plain = {"sources": [{"name": "a", "path": "a.jsonl"}]}
    assert dropped(made(tmp_path, plain, quality_filter=False)) == {"exact_duplicate": 1}
    assert dropped(made(tmp_path, plain, languages="zh, fr")) == {"language": 3}
    assert kept(tmp_path) == [CHINESE]


def test_examples_are_the_same_few_whatever_the_order_of_calls(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", ENGLISH, *(f"short {n}" for n in range(50)))
    manifest = {"sources": [{"name": "a", "path": "a.jsonl"}]}
    one, two = (made(tmp_path, manifest)["sources"][0]["dropped"]["too_short"] for _ in range(2))
    assert one == two and one["documents"] == 50 and len(one["examples"]) == 3


def test_a_source_of_which_nothing_stays_is_refused_with_the_reason(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", *(f"short {n}" for n in range(5)), ENGLISH)
    jsonl(tmp_path / "b.jsonl", "short", "tiny", "{}")
    manifest = {"sources": [{"name": "a", "path": "a.jsonl"}, {"name": "b", "path": "b.jsonl"}]}
    with pytest.raises(RecordError, match="Nothing of the source b is left: of its 3 documents, 3 were"):
        made(tmp_path, manifest)
    # Nothing half-made is left behind.
    assert not (tmp_path / "corpus").exists()
    manifest["sources"][0]["weight"], manifest["sources"][1]["weight"] = "1", 0  # type: ignore[assignment]
    with pytest.raises(RecordError, match="weight must be a number"):
        made(tmp_path, manifest)
    manifest["sources"][0]["weight"] = 1  # type: ignore[assignment]
    assert made(tmp_path, manifest)["sources"][1]["kept_documents"] == 0


def test_a_bad_last_source_is_found_before_the_first_is_read(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", ENGLISH)
    told: list[str] = []
    manifest = {"sources": [{"name": "a", "path": "a.jsonl"}, {"name": "b", "path": "b.jsonl"}]}
    with pytest.raises(RecordError, match="The source b: .*b.jsonl does not exist"):
        made(tmp_path, manifest, told)
    assert not told


def test_real_editions_of_one_book_are_near_duplicates(tmp_path: Path, shared_data: Path) -> None:
    """Word-5-gram Jaccard of the first edition to the others: 0.9997, 0.958 and 0.916 (the data's README)."""
    folder = shared_data / "pretrain" / "gutenberg_pride"
    manifest = {"sources": [{"name": "pride", "path": str(folder), "quality_filter": False}]}
    report = made(tmp_path, manifest)
    assert dropped(report) == {"near_duplicate": 3}
    details = {e["where"][-14:]: e["detail"] for e in report["sources"][0]["dropped"]["near_duplicate"]["examples"]}
    shares = {where: int(detail.rsplit(", ", 1)[1].removesuffix("% alike")) / 100 for where, detail in details.items()}
    for name, true in (("1342.txt.gz", 0.9997), ("pandp12.txt.gz", 0.958), ("pandp10.txt.gz", 0.916)):
        assert shares[next(where for where in shares if where.endswith(name))] == pytest.approx(true, abs=0.08)


@pytest.mark.slow
def test_real_web_pages_and_a_file_made_to_test_deduplication(tmp_path: Path, shared_data: Path) -> None:
    pages = shared_data / "pretrain"
    manifest = {
        "sources": [
            {"name": "demo", "path": str(pages / "datajuicer_dedup_demo.jsonl"), "quality_filter": False},
            {"name": "c4", "path": str(pages / "c4_demo.jsonl")},
            {"name": "lunyu", "path": str(pages / "zh_lunyu.json"), "text_field": "paragraphs"},
        ]
    }
    report = made(tmp_path, manifest)
    demo, c4, lunyu = report["sources"]
    # 14 rows: one comes twice, word for word but for its case or signs; the long ones have near-duplicates.
    assert demo["dropped"]["near_duplicate"]["documents"] == 3
    # C4 was filtered by its own rules: most of it stays; all of the Analects do.
    assert 240 <= c4["kept_documents"] <= 280 and lunyu["kept_documents"] == 20
    assert lunyu["languages"] == {"zh": 20}
