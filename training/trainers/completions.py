"""Completions drawn into a file, a prompt at a time, so that a run that is killed draws only what is missing.

Prompts are batched by length, the same way each time, and each has a seed of its own (from the run's seed and its
id), so a resumed file has what an uninterrupted one would have.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.records import CompletionRow, PromptRow, RecordError, iter_jsonl, read_parquet, to_json, write_jsonl
from training.trainers.events import end_torn_line
from training.trainers.program import Job, Stopped, TrainerError

_REPLACEMENT = "\ufffd"
_BYTE_TOKEN = re.compile("<0x[0-9A-F]{2}>")


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What is drawn: K completions of each prompt by `model`, with whose parameters, `batch_size` prompts at once.

    `extra` are parameters of the engine that change what is drawn (an adapter, examples, an endpoint).
    """

    model: str
    k: int
    max_new_tokens: int
    temperature: float
    top_p: float
    batch_size: int
    seed: int
    extra: dict[str, Any] = field(default_factory=dict)

    def parameters(self, engine: str) -> dict[str, Any]:
        """As each completion carries them."""
        return {
            "engine": engine,
            "max_new_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            **self.extra,
        }


@dataclass(kw_only=True)
class Drawn:
    """The completions of each prompt in the prompts' order; tokens and seconds of this attempt alone."""

    rows: list[list[CompletionRow]]
    tokens: int
    seconds: float


def read_prompts(path: Path) -> list[PromptRow]:
    """The prompts of a Parquet file; raises RecordError where there is none, or one id twice."""
    prompts = read_parquet(path, row_type=PromptRow)
    if not prompts:
        raise RecordError(f"The data file {path} has no prompt.")
    seen: set[str] = set()
    for prompt in prompts:
        if prompt.id in seen:
            raise RecordError(f"The data file {path} has the prompt id {prompt.id} twice.")
        seen.add(prompt.id)
    return prompts


def seed_of(seed: int, prompt_id: str) -> int:
    """The seed of a prompt's first completion, below 2**31; the others count up from it."""
    digest = hashlib.sha256(f"{seed}\n{prompt_id}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


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
        write_jsonl(path, (row for rows in whole.values() for row in rows))
    return whole


def batches(lengths: Sequence[int], *, batch_size: int) -> list[list[int]]:
    """Positions of prompts, grouped with others of about their length, the longest first (memory fails early)."""
    order = sorted(range(len(lengths)), key=lambda position: (-lengths[position], position))
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def kept(job: Job, path: Path, *, prompts: Sequence[PromptRow], drawing: Drawing) -> dict[str, list[CompletionRow]]:
    """What an earlier attempt of this run drew whole, by prompt; nothing (and no file) where the run is a fresh one.

    Raises TrainerError where the file holds completions of another model, other parameters or other prompts.
    """
    if not job.resume:
        path.unlink(missing_ok=True)
    done = finished(path, k=drawing.k)
    wanted = drawing.parameters("")
    ids = {prompt.id for prompt in prompts}
    for prompt_id, rows in done.items():
        of_ours = prompt_id in ids and rows[0].seed == seed_of(drawing.seed, prompt_id)
        # Rows of before carried neither: they are taken as they are.
        told = rows[0].parameters
        if told:
            same = {name: value for name, value in told.items() if name != "engine"}
            of_ours &= same == {name: value for name, value in wanted.items() if name != "engine"}
            of_ours &= rows[0].checkpoint == drawing.model
        if not of_ours:
            raise TrainerError(f"The completions in {path} were drawn otherwise than this run says: start it afresh.")
    return done


def draw(
    job: Job,
    sampler: Any,
    *,
    drawing: Drawing,
    engine: str,
    prompts: Sequence[PromptRow],
    ids: Sequence[Sequence[int]],
    done: dict[str, list[CompletionRow]],
    path: Path,
    tokenizer: Any,
    stop_text: str | None,
) -> Drawn:
    """Draw what `done` lacks and append it to `path`; `ids` are the prompts' token ids. Raises Stopped when told."""
    if done:
        job.events.status(f"{len(done)} of {len(prompts)} prompts were sampled before and are kept.")
    parameters = drawing.parameters(engine)
    tokens, started = 0, time.monotonic()
    with open(path, "a", encoding="utf-8") as file:
        for batch in batches([len(prompt) for prompt in ids], batch_size=drawing.batch_size):
            if all(prompts[position].id in done for position in batch):
                continue
            if job.stop:  # vLLM cannot be stopped inside a batch
                raise Stopped
            # A batch of which a part was written is drawn again whole: other company would round differently.
            clock = time.monotonic()
            seeds = [seed_of(drawing.seed, prompts[position].id) for position in batch]
            answers = sampler.generate(
                [list(ids[position]) for position in batch],
                k=drawing.k,
                max_new_tokens=drawing.max_new_tokens,
                temperature=drawing.temperature,
                top_p=drawing.top_p,
                seeds=seeds,
            )
            drawn = 0
            for position, seed, completions in zip(batch, seeds, answers, strict=True):
                drawn += sum(completion.token_count for completion in completions)
                if prompts[position].id in done:
                    continue
                rows = [
                    completion_row(
                        prompts[position].id,
                        index,
                        completion,
                        tokenizer,
                        seed=seed + index,
                        stop=stop_text,
                        checkpoint=drawing.model,
                        parameters=parameters,
                    )
                    for index, completion in enumerate(completions)
                ]
                file.write("".join(to_json(row) + "\n" for row in rows))
                file.flush()
                done[prompts[position].id] = rows
            tokens += drawn
            rate = drawn / max(time.monotonic() - clock, 1e-9)
            job.events.metrics(step=len(done), total_steps=len(prompts), metrics={"tokens_per_s": rate})
    rows_of = [done[prompt.id] for prompt in prompts]
    return Drawn(rows=rows_of, tokens=tokens, seconds=time.monotonic() - started)


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


def completion_row(
    prompt_id: str,
    index: int,
    completion: Any,
    tokenizer: Any,
    *,
    seed: int,
    stop: str | None,
    checkpoint: str = "",
    parameters: dict[str, Any] | None = None,
) -> CompletionRow:
    """A samplers.Completion as the row that is kept: its text, cut before the text `stop` where that ended it."""
    reason = completion.finish_reason
    text = completion.text
    if text is None:
        text = tokenizer.decode(completion.ids, skip_special_tokens=True)
    if stop is not None and stop in text:
        text, reason = text[: text.index(stop)], "stop"
    elif reason == "length" and completion.text is None:
        text = without_torn_end(tokenizer, completion.ids, text)
    return CompletionRow(
        prompt_id=prompt_id,
        index=index,
        text=text.strip(),
        finish_reason=reason,
        token_count=completion.token_count,
        seed=seed,
        checkpoint=checkpoint,
        parameters=parameters or {},
        token_ids=list(completion.drawn),
    )
