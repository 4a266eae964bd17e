"""Measure a policy, and a reference beside it, on a fixed set of prompts.

    python -m training.trainers.evaluate --config run/config.json

The envelope's `model` is the policy and its `data` the prompts (PromptRow Parquet); the reference, the reward model and
the demonstrations are its `inputs`, each of them optional and looked at before anything is loaded. Both models draw K
completions of each prompt with the same seeds into `policy.jsonl` and `reference.jsonl`, which a resumed run keeps.

`report.json` has, for each model: mean reward, entropy, distinct-1/2/3, length, share that came to its end, share of
repeated 4-grams, perplexity of the demonstrations; and between the two: win rate, difference of rewards, and the KL of
the policy to the reference by Monte Carlo over the policy's own draws (`evaluation.py` names the estimators). Draws
that top_p or temperature 0 narrowed are not the policy's: then the report says that the KL is biased.
`samples.jsonl` has the best and the worst rewarded samples, for people to see what the reward model likes. It writes
no checkpoint.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.records import CompletionRow, DemonstrationRow, PromptRow, RecordError, read_parquet, replacing
from training.trainers import hardware, models
from training.trainers.completions import Drawing, draw, kept, read_prompts
from training.trainers.config import EvaluateConfig
from training.trainers.evaluation_report import flat, kl, reward_report, shown_samples, text_numbers
from training.trainers.inputs import DEMONSTRATIONS, REFERENCE, REWARD_MODEL
from training.trainers.likelihood import Likelihood, likelihoods
from training.trainers.program import Job, Outcome, TrainerError, check_model, main
from training.trainers.scoring import check_reward_model, rewards
from training.trainers.vocabulary import check_same_vocabulary


def check(job: Job) -> tuple[list[PromptRow], list[DemonstrationRow]]:
    """The prompts and the demonstrations; raises RecordError or TrainerError for what is known to be wrong."""
    prompts = read_prompts(job.data)
    if reference := job.inputs.get(REFERENCE):
        check_model(reference)
        check_same_vocabulary(job.model, reference, field=REFERENCE)
    if reward_model := job.inputs.get(REWARD_MODEL):
        check_reward_model(reward_model)
    path = job.inputs.get(DEMONSTRATIONS)
    if path is None:
        return prompts, []
    rows = read_parquet(path, row_type=DemonstrationRow)
    heldout = [row for row in rows if row.split == "heldout"]
    if not rows:
        raise RecordError(f"The file {path} named by demonstrations has no demonstration.")
    if not heldout:
        job.events.status("No demonstration is held out: the perplexity is that of all, trained on or not.")
    return prompts, heldout or rows


def run(job: Job) -> Outcome:
    """Draw what is missing, measure, and write the report."""
    config: EvaluateConfig = job.config
    prompts, demonstrations = check(job)
    reference = job.inputs.get(REFERENCE)
    names = {"policy": job.model} | ({"reference": reference} if reference else {})
    drawings = {
        name: Drawing(
            model=model,
            k=config.k,
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            top_p=config.top_p,
            batch_size=config.batch_size,
            seed=config.seed,
        )
        for name, model in names.items()
    }
    done = {
        name: kept(job, job.run_dir / f"{name}.jsonl", prompts=prompts, drawing=drawing)
        for name, drawing in drawings.items()
    }
    hardware.limit_threads()
    drawn: dict[str, list[list[CompletionRow]]] = {}
    numbers: dict[str, dict[str, Any]] = {}
    likely: dict[str, list[Likelihood]] = {}
    policy: _Measured | None = None
    for name, drawing in drawings.items():
        found = _measure(job, name, drawing, prompts, demonstrations, done[name], policy=policy)
        policy = policy or found
        drawn[name], likely[name], numbers[name] = found.drawn, found.of_policy, found.numbers
    report: dict[str, Any] = {
        "prompts": len(prompts),
        "completions_each": config.k,
        "sampling": drawings["policy"].parameters("transformers") | {"seed": config.seed},
        "policy": {"model": job.model} | numbers["policy"],
    }
    if reference:
        report["reference"] = {"model": reference} | numbers["reference"]
        biased = config.top_p < 1 or config.temperature == 0
        report["kl"] = kl(likely["policy"], likely["reference"], prompts=len(prompts), biased=biased, seed=config.seed)
    scores: dict[str, list[list[float]]] = {}
    outputs = {"report": str(job.run_dir / "report.json")}
    if REWARD_MODEL in job.inputs:
        scores = _scores(job, prompts, drawn)
        report["reward_model"] = job.inputs[REWARD_MODEL]
        report |= reward_report(prompts, scores, report, seed=config.seed)
        path = job.run_dir / "samples.jsonl"
        samples = shown_samples(prompts, drawn, scores, count=config.shown)
        with replacing(path) as temporary:
            lines = (json.dumps(sample, ensure_ascii=False) + "\n" for sample in samples)
            temporary.write_text("".join(lines), encoding="utf-8")
        outputs["samples"] = str(path)
    with replacing(job.run_dir / "report.json") as temporary:
        temporary.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    tokens = sum(row.token_count for groups in drawn.values() for group in groups for row in group)
    return Outcome(metrics=flat(report), consumed={"rows": len(prompts), "tokens": tokens}, outputs=outputs)


@dataclass(kw_only=True)
class _Measured:
    """One model's prompts as ids, its draws, how likely it holds the policy's draws, and its own numbers."""

    prompt_ids: list[list[int]]
    drawn: list[list[CompletionRow]]
    of_policy: list[Likelihood]
    numbers: dict[str, Any]


def _measure(
    job: Job,
    name: str,
    drawing: Drawing,
    prompts: Sequence[PromptRow],
    demonstrations: Sequence[DemonstrationRow],
    done: dict[str, list[CompletionRow]],
    *,
    policy: _Measured | None,
) -> _Measured:
    """All that needs this model loaded; `policy` is None for the policy itself."""
    from training.trainers.chat import encode_prompt
    from training.trainers.samplers import TransformersSampler

    config: EvaluateConfig = job.config
    job.events.status(f"Loading the {name}.")
    tokenizer, stop_text = models.load_tokenizer_and_stop(drawing.model)
    ids = [encode_prompt(tokenizer, prompt.prompt) for prompt in prompts]
    sampler = TransformersSampler(drawing.model, tokenizer, stop=job.stop, stop_text=stop_text, tell=job.events.status)
    drawn = draw(
        job,
        sampler,
        drawing=drawing,
        engine="transformers",
        prompts=prompts,
        ids=ids,
        done=done,
        path=job.run_dir / f"{name}.jsonl",
        tokenizer=tokenizer,
        stop_text=stop_text,
    ).rows

    def likelihood(prompt_ids: list[list[int]], of: list[list[CompletionRow]]) -> list[Likelihood]:
        return likelihoods(
            sampler.model,
            [prompt for prompt, rows in zip(prompt_ids, of, strict=True) for _ in rows],
            [row.token_ids for rows in of for row in rows],
            pad_id=tokenizer.pad_token_id,
            temperature=config.temperature or 1.0,
            rows_at_once=config.rows_at_once,
        )

    job.events.status(f"Measuring the {name}.")
    own = likelihood(ids, drawn)
    # The same tokens before the same tokens: a reference with another chat template reads the policy's prompt too.
    of_policy = own if policy is None else likelihood(policy.prompt_ids, policy.drawn)
    if policy is not None and policy.prompt_ids != ids:
        job.events.status("The reference has another chat template: it answers by its own, the KL is by the policy's.")
    numbers = text_numbers(drawn, own, prompts=len(prompts), seed=config.seed)
    if demonstrations:
        numbers |= _perplexity(sampler.model, tokenizer, demonstrations, config=config)
    return _Measured(prompt_ids=ids, drawn=drawn, of_policy=of_policy, numbers=numbers)


def _scores(
    job: Job, prompts: Sequence[PromptRow], drawn: dict[str, list[list[CompletionRow]]]
) -> dict[str, list[list[float]]]:
    config: EvaluateConfig = job.config
    # Both models' completions of a prompt stand side by side, so the prompt is read once for all of them.
    together = [[row for groups in drawn.values() for row in groups[i]] for i in range(len(prompts))]
    found = rewards(
        job,
        reward_model=job.inputs[REWARD_MODEL],
        prompts=prompts,
        completions=together,
        max_length=config.max_length,
        rows_at_once=config.rows_at_once,
    )
    return {name: [row[config.k * at : config.k * (at + 1)] for row in found] for at, name in enumerate(drawn)}


def _perplexity(
    model: Any, tokenizer: Any, rows: Sequence[DemonstrationRow], *, config: EvaluateConfig
) -> dict[str, Any]:
    """Perplexity of the assistant's tokens, e to their mean loss: every token counts alike."""
    from training.trainers.heldout import token_loss
    from training.trainers.sft import prepare_rows

    prepared = prepare_rows(tokenizer, rows, max_length=config.max_length)
    if not prepared.rows:
        raise TrainerError(f"No demonstration keeps an assistant token within max_length ({config.max_length} tokens).")
    found = token_loss(model, prepared.rows, pad_id=tokenizer.pad_token_id, rows_at_once=config.rows_at_once)
    return {
        "perplexity": math.exp(min(found["loss"], 700.0)),
        "token_accuracy": found["token_accuracy"],
        "perplexity_rows": len(prepared.rows),
        "perplexity_cut": prepared.truncated,
    }


if __name__ == "__main__":
    raise SystemExit(main("evaluate", run, about="Measure a policy, and a reference beside it, on fixed prompts."))
