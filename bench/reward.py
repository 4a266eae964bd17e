"""One epoch of a reward model on rankings of K answers: TRL's RewardTrainer on all pairs, against ours.

    python -m bench.reward --k 4 [--model smollm2|tiny|FOLDER] [--prompts 12] [--rounds 1] [--json]
    python -m bench.reward --k 9

Both start from one folder with one head, read the same tokens in the same order, six prompts a step, and train
every weight in float32 by AdamW at a constant rate. At once are computed, by ours, `--micro` prompts with all of
their answers, and by TRL `--pairs` pairs (all of a step took more memory than most machines have). Ours is the
stage as it is launched; TRL gets what it needs: the K(K-1)/2 pairs of each ranking one after another (shuffling
would only change the order), and neither bfloat16 nor gradient checkpointing, which cost time on a CPU. They take
turns, each in a process of its own with a peak memory of its own. Seconds are those of training, without loading.
`gradient_error` is the relative L2 distance of the two gradients of the first ranking, in float32, over all weights.

The answers are words drawn at random, 80 to 120 tokens as is the prompt; the better ones have more of some words, so
that there is something to learn, and both must end with the same held-out accuracy.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from training.records import RankingRow, write_parquet

PROMPTS_A_STEP = 6
HELDOUT = 12
# Short common words, one token each in most vocabularies.
PLAIN = (
    "the of and to in is that it was for on are with as they be at one have this from or had by not but what all were"
)
GOOD = "good clear kind right warm fine true calm bright fair"


def rankings(*, k: int, prompts: int, words: int, seed: int) -> list[RankingRow]:
    """Rankings of K answers of about `words` words; of two answers the better one has more good words."""
    draw = random.Random(seed)
    rows = []
    for number in range(prompts + HELDOUT):
        ranks = draw.sample(range(k), k)
        answers = []
        for rank in ranks:
            length = draw.randint(round(0.8 * words), round(1.2 * words))
            share = 0.5 * (k - 1 - rank) / (k - 1)
            answers.append(
                " ".join(draw.choice((GOOD if draw.random() < share else PLAIN).split()) for _ in range(length))
            )
        asked = " ".join(
            draw.choice(PLAIN.split()) for _ in range(draw.randint(round(0.8 * words), round(1.2 * words)))
        )
        rows.append(
            RankingRow(
                id=f"r{number}",
                prompt_id=f"p{number}",
                prompt=[{"role": "user", "content": asked}],
                completions=answers,
                ranks=ranks,
                unacceptable=[False] * k,
                split="train" if number < prompts else "heldout",
            )
        )
    return rows


def measure(
    *, model: str, k: int, prompts: int, micro: int, pairs: int, words: int, rounds: int, folder: Path
) -> dict[str, Any]:
    """The benchmark's numbers, the median of `rounds` turns."""
    data = folder / "rankings.parquet"
    write_parquet(data, rankings(k=k, prompts=prompts, words=words, seed=k), row_type=RankingRow)
    start = folder / "start"
    side = ["-m", "bench.reward_sides"]
    run([*side, "start", "--model", model, "--output", str(start)], folder=folder)
    both = ["--model", str(start), "--data", str(data), "--pairs", str(pairs)]
    gradients = run([*side, "gradients", *both], folder=folder)
    ours: list[dict[str, Any]] = []
    theirs: list[dict[str, Any]] = []
    for turn in range(rounds):
        ours.append(stage(model=start, data=data, micro=micro, folder=folder / f"ours{turn}"))
        theirs.append(run([*side, "trl", *both], folder=folder))
    numbers: dict[str, Any] = {
        "k": k,
        "model": model,
        "prompts": prompts,
        "micro": micro,
        "pairs": pairs,
        "rounds": rounds,
    }
    for name, turns in (("ours", ours), ("trl", theirs)):
        numbers[f"{name}_s"] = statistics.median(one["seconds"] for one in turns)
        numbers[f"{name}_rss_mb"] = max(one["rss_mb"] for one in turns)
        numbers[f"{name}_accuracy"] = turns[-1]["accuracy"]
    numbers["ratio"] = statistics.median(b["seconds"] / a["seconds"] for a, b in zip(ours, theirs, strict=True))
    return numbers | {"gradient_error": gradients["error"]}


