"""What the stages really leave is what the console reads: real processes on the tiny model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.corpus.test_cleaning import ENGLISH
from training import reports
from training.models import Run
from training.reports import samples

pytestmark = pytest.mark.slow


@pytest.fixture
def run_of(settings: Any, tmp_path: Path) -> Callable[[str], Run]:
    """A run, in no database, whose folder is that of `launch(name="1")`."""
    settings.RUNS_DIR = tmp_path
    return lambda kind: Run(pk=1, kind=kind)


def test_an_evaluation_of_one_model(launch: Any, run_of: Any, tiny: Path, prompts: Path) -> None:
    left = launch("evaluate", name="1", model=tiny, data=prompts, k=2, max_new_tokens=8, batch_size=8)
    assert left.code == 0, left.stderr
    report = reports.of(run_of("evaluate"))
    assert report is not None and not report.problem and not report.samples
    body = report.body
    assert body["drawn"] == "2 answers to each of 8 prompts, temperature 1, top-p 1, at most 8 tokens"
    assert body["compared"] is False
    numbers = {row["name"]: row["ours"].value for row in body["beside"]}
    assert numbers["Entropy, nats a token"] == left.result["metrics"]["policy_entropy"]


def test_a_reward_model(launch: Any, run_of: Any, tiny: Path, rankings: Path) -> None:
    left = launch("reward", name="1", model=tiny, data=rankings, max_steps=1, batch_size=4)
    assert left.code == 0, left.stderr
    shutil.move(left.output, left.folder / "checkpoint")  # where runs.config has it
    run = run_of("reward")
    run.result = left.result
    report = reports.of(run)
    assert report is not None and not report.problem
    assert report.body["accuracy"].value == left.result["metrics"]["heldout_accuracy"]
    assert report.body["zero"]["reward"].value == left.result["metrics"]["zero_point"]
    assert report.body["cut"] == left.result["metrics"]["cut_sequences"]


def test_a_pretraining(launch: Any, run_of: Any, tiny: Path, tmp_path: Path) -> None:
    words = ENGLISH.split()
    lines = [json.dumps({"text": f"Story {n}: " + " ".join(words[n % 9 :])}) + "\n" for n in range(30)]
    (tmp_path / "web.jsonl").write_text("".join(lines))
    source = {"name": "web", "path": "web.jsonl", "quality_filter": False, "heldout_percent": 30}
    manifest = tmp_path / "sources.json"
    manifest.write_text(json.dumps({"sources": [source], "sample_prompts": ["Story"]}))
    settings = {"deduplicate": "exact", "max_length": 32, "batch_size": 2, "micro_batch_size": 2, "sample_tokens": 6}
    left = launch("pretrain", name="1", model=tiny, data=manifest, max_steps=2, sample_steps="0, 1", **settings)
    assert left.code == 0, left.stderr
    run = run_of("pretrain")
    run.result = left.result
    report = reports.of(run)
    assert report is not None and not report.problem and report.samples
    (web,) = report.body["sources"]
    assert web["documents"] == 30 and web["perplexity"].value == left.result["metrics"]["heldout_perplexity_web"]
    assert report.body["plot"] is not None and web["bits_before"].value > 0
    steps = samples.by_step(run)
    assert steps is not None and [group["step"] for group in steps] == [2, 1, 0]
    assert [sample["prompt"] for group in steps for sample in group["samples"]] == ["Story"] * 3
