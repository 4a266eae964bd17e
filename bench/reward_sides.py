"""The processes that `bench.reward` starts beside the stage itself; each prints one line of JSON.

python -m bench.reward_sides start --model smollm2 --output FOLDER
python -m bench.reward_sides gradients --model FOLDER --data rankings.parquet --pairs 6
python -m bench.reward_sides trl --model FOLDER --data rankings.parquet --pairs 6
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.reward import PROMPTS_A_STEP, recipe
from training.records import RankingRow, comparisons, read_parquet
from training.trainers import hardware, rankings
from training.trainers.config import RewardConfig
from training.trainers.rankings import EncodedRanking


def start(model: str, output: Path) -> dict[str, Any]:
    """A reward model folder with a new head, for both sides to begin from."""
    from training.trainers import models
    from training.trainers.prepare import prepare
    from training.trainers.scorer import load_reward_model

    if model in ("smollm2", "tiny"):
        prepare(model=model, output=output.with_name("base"))
        model = str(output.with_name("base"))
    tokenizer = models.load_tokenizer(model)
    models.save_model(output, model=load_reward_model(model, tokenizer, seed=0), tokenizer=tokenizer)
    return {}


def gradients(model: str, data: Path, *, pairs: int) -> dict[str, Any]:
    """How far the gradients of our loss and of TRL's pairwise loss lie apart, over all weights; `pairs` at once."""
    from training.trainers.kwise import kwise_loss
    from training.trainers.scorer import shared_scores
    from training.trainers.shared_prompt import use_shared_attention

    with tempfile.TemporaryDirectory() as folder:
        first = _encoded(model, data, split="train")[0]
        trainer = _trainer(model, [first], pairs_at_once=1, folder=folder)
        expanded = _pairs(first)
        for at in range(0, len(expanded), pairs):
            part = expanded[at : at + pairs]
            loss = trainer.compute_loss(trainer.model, trainer.data_collator(part))
            (loss * len(part) / len(expanded)).backward()
        wanted = _gradient(trainer.model)
        trainer.model.zero_grad()
        use_shared_attention(trainer.model)
        [scores] = shared_scores(trainer.model, [first.prompt], [first.completions])
        kwise_loss(scores, first.ranks).backward()
        found = _gradient(trainer.model)
    return {"error": ((found - wanted).norm() / wanted.norm()).item()}


def trl(model: str, data: Path, *, pairs: int) -> dict[str, Any]:
    """One epoch of TRL's RewardTrainer, and the held-out accuracy of what it trained."""
    from training.trainers import models
    from training.trainers.loop import order
    from training.trainers.reward import evaluate
    from training.trainers.scorer import Scorer

    train = _encoded(model, data, split="train")
    with tempfile.TemporaryDirectory() as folder:
        ordered = [train[place] for place in order(len(train), seed=0, epoch=0)]
        trainer = _trainer(model, ordered, pairs_at_once=pairs, folder=folder)
        began = time.monotonic()
        trainer.train()
        seconds = time.monotonic() - began
    rss = hardware.peak_memory_bytes() / 2**20
    pad_id = models.load_tokenizer(model).pad_token_id
    scorer = Scorer(trainer.model, pad_id=pad_id, shared=False)
    numbers, _ = evaluate(scorer, _encoded(model, data, split="heldout"), seed=0, rows_at_once=1)
    return {"seconds": seconds, "rss_mb": rss, "accuracy": numbers["accuracy"]}


def _trainer(model: str, train: Sequence[EncodedRanking], *, pairs_at_once: int, folder: str) -> Any:
    from datasets import Dataset
    from trl import RewardConfig as TrlConfig
    from trl import RewardTrainer

    from training.trainers import models
    from training.trainers.scorer import load_reward_model

    hardware.limit_threads()
    tokenizer = models.load_tokenizer(model)
    ours = recipe(micro=1)
    pairs = [pair for ranking in train for pair in _pairs(ranking)]
    k = len(train[0].completions)
    return RewardTrainer(
        model=load_reward_model(model, tokenizer, seed=0),
        args=TrlConfig(
            output_dir=folder,
            per_device_train_batch_size=pairs_at_once,
            gradient_accumulation_steps=PROMPTS_A_STEP * k * (k - 1) // 2 // pairs_at_once,
            num_train_epochs=ours["epochs"],
            learning_rate=ours["learning_rate"],
            lr_scheduler_type=ours["lr_scheduler"],
            warmup_steps=0,
            train_sampling_strategy="sequential",
            max_length=None,
            bf16=False,
            use_cpu=True,
            gradient_checkpointing=False,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
        ),
        train_dataset=Dataset.from_list(pairs),
        processing_class=tokenizer,
    )


def _pairs(ranking: EncodedRanking) -> list[dict[str, list[int]]]:
    whole = [ranking.prompt + ids for ids in ranking.completions]
    return [{"chosen_ids": whole[i], "rejected_ids": whole[j]} for i, j in comparisons(ranking.ranks)]


def _encoded(model: str, data: Path, *, split: str) -> list[EncodedRanking]:
    from training.trainers import models

    rows = [row for row in read_parquet(data, row_type=RankingRow) if row.split == split]
    config = RewardConfig()
    return rankings.encode(
        models.load_tokenizer(model),
        rows,
        max_length=config.max_length,
        max_completion_length=config.max_completion_length,
    )


def _gradient(model: Any) -> Any:
    import torch

    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=("start", "gradients", "trl"))
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--pairs", type=int, default=6)
    given = parser.parse_args()
    if given.side == "start":
        found = start(given.model, given.output)
    elif given.side == "gradients":
        found = gradients(given.model, given.data, pairs=given.pairs)
    else:
        found = trl(given.model, given.data, pairs=given.pairs)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
