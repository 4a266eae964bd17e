"""Scores of K completions of one prompt in one pass, and the K-wise ranking loss.

The loss is equation 1 of InstructGPT (Ouyang et al. 2022, section 3.5): all comparisons of one ranking are one
element of the batch, each completion is read once, and the loss is the mean over its comparisons.

The shared prompt is read once too: its keys and values, with their gradients, are spread over the K completions.
This is exact (position ids go on where the prompt ended) for causal attention over the whole past. For other
attention `plain_scores` reads prompt and completion together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from training.records import comparisons
from training.trainers.padding import length_mask, pad_right
from training.trainers.program import TrainerError

if TYPE_CHECKING:
    import torch


def kwise_scores_batch(
    model: Any,
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[Sequence[int]]],
    *,
    pad_id: int,
) -> list[torch.Tensor]:
    """Rewards of several prompts' completions, a tensor of shape (K,) for each prompt; K may differ.

    Prompts are padded on the right and the padding masked, so that no query is ever left without a key.
    """
    import torch
    from transformers import DynamicCache

    trunk, head = _parts(model)
    device = next(trunk.parameters()).device
    prompt_mask = length_mask(prompts).to(device)
    cache = DynamicCache(config=trunk.config)
    trunk(
        input_ids=pad_right(prompts, value=pad_id).to(device),
        attention_mask=prompt_mask,
        past_key_values=cache,
        use_cache=True,
    )
    sizes = [len(group) for group in completions]
    owner = torch.tensor([i for i, size in enumerate(sizes) for _ in range(size)], device=device)
    for layer in cache.layers:
        if len(prompts) == 1:
            layer.keys = layer.keys.expand(len(owner), -1, -1, -1)
            layer.values = layer.values.expand(len(owner), -1, -1, -1)
        else:
            layer.keys, layer.values = layer.keys[owner], layer.values[owner]
    flat = [ids for group in completions for ids in group]
    mask = length_mask(flat).to(device)
    starts = torch.tensor([len(prompt) for prompt in prompts], device=device)[owner]
    hidden = trunk(
        input_ids=pad_right(flat, value=pad_id).to(device),
        attention_mask=torch.cat([prompt_mask[owner], mask], dim=1),
        position_ids=starts[:, None] + torch.arange(mask.shape[1], device=device),
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    return list(_at_last(head, hidden, mask).split(sizes))


def plain_scores(
    model: Any, prompt_ids: Sequence[int], completion_ids: Sequence[Sequence[int]], *, pad_id: int
) -> torch.Tensor:
    """The same rewards of shape (K,), each prompt and completion read together: right for every architecture."""
    trunk, head = _parts(model)
    device = next(trunk.parameters()).device
    whole = [[*prompt_ids, *ids] for ids in completion_ids]
    mask = length_mask(whole).to(device)
    hidden = trunk(
        input_ids=pad_right(whole, value=pad_id).to(device), attention_mask=mask, use_cache=False
    ).last_hidden_state
    return _at_last(head, hidden, mask)


def why_not_shared(model: Any) -> str | None:
    """Why this model cannot share its prompt's keys and values, in words; None where it can."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    trunk, _ = _parts(model)
    config = trunk.config
    if getattr(config, "is_encoder_decoder", False):
        return "it is an encoder-decoder model"
    if any(kind != "full_attention" for kind in getattr(config, "layer_types", None) or []):
        return "some of its layers do not attend to the whole past"
    if any(type(layer) is not DynamicLayer for layer in DynamicCache(config=config).layers):
        return "its cache does not keep the whole past"
    if getattr(trunk, "is_gradient_checkpointing", False):
        return "gradient checkpointing drops the cache"
    return None


def pair_weights(label: str, posteriors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How much the loss of each comparison counts as it was labelled, and turned round; `label` is soft or weight."""
    if label == "soft":
        return posteriors, 1 - posteriors
    lean = 2 * posteriors - 1
    return lean.clamp(min=0), (-lean).clamp(min=0)


def kwise_loss(
    scores: torch.Tensor,
    ranks: Sequence[int],
    *,
    weight: float = 1.0,
    margin: str = "none",
    margin_size: float = 0.0,
    center_coefficient: float = 0.0,
    label: str = "hard",
    posteriors: Sequence[float] = (),
) -> torch.Tensor:
    """Mean over the ranking's comparisons of -log sigmoid(r_i - r_j - margin), times `weight`; a scalar.

    `posteriors` has the probability p of each comparison, in the order of `comparisons(ranks)`; empty is p = 1 for all.
    With the `label` hard they are not looked at. soft: p times the loss, and 1 - p times that of the comparison turned
    round (the soft target of conservative DPO, Mitchell 2023). weight: |2p - 1| times the loss of the comparison in the
    direction that p says, which has the same slope as soft where the two scores are equal.

    `scores` has shape (K,); `ranks` has K tiers, 0 the best; ties give no comparison. `margin` is none, constant
    (`margin_size`), or tier_distance (`margin_size` times the tiers between; Touvron et al. 2023, section 3.2.2,
    uses a margin that grows with the preference). `center_coefficient` adds the mean of (r_i + r_j)^2 times it
    (Eisenstein et al. 2023). Raises ValueError where there is no comparison.
    """
    import torch
    from torch.nn.functional import logsigmoid

    pairs = comparisons(ranks)
    if not pairs:
        raise ValueError("a ranking of ties only has no loss")
    above, below = scores[[i for i, _ in pairs]].float(), scores[[j for _, j in pairs]].float()
    gap = above - below
    wanted = torch.zeros_like(gap)
    if margin == "constant":
        wanted = wanted + margin_size
    elif margin == "tier_distance":
        tiers = torch.tensor([ranks[j] - ranks[i] for i, j in pairs], device=gap.device, dtype=gap.dtype)
        wanted = margin_size * tiers
    if label == "hard" or not posteriors:
        loss = -logsigmoid(gap - wanted).mean()
    else:
        right, turned = pair_weights(label, torch.tensor(posteriors, device=gap.device, dtype=gap.dtype))
        loss = -(right * logsigmoid(gap - wanted) + turned * logsigmoid(-gap - wanted)).mean()
    if center_coefficient:
        loss = loss + center_coefficient * (above + below).square().mean()
    return weight * loss


def _parts(model: Any) -> tuple[Any, Any]:
    """The trunk and the scoring head of a sequence classifier, whether PEFT wraps it or not."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not hasattr(inner, "score"):
        raise TrainerError(f"A reward model needs a head named score, which {type(inner).__name__} has not.")
    return inner.base_model, inner.score


def _at_last(head: Any, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Scores of shape (rows,) at each row's last token, by the head's float32 weights whatever the trunk computes in.

    A score in bfloat16 has 8 bits: completions of scores 2.00 and 2.01 would tie.
    """
    import torch

    last = mask.sum(dim=1) - 1
    with torch.autocast(hidden.device.type, enabled=False):
        scores: torch.Tensor = head(hidden[torch.arange(len(hidden), device=hidden.device), last].float()).squeeze(-1)
    return scores
