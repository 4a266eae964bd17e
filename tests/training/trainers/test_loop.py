"""The training loop on a line through points: what a step is, and what survives an interruption."""

from __future__ import annotations

import errno
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError

from training.trainers import accumulation, loop
from training.trainers.config import ConfigError, build
from training.trainers.events import Events
from training.trainers.program import Job, StopFlag, Stopped, TrainerError
from training.trainers.resume import latest_state

ROWS = 10
X = torch.linspace(-1, 1, ROWS)
# 10 rows in batches of 4 are 3 steps an epoch, of 4, 4 and 2 rows.
SMALL = {"method": "full", "batch_size": 4, "micro_batch_size": 2, "epochs": 4, "learning_rate": 0.05}

Before = Callable[[list[int]], None]


class Line(torch.nn.Module):
    """y = w x + b from fixed weights, with noise as dropout has: random numbers that a state must keep."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([[0.5]]))
        self.bias = torch.nn.Parameter(torch.tensor([1.0]))

    def forward(self, x: torch.Tensor, noise: float) -> torch.Tensor:
        return x * self.weight[0] + self.bias + noise * torch.randn_like(x)


@pytest.fixture
def fit(tmp_path: Path) -> Callable[..., tuple[Line, dict[str, float]]]:
    """Fits y = 3 x. `before(positions)` is called before each micro step, `looks` are the held-out losses told."""

    def run(
        name: str,
        *,
        before: Before | None = None,
        looks: list[float] | None = None,
        stop: StopFlag | None = None,
        resume: bool = False,
        y: torch.Tensor = 3 * X,
        noise: float = 0.01,
        **params: Any,
    ) -> tuple[Line, dict[str, float]]:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "data").write_text("points")
        job = Job(
            stage="sft",
            run_dir=folder,
            model="",
            data=folder / "data",
            output_dir=folder / "out",
            resume=resume,
            config=build("sft", {**SMALL, **params}),
            events=Events(folder),
            stop=StopFlag() if stop is None else stop,
        )
        model, told = Line(), iter(looks or [])

        def micro_step(positions: list[int]) -> tuple[torch.Tensor, dict[str, float]]:
            if before:
                before(positions)
            return (model(X[positions], noise) - y[positions]).square().sum(), {"rows": float(len(positions))}

        torch.manual_seed(1)
        numbers = loop.fit(
            model,
            job=job,
            rows=ROWS,
            micro_step=micro_step,
            summary=dict,
            evaluate=(lambda: {"loss": next(told)}) if looks is not None else None,
        )
        return model, numbers

    return run


class StopAfter:
    """Stops once so many rows were read, inside the step that they belong to."""

    def __init__(self, rows: int) -> None:
        self.rows, self.flag = rows, StopFlag()

    def __call__(self, positions: list[int]) -> None:
        self.rows -= len(positions)
        if self.rows < 0:
            self.flag.set()


def told(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [event for event in lines if event["type"] == kind]


def same(one: Line, two: Line) -> bool:
    return torch.equal(one.weight, two.weight) and torch.equal(one.bias, two.bias)


def test_a_step_minimises_the_mean_of_its_rows_whatever_the_micro_batches(fit: Any) -> None:
    runs = [fit(str(micro), micro_batch_size=micro, noise=0.0) for micro in (1, 2, 4)]
    for model, numbers in runs[1:]:
        assert numbers["loss"] == pytest.approx(runs[0][1]["loss"], rel=1e-5)
        assert torch.allclose(model.weight, runs[0][0].weight, atol=1e-6)
    assert runs[0][1]["steps"] == 12 and runs[0][1]["loss"] < 3.0


@pytest.mark.parametrize(
    "params",
    [{}, {"optimizer": "adafactor"}, {"optimizer": "sgd"}, {"ema_decay": 0.9}, {"lr_scheduler": "inverse_sqrt"}],
)
def test_stopped_and_resumed_equals_uninterrupted(fit: Any, params: dict[str, Any]) -> None:
    whole, _ = fit("whole", **params)
    stop = StopAfter(25)
    with pytest.raises(Stopped):
        fit("cut", before=stop, stop=stop.flag, **params)
    resumed, numbers = fit("cut", resume=True, **params)
    assert same(whole, resumed) and numbers["steps"] == 12


def test_out_of_memory_does_the_step_again_with_half_the_rows(fit: Any, tmp_path: Path) -> None:
    def too_large(positions: list[int]) -> None:
        if len(positions) > 2:
            torch.rand(3)  # random numbers of the failed pass, which are taken back
            raise torch.OutOfMemoryError("no memory")

    cut, numbers = fit("cut", before=too_large, micro_batch_size=4)
    halved, _ = fit("halved", micro_batch_size=2)
    assert same(cut, halved) and numbers["micro_batch_size"] == 2
    assert [event["message"] for event in told(tmp_path / "cut", "status")] == [
        "Step 1 ran out of memory with 4 rows at once; it goes on with 2."
    ]


def test_out_of_memory_with_one_row_ends_the_run(fit: Any) -> None:
    def never(_: list[int]) -> None:
        raise torch.OutOfMemoryError("no memory")

    with pytest.raises(torch.OutOfMemoryError):
        fit("run", before=never)


def test_out_of_memory_of_a_divided_model_ends_the_run_in_a_sentence(fit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: list[int]) -> None:
        raise torch.OutOfMemoryError("no memory")

    def divided(self: Any, *given: Any, **named: Any) -> None:
        made(self, *given, **named)
        self.is_sharded = True

    made = accumulation.Gradients.__init__
    monkeypatch.setattr(accumulation.Gradients, "__init__", divided)
    with pytest.raises(TrainerError, match="Step 1 ran out of memory with 2 rows at once, which sharding cannot halve"):
        fit("run", before=never)


def test_a_state_keeps_the_smaller_micro_batch(fit: Any) -> None:
    stop, sizes = StopAfter(9), []

    def too_large(positions: list[int]) -> None:
        if len(positions) > 1:
            raise torch.OutOfMemoryError("no memory")
        stop(positions)

    with pytest.raises(Stopped):
        fit("cut", before=too_large, stop=stop.flag)
    fit("cut", resume=True, before=lambda positions: sizes.append(len(positions)))
    assert set(sizes) == {1}


def test_the_moving_average_is_what_is_kept(fit: Any) -> None:
    params = {"optimizer": "sgd", "beta1": 0.0, "max_steps": 1, "warmup_ratio": 0.0}
    one, _ = fit("one", **params)
    average, _ = fit("average", ema_decay=0.75, **params)
    start = Line()
    assert one.bias.item() != start.bias.item()
    assert average.bias.item() == pytest.approx(0.75 * start.bias.item() + 0.25 * one.bias.item())
    assert average.weight.item() == pytest.approx(0.75 * start.weight.item() + 0.25 * one.weight.item())


def test_patience_stops_and_keeps_the_weights_of_the_best_look(fit: Any, tmp_path: Path) -> None:
    kept, numbers = fit("stopped", looks=[3.0, 2.0, 2.5, 2.0], eval_steps=2, patience=2)
    assert numbers["steps"] == 8
    stop = StopAfter(14)  # the first four steps
    with pytest.raises(Stopped):
        fit("four", before=stop, stop=stop.flag)
    state = latest_state(tmp_path / "four")
    assert state is not None and state.name == "step-00000004"
    assert torch.equal(kept.weight, safetensors.torch.load_file(state / "state.safetensors")["weight.weight"])
    assert [event["message"] for event in told(tmp_path / "stopped", "status")] == [
        "The held-out loss has not fallen since step 4: training ends after step 8 of 12.",
        "The weights of step 4, the best of all looks, are kept.",
    ]
    steps = told(tmp_path / "stopped", "metrics")
    assert [e["metrics"]["heldout_loss"] for e in steps if e["step"] % 2 == 0] == [3.0, 2.0, 2.5, 2.0]


def test_a_resumed_run_remembers_its_best_look(fit: Any) -> None:
    asked = {"eval_steps": 2, "patience": 2}
    whole, _ = fit("whole", looks=[3.0, 2.0, 2.5, 2.1], **asked)
    stop = StopAfter(15)
    with pytest.raises(Stopped):
        fit("cut", looks=[3.0, 2.0], before=stop, stop=stop.flag, **asked)
    resumed, numbers = fit("cut", looks=[2.5, 2.1], resume=True, **asked)
    assert same(whole, resumed) and numbers["steps"] == 8


def test_patience_without_looks_is_refused() -> None:
    with pytest.raises(ConfigError, match="eval_steps must be at least 1"):
        build("sft", {"patience": 2})


def test_a_loss_that_is_no_number_stops_with_the_state_before_it(fit: Any, tmp_path: Path) -> None:
    y = 3 * X
    first_epoch = loop.order(ROWS, seed=0, epoch=0)
    y[first_epoch[9]] = math.nan  # read in the third step
    with pytest.raises(TrainerError, match="At step 3 the loss is not a finite number.*state after step 2 is saved"):
        fit("run", y=y)
    state = latest_state(tmp_path / "run")
    assert state is not None and state.name == "step-00000002"
    resumed, _ = fit("run", resume=True)
    whole, _ = fit("whole")
    assert same(whole, resumed)


@pytest.mark.parametrize(
    "problem",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_keeps_the_state_from_before(
    fit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    write = safetensors.torch.save_file

    def the_second_fails(tensors: Any, path: Path) -> None:
        if latest_state(tmp_path / "run"):
            raise problem
        write(tensors, path)

    monkeypatch.setattr(safetensors.torch, "save_file", the_second_fails)
    with pytest.raises(TrainerError, match=r"state after step 4 .*\(the disk is full\); step-00000002 is kept"):
        fit("run", checkpoint_steps=2)
    monkeypatch.undo()
    whole, _ = fit("whole")
    resumed, _ = fit("run", resume=True, checkpoint_steps=2)
    assert same(whole, resumed)


def test_a_state_of_another_config_is_refused(fit: Any) -> None:
    stop = StopFlag()
    stop.set()
    with pytest.raises(Stopped):
        fit("run", stop=stop)
    with pytest.raises(TrainerError, match="saved with another config"):
        fit("run", resume=True, learning_rate=0.01)


def test_a_torn_state_is_named(fit: Any, tmp_path: Path) -> None:
    stop = StopFlag()
    stop.set()
    with pytest.raises(Stopped):
        fit("run", stop=stop)
    state = latest_state(tmp_path / "run")
    assert state is not None
    (state / "state.safetensors").write_bytes(b"torn")
    with pytest.raises(TrainerError, match="step-00000000 cannot be read"):
        fit("run", resume=True)
