"""Ragged lists of token ids as one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def pad_right(rows: Sequence[Sequence[int]], *, value: int) -> torch.Tensor:
    """Rows of ids, lengthened on the right with `value`; gives int64 of shape (rows, longest)."""
    import torch

    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows], dtype=torch.long)


def length_mask(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """1 where a padded row has a token, 0 where it has padding; int64 of shape (rows, longest).

    Taken from the lengths: a mask taken from the pad id would lose any pad token that means something.
    """
    return pad_right([[1] * len(row) for row in rows], value=0)
