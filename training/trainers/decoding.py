"""Decoding K completions a prompt with a transformers model, fast on a CPU and repeatable by seed.

Four savings over `generate`: each prompt is read once for its K completions; keys and values go into buffers made
once instead of growing by copies; finished rows leave the batch; top-p looks at the largest logits only. Greedy
output is that of `generate`.

Each completion has random numbers of its own, so it does not depend on which rows it shares a batch with, but for
rounding in the model's arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from training.trainers.padding import length_mask, pad_right
from training.trainers.program import StopFlag, Stopped

if TYPE_CHECKING:
    import torch

# Rows are moved together once this share of them is done: moving costs a copy of the buffers.
_COMPACT_AT = 0.75
# Top-p is settled among this many largest logits wherever they hold enough probability.
_NUCLEUS = 256


def decode(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    k: int,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    seeds: Sequence[int],
    stop_ids: set[int],
    pad_id: int,
    stop: StopFlag | None = None,
) -> list[list[int]]:
    """Token ids of K completions for each prompt, prompt by prompt, a stop token last where one was drawn.

    Greedy at temperature 0. Raises Stopped between two steps when `stop` is set.
    """
    import torch

    device = next(model.parameters()).device
    rows = len(prompts) * k
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    longest = int(lengths.max())
    with torch.inference_mode():
        cache = _buffers(model.config, rows=rows, capacity=longest + max_new_tokens)
        logits = _read_prompts(model, prompts, lengths=lengths, cache=cache, k=k, pad_id=pad_id)
        uniform = _uniform(seeds, k=k, steps=max_new_tokens)
        # A prompt's padding lies between it and its completion, masked; positions go on where the prompt ended.
        mask = torch.zeros(rows, longest + max_new_tokens, dtype=torch.long, device=device)
        mask[:, :longest] = length_mask(prompts).to(device).repeat_interleave(k, dim=0)
        position = lengths.repeat_interleave(k)
        stops = torch.tensor(sorted(stop_ids), device=device)
        owner = list(range(rows))  # which completion each row of the batch belongs to
        drawn: list[list[int]] = [[] for _ in range(rows)]
        done = torch.zeros(rows, dtype=torch.bool, device=device)
        for step in range(max_new_tokens):
            if stop:
                raise Stopped
            tokens = choose(logits, uniform[owner, step].to(device), temperature=temperature, top_p=top_p)
            still = (~done).tolist()
            for row, token in enumerate(tokens.tolist()):
                if still[row]:
                    drawn[owner[row]].append(token)
            done |= torch.isin(tokens, stops)
            remaining = int((~done).sum())
            if remaining == 0 or step + 1 == max_new_tokens:
                break
            if remaining <= _COMPACT_AT * len(owner):
                keep = (~done).nonzero().squeeze(1)
                cache.reorder_cache(keep)
                tokens, position, mask, done = tokens[keep], position[keep], mask[keep], done[keep]
                owner = [owner[row] for row in keep.tolist()]
            used = longest + step
            mask[:, used] = 1
            logits = model(
                input_ids=tokens[:, None],
                attention_mask=mask[:, : used + 1],
                position_ids=position[:, None],
                past_key_values=cache,
                use_cache=True,
            ).logits[:, -1]
            position = position + 1
    return drawn


def choose(logits: torch.Tensor, uniform: torch.Tensor, *, temperature: float, top_p: float) -> torch.Tensor:
    """One token id a row from logits (rows, vocabulary) and uniform numbers (rows,) in [0, 1).

    The likeliest token at temperature 0; else the point where the cumulated probability of the nucleus (Holtzman
    et al. 2020: the fewest likeliest tokens that reach top_p), likeliest first, passes the uniform number.
    """
    import torch

    if temperature == 0:
        return logits.argmax(-1)
    scaled = logits.float() / temperature
    total = scaled.logsumexp(-1, keepdim=True)
    count = min(_NUCLEUS, scaled.shape[-1])
    while True:
        values, ids = scaled.topk(count, dim=-1)
        probabilities = (values - total).exp()
        cumulated = probabilities.cumsum(-1)
        if count == scaled.shape[-1] or bool((cumulated[:, -1] >= top_p).all()):
            break
        # A flat distribution: look further, in the end at the whole vocabulary.
        count = min(count * 8, scaled.shape[-1])
    # A token is in the nucleus while what comes before it has not reached top_p; the first always is.
    inside = (cumulated - probabilities) < top_p
    inside[:, 0] = True
    kept = torch.where(inside, probabilities, 0.0).cumsum(-1)
    target = uniform[:, None] * kept[:, -1:]
    picked = (kept <= target).sum(-1, keepdim=True).clamp(max=count - 1)
    # Rounding may push the pick past the nucleus's last token.
    picked = torch.minimum(picked, inside.sum(-1, keepdim=True) - 1)
    return ids.gather(-1, picked).squeeze(-1)


def _uniform(seeds: Sequence[int], *, k: int, steps: int) -> torch.Tensor:
    """Random numbers of shape (rows, steps), each row from a generator of its own."""
    import torch

    rows = []
    for seed in seeds:
        for index in range(k):
            generator = torch.Generator().manual_seed(seed + index)
            rows.append(torch.rand(steps, generator=generator))
    return torch.stack(rows)


def _read_prompts(
    model: Any, prompts: Sequence[Sequence[int]], *, lengths: torch.Tensor, cache: Any, k: int, pad_id: int
) -> torch.Tensor:
    """Run the prompts once, spread their keys and values over K rows each; gives (rows, vocabulary) logits."""
    import torch
    from transformers import DynamicCache

    device = lengths.device
    ids = pad_right(prompts, value=pad_id).to(device)
    single = DynamicCache(config=model.config)
    output = model.base_model(
        input_ids=ids, attention_mask=length_mask(prompts).to(device), past_key_values=single, use_cache=True
    )
    for layer, read in zip(cache.layers, single.layers, strict=True):
        layer.update(read.keys.repeat_interleave(k, dim=0), read.values.repeat_interleave(k, dim=0))
    # Logits of the last token only: of all positions they would be the largest tensor by far.
    last = output.last_hidden_state[torch.arange(len(prompts), device=device), lengths - 1]
    logits: torch.Tensor = model.lm_head(last)
    return logits.repeat_interleave(k, dim=0)


def _buffers(config: Any, *, rows: int, capacity: int) -> Any:
    """A transformers cache whose layers write into buffers of (rows, heads, capacity, width) made once."""
    from transformers.cache_utils import Cache, DynamicLayer

    class Buffered(DynamicLayer):
        """Gives views of the filled part; reorder moves rows together."""

        def __init__(self) -> None:
            super().__init__()
            self.filled = 0

        def lazy_initialization(self, key_states: Any, value_states: Any) -> None:
            self.dtype, self.device = key_states.dtype, key_states.device
            _, heads, _, width = key_states.shape
            self.all_keys = key_states.new_empty(rows, heads, capacity, width)
            self.all_values = value_states.new_empty(rows, heads, capacity, value_states.shape[-1])
            self.is_initialized = True

        def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
            end = self.filled + key_states.shape[-2]
            self.all_keys[:, :, self.filled : end] = key_states
            self.all_values[:, :, self.filled : end] = value_states
            self.filled = end
            self.keys, self.values = self.all_keys[:, :, :end], self.all_values[:, :, :end]
            return self.keys, self.values

        def get_seq_length(self) -> int:
            return self.filled

        def reorder_cache(self, beam_idx: Any) -> None:
            self.all_keys = self.all_keys.index_select(0, beam_idx)
            self.all_values = self.all_values.index_select(0, beam_idx)

    return Cache(layers=[Buffered() for _ in range(config.num_hidden_layers)])
