"""Registering a base model: what is refused, and with which sentence."""

from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from training.models import Checkpoint

pytestmark = pytest.mark.django_db


def make_folder(path: Path, *files: str) -> Path:
    path.mkdir()
    for file in files:
        (path / file).write_text("{}")
    return path


def test_a_whole_folder_becomes_a_base_model(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m", "config.json", "model.safetensors", "tokenizer.json")
    call_command("add_model", "my-model", str(folder))
    made = Checkpoint.objects.get()
    assert (made.name, made.kind, made.path, made.size_bytes) == ("my-model", "base", str(folder), 6)
    with pytest.raises(CommandError, match="named my-model already"):
        call_command("add_model", "my-model", str(folder))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], "config.json cannot be read"),
        (["config.json"], "no safetensors"),
        (["config.json", "pytorch_model.bin"], "no safetensors"),
        (["config.json", "model.safetensors"], "no tokenizer"),
    ],
)
def test_an_incomplete_folder_is_refused(tmp_path: Path, files: list[str], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        call_command("add_model", "x", str(make_folder(tmp_path / "m", *files)))
    assert not Checkpoint.objects.exists()


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no folder"):
        call_command("add_model", "x", str(tmp_path / "nowhere"))
