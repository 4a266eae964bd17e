"""What PPO shares with TRL's RLOO and GRPO: which prompts an update asks, when a run ends, what people are shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.records import PromptRow, replacing
from training.trainers import parallel
from training.trainers.config import PpoConfig
from training.trainers.judging import Drawn

# Answers of an update that are written for people to read, updates that are, and characters of an answer and of each of
# the last four turns before it: what people can read, and a file that a page can, also in Chinese (under 16 MiB).
SHOWN, UPDATES_SHOWN, CHARACTERS, TURN_CHARACTERS = 4, 200, 2000, 1000
NOT_FINITE = "the loss is not a finite number; a run of its own with a smaller learning_rate may help"
# AdamW's (Huang et al. 2024, N+ section 4.1).
EPSILON = 1e-5


def steps_a_pass(config: PpoConfig) -> int:
    """Optimizer steps in one pass over an update's answers."""
    return config.rollout_prompts // config.batch_size


def steps_an_update(config: PpoConfig) -> int:
    """Optimizer steps in all passes of an update."""
    return steps_a_pass(config) * int(config.epochs)


def places(prompts: int, update: int, config: PpoConfig) -> list[int]:
    """Which prompts an update answers, none twice: all in turn, in another order each time they have been.

    What is left over of a turn is left out of it.
    """
    turn, at = divmod(update, prompts // config.rollout_prompts)
    first = at * config.rollout_prompts
    return shuffled(prompts, config.seed, turn)[first : first + config.rollout_prompts]


def shuffled(count: int, *seeds: int) -> list[int]:
    """The numbers below `count` in an order that the seeds alone decide."""
    import torch

    seed = 0
    for part in seeds:
        seed = (seed * 1_000_003 + part + 1) % 2**63
    order: list[int] = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    return order


def gone_astray(numbers: dict[str, float], config: PpoConfig) -> str:
    """Why a policy with these numbers has gone where nobody wants it, in words; empty where it has not."""
    if config.max_kl and numbers.get("kl", 0.0) > config.max_kl:
        return f"the answers lie {numbers['kl']:.3g} nats from the first model, max_kl allows {config.max_kl:g}"
    if config.min_entropy and numbers["entropy"] < config.min_entropy:
        return f"the entropy is {numbers['entropy']:.3g} nats, min_entropy asks for {config.min_entropy:g}"
    if config.min_end_rate and numbers["end_rate"] < config.min_end_rate:
        ended = f"{numbers['end_rate']:.0%} of the answers came to an end"
        return f"{ended}, min_end_rate asks for {config.min_end_rate:.0%}"
    return ""


class Samples:
    """Some answers of each update with their scores, a line each, for people to read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(
        self, update: int, prompts: Sequence[PromptRow], drawn: Sequence[Drawn], *, total: int, astray: bool = False
    ) -> None:
        """The first answers of update number `update` (from 1) of `total`, where it is one of those that are shown.

        One that went `astray` is.
        """
        every = -(-total // UPDATES_SHOWN)
        if not parallel.is_main() or (update % every and update not in (1, total) and not astray):
            return
        lines = []
        for prompt, one in list(zip(prompts, drawn, strict=True))[:SHOWN]:
            first = one.lengths[0]
            row: dict[str, Any] = {
                "update": update,
                "updates": total,
                "prompt": [turn | {"content": _cut(turn["content"], TURN_CHARACTERS)} for turn in prompt.prompt[-4:]],
                "text": _cut(one.texts[0], CHARACTERS),
                "ended": one.ended[0],
                "score": one.scores[0],
                "judged": {name: numbers[0] for name, numbers in one.judged.items()},
                "tokens": first,
            }
            if one.reference:
                row["kl"] = sum(one.log_probs[:first]) - sum(one.reference[:first])
            lines.append(json.dumps(row, ensure_ascii=False) + "\n")
        with open(self.path, "ab", buffering=0) as file:  # at once: the console reads it meanwhile
            file.write("".join(lines).encode())

    def keep_before(self, update: int) -> None:
        """Forgets what was written of update number `update` (from 1) and later ones, which are done again."""
        if not parallel.is_main() or not self.path.is_file():
            return
        kept = []
        # Bytes: texts hold other ends of lines, and a torn line may end within a character.
        for line in self.path.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n") or json.loads(line)["update"] >= update:
                break
            kept.append(line)
        with replacing(self.path) as temporary:
            temporary.write_bytes(b"".join(kept))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]} …"
