"""Pretraining: language modelling on documents, from random weights or going on from a checkpoint.

    python -m training.trainers.pretrain --config run/config.json

`data` is a list of sources (`corpus/manifest.py`). They are read, cleaned, deduplicated and reported on
(`corpus/preparing.py`), tokenised into streams on disk (`tokens.py`), mixed by weight (`mixing.py`) and trained on in
packed rows by the plain loop (`loop.py`), so an interrupted run goes on exactly. The loss is the mean over tokens of
-log p (Bengio et al. 2003; Radford et al. 2019). It tells each source's held-out perplexity and bits per byte before
and after, and writes samples as it learns.

Left in the run's folder: `corpus/` (the cleaned documents and report.json), `samples.jsonl`. It leaves out
sequence-length schedules and tensor or pipeline parallelism.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from training.trainers import hardware, sample_steps, sharding
from training.trainers.config import ConfigError, PretrainConfig
from training.trainers.pretrain_sources import Sources, corpus_of, own_tokenizer, sources_of
from training.trainers.program import Job, Outcome, TrainerError, main

if TYPE_CHECKING:
    import torch


def check(job: Job) -> None:
    """Refuse settings that contradict the model's folder, and languages that nobody knows.

    Raises ConfigError or TrainerError.
    """
    from training.trainers.corpus.language import known_languages
    from training.trainers.corpus.preparing import parse_languages
    from training.trainers.models import describe_folder

    config: PretrainConfig = job.config
    if unknown := sorted(set(parse_languages(config.languages)) - known_languages()):
        raise ConfigError({"languages": f"languages must be codes like en or zh, not {unknown[0]!r}."})
    if config.start != "checkpoint":
        return
    facts = describe_folder(job.model)
    if any("ForSequenceClassification" in name for name in facts.get("architectures") or []):
        raise TrainerError(
            f"The model {job.model} is a reward model, which writes no text; start from a language model."
        )
    longest = facts.get("max_position_embeddings")
    if isinstance(longest, int) and config.max_length > longest:
        raise ConfigError({"max_length": f"max_length must be at most {longest}, the positions that the model has."})


def run(job: Job) -> Outcome:
    """Prepare, train, and leave a whole model folder in `output_dir`."""
    from training.trainers.corpus.manifest import read_manifest

    manifest = read_manifest(job.data)
    check(job)
    config: PretrainConfig = job.config

    from training.trainers import models

    tokenizer = None
    if config.tokenizer == "checkpoint":
        tokenizer = models.load_tokenizer(job.model)
    report = corpus_of(job, manifest)
    tokenizer = tokenizer or own_tokenizer(job, report)

    import torch

    from training.trainers.heldout import check_patience
    from training.trainers.loop import fit
    from training.trainers.tokens import FACTS, end_of_text_id
    from training.trainers.writing_samples import Samples

    hardware.limit_threads()
    torch.manual_seed(config.seed)
    end_of_text = end_of_text_id(tokenizer)
    sources = sources_of(job, report, weights=manifest.weights, tokenizer=tokenizer, end_of_text=end_of_text)
    job.events.status("Loading the model." if config.start == "checkpoint" else f"Making a {config.start} model.")
    model = sharding.place(_model(job, tokenizer), config)
    inputs = _Inputs(pad_id=tokenizer.pad_token_id, end_of_text=end_of_text, isolate=config.isolate_documents)
    models.save_memory(model, config)

    def look() -> dict[str, float]:
        return heldout_numbers(model, sources, inputs=inputs, rows_at_once=config.micro)

    before = look()
    check_patience(config, [*before])
    wanted = sample_steps.parse(config.sample_steps)
    samples = Samples(
        job.run_dir / "samples.jsonl",
        config=config,
        prompts=manifest.sample_prompts,
        tokenizer=tokenizer,
        end_of_text=end_of_text,
        events=job.events,
    )
    if wanted(0):
        samples.write(model, step=0)

    def micro_step(positions: list[int]) -> tuple[torch.Tensor, dict[str, float]]:
        nats, count = inputs.loss(model, [sources.row(position) for position in positions])
        # The mean over a full row's tokens: in a shorter row, too, every token counts alike.
        return nats / config.max_length, {"nats": nats.item(), "tokens": float(count)}

    metrics = fit(
        model,
        # The state belongs to these very tokens, whatever the sources hold by the time of a resume.
        job=dataclasses.replace(job, data=job.run_dir / "tokens" / FACTS),
        rows=sources.rows_per_epoch,
        micro_step=micro_step,
        summary=lambda sums: {"loss": sums["nats"] / sums["tokens"]},
        evaluate=look,
        epoch_rows=lambda epoch: sources.epoch(epoch, seed=config.seed),
        after_step=lambda step: samples.write(model, step=step) if wanted(step) else None,
    )
    steps = int(metrics["steps"])
    samples.write(model, step=steps)
    after = look()
    named = {f"heldout_{name}": value for name, value in after.items()}
    if after:
        job.events.metrics(step=steps, total_steps=steps, metrics=named)
    _end_with(model, end_of_text)
    models.save_model(job.output_dir, model=model, tokenizer=tokenizer)
    job.events.checkpoint(step=steps, path=job.output_dir)
    # The streams are made again from the corpus where they are needed; the corpus stays.
    shutil.rmtree(job.run_dir / "tokens", ignore_errors=True)
    rows = round(sources.rows_per_epoch * metrics["epoch"])
    return Outcome(
        metrics=metrics | {f"heldout_{name}_before": value for name, value in before.items()} | named,
        consumed={
            "documents": sum(source["kept_documents"] for source in report["sources"]),
            "rows": rows,
            "tokens": round(rows * sources.tokens_per_row),
        },
        checkpoint=job.output_dir,
        outputs={"report": str(job.run_dir / "corpus" / "report.json"), "samples": str(samples.path)},
    )


def _model(job: Job, tokenizer: Any) -> Any:
    from training.trainers import models
    from training.trainers.scratch import random_llama

    config: PretrainConfig = job.config
    if config.start != "checkpoint":
        return random_llama(config.start, tokenizer, seed=config.seed, context=config.max_length)
    in_4_bits = config.method == "qlora"
    model = models.load_causal_model(job.model, tokenizer, dtype=hardware.training_dtype(), in_4_bits=in_4_bits)
    return models.with_lora(model, config=config, task="CAUSAL_LM") if config.trains_adapter else model


@dataclass(frozen=True, kw_only=True)
class _Inputs:
    """How rows of ids become a model's inputs."""

    pad_id: int
    end_of_text: int
    isolate: bool

    def loss(self, model: Any, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, int]:
        """The summed loss in nats over all tokens that the rows predict, and their number."""
        from torch.nn.functional import cross_entropy

        from training.trainers.tokens import IGNORED, collate

        batch = collate(rows, pad_id=self.pad_id, end_of_text=self.end_of_text, isolate=self.isolate)
        device = next(model.parameters()).device
        labels = batch.pop("labels").to(device)
        with hardware.autocast():
            logits = model(**{name: value.to(device) for name, value in batch.items()}, use_cache=False).logits
        nats = cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED, reduction="sum")
        return nats, sum(len(row) - 1 for row in rows)


