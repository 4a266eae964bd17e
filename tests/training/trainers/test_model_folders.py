"""A model's folder is refused before it is loaded where it is not whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from training.trainers.model_folders import fault


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "model"
    shutil.copytree(tiny, copy)
    assert fault(copy) is None
    return copy


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_weights_that_were_cut_off_are_named(folder: Path, kept: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    assert fault(folder) == f"The file {file} is no whole safetensors file: it was cut off, or is of another kind."


@pytest.mark.parametrize("content", [b"PK\x03\x04" + b"0" * 100, b"\x02\0\0\0\0\0\0\0[]", b"\xff" * 64])
def test_another_kind_of_file_is_no_weights(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    assert "no whole safetensors file" in (fault(folder) or "")


def test_a_part_of_the_weights_that_is_missing_is_named(folder: Path) -> None:
    whole = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(whole)
    parts = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for part, held in parts.items():
        save_file({name: whole[name] for name in held}, folder / part)
    places = {name: part for part, held in parts.items() for name in held}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    assert fault(folder) is None
    (folder / "model-2.safetensors").unlink()
    assert fault(folder) == (
        f"The weights in {folder} lack {names[1]}, which model.safetensors.index.json places in model-2.safetensors."
    )
    (folder / "model.safetensors.index.json").write_text("{")
    assert "cannot be read" in (fault(folder) or "")


def test_a_tokenizer_of_another_model_is_noticed_even_where_its_size_is_the_same(folder: Path) -> None:
    facts = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = facts["model"]["vocab"]
    first, second = list(vocabulary)[300:302]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (folder / "tokenizer.json").write_text(json.dumps(facts))
    assert "is not the one that its model was saved with" in (fault(folder) or "")
    # A folder of another program says nothing of its tokenizer.
    (folder / "hone.json").unlink()
    assert fault(folder) is None
    del facts["model"]["vocab"]
    facts["added_tokens"].append({"content": "<beyond>", "id": 10**6})
    (folder / "tokenizer.json").write_text(json.dumps(facts))
    assert "has ids up to 1000000, but its model has embeddings for" in (fault(folder) or "")
    (folder / "tokenizer.json").write_text("{")
    assert "cannot be read" in (fault(folder) or "")


def test_weights_without_tensors_are_whole(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    save_file({}, tmp_path / "model.safetensors")
    assert fault(tmp_path) is None
    save_file({"scalar": torch.tensor(1.0)}, tmp_path / "model.safetensors")
    assert fault(tmp_path) is None
