"""The shapes of models that start from random weights; no torch.

tiny is this project's own, mini lies between, small and medium are those of SmolLM2 135M and 360M (Allal et al. 2025),
large is that of Llama 3.2 1B.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Size:
    """A Llama's shape; embedding and head are one matrix in all of them."""

    width: int
    inner: int
    layers: int
    heads: int
    kv_heads: int


SIZES = {
    "tiny": Size(128, 384, 4, 4, 2),
    "mini": Size(512, 1408, 8, 8, 4),
    "small": Size(576, 1536, 30, 9, 3),
    "medium": Size(960, 2560, 32, 15, 5),
    "large": Size(2048, 8192, 16, 32, 8),
}


def shape(size: str, *, vocabulary: int) -> dict[str, Any]:
    """The shape of a named size as a config.json has it."""
    of = SIZES[size]
    return {
        "vocab_size": vocabulary,
        "hidden_size": of.width,
        "intermediate_size": of.inner,
        "num_hidden_layers": of.layers,
        "num_attention_heads": of.heads,
        "num_key_value_heads": of.kv_heads,
        "tie_word_embeddings": True,
    }
