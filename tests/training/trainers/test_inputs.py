"""What a stage reads beside its model and data: named in the config, known to the stage, part of the result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from training.trainers import inputs
from training.trainers.config import STAGES, fields_of
from training.trainers.program import TrainerError, is_finished, read_envelope


def test_known_inputs_are_of_real_stages_and_are_no_field_of_a_form() -> None:
    assert set(inputs.KNOWN) <= set(STAGES)
    for stage, known in inputs.KNOWN.items():
        assert not set(known) & {spec.name for spec in fields_of(stage)}


@pytest.mark.parametrize(
    ("stage", "given", "words"),
    [
        ("evaluate", ["reference"], "inputs must be an object"),
        ("sft", {"reference": "x"}, "reference is no input of the stage sft; it has none"),
        ("best_of_n", {"judge": "x"}, "judge is no input of the stage best_of_n; its inputs are reward_model"),
        ("reward", {"demonstrations": ""}, "the input demonstrations must be a text"),
        ("reward", {"demonstrations": 7}, "the input demonstrations must be a text"),
    ],
)
def test_unknown_and_empty_inputs_are_refused_with_the_config(
    stage: str, given: Any, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "config.json"
    paths = {name: str(tmp_path) for name in ("run_dir", "model", "data", "output_dir")}
    path.write_text(json.dumps({**paths, "stage": stage, "inputs": given}))
    with pytest.raises(TrainerError, match=words):
        read_envelope(path, stage=stage)


def test_a_finished_run_is_done_again_where_an_input_has_another_content(tmp_path: Path) -> None:
    data, written = tmp_path / "data.parquet", tmp_path / "written.parquet"
    data.write_bytes(b"rows")
    written.write_bytes(b"answers")
    given = {"demonstrations": str(written)}
    envelope = {"run_dir": str(tmp_path), "model": "m", "data": str(data), "params": {}, "inputs": given}
    result: dict[str, Any] = {"status": "succeeded", "model": "m", "params": {}, "inputs": given}
    result |= {"data_sha256": inputs.hashes({"": str(data)})[""], "inputs_sha256": inputs.hashes(given)}
    (tmp_path / "result.json").write_text(json.dumps(result))
    assert is_finished(envelope)
    assert not is_finished({**envelope, "inputs": {}})
    written.write_bytes(b"other answers")
    assert not is_finished(envelope)
