"""Plain TRL DPOTrainer on all pairs of rankings against our dpo stage on the rankings: LoRA, one epoch, in turn.

    python -m bench.dpo [--model FOLDER] [--k 4] [--prompts 4] [--rounds 2] [--trl-pairs 2] [--json]

Same model, tokens, order, optimizer and step (two prompts); prompts and completions of about 100 tokens, no two equal.
The reference's pass is part of either time: TRL's on the fly, ours before the first step. Loading the model is not.
TRL computes `--trl-pairs` pairs at once, ours a ranking. Each side runs in a process of its own; `ratio` is TRL's
seconds through ours, `loss_difference` the largest difference between the two sides' losses of a step.
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
from training.records import RankingRow, write_parquet

PROMPTS_A_STEP = 2
WORDS = ["the", "a", "river", "bridge", "letter", "kind", "plain", "egg", "Paris", "sky", "three", "of", "walks"]


def rankings(*, k: int, prompts: int) -> list[RankingRow]:
    """Rankings of K completions without ties."""
    chance = random.Random(0)

    def text(words: int) -> str:
        return " ".join(chance.choices(WORDS, k=words))

    return [
        RankingRow(
            id=f"r{number}",
            prompt_id=f"p{number}",
            prompt=[{"role": "user", "content": text(chance.randint(70, 90))}],
            completions=[text(chance.randint(70, 120)) for _ in range(k)],
            ranks=chance.sample(range(k), k),
            unacceptable=[False] * k,
        )
        for number in range(prompts)
    ]


def values(k: int) -> dict[str, Any]:
    """The stage's hyper-parameters."""
    return {"batch_size": PROMPTS_A_STEP, "micro_batch_size": 1, "epochs": 1.0, "lr_scheduler": "constant"} | {
        "warmup_ratio": 0.0,
        "learning_rate": 1e-4,
        "pairs_per_prompt": 0,
        "checkpoint_steps": 0,
    }


def make_job(model: str, folder: Path, k: int, prompts: int) -> Any:
    from training.trainers.config import build
    from training.trainers.events import Events
    from training.trainers.program import Job, StopFlag

    data = folder / "rankings.parquet"
    write_parquet(data, rankings(k=k, prompts=prompts), row_type=RankingRow)
    return Job(
        stage="dpo", run_dir=folder, model=model, data=data, output_dir=folder / "out", resume=False,
        config=build("dpo", values(k)), events=Events(folder), stop=StopFlag(),
    )  # fmt: skip


def ours(job: Any) -> dict[str, Any]:
    from training.trainers import dpo, hardware

    dpo.run(job)
    events = [json.loads(line) for line in (job.run_dir / "events.jsonl").read_text().splitlines()]
    [start] = [event["time"] for event in events if "reference" in event.get("message", "")]
    steps = [event for event in events if "loss" in event.get("metrics", {})]
    losses = [event["metrics"]["loss"] for event in steps]
    return {"seconds": steps[-1]["time"] - start, "losses": losses, "rss_mb": hardware.peak_memory_bytes() / 1e6}


def theirs(job: Any, *, at_once: int) -> dict[str, Any]:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    from bench import trl_side
    from training.trainers import hardware, models, rankings
    from training.trainers.loop import order

    class Tokenised(DPOTrainer):
        """Plain TRL on tokens that are there already, so that both sides read the same ones."""

        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

    config = job.config
    tokenizer = models.load_tokenizer(job.model)
    encoded = rankings.encode(tokenizer, rankings.read(job)[0], max_length=config.max_length)
    groups = [encoded[at] for at in order(len(encoded), seed=config.seed, epoch=0)]
    rows = [
        {"prompt_ids": one.prompt, "chosen_ids": one.completions[i], "rejected_ids": one.completions[j]}
        for one in groups
        for i, j in one.pairs
    ]
    pairs = len(encoded[0].pairs)
    if pairs % at_once:
        raise SystemExit(f"--trl-pairs must divide {pairs}, the pairs of a ranking.")
    arguments = trl_side.arguments(job, rows=len(encoded)) | {
        "per_device_train_batch_size": at_once,
        "gradient_accumulation_steps": PROMPTS_A_STEP * pairs // at_once,
        "train_sampling_strategy": "sequential",
    }
    trainer = Tokenised(
        model=models.load_causal_model(job.model, tokenizer, dtype=hardware.training_dtype()),
        args=DPOConfig(**arguments, beta=config.beta, max_length=None),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=models.lora_config(config=config, task="CAUSAL_LM"),
    )
    started = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - started
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {"seconds": seconds, "losses": losses, "rss_mb": hardware.peak_memory_bytes() / 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="var/models/smollm2", help="a base model's folder")
    parser.add_argument("--k", type=int, default=4, help="completions of a ranking")
    parser.add_argument("--prompts", type=int, default=4, help="rankings of the epoch")
    parser.add_argument("--rounds", type=int, default=2, help="how often each side runs")
    parser.add_argument("--trl-pairs", type=int, default=2, help="pairs that TRL computes at once")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--side", choices=("trl", "ours"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        from training.trainers import hardware

        hardware.limit_threads()
        with tempfile.TemporaryDirectory() as folder:
            job = make_job(given.model, Path(folder), given.k, given.prompts)
            print(json.dumps(ours(job) if given.side == "ours" else theirs(job, at_once=given.trl_pairs)))
        return
    arguments = ["--model", given.model, "--k", str(given.k), "--prompts", str(given.prompts)]
    arguments += ["--trl-pairs", str(given.trl_pairs)]
    found = in_turn("bench.dpo", arguments, sides=("trl", "ours"), rounds=given.rounds)
    pairs = given.prompts * given.k * (given.k - 1) // 2
    seconds = {side: median(runs, "seconds") for side, runs in found.items()}
    report = {"k": given.k, "pairs": pairs, "ratio": round(seconds["trl"] / seconds["ours"], 2)}
    for side, runs in found.items():
        report |= {f"{side}_s_per_pair": round(seconds[side] / pairs, 3)}
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
