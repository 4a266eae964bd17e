"""The baseline of KTO's loss (Ethayarajh et al. 2024, section 4.1): how far the policy moved where nothing was said.

It is the mean log-ratio of completions that belong to other prompts, at least 0, over all prompts of a step, so that
micro batches change nothing. Each prompt has the same completion throughout, and no gradient flows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from training.trainers.logps import Reader
from training.trainers.preference_groups import Group

if TYPE_CHECKING:
    import torch


class Baseline:
    """`value` is the newest estimate, 0 before the first; `reference` are the reference's log-probabilities by row."""

    def __init__(
        self, reader: Reader, apart: Sequence[Group], reference: dict[int, torch.Tensor], *, rows_at_once: int
    ) -> None:
        self.reader, self.apart, self.reference, self.rows_at_once = reader, apart, reference, rows_at_once
        self.value = 0.0

    def renew(self, batch: Sequence[int]) -> float:
        """Estimate it from the prompts of the rows `batch`; 0 for none."""
        moved = self.reader.all_log_probs([self.apart[at] for at in batch], rows_at_once=self.rows_at_once)
        ratios = [(new - self.reference[at]).item() for at, new in zip(batch, moved, strict=True)]
        self.value = max(0.0, math.fsum(ratios) / len(ratios)) if ratios else 0.0
        return self.value
