"""Plain TRL SFTTrainer against our sft stage: LoRA r 16, steps of 4 conversations of 256 tokens, in turn.

    python -m bench.sft [--model FOLDER] [--steps 3] [--rounds 2] [--learnt 0.6] [--json]

Same model, tokens, learnt tokens, optimizer; `--learnt` is the share of a conversation that the assistant wrote.
Each side runs in a process of its own, and seconds are those of training alone; `ratio` is TRL seconds through ours.
With `--packing` ours puts its conversations end to end; `--lengths` draws lengths from 64 to 256, else all have 256.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.turns import in_turn, median

ROWS, LENGTH = 4, 256


def prepared(*, steps: int, learnt: float, lengths: bool, vocabulary: int) -> list[dict[str, Any]]:
    """Rows of random tokens, the last `learnt` of each to be learnt."""
    from training.trainers.sft_loss import IGNORED

    chance = random.Random(0)
    rows = []
    for _ in range(steps * ROWS):
        length = chance.randint(64, LENGTH) if lengths else LENGTH
        ids = [chance.randrange(10, vocabulary) for _ in range(length)]
        asked = round(length * (1 - learnt))
        rows.append({"input_ids": ids, "labels": [IGNORED] * asked + ids[asked:], "weight": 1.0})
    return rows


def trained(side: str, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Seconds, losses and peak memory of one side."""
    import torch

    from training.trainers import hardware, models
    from training.trainers.config import build
    from training.trainers.events import Events
    from training.trainers.program import Job, StopFlag

    config = build("sft", {"batch_size": ROWS, "micro_batch_size": ROWS, "epochs": 1.0, "checkpoint_steps": 0})
    data = folder / "data"
    data.touch()
    job = Job(
        stage="sft", run_dir=folder, model=given.model, data=data, output_dir=folder / "out", resume=False,
        config=config, events=Events(folder), stop=StopFlag(),
    )  # fmt: skip
    hardware.limit_threads()
    tokenizer = models.load_tokenizer(given.model)
    model = models.load_causal_model(given.model, tokenizer, dtype=hardware.training_dtype())
    rows = prepared(steps=given.steps, learnt=given.learnt, lengths=given.lengths, vocabulary=model.config.vocab_size)
    train = _ours if side == "ours" else _theirs
    # The adapter starts at random: from the same numbers on both sides, as the stage seeds them.
    torch.manual_seed(config.seed)
    started, losses = train(job, model, tokenizer, rows, packing=given.packing)
    seconds = time.monotonic() - started
    tokens = sum(len(row["input_ids"]) for row in rows)
    return {"seconds": seconds, "tokens": tokens, "losses": losses, "rss_mb": hardware.peak_memory_bytes() / 1e6}


def _ours(job: Any, model: Any, tokenizer: Any, rows: list[dict[str, Any]], *, packing: bool) -> tuple[float, Any]:
    """When training began, and its losses."""
    from training.trainers import models, sft

    model = models.with_lora(model, config=job.config, task="CAUSAL_LM")
    started = time.monotonic()
    sft.learn(job, model, rows, pad_id=tokenizer.pad_token_id, packing=packing)
    lines = (job.run_dir / "events.jsonl").read_text().splitlines()
    return started, [event["metrics"]["loss"] for event in map(json.loads, lines) if event["type"] == "metrics"]


def _theirs(job: Any, model: Any, tokenizer: Any, rows: list[dict[str, Any]], *, packing: bool) -> tuple[float, Any]:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from bench import trl_side
    from training.trainers import models
    from training.trainers.loop import order

    inorder = [rows[at] for at in order(len(rows), seed=job.config.seed, epoch=0)]
    plain = Dataset.from_list([{name: row[name] for name in ("input_ids", "labels")} for row in inorder])
    common = trl_side.arguments(job, rows=len(rows)) | {"dataset_kwargs": {"skip_prepare_dataset": True}}
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        peft_config=models.lora_config(config=job.config, task="CAUSAL_LM"),
        args=SFTConfig(**common, train_sampling_strategy="sequential"),
        train_dataset=plain,
    )
    started = time.monotonic()
    trainer.train()
    return started, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="var/models/smollm2", help="a base model's folder")
    parser.add_argument("--steps", type=int, default=3, help="optimizer steps of a run")
    parser.add_argument("--rounds", type=int, default=2, help="how often each side runs")
    parser.add_argument("--learnt", type=float, default=0.6, help="the share of tokens that are learnt")
    parser.add_argument("--lengths", action="store_true", help="conversations of different lengths")
    parser.add_argument("--packing", action="store_true", help="ours without padding")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--side", choices=("trl", "ours"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(trained(given.side, given, Path(folder))))
        return
    arguments = ["--model", given.model, "--steps", str(given.steps), "--learnt", str(given.learnt)]
    arguments += [f"--{name}" for name in ("lengths", "packing") if getattr(given, name)]
    found = in_turn("bench.sft", arguments, sides=("trl", "ours"), rounds=given.rounds)
    seconds = {side: median(runs, "seconds") for side, runs in found.items()}
    report: dict[str, Any] = {"ratio": round(seconds["trl"] / seconds["ours"], 2)}
    for side, runs in found.items():
        report |= {f"{side}_tokens_per_s": round(median(runs, "tokens") / seconds[side], 1)}
        report |= {f"{side}_rss_mb": round(median(runs, "rss_mb"))}
        report |= {f"{side}_s": [round(run["seconds"], 1) for run in runs]}
    both = zip(found["trl"][0]["losses"], found["ours"][0]["losses"], strict=True)
    report["loss_difference"] = max(abs(a - b) for a, b in both)
    for name, value in report.items():
        print(f"{name:20} {value}")
    if given.json:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
