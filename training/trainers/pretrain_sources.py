"""What a pretraining run reads: its corpus made ready, its tokenizer, and its sources as streams of tokens.

Each is kept in the run's folder and used again by a run that is resumed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from training.records import RecordError
from training.trainers.config import PretrainConfig
from training.trainers.program import Job, Stopped

if TYPE_CHECKING:
    from training.trainers.tokens import Stream


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The token streams of all sources, and each one's part of what is read."""

    names: list[str]
    train: list[Stream]
    heldout: list[Stream]
    heldout_bytes: list[int]
    parts: list[float]

    @property
    def rows(self) -> list[int]:
        """Training rows of each source."""
        return [stream.rows for stream in self.train]

    @property
    def rows_per_epoch(self) -> int:
        """Rows in an epoch: as many as the sources that have a part hold."""
        return sum(count for count, part in zip(self.rows, self.parts, strict=True) if part > 0)

    @property
    def tokens_per_row(self) -> float:
        """The mean over the rows that are read; a source's last row may be short."""
        return sum(
            part * (len(stream.ids) - 1) / stream.rows
            for stream, part in zip(self.train, self.parts, strict=True)
            if part > 0
        )

    def row(self, position: int) -> list[int]:
        """The training row with this number, counted over all sources."""
        for stream in self.train:
            if position < stream.rows:
                return stream.row(position)
            position -= stream.rows
        raise IndexError(position)

    def epoch(self, epoch: int, *, seed: int) -> list[int]:
        """The numbers of an epoch's rows, in the order in which they are read."""
        from training.trainers.mixing import epoch_rows

        first = [sum(self.rows[:number]) for number in range(len(self.rows))]
        return [first[source] + row for source, row in epoch_rows(self.rows, self.parts, seed=seed, epoch=epoch)]


def corpus_of(job: Job, manifest: Any) -> dict[str, Any]:
    """The report of the run's corpus, made unless an earlier attempt of this run made it."""
    from training.trainers.corpus.preparing import REPORT, prepare, settings_of

    folder = job.run_dir / "corpus"
    settings = settings_of(job.config, data=job.data)
    if job.resume and (folder / REPORT).is_file():
        report: dict[str, Any] = json.loads((folder / REPORT).read_text(encoding="utf-8"))
        if report["settings"] == settings:
            job.events.status("The corpus of this run's earlier attempt is used.")
            return report
    # What was made of an earlier corpus goes with it.
    for name in ("tokenizer", "tokens"):
        shutil.rmtree(job.run_dir / name, ignore_errors=True)
    job.events.status("Reading the sources.")
    return prepare(
        folder,
        manifest=manifest,
        config=job.config,
        settings=settings,
        tell=job.events.status,
        between=lambda: _between(job),
    )


def own_tokenizer(job: Job, report: dict[str, Any]) -> Any:
    """The tokenizer trained on this corpus; kept in the run's folder, so that a resumed run reads the same tokens."""
    from transformers import AutoTokenizer

    from training.trainers.folders import replacing_folder
    from training.trainers.scratch import train_tokenizer
    from training.trainers.tokens import training_texts

    config: PretrainConfig = job.config
    folder = job.run_dir / "tokenizer"
    if not folder.is_dir():
        job.events.status("Training the tokenizer.")
        texts = training_texts(job.run_dir / "corpus", report["sources"])
        trained = train_tokenizer(texts, vocabulary=config.vocabulary, context=config.max_length)
        if len(trained) < config.vocabulary:
            job.events.status(f"The corpus gives {len(trained)} tokens, fewer than vocabulary ({config.vocabulary}).")
        with replacing_folder(folder) as temporary:
            trained.save_pretrained(temporary)
    return AutoTokenizer.from_pretrained(folder)


def sources_of(
    job: Job, report: dict[str, Any], *, weights: Sequence[float] | None, tokenizer: Any, end_of_text: int
) -> Sources:
    """The corpus as token streams; raises RecordError where a source that counts has nothing to train on."""
    from training.trainers import mixing, tokens

    folder = job.run_dir / "tokens"
    identity = {"corpus": [source["sha256"] for source in report["sources"]], "vocabulary": len(tokenizer)}
    facts: dict[str, Any] = {}
    if job.resume and (folder / tokens.FACTS).is_file():
        facts = json.loads((folder / tokens.FACTS).read_text(encoding="utf-8"))
    if any(facts.get(name) != value for name, value in identity.items()):
        job.events.status("Tokenising the corpus.")
        facts = tokens.tokenise(
            folder,
            corpus=job.run_dir / "corpus",
            sources=report["sources"],
            tokenizer=tokenizer,
            end_of_text=end_of_text,
            identity=identity,
            between=lambda: _between(job),
        )

    def streams(split: str) -> list[Stream]:
        return [
            tokens.open_stream(folder, f"{split}-{number:03d}.bin", dtype=facts["dtype"], length=job.config.max_length)
            for number in range(len(facts["sources"]))
        ]

    train, names = streams("train"), [source["name"] for source in facts["sources"]]
    for name, stream, weight in zip(names, train, weights or [0.0] * len(names), strict=True):
        if weight and not stream.rows:
            raise RecordError(f"The source {name} leaves nothing to train on once its held-out share is taken.")
    parts = mixing.shares([stream.rows for stream in train], weights)
    shown = ", ".join(
        f"{name} {part:.1%} of {len(stream.ids)} tokens" for name, stream, part in zip(names, train, parts, strict=True)
    )
    job.events.status(f"The mix by rows read: {shown}.")
    return Sources(
        names=names,
        train=train,
        heldout=streams("heldout"),
        heldout_bytes=[source["heldout_bytes"] for source in facts["sources"]],
        parts=parts,
    )


def _between(job: Job) -> None:
    if job.stop:
        raise Stopped
