"""Grouped-query attention of one new token without copies of its keys and values.

Where several query heads share a key-value head (Ainslie et al. 2023), transformers' sdpa repeats keys and values to as
many heads before it attends, on a CPU every time a token is drawn. Here the query heads of a group stand as rows of one
head instead, which is the same sum; measured on SmolLM2 (three to a group) it saves a third of a step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

_NAME = "hone_grouped"


@contextlib.contextmanager
def grouped_attention(model: Any) -> Iterator[None]:
    """Use it within, where the model attends by sdpa; other ways of attention stay as they are."""
    if getattr(model.config, "_attn_implementation", None) != "sdpa":
        yield
        return
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(_NAME, _attend)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    model.set_attn_implementation(_NAME)
    try:
        yield
    finally:
        model.set_attn_implementation("sdpa")


def _attend(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, *, scaling: float | None = None, **words: Any
) -> tuple[Any, None]:
    """As transformers' sdpa_attention_forward: query (rows, heads, length, width) to (rows, length, heads, width)."""
    from torch.nn.functional import scaled_dot_product_attention
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    rows, heads, length, width = query.shape
    kv_heads = key.shape[1]
    # A mask for each head, or a bias of positions, would have to be regrouped too: that is left to sdpa.
    masks_alike = attention_mask is None or attention_mask.shape[1] == 1
    if length > 1 or heads == kv_heads or not masks_alike or words.get("position_bias") is not None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **words)
    groups = query.reshape(rows, kv_heads, heads // kv_heads, width)
    found = scaled_dot_product_attention(groups, key, value, attn_mask=attention_mask, scale=scaling)
    return found.reshape(rows, 1, heads, value.shape[-1]), None
