"""Prompts of RL that SFT has an answer to: the policy knows those by heart, so that InstructGPT kept them apart.

(Ouyang et al. 2022, section 3.2 and table 6: of one user's prompts none is in two of the data sets.) No torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from training.records import DemonstrationRow, PromptRow, read_parquet, replacing
from training.trainers import parallel
from training.trainers.answered import answered, key
from training.trainers.program import Job, TrainerError

FILE = "sft_prompts.jsonl"
_NAMED = 5


def shared(prompts: Sequence[PromptRow], demonstrations: Iterable[DemonstrationRow]) -> list[tuple[PromptRow, str]]:
    """The prompts that an assistant's turn of a demonstration answers, with that demonstration's id."""
    known = answered((row.id, row.messages) for row in demonstrations)
    found = ((prompt, known.get(key(prompt.prompt))) for prompt in prompts)
    return [(prompt, of) for prompt, of in found if of is not None]


def check(job: Job, prompts: Sequence[PromptRow], demonstrations: Path, *, allowed: bool) -> None:
    """Lists what both have in `run_dir/sft_prompts.jsonl`; raises TrainerError unless it is `allowed`."""
    found = shared(prompts, read_parquet(demonstrations, row_type=DemonstrationRow))
    path = job.main_dir / FILE
    if parallel.is_main():
        _list(found, path)
    if not found:
        return
    named = ", ".join(prompt.id for prompt, _ in found[:_NAMED]) + (", …" if len(found) > _NAMED else "")
    sentence = f"{len(found)} of {len(prompts)} prompts occur in SFT rows ({named}; all of them in {path})"
    if not allowed:
        raise TrainerError(f"{sentence}: leave them out, or set allow_sft_prompts.")
    job.events.status(f"{sentence}, which allow_sft_prompts allows.")


def _list(found: Sequence[tuple[PromptRow, str]], path: Path) -> None:
    path.unlink(missing_ok=True)
    if not found:
        return
    with replacing(path) as temporary:
        lines = (
            json.dumps({"id": prompt.id, "prompt": prompt.prompt, "demonstration": of}, ensure_ascii=False)
            for prompt, of in found
        )
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
