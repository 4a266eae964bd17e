"""A tiny model, small data files and a way to start a stage as a real process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.training.trainers import reward_models
from tests.training.trainers.warm import Pair, Stage
from training.records import DemonstrationRow, PromptRow, RankingRow, write_parquet

ROOT = Path(__file__).parents[3]
TOPICS = ["the river", "an egg", "paris", "a kind letter", "three fruits", "the sky", "a bridge", "seven plums"]


def _environment() -> dict[str, str]:
    keep = {
        k: v
        for k, v in os.environ.items()
        if k in ("PATH", "HOME", "LANG", "CUDA_VISIBLE_DEVICES", "HONE_REWARD_FUNCTIONS")
    }
    return keep | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """A tiny model gains nothing from a second thread, and threads that wait for a busy core cost seconds."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model's folder."""
    from training.trainers.prepare import prepare

    folder = tmp_path_factory.mktemp("models") / "tiny"
    prepare(model="tiny", output=folder)
    return folder


@pytest.fixture(scope="session")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10 demonstrations to train on, 2 held out; one has two assistant turns."""
    rows = [
        DemonstrationRow(
            id=f"d{i}",
            messages=[
                {"role": "user", "content": f"Tell me of {TOPICS[i % 8]} and {i}."},
                {"role": "assistant", "content": f"Here is {TOPICS[i % 8]}, " + "plain and kind " * (1 + i % 3)},
            ],
            split="heldout" if i >= 10 else "train",
        )
        for i in range(11)
    ]
    talk = rows[0].messages
    rows.append(DemonstrationRow(id="d11", messages=[*talk, *talk], split="heldout"))
    path = tmp_path_factory.mktemp("data") / "demonstrations.parquet"
    write_parquet(path, rows, row_type=DemonstrationRow)
    return path


@pytest.fixture(scope="session")
def rankings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """9 rankings of 4 to train on (one of ties only), 3 held out."""
    orders = [[0, 1, 2, 3], [3, 0, 1, 1], [1, 2, 0, 0]]
    rows = [
        RankingRow(
            id=f"r{i}",
            prompt_id=f"p{i}",
            prompt=[{"role": "user", "content": f"Tell me of {TOPICS[i % 8]}."}],
            completions=[f"{'Good ' * (4 - rank)}{TOPICS[(i + k) % 8]}." for k, rank in enumerate(orders[i % 3])],
            ranks=[1, 1, 1, 1] if i == 8 else orders[i % 3],
            unacceptable=[False] * 4,
            split="heldout" if i >= 9 else "train",
        )
        for i in range(12)
    ]
    path = tmp_path_factory.mktemp("data") / "rankings.parquet"
    write_parquet(path, rows, row_type=RankingRow)
    return path


@pytest.fixture(scope="session")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 prompts of different lengths."""
    rows = [
        PromptRow(id=f"p{i}", prompt=[{"role": "user", "content": f"Tell me {'more ' * i}of {topic}."}])
        for i, topic in enumerate(TOPICS)
    ]
    path = tmp_path_factory.mktemp("data") / "prompts.parquet"
    write_parquet(path, rows, row_type=PromptRow)
    return path


@dataclass
class Run:
    """A run's folder and its process's end."""

    folder: Path
    code: int
    stderr: str

    @property
    def output(self) -> Path:
        return self.folder / "out"

    @property
    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "result.json").read_text())
        return found

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "events.jsonl").read_text().splitlines()]

    def losses(self) -> dict[int, float]:
        """The loss after each step, the last word of a step that was done twice."""
        steps = [e for e in self.events if e["type"] == "metrics" and "loss" in e["metrics"]]
        return {event["step"]: event["metrics"]["loss"] for event in steps}


@pytest.fixture
def launch(tmp_path: Path) -> Callable[..., Run]:
    """Start a stage and wait for its end; `meanwhile(process, folder)` may disturb it.

    `inputs` are the envelope's. A process of its own either way; a `cold` one has read no library before it begins. A
    `pair` is two processes of one run.
    """

    def start(
        stage: str,
        *,
        model: Path | str,
        data: Path,
        name: str = "run",
        resume: bool = False,
        inputs: Mapping[str, str] | None = None,
        cold: bool = False,
        pair: bool = False,
        meanwhile: Callable[[subprocess.Popen[str] | Stage | Pair, Path], None] | None = None,
        **params: Any,
    ) -> Run:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        config = {
            "stage": stage,
            "run_dir": str(folder),
            "model": str(model),
            "data": str(data),
            "output_dir": str(folder / "out"),
            "resume": resume,
            "params": params,
        }
        if inputs is not None:
            config["inputs"] = dict(inputs)
        (folder / "config.json").write_text(json.dumps(config))
        module, arguments = f"training.trainers.{stage}", ["--config", str(folder / "config.json")]
        stderr = folder / "stderr.txt"
        stderr.touch()
        process: subprocess.Popen[str] | Stage | Pair
        if cold:
            with open(stderr, "w") as file:
                process = subprocess.Popen(
                    [sys.executable, "-m", module, *arguments],
                    cwd=ROOT,
                    env=_environment(),
                    text=True,
                    stdout=subprocess.DEVNULL,
                    stderr=file,
                )
        else:
            process = (Pair if pair else Stage)(module, arguments, cwd=ROOT, env=_environment(), stderr=stderr)
        try:
            if meanwhile is not None:
                meanwhile(process, folder)
            code = process.wait(timeout=280)
        finally:
            process.kill()
            process.wait()
        return Run(folder=folder, code=code, stderr=stderr.read_text())

    return start


# A small run of PPO.
SMALL: dict[str, Any] = {
    "rollout_prompts": 8,
    "batch_size": 4,
    "micro_batch_size": 2,
    "epochs": 2,
    "updates": 3,
    "answers_each": 2,
    "max_new_tokens": 12,
    "max_length": 96,
    "learning_rate": 1e-3,
    "checkpoint_steps": 1,
}


@pytest.fixture(scope="session")
def judges(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two reward models with a zero point: trained whole, and as an adapter on the tiny model."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "whole": reward_models.whole(tiny, folder / "whole"),
        "adapted": reward_models.adapted(tiny, folder / "adapted"),
    }


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """32 prompts."""
    rows = [PromptRow(id=f"p{i}", prompt=[{"role": "user", "content": f"Say {i} of it."}]) for i in range(32)]
    path = tmp_path / "prompts.parquet"
    write_parquet(path, rows, row_type=PromptRow)
    return path


@pytest.fixture
def ppo(launch: Any, tiny: Path, judges: dict[str, Path], many: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Starts a run of PPO, of which `judge` names the reward model."""

    def start(name: str = "run", judge: str = "whole", inputs: dict[str, str] | None = None, **given: Any) -> Any:
        inputs = {"reward_model": str(judges[judge])} | (inputs or {})
        return launch("ppo", model=tiny, data=many, name=name, inputs=inputs, **(SMALL | given))

    monkeypatch.setenv("HONE_REWARD_FUNCTIONS", "tests.training.trainers.odd_rewards:share_of_e")
    return start
