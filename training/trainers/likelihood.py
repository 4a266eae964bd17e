"""How likely a model holds completions that were drawn before, token by token, without gradients."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    """One completion's log-probability at each of its tokens, and the entropy over the vocabulary there (nats)."""

    logps: list[float]
    entropies: list[float]


def likelihoods(
    model: Any,
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    *,
    pad_id: int,
    temperature: float = 1.0,
    rows_at_once: int,
) -> list[Likelihood]:
    """The likelihood of each completion after its prompt, in their order; `temperature` divides the logits first.

    The batches depend on the lengths alone, so two models compute in the same company, and a model's copy comes to
    the very same numbers.
    """
    import torch

    from training.trainers.decoding import pad_left

    device = next(model.parameters()).device
    takes = inspect.signature(model.forward).parameters
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]) + len(completions[i]), i), reverse=True)
    found: dict[int, Likelihood] = {}
    with torch.inference_mode():
        for start in range(0, len(order), rows_at_once):
            batch = order[start : start + rows_at_once]
            # Completions end together at the right, so that logits are made of them alone.
            longest = max(len(completions[i]) for i in batch)
            ids, mask = (
                part.to(device) for part in pad_left([[*prompts[i], *completions[i]] for i in batch], value=pad_id)
            )
            logits = model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
                use_cache=False,
                **({"logits_to_keep": longest + 1} if "logits_to_keep" in takes else {}),
            ).logits
            for row, i in enumerate(batch):
                length = len(completions[i])
                # A row at a time: log-softmax of them all would double the largest tensor.
                scaled = logits[row, -length - 1 : -1].float() / temperature
                logs = scaled.log_softmax(-1)
                drawn = logs.gather(-1, ids[row, ids.shape[1] - length :, None]).squeeze(-1)
                # A token of probability 0 adds nothing, but 0 times -inf is no number.
                entropy = -(logs.exp() * logs.clamp(min=torch.finfo(logs.dtype).min)).sum(-1)
                found[i] = Likelihood(logps=drawn.tolist(), entropies=entropy.tolist())
    return [found[i] for i in range(len(prompts))]
