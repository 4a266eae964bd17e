"""K completions of one prompt, the prompt and each completion read once, in one forward without padding.

All tokens of a batch lie behind one another in a single row: prompt, its completions, the next prompt. Everything in
a transformer but attention looks at one token at a time, so all of that costs each token once, and no padding at
all. Attention alone is unfolded into K ordinary rows (prompt, completion) and folded back; its result at the prompt
is the same in each of the K rows, and taken from the first. Position ids count as in the ordinary rows. So hidden
states and gradients are those of the plain reading, and as nothing is kept in a cache, gradient checkpointing works as
well. What becomes of the hidden states is a reward model's (`scorer.py`) or a policy's (`logps.py`) matter.

It is exact for causal attention over the whole past; `why_not_shared` names the models for which it is not, and
`is_exact` tries it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from training.trainers import sharding
from training.trainers.adapters import inner_model

if TYPE_CHECKING:
    import torch

# The name under which transformers finds our attention. It has no mask function there, so none is made.
_ATTENTION = "hone_shared_prompt"
# Numbers by a shared prompt and by the plain way may differ by the rounding of float32 only.
_SAME = 1e-3


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the tokens of some prompts with their completions lie.

    `ids`, `positions`: [T], all tokens behind one another. `rows`: [N, L], for each of the N ordinary rows (a prompt
    and one of its completions) the places of its tokens; what is padding repeats a token of the row. `places`: [T],
    where among the N * L a token's attention is taken from. `lasts`: [N], the place of each completion's last token.
    `before`: for all tokens of all completions, the place of the token before it, which predicts it. `sizes`: how many
    completions each prompt has.
    """

    ids: list[int]
    positions: list[int]
    rows: list[list[int]]
    places: list[int]
    lasts: list[int]
    before: list[int]
    sizes: list[int]


def lay_out(prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[Sequence[int]]]) -> Layout:
    """The layout of several prompts with their completions, none of which is empty."""
    longest = max(len(prompt) + len(ids) for prompt, group in zip(prompts, completions, strict=True) for ids in group)
    ids: list[int] = []
    positions: list[int] = []
    rows: list[list[int]] = []
    places: list[int] = []
    lasts: list[int] = []
    before: list[int] = []
    for prompt, group in zip(prompts, completions, strict=True):
        shared = range(len(ids), len(ids) + len(prompt))
        places += range(len(rows) * longest, len(rows) * longest + len(prompt))
        ids += prompt
        positions += range(len(prompt))
        for completion in group:
            own = range(len(ids), len(ids) + len(completion))
            begin = len(rows) * longest + len(prompt)
            places += range(begin, begin + len(completion))
            rows.append([*shared, *own, *[own[0]] * (longest - len(shared) - len(own))])
            ids += completion
            positions += range(len(prompt), len(prompt) + len(completion))
            lasts.append(own[-1])
            before += [shared[-1], *own[:-1]]
    sizes = [len(group) for group in completions]
    return Layout(ids=ids, positions=positions, rows=rows, places=places, lasts=lasts, before=before, sizes=sizes)


def read(model: Any, layout: Layout) -> torch.Tensor:
    """The trunk's last hidden states of all tokens, (T, width). The model was given `use_shared_attention`."""
    import torch

    trunk = trunk_of(model)
    device = next(trunk.parameters()).device
    hidden: torch.Tensor = trunk(
        input_ids=torch.tensor([layout.ids], device=device),
        position_ids=torch.tensor([layout.positions], device=device),
        use_cache=False,
        unfolded=torch.tensor(layout.rows, device=device),
        folded=torch.tensor(layout.places, device=device),
    ).last_hidden_state
    return hidden[0]


def use_shared_attention(model: Any) -> None:
    """Let the model's attention understand a layout; without one it goes on as before, for rows padded on the right.

    It stays so: a backward pass with gradient checkpointing computes the attention again.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(_ATTENTION, _attention)
    use_attention(model, _ATTENTION)


def use_attention(model: Any, name: str) -> None:
    """Give the model back the attention of this name, which `attention_of` told before."""
    trunk_of(model).config._attn_implementation = name


@contextlib.contextmanager
def with_attention(model: Any, name: str) -> Iterator[None]:
    """Within it the model attends in this way; then in its own again."""
    own = attention_of(model)
    use_attention(model, name)
    try:
        yield
    finally:
        use_attention(model, own)


def attention_of(model: Any) -> str:
    """The name of the attention that the model uses."""
    name: str = trunk_of(model).config._attn_implementation
    return name


def is_exact(
    model: Any,
    *,
    plain: Callable[[], Sequence[float]],
    shared: Callable[[], Sequence[float]],
    tell: Callable[[str], None],
) -> bool:
    """Whether this model can read a prompt once, found by trying: then it is left ready for it, else `tell` says why.

    `plain` and `shared` give the same numbers by either way; they should compute in float32, as in bfloat16 rounding
    would hide a model that reads a shared prompt otherwise.
    """
    reason = why_not_shared(model)
    if reason is None:
        own, wanted = attention_of(model), plain()
        use_shared_attention(model)
        try:
            found = shared()
        except (TypeError, RuntimeError, ValueError, IndexError):
            # A model whose layers do not hand on the layout, or compute with a mask of their own.
            sharding.settle(model)
            reason = "its layers do not take one"
        else:
            if all(abs(a - b) <= _SAME * max(1.0, abs(b)) for a, b in zip(found, wanted, strict=True)):
                return True
            reason = "its numbers came out different"
        use_attention(model, own)
    tell(f"The prompt is read again for each completion, as this model cannot share it: {reason}.")
    return False


def why_not_shared(model: Any) -> str | None:
    """Why this model cannot read a prompt once for all of its completions, in words; None where it may."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    trunk = trunk_of(model)
    config = trunk.config
    if getattr(config, "is_encoder_decoder", False):
        return "it is an encoder-decoder model"
    if any(kind != "full_attention" for kind in getattr(config, "layer_types", None) or []):
        return "some of its layers do not attend to the whole past"
    # Also of layers that keep a state and no keys: their cache has a kind of its own.
    if any(type(layer) is not DynamicLayer for layer in DynamicCache(config=config).layers):
        return "its layers do not keep the whole past"
    if getattr(config, "attn_logit_softcapping", None):
        return "its attention has a soft cap"
    if not getattr(trunk, "_supports_sdpa", False):
        return "its attention is one of its own"
    return None


def trunk_of(model: Any) -> Any:
    """The decoder without its head."""
    return inner_model(model).base_model


def _attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    unfolded: torch.Tensor | None = None,
    folded: torch.Tensor | None = None,
    **words: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of shape (1, T, heads, width) over tokens in a layout, from (1, heads, T, width).

    Rows are padded on the right and causal, so no real token sees padding and no mask is needed.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if unfolded is None or folded is None:
        result, _ = sdpa_attention_forward(module, query, key, value, None, **words)
        return result, None
    result, _ = sdpa_attention_forward(
        module, *(_unfold(states, unfolded) for states in (query, key, value)), None, **words
    )
    return result.flatten(0, 1).index_select(0, folded)[None], None


def _unfold(states: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """(1, heads, T, width) as (N, heads, L, width)."""
    taken = states[0].transpose(0, 1).index_select(0, rows.flatten())
    return taken.unflatten(0, rows.shape).transpose(1, 2)
