"""Fine-tune a policy on the best of N of its own completions, as the reward model ranks them.

    python -m training.trainers.best_of_n --config run/config.json

Rejection sampling with fine-tuning (Nakano et al. 2021, "WebGPT"; RAFT, Dong et al. 2023; Touvron et al. 2023,
section 3.2.3). Reads PromptRow Parquet and takes three steps, each kept when a run is resumed: it draws N completions
a prompt into `completions.jsonl`; scores them and writes `best_of_n.json`, the mean reward of the best of
n = 1, 2, 4 ... N against the KL log n - (n-1)/n, and the best of each prompt as demonstrations, `best.parquet`; and
trains on these as `sft` does.

One round only: a second one starts from this one's checkpoint. It samples with transformers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.records import (
    CompletionRow,
    DemonstrationRow,
    Message,
    PromptRow,
    read_parquet,
    replacing,
    sha256_file,
    split_of,
    write_parquet,
)
from training.trainers import evaluation, hardware, models, sft
from training.trainers.completions import Drawing, draw, kept, read_prompts
from training.trainers.config import BestOfNConfig
from training.trainers.inputs import REWARD_MODEL
from training.trainers.program import Job, Outcome, TrainerError, main
from training.trainers.scoring import check_reward_model, rewards


def run(job: Job) -> Outcome:
    """Draw, choose, train; leaves a whole model folder in `output_dir`."""
    config: BestOfNConfig = job.config
    prompts = read_prompts(job.data)
    check_reward_model(job.inputs.get(REWARD_MODEL, ""))
    drawing = Drawing(
        model=job.model,
        k=config.n,
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        batch_size=config.sample_batch_size,
        seed=config.seed,
    )
    path, best = job.run_dir / "completions.jsonl", job.run_dir / "best.parquet"
    done = kept(job, path, prompts=prompts, drawing=drawing)
    hardware.limit_threads()
    drawn = _draw(job, prompts, drawing, done, path)
    report = _kept_report(job, path, best)
    if report is None:
        report = _choose(job, prompts, drawn, path, best)
    rows = read_parquet(best, row_type=DemonstrationRow)
    train = [row for row in rows if row.split == "train"]
    heldout = [row for row in rows if row.split == "heldout"]
    outcome = sft.fine_tune(dataclasses.replace(job, data=best), train, heldout)
    for point in report["curve"]:
        outcome.metrics |= {
            f"best_of_{point['n']}_reward": point["reward_mean"],
            f"best_of_{point['n']}_kl": point["kl"],
        }
    outcome.metrics |= {"chosen_reward": report["chosen_reward"], "prompts_left_out": report["left_out"]}
    outcome.outputs |= {"completions": str(path), "best": str(best), "report": str(_report_path(job))}
    return outcome


def best_index(rewards: Sequence[float], ended: Sequence[bool], *, only_ended: bool) -> int | None:
    """The best rewarded completion, the first of equals; with `only_ended` of those that ended, None where none did."""
    allowed = [k for k in range(len(rewards)) if ended[k] or not only_ended]
    return max(allowed, key=lambda k: rewards[k]) if allowed else None


def demonstration(prompt: PromptRow, completion: str, *, heldout_percent: int) -> DemonstrationRow:
    """A prompt with its best completion; its split is that of the prompt's text, the same in every run."""
    answer: Message = {"role": "assistant", "content": completion}
    text = json.dumps(prompt.prompt, sort_keys=True, ensure_ascii=False)
    return DemonstrationRow(
        id=prompt.id,
        messages=[*prompt.prompt, answer],
        category=prompt.category,
        language=prompt.language,
        split=split_of(hashlib.sha256(text.encode()).hexdigest(), heldout_percent),
    )


