"""The model card: what a reader of the folder alone is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from training.trainers import card, hardware

RESULT: dict[str, Any] = {
    "stage": "reward",
    "model": "/var/hone/runs/7/checkpoint",
    "params": {"learning_rate": 1e-4, "label": "soft|hard"},
    "metrics": {"heldout_accuracy": 0.7251, "steps": 40},
    "consumed": {"rows": 1200, "comparisons": 7200},
    "seed": 3,
    "versions": {"python": "3.11", "torch": "2"},
    "hardware": {"device": "cpu", "cores": 2, "machine": "x86_64"},
    "commit": "c" * 40,
    "data_sha256": "d" * 64,
    "started_at": 1_700_000_000.0,
    "finished_at": 1_700_000_095.4,
}


def test_it_tells_what_was_made_from_what_and_how_well() -> None:
    text = card.text(RESULT)
    assert text.startswith('---\nbase_model: "checkpoint"\ntags: ["hone", "reward", "reward-model", ')
    for part in (
        "| Finished | 2023-11-14 22:14 UTC, after 0:01:35 |",
        "| Consumed | 1,200 rows, 7,200 comparisons |",
        f"| Data (SHA-256) | `{'d' * 64}` |",
        f"| Code | `{'c' * 40}` |",
        "| Machine | cpu, 2 cores, x86_64 |",
        "| learning_rate | `0.0001` |",
        "| label | `soft\\|hard` |",
        "| heldout_accuracy | 0.7251 |",
        "Between prompts they mean little",
    ):
        assert part in text, part
    assert "/var/hone" not in text, "a folder that is handed on tells nothing of the machine's paths"


def test_what_is_not_known_is_said_so() -> None:
    text = card.text({**RESULT, "stage": "sft", "params": {}, "consumed": {}, "commit": None, "data_sha256": None})
    for part in ("| Code | not known |", "not one file", "not counted", "All fields at their defaults."):
        assert part in text, part
    assert "reward-model" not in text


def test_it_is_written_into_the_folder(tmp_path: Path) -> None:
    card.write(tmp_path, RESULT)
    assert (tmp_path / "README.md").read_text() == card.text(RESULT)


def test_an_image_names_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_COMMIT", "abc")
    assert hardware.commit() == "abc"


def test_a_repository_names_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HONE_COMMIT", raising=False)
    if not (Path(card.__file__).parents[2] / ".git").exists():
        pytest.skip("no repository here")
    found = hardware.commit()
    assert found is not None and len(found.removesuffix("-dirty")) == 40
