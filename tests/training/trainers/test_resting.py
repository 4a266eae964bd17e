"""Models that are out of memory while nobody reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from training.trainers.program import TrainerError  # noqa: E402
from training.trainers.resting import Resting  # noqa: E402


class Tied(torch.nn.Module):  # type: ignore[misc]
    """An embedding that is its own head, as in most small language models."""

    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(5, 3)
        self.head = torch.nn.Linear(3, 5, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.words(ids))
        return found


def test_a_model_reads_as_before_whenever_it_is_awake(tmp_path: Path) -> None:
    model, ids = Tied().requires_grad_(False), torch.arange(5)
    before = model(ids)
    resting = Resting(model, tmp_path / "aside" / "model.safetensors")
    for _ in range(2):
        assert sum(one.numel() for one in model.parameters()) == 0
        with pytest.raises((RuntimeError, IndexError)):
            model(ids)
        with resting.awake():
            assert torch.equal(model(ids), before)
            assert model.head.weight is model.words.weight


def test_it_rests_again_after_an_error(tmp_path: Path) -> None:
    resting = Resting(model := Tied(), tmp_path / "model.safetensors")
    with pytest.raises(ZeroDivisionError), resting.awake():
        raise ZeroDivisionError
    assert sum(one.numel() for one in model.parameters()) == 0


def test_a_folder_that_cannot_be_written_is_told_and_the_model_is_left_whole(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    model = Tied()
    with pytest.raises(TrainerError, match=r"could not be written .*offload_frozen"):
        Resting(model, tmp_path / "file" / "model.safetensors")
    assert model(torch.arange(5)).shape == (5, 5)
