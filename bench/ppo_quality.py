"""PPO of SmolLM2 against a reward model from real people's comparisons, and what a different judge says of the policy.

    python -m bench.ppo_quality [--data FOLDER] [--model smollm2] [--rows 960] [--updates 24] [--prompts 32] [--json]

The conversations of the helpful HH-RLHF files (Bai et al. 2022) are parted in three by their first words: from one part
comes the reward model, from another the judge, with a head of its own, and the third asks. PPO trains an adapter
against the reward model; told are reward and KL of each update. Then policy and SFT model answer prompts that neither
the reward model, the judge nor PPO has seen, and the judge scores the texts, knowing nothing of whose they are: `judge`
is the share of answers of the policy that it prefers, with its 95 % interval by prompt, and `reward_model` the same by
the model that the policy was trained to please. Both are told with their own held-out accuracy, without which their
word is worth nothing.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.reward import run
from bench.reward_quality import by_hand, comparisons, stage, train
from training.records import PromptRow, RankingRow, write_parquet
from training.trainers import hardware

HELPFUL = ("helpful", "helpful, rejection-sampled")
EVALUATED = 96


def parts(rows: Sequence[RankingRow]) -> dict[str, list[RankingRow]]:
    """The comparisons by whom they are for; a conversation and its continuations stay together."""
    found: dict[str, list[RankingRow]] = {"reward_model": [], "judge": [], "prompts": []}
    for row in rows:
        at = int(row.prompt_id[-4:], 16) % 10
        found["reward_model" if at < 4 else "judge" if at < 8 else "prompts"].append(row)
    return found


def _some(rows: Sequence[RankingRow], count: int, heldout: int) -> list[RankingRow]:
    """So many to train on and so many held out, at most."""
    learnt, held = ([row for row in rows if row.split == split] for split in ("train", "heldout"))
    return [*learnt[:count], *held[:heldout]]


def asked(rows: Sequence[RankingRow]) -> list[PromptRow]:
    """The first turn of each conversation, once: a policy of this size loses itself in long ones."""
    found = {row.prompt_id: row.prompt[:1] for row in rows}
    return [PromptRow(id=name, prompt=prompt) for name, prompt in found.items()]


def measure(
    *, data: Path, model: str, rows: int, heldout: int, updates: int, prompts: int, folder: Path
) -> dict[str, Any]:
    began = time.monotonic()
    usable = [row for row in comparisons(data, Counter()) if row.category in HELPFUL]
    random.Random(0).shuffle(usable)
    of = parts(usable)
    base = Path(model)
    if model in ("smollm2", "tiny"):
        base = folder / "base"
        run(["-m", "training.trainers.prepare", "--model", model, "--output", str(base)], folder=folder, is_json=False)
    precision = "float32" if hardware.emulates_bfloat16() else "bfloat16"
    learnt = {
        name: train(
            _some(of[name], rows, heldout),
            model=base,
            params={
                "method": "full",
                "learning_rate": 3e-5,
                "epochs": 1,
                "batch_size": 16,
                "micro_batch_size": 8,
                "precision": precision,
                "max_length": 256,
                "max_completion_length": 128,
                "checkpoint_steps": 0,
                "seed": seed,
            },
            folder=folder / name,
        )
        for seed, name in enumerate(("reward_model", "judge"))
    }
    asking = asked(of["prompts"])
    random.Random(1).shuffle(asking)
    files = {"ppo": asking[EVALUATED:], "evaluate": asking[:EVALUATED]}
    for name, chosen in files.items():
        write_parquet(folder / f"{name}.parquet", chosen, row_type=PromptRow)
    models = {name: str(folder / name / "out") for name in learnt}
    ppo = stage(
        "ppo",
        folder=folder / "ppo",
        model=base,
        data=folder / "ppo.parquet",
        inputs={"reward_model": models["reward_model"]},
        params={
            "updates": updates,
            "rollout_prompts": prompts,
            "batch_size": prompts // 2,
            "micro_batch_size": 8,
            "epochs": 2,
            "max_new_tokens": 64,
            "max_length": 256,
            "learning_rate": 3e-4,
            "checkpoint_steps": 0,
            "precision": precision,
            "no_end": "neither",
        },
    )
    told = [json.loads(line) for line in (folder / "ppo" / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    judged = {}
    for name, judge in models.items():
        result = stage(
            "evaluate",
            folder=folder / f"by-{name}",
            model=Path(ppo["checkpoint"]),
            data=folder / "evaluate.parquet",
            inputs={"reference": str(base), "reward_model": judge},
            params={"k": 2, "max_new_tokens": 64, "max_length": 256},
        )
        judged[name] = result["metrics"]
    return {
        "comparisons": {name: one["consumed"]["rows"] for name, one in learnt.items()},
        "accuracy": {name: one["report"]["accuracy"] for name, one in learnt.items()},
        "updates": [
            {name: event["metrics"][name] for name in ("reward", "kl", "entropy", "end_rate", "answer_tokens")}
            for event in told
            if event["type"] == "metrics"
        ],
        "prompts": {name: len(chosen) for name, chosen in files.items()},
        "preferred": {
            name: {end or "value": found[f"win_rate{end and '_' + end}"] for end in ("", "low", "high")}
            for name, found in judged.items()
        },
        "kl": judged["judge"]["kl_sequence"],
        "tokens": {side: judged["judge"][f"{side}_length"] for side in ("policy", "reference")},
        "precision": precision,
        "seconds": time.monotonic() - began,
    }


def show(numbers: dict[str, Any]) -> None:
    for number, one in enumerate(numbers["updates"], start=1):
        print(
            f"update {number:3}  reward {one['reward']:7.3f}  KL {one['kl']:7.3f}  entropy {one['entropy']:.3f}  "
            f"ended {one['end_rate']:.2f}  tokens {one['answer_tokens']:.1f}"
        )
    for name, words in (("judge", "the judge"), ("reward_model", "the reward model")):
        share, right = numbers["preferred"][name], numbers["accuracy"][name]
        print(
            f"{words} prefers the policy in {share['value']:.3f} [{share['low']:.3f}, {share['high']:.3f}] of answers; "
            f"it is right on {right['value']:.3f} [{right['low']:.3f}, {right['high']:.3f}] of held-out comparisons"
        )
    print(
        f"KL on unseen prompts {numbers['kl']:.2f} nats; answers of {numbers['tokens']['policy']:.1f} tokens, the SFT "
        f"model's of {numbers['tokens']['reference']:.1f}; {numbers['seconds'] / 60:.1f} min in {numbers['precision']}"
    )


def main() -> None:
    numbers = {
        "rows": (960, "comparisons that each reward model is trained on"),
        "heldout": (400, "held-out comparisons that each is measured on, at most"),
        "updates": (24, "updates of PPO"),
        "prompts": (32, "prompts of an update"),
    }
    by_hand(__doc__, measure=measure, show=show, numbers=numbers)


if __name__ == "__main__":
    main()