def heldout_numbers(model: Any, sources: Sources, *, inputs: _Inputs, rows_at_once: int) -> dict[str, float]:
    """Perplexity (e to the mean nats a token) of all held-out tokens and of each source's, and its bits per byte.

    Bits per byte compare models of different tokenizers. A source without held-out text has no numbers.
    """
    import torch

    found: dict[str, float] = {}
    nats_of_all, tokens_of_all = 0.0, 0
    was_training = model.training
    model.eval()
    for name, stream, size in zip(sources.names, sources.heldout, sources.heldout_bytes, strict=True):
        nats, count = 0.0, 0
        with torch.no_grad():
            for start in range(0, stream.rows, rows_at_once):
                rows = [stream.row(n) for n in range(start, min(start + rows_at_once, stream.rows))]
                loss, predicted = inputs.loss(model, rows)
                nats, count = nats + loss.item(), count + predicted
        if count:
            found |= {
                f"perplexity_{name}": _perplexity(nats, count),
                f"bits_per_byte_{name}": nats / math.log(2) / size,
            }
        nats_of_all, tokens_of_all = nats_of_all + nats, tokens_of_all + count
    model.train(was_training)
    if tokens_of_all:
        found |= {"loss": nats_of_all / tokens_of_all, "perplexity": _perplexity(nats_of_all, tokens_of_all)}
    return found


def _perplexity(nats: float, count: int) -> float:
    # A model that has come apart has a perplexity beyond a float's range.
    return math.exp(min(nats / count, 700.0))


def _end_with(model: Any, end_of_text: int) -> None:
    """Name the end-of-text token among those that end what the saved model writes."""
    generation = model.generation_config
    named = generation.eos_token_id
    ids = set(named if isinstance(named, list) else [] if named is None else [named])
    generation.eos_token_id = sorted(ids | {end_of_text})


if __name__ == "__main__":
    raise SystemExit(main("pretrain", run, about="Pretrain a language model on documents."))
