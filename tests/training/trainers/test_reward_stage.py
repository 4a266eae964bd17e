"""The reward stage as a real process: its reports, its zero point, other trunks, ties, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from training.records import RankingRow, read_parquet, write_parquet

pytestmark = pytest.mark.slow

SMALL: dict[str, Any] = {"batch_size": 4, "micro_batch_size": 2, "checkpoint_steps": 0, "epochs": 1}


def people(path: Path, rankings: Path, *, annotators: tuple[str, ...], **fields: Any) -> Path:
    """The rankings once for each annotator, with these fields."""
    rows = [
        RankingRow(**(vars(row) | {"id": f"{row.id}-{name}", "annotator": name} | fields))
        for row in read_parquet(rankings, row_type=RankingRow)
        for name in annotators
    ]
    write_parquet(path, rows, row_type=RankingRow)
    return path


def test_a_run_leaves_its_report_and_its_zero_point(
    launch, tiny: Path, rankings: Path, demonstrations: Path, tmp_path: Path
) -> None:
    data = people(tmp_path / "people.parquet", rankings, annotators=("ann", "ben"), category="chat")
    run = launch("reward", model=tiny, data=data, inputs={"demonstrations": str(demonstrations)}, **SMALL)
    assert run.code == 0, run.stderr
    metrics = run.result["metrics"]
    report = json.loads(Path(run.result["outputs"]["report"]).read_text())
    # Three held-out prompts of orders with 6, 5 and 5 comparisons, judged alike by two people.
    assert (report["prompts"], report["rankings"], report["comparisons"]) == (3, 6, 32)
    assert report["people"]["agreement"]["value"] == 1.0 == metrics["people_agreement"]
    assert report["people"]["agreement"]["comparisons"] == 16
    assert 0 < metrics["people_agreement_low"] < 1
    assert report["accuracy"]["value"] == metrics["heldout_accuracy"]
    assert report["people"]["model_on_the_same_pairs"]["value"] == pytest.approx(metrics["heldout_accuracy"])
    assert set(report["by_annotator"]) == {"ann", "ben"} and set(report["by_category"]) == {"chat"}
    assert report["by_annotator"]["ann"]["trained_on"] == 8
    assert sum(one["comparisons"] for one in report["calibration"]["bins"]) == 32
    facts = json.loads((run.output / "reward.json").read_text())
    assert facts["zero_point"]["source"] == "demonstrations" and facts["zero_point"]["count"] == 12
    assert facts["zero_point"]["reward"] == metrics["zero_point"]
    # What a reader of the folder gets is the library's own attention.
    assert "hone_shared_prompt" not in (run.output / "config.json").read_text()


def test_a_smaller_trunk_and_ties_train_as_well(launch, tiny: Path, rankings: Path, tmp_path: Path) -> None:
    """Half as wide and deep as the tiny model, with its tokenizer; the ranking of ties alone is trained on too, and an
    empty answer is an answer."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    small = tmp_path / "small"
    shape = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **shape)).save_pretrained(small)
    tokenizer.save_pretrained(small)
    rows = read_parquet(rankings, row_type=RankingRow)
    rows[0].completions[3] = ""
    data = tmp_path / "rows.parquet"
    write_parquet(data, rows, row_type=RankingRow)
    run = launch("reward", model=small, data=data, method="full", ties="rao_kupper", **SMALL)
    assert run.code == 0, run.stderr
    assert run.result["consumed"]["rows"] == 9
    assert json.loads((run.output / "config.json").read_text())["hidden_size"] == 64
    facts = json.loads((run.output / "reward.json").read_text())
    assert facts["zero_point"]["source"] == "completions ranked first (heldout)"
    assert not any("read again for each" in event.get("message", "") for event in run.events)


def test_people_whom_the_consensus_believes_count_more(launch, tiny: Path, rankings: Path, tmp_path: Path) -> None:
    rows = []
    for row in read_parquet(rankings, row_type=RankingRow):
        for name, chance in (("ann", 0.9), ("ben", 0.6)):
            values = vars(row) | {"id": f"{row.id}-{name}", "annotator": name}
            rows.append(RankingRow(**(values | {"posteriors": [chance] * len(pairs(row))})))
    data = tmp_path / "rows.parquet"
    write_parquet(data, rows, row_type=RankingRow)
    run = launch("reward", model=tiny, data=data, annotator_weight="reliability", **SMALL)
    assert run.code == 0, run.stderr
    report = json.loads(Path(run.result["outputs"]["report"]).read_text())
    # 2q - 1 is 0.8 and 0.2, their mean 0.5.
    assert report["annotator_weights"] == {"ann": pytest.approx(1.6), "ben": pytest.approx(0.4)}


def pairs(row: RankingRow) -> list[tuple[int, int]]:
    from training.records import comparisons

    return comparisons(row.ranks)


def test_bad_input_is_named(launch, tiny: Path, rankings: Path, prompts: Path, tmp_path: Path) -> None:
    import shutil

    from transformers import AutoTokenizer

    other = tmp_path / "other"
    shutil.copytree(tiny, other)
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.add_tokens([f"<word{n}>" for n in range(9000)])
    tokenizer.save_pretrained(other)
    (other / "hone.json").unlink()
    cases: list[tuple[dict[str, Any], str]] = [
        ({"model": other}, "they do not belong together"),
        ({"inputs": {"demonstrations": str(prompts)}}, "lacks the column(s) messages"),
        ({"inputs": {"demonstrations": str(tmp_path / "none.parquet")}}, "none.parquet does not exist"),
        ({"annotator_weight": "reliability"}, "which annotator_weight = reliability needs"),
        ({"label": "soft"}, "which label = soft needs"),
    ]
    for number, (arguments, words) in enumerate(cases):
        run = launch("reward", name=str(number), **({"model": tiny, "data": rankings} | SMALL | arguments))
        assert run.code == 1, run.stderr
        assert words in run.result["error"]
        assert not run.output.exists()
