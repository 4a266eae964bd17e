"""Draw K completions for each prompt, to be ranked by people or compared blindly.

    python -m training.trainers.sample --config run/config.json

Reads PromptRow Parquet and appends CompletionRows to `run_dir/completions.jsonl`, a prompt at a time. Prompts are
batched by length, the same way each time, and each has a seed of its own (from the run's seed and its id), so a
resumed run writes what an uninterrupted one would have. It writes no checkpoint.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.records import CompletionRow, PromptRow, RecordError, iter_jsonl, read_parquet, to_json
from training.trainers import hardware
from training.trainers.config import SampleConfig
from training.trainers.events import end_torn_line
from training.trainers.program import Job, Outcome, Stopped, main

_REPLACEMENT = "\ufffd"
_BYTE_TOKEN = re.compile("<0x[0-9A-F]{2}>")


def seed_of(seed: int, prompt_id: str) -> int:
    """The seed of a prompt's first completion, below 2**31; the others count up from it."""
    digest = hashlib.sha256(f"{seed}\n{prompt_id}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def read(job: Job) -> list[PromptRow]:
    """The prompts; raises RecordError where there is none, or one id twice."""
    prompts = read_parquet(job.data, row_type=PromptRow)
    if not prompts:
        raise RecordError(f"The data file {job.data} has no prompt.")
    seen: set[str] = set()
    for prompt in prompts:
        if prompt.id in seen:
            raise RecordError(f"The data file {job.data} has the prompt id {prompt.id} twice.")
        seen.add(prompt.id)
    return prompts


def finished(path: Path, *, k: int) -> dict[str, list[CompletionRow]]:
    """The completions of an earlier attempt by prompt, of prompts that have all K; the rest is cut from the file."""
    end_torn_line(path)
    if not path.exists():
        return {}
    by_prompt: dict[str, list[CompletionRow]] = {}
    for row in iter_jsonl(path, row_type=CompletionRow):
        by_prompt.setdefault(row.prompt_id, []).append(row)
    whole = {prompt: rows for prompt, rows in by_prompt.items() if len(rows) == k}
    if len(whole) < len(by_prompt):
        from training.records import write_jsonl

        write_jsonl(path, (row for rows in whole.values() for row in rows))
    return whole


def batches(lengths: Sequence[int], *, batch_size: int) -> list[list[int]]:
    """Positions of prompts, grouped with others of about their length, the longest first (memory fails early)."""
    order = sorted(range(len(lengths)), key=lambda position: (-lengths[position], position))
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def run(job: Job) -> Outcome:
    """Draw what is still missing; gives the file of completions and the speed."""
    prompts = read(job)
    config: SampleConfig = job.config
    path = job.run_dir / "completions.jsonl"
    if not job.resume:
        path.unlink(missing_ok=True)
    done = finished(path, k=config.k)

    from training.trainers.chat import encode_prompt
    from training.trainers.models import load_tokenizer_and_stop

    hardware.limit_threads()
    tokenizer, stop_text = load_tokenizer_and_stop(job.model)
    ids = [encode_prompt(tokenizer, prompt.prompt) for prompt in prompts]
    sampler = _sampler(job, tokenizer, longest_prompt=max(len(prompt) for prompt in ids), stop_text=stop_text)
    if done:
        job.events.status(f"{len(done)} of {len(prompts)} prompts were sampled before and are kept.")
    tokens, started = 0, time.monotonic()
    with open(path, "a", encoding="utf-8") as file:
        for batch in batches([len(prompt) for prompt in ids], batch_size=config.batch_size):
            if all(prompts[position].id in done for position in batch):
                continue
            if job.stop:  # vLLM cannot be stopped inside a batch
                raise Stopped
            # A batch of which a part was written is drawn again whole: other company would round differently.
            clock = time.monotonic()
            seeds = [seed_of(config.seed, prompts[position].id) for position in batch]
            answers = sampler.generate(
                [ids[position] for position in batch],
                k=config.k,
                max_new_tokens=config.max_new_tokens,
                temperature=config.temperature,
                top_p=config.top_p,
                seeds=seeds,
            )
            drawn = 0
            for position, seed, completions in zip(batch, seeds, answers, strict=True):
                drawn += sum(completion.token_count for completion in completions)
                if prompts[position].id in done:
                    continue
                rows = [
                    _row(prompts[position].id, index, completion, tokenizer, seed=seed + index, stop=stop_text)
                    for index, completion in enumerate(completions)
                ]
                file.write("".join(to_json(row) + "\n" for row in rows))
                file.flush()
                done[prompts[position].id] = rows
            tokens += drawn
            rate = drawn / max(time.monotonic() - clock, 1e-9)
            job.events.metrics(step=len(done), total_steps=len(prompts), metrics={"tokens_per_s": rate})
    rows = [row for group in done.values() for row in group]
    seconds = time.monotonic() - started
    metrics = {
        "prompts": len(done),
        "completions": len(rows),
        "mean_tokens": sum(row.token_count for row in rows) / len(rows),
        "stopped_share": sum(row.finish_reason == "stop" for row in rows) / len(rows),
        "sample_seconds": seconds,
    }
    if tokens:
        metrics["tokens_per_s"] = tokens / seconds
    return Outcome(
        metrics=metrics,
        consumed={"rows": len(prompts), "tokens": sum(row.token_count for row in rows)},
        outputs={"completions": str(path)},
    )


def _sampler(job: Job, tokenizer: Any, *, longest_prompt: int, stop_text: str | None) -> Any:
    from training.trainers.samplers import TransformersSampler, VllmSampler, choose_engine

    engine = choose_engine(job.config.engine)
    job.events.status(f"Loading the model into {'vLLM' if engine == 'vllm' else 'transformers'}.")
    if engine == "vllm":
        length = longest_prompt + job.config.max_new_tokens
        return VllmSampler(job.model, tokenizer, max_length=length, stop_text=stop_text)
    return TransformersSampler(job.model, tokenizer, stop=job.stop, stop_text=stop_text, tell=job.events.status)


def without_torn_end(tokenizer: Any, ids: Sequence[int], text: str) -> str:
    """The text of ids that were cut off, without the U+FFFD that stands for the first bytes of a character.

    A U+FFFD that the model wrote itself stays.
    """
    if not text.endswith(_REPLACEMENT):
        return text
    itself = tokenizer(_REPLACEMENT, add_special_tokens=False)["input_ids"]
    if list(ids[-len(itself) :]) == list(itself):
        return text
    # Most decoders write one mark for all the bytes; those with a token a byte ("<0xE4>") write one for each.
    marks = 0
    for token in reversed(tokenizer.convert_ids_to_tokens(list(ids[-3:]))):
        if not _BYTE_TOKEN.fullmatch(token):
            break
        marks += 1
    for _ in range(max(1, marks)):
        text = text.removesuffix(_REPLACEMENT)
    return text


def _row(prompt_id: str, index: int, completion: Any, tokenizer: Any, *, seed: int, stop: str | None) -> CompletionRow:
    text, reason = tokenizer.decode(completion.ids, skip_special_tokens=True), completion.finish_reason
    if stop is not None and stop in text:
        text, reason = text[: text.index(stop)], "stop"
    elif reason == "length":
        text = without_torn_end(tokenizer, completion.ids, text)
    return CompletionRow(
        prompt_id=prompt_id,
        index=index,
        text=text.strip(),
        finish_reason=reason,
        token_count=completion.token_count,
        seed=seed,
    )


if __name__ == "__main__":
    raise SystemExit(main("sample", run, about="Draw completions for prompts."))