def _draw(
    job: Job,
    prompts: Sequence[PromptRow],
    drawing: Drawing,
    done: dict[str, list[CompletionRow]],
    path: Path,
) -> list[list[CompletionRow]]:
    """The N completions of each prompt; loads no model where all were drawn before."""
    if len(done) == len(prompts):
        job.events.status(f"All {len(prompts)} prompts were sampled before and are kept.")
        return [done[prompt.id] for prompt in prompts]
    from training.trainers.chat import encode_prompt
    from training.trainers.samplers import TransformersSampler

    job.events.status("Loading the model to sample from.")
    tokenizer, stop_text = models.load_tokenizer_and_stop(job.model)
    sampler = TransformersSampler(job.model, tokenizer, stop=job.stop, stop_text=stop_text, tell=job.events.status)
    return draw(
        job,
        sampler,
        drawing=drawing,
        engine="transformers",
        prompts=prompts,
        ids=[encode_prompt(tokenizer, prompt.prompt) for prompt in prompts],
        done=done,
        path=path,
        tokenizer=tokenizer,
        stop_text=stop_text,
    ).rows


def _choose(
    job: Job, prompts: Sequence[PromptRow], drawn: list[list[CompletionRow]], path: Path, best: Path
) -> dict[str, Any]:
    """Score the completions, write the best ones and, last, the report that says they are whole."""
    config: BestOfNConfig = job.config
    found = rewards(
        job,
        reward_model=job.inputs[REWARD_MODEL],
        prompts=prompts,
        completions=drawn,
        max_length=config.max_length,
        rows_at_once=max(2, config.micro_batch_size),
    )
    if not all(math.isfinite(score) for row in found for score in row):
        raise TrainerError(f"The reward model {job.inputs[REWARD_MODEL]} gave a score that is not a finite number.")
    rows, chosen = [], []
    for prompt, completions, scores in zip(prompts, drawn, found, strict=True):
        ended = [row.finish_reason == "stop" for row in completions]
        k = best_index(scores, ended, only_ended=config.only_ended)
        if k is not None:
            rows.append(demonstration(prompt, completions[k].text, heldout_percent=config.heldout_percent))
            chosen.append(scores[k])
    left_out = len(prompts) - len(rows)
    if left_out:
        job.events.status(f"{left_out} of {len(prompts)} prompts have no completion that ended and are left out.")
    if not any(row.split == "train" for row in rows):
        raise TrainerError(
            f"None of the {len(prompts)} prompts has a best completion to train on: {left_out} had no completion that "
            f"ended within max_new_tokens ({config.max_new_tokens} tokens), the others are held out."
        )
    write_parquet(best, rows, row_type=DemonstrationRow)
    report = {
        "identity": _identity(job, path),
        "best_sha256": sha256_file(best),
        "chosen_reward": math.fsum(chosen) / len(chosen),
        "left_out": left_out,
        "curve": evaluation.best_of_curve(found, seed=config.seed),
    }
    with replacing(_report_path(job)) as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def _kept_report(job: Job, path: Path, best: Path) -> dict[str, Any] | None:
    """The report of an earlier attempt on these very completions, where its best ones are whole; else None."""
    if not job.resume:
        return None
    try:
        report: dict[str, Any] = json.loads(_report_path(job).read_text(encoding="utf-8"))
        whole = report["identity"] == _identity(job, path) and report["best_sha256"] == sha256_file(best)
    except (OSError, ValueError, KeyError):
        return None
    return report if whole else None


def _identity(job: Job, path: Path) -> dict[str, Any]:
    config: BestOfNConfig = job.config
    return {
        "completions_sha256": sha256_file(path),
        "reward_model": job.inputs[REWARD_MODEL],
        "only_ended": config.only_ended,
        "heldout_percent": config.heldout_percent,
        "max_length": config.max_length,
    }


def _report_path(job: Job) -> Path:
    return job.run_dir / "best_of_n.json"


if __name__ == "__main__":
    raise SystemExit(main("best_of_n", run, about="Fine-tune a model on the best of N of its own completions."))