def stage(*, model: Path, data: Path, micro: int, folder: Path) -> dict[str, Any]:
    """One run of the reward stage, as a worker starts it."""
    folder.mkdir()
    config = {
        "stage": "reward",
        "run_dir": str(folder),
        "model": str(model),
        "data": str(data),
        "output_dir": str(folder / "out"),
        "params": recipe(micro=micro),
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    run(["-m", "training.trainers.reward", "--config", str(folder / "config.json")], folder=folder, is_json=False)
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return {
        "seconds": result["metrics"]["train_seconds"],
        "rss_mb": result["hardware"]["peak_memory_bytes"] / 2**20,
        "accuracy": result["metrics"]["heldout_accuracy"],
    }


def recipe(*, micro: int) -> dict[str, Any]:
    """The stage's parameters; what they leave out (AdamW's betas, no decay, clipping at 1) is TRL's default too."""
    return {
        "method": "full",
        "epochs": 1,
        "batch_size": PROMPTS_A_STEP,
        "micro_batch_size": micro,
        "learning_rate": 1e-5,
        "lr_scheduler": "constant",
        "warmup_ratio": 0.0,
        "checkpoint_steps": 0,
    }


def run(arguments: list[str], *, folder: Path, is_json: bool = True) -> dict[str, Any]:
    """A process of its own; gives the JSON of its last line. Its errors end the benchmark."""
    environment = os.environ | {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(len(os.sched_getaffinity(0))),
        # As the stage sets it for itself: threads that wait soon sleep.
        "GOMP_SPINCOUNT": "1000",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    with open(folder / "log.txt", "a", encoding="utf-8") as log:
        done = subprocess.run(
            [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=log, text=True, env=environment, check=False
        )
    if done.returncode:
        said = (folder / "log.txt").read_text(encoding="utf-8")[-4000:] + done.stdout[-1000:]
        raise SystemExit(f"{said}\n{' '.join(arguments[:3])} ended with {done.returncode}.")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1]) if is_json else {}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--k", type=int, default=4, help="answers a prompt")
    parser.add_argument("--model", default="smollm2", help="smollm2, tiny, or a folder")
    parser.add_argument("--prompts", type=int, default=12, help="prompts of the epoch, six a step")
    parser.add_argument("--micro", type=int, default=2, help="prompts that ours computes at once: 1, 2, 3 or 6")
    parser.add_argument("--pairs", type=int, default=6, help="pairs that TRL computes at once; divides those of a step")
    parser.add_argument(
        "--words", type=int, default=100, help="words of a prompt and of an answer, give or take a fifth"
    )
    parser.add_argument("--rounds", type=int, default=1, help="turns of each")
    parser.add_argument("--json", action="store_true", help="one last line of JSON")
    given = parser.parse_args()
    if PROMPTS_A_STEP % given.micro or PROMPTS_A_STEP * given.k * (given.k - 1) // 2 % given.pairs:
        parser.error("--micro must divide six prompts, and --pairs the pairs of six prompts")
    with tempfile.TemporaryDirectory(prefix="bench-reward-") as folder:
        numbers = measure(
            model=given.model,
            k=given.k,
            prompts=given.prompts,
            micro=given.micro,
            pairs=given.pairs,
            words=given.words,
            rounds=given.rounds,
            folder=Path(folder),
        )
    print(f"{'':10} {'seconds':>9} {'peak MB':>9} {'accuracy':>9}")
    for name in ("ours", "trl"):
        print(
            f"{name:10} {numbers[f'{name}_s']:9.2f} {numbers[f'{name}_rss_mb']:9.0f} {numbers[f'{name}_accuracy']:9.4f}"
        )
    print(f"K={given.k}: {numbers['ratio']:.2f} times TRL's speed; gradients differ by {numbers['gradient_error']:.1e}")
    if given.json:
        print(json.dumps(numbers))


if __name__ == "__main__":
    main()
