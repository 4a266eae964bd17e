"""Pretraining text for PPO-ptx: rows of tokens that a policy is to go on writing well (Ouyang et al. 2022, equation 2).

The list of sources is the stage pretrain's, with its filters and deduplication at their defaults; its corpus and
tokens are kept in the run's folder and used again by a run that is resumed.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from training.records import RecordError
from training.trainers.config import PpoConfig, build
from training.trainers.corpus.manifest import read_manifest
from training.trainers.pretrain_sources import corpus_of, sources_of
from training.trainers.program import Job


class Pretraining:
    """Rows of the sources by their number: an epoch after another, each in an order of its own."""

    def __init__(self, job: Job, path: Path, *, tokenizer: Any) -> None:
        from training.trainers.tokens import end_of_text_id

        config: PpoConfig = job.config
        manifest = read_manifest(path)
        own = build("pretrain", {"max_length": config.ptx_length, "heldout_percent": 0.0, "seed": config.seed})
        reading = dataclasses.replace(job, config=own, data=path)
        self.seed = config.seed
        self.sources = sources_of(
            reading,
            corpus_of(reading, manifest),
            weights=manifest.weights,
            tokenizer=tokenizer,
            end_of_text=end_of_text_id(tokenizer),
        )
        if not self.sources.rows_per_epoch:
            raise RecordError(f"The sources in {path} leave no text to mix in.")
        self._epoch, self._order = -1, list[int]()

    def row(self, number: int) -> list[int]:
        """The ids of the row with this number in the order of reading, from 0."""
        epoch, at = divmod(number, self.sources.rows_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self.sources.epoch(epoch, seed=self.seed)
        return self.sources.row(self._order[at])
