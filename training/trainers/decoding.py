"""Decoding K completions a prompt with a transformers model, fast on a CPU and repeatable by seed.

What it saves over `generate`: each prompt is read once for its K completions, and beside others of about its length;
keys and values go into buffers made once instead of growing by copies, and are not repeated for the query heads that
share them (`grouped.py`); finished rows leave the batch; top-p looks at the largest logits only. Greedy output is that
of `generate`.

Every layer's buffer keeps the whole past, also where attention slides: the model's own mask hides what is too far
back. Whether that is right for a model, `why_not_decode` tries out once; `decode_by_generate` is for the others.

Each completion has random numbers of its own, so it does not depend on which rows it shares a batch with, but for
rounding in the model's arithmetic.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from training.trainers.grouped import grouped_attention
from training.trainers.logps import measures_of
from training.trainers.program import StopFlag, Stopped

if TYPE_CHECKING:
    import torch

# Rows are moved together once this share of them is done: moving costs a copy of the buffers.
_COMPACT_AT = 0.75
# Top-p is settled among this many largest logits, for the rows in which they hold enough probability.
_NUCLEUS = 64
# Prompts are read together up to so many tokens, padding included: on a CPU more at once is no faster, but pads more.
_PREFILL_TOKENS = {"cpu": 512}
_PREFILL_TOKENS_ELSEWHERE = 16_384
# How far the decoder's logits may lie from a plain forward's, as a share of the largest logit.
_SAME_LOGITS = {"float32": 1e-3, "float16": 1e-2, "bfloat16": 5e-2}

# Whether a completion has ended by what it says.
Ended = Callable[[Sequence[int]], bool]


@dataclass(kw_only=True)
class Measured:
    """What the model said of a completion's tokens as they were drawn.

    Their log-probabilities, and the entropies of what they were drawn from (nats), at the temperature of drawing and
    before any top-p.
    """

    log_probs: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)


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
    ended: Ended | None = None,
    measured: list[Measured] | None = None,
) -> list[list[int]]:
    """Token ids of K completions for each prompt, prompt by prompt, a stop token last where one was drawn.

    Greedy at temperature 0. `ended` may end a completion by the ids drawn so far. `measured` is given what the model
    says of each completion, in the same order (not at temperature 0). Raises Stopped between two steps when `stop` is
    set.
    """
    import torch

    with torch.inference_mode(), grouped_attention(model):
        batch = _Batch(model, prompts, k=k, max_new_tokens=max_new_tokens, pad_id=pad_id)
        device, rows = batch.mask.device, len(prompts) * k
        uniform = _uniform(seeds, k=k, steps=max_new_tokens)
        stops = torch.tensor(sorted(stop_ids), device=device)
        owner = list(range(rows))  # which completion each row of the batch belongs to
        drawn: list[list[int]] = [[] for _ in range(rows)]
        told = [Measured() for _ in range(rows)]
        done = torch.zeros(rows, dtype=torch.bool, device=device)
        for step in range(max_new_tokens):
            if stop:
                raise Stopped
            tokens = choose(batch.logits, uniform[owner, step].to(device), temperature=temperature, top_p=top_p)
            still = (~done).tolist()
            by_text = []
            if measured is not None:
                logs, entropies = (part.tolist() for part in measures_of(batch.logits.float() / temperature, tokens))
                for row in (row for row, goes_on in enumerate(still) if goes_on):
                    told[owner[row]].log_probs.append(logs[row])
                    told[owner[row]].entropies.append(entropies[row])
            for row, token in enumerate(tokens.tolist()):
                if still[row]:
                    drawn[owner[row]].append(token)
                    if ended is not None and ended(drawn[owner[row]]):
                        by_text.append(row)
            done |= torch.isin(tokens, stops)
            done[by_text] = True
            remaining = int((~done).sum())
            if remaining == 0 or step + 1 == max_new_tokens:
                break
            if remaining <= _COMPACT_AT * len(owner):
                keep = (~done).nonzero().squeeze(1)
                batch.keep(keep)
                tokens, done = tokens[keep], done[keep]
                owner = [owner[row] for row in keep.tolist()]
            batch.step(tokens)
    if measured is not None:
        measured += told
    return drawn


def why_not_decode(model: Any, *, pad_id: int) -> str | None:
    """Why this model cannot be decoded here, in words; None where its logits are those of a plain forward.

    Two prompts of different lengths are read together, as three rows and then two, and on by two tokens.
    """
    import torch

    vocabulary = model.get_input_embeddings().weight.shape[0]
    prompts = [[(7 * i + n) % vocabulary for i in range(n)] for n in (3, 11)]
    tolerance = _SAME_LOGITS.get(str(next(model.parameters()).dtype).removeprefix("torch."), 1e-3)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            stack.enter_context(grouped_attention(model))
            batch = _Batch(model, prompts, k=2, max_new_tokens=2, pad_id=pad_id)
            whole = [prompt for prompt in prompts for _ in range(2)]
            for rows in ([0, 2, 3], [0, 2]):
                found = batch.logits
                for ids, row in zip(whole, found, strict=True):
                    inputs = torch.tensor([ids], device=row.device)
                    plain = model(input_ids=inputs, use_cache=False).logits[0, -1].float()
                    # Not "> tolerance", which no NaN is.
                    if not float((row.float() - plain).abs().max()) <= tolerance * max(1e-3, float(plain.abs().max())):
                        return "its logits came out different"
                tokens = found.argmax(-1)[rows]
                batch.keep(torch.tensor(rows, device=tokens.device))
                whole = [[*whole[row], token] for row, token in zip(rows, tokens.tolist(), strict=True)]
                batch.step(tokens)
    except Exception as error:  # what an unknown architecture raises cannot be known
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return None


def decode_by_generate(
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
    ended: Ended | None = None,
) -> list[list[int]]:
    """As `decode`, the same draws of the same random numbers, by the model's own `generate`: slower, for any model."""
    import torch
    from transformers import GenerationConfig

    device = next(model.parameters()).device
    rows = [prompt for prompt in prompts for _ in range(k)]
    ids, mask = (part.to(device) for part in pad_left(rows, value=pad_id))
    uniform = _uniform(seeds, k=k, steps=max_new_tokens).to(device)
    longest = ids.shape[1]

    def pick(so_far: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        # Greedy over these scores takes the token that we choose.
        chosen = choose(scores, uniform[:, so_far.shape[1] - longest], temperature=temperature, top_p=top_p)
        return torch.full_like(scores, float("-inf")).scatter(1, chosen[:, None], 0.0)

    def end(so_far: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        if stop:
            raise Stopped
        drawn = so_far[:, longest:].tolist()
        return torch.tensor([ended is not None and ended(row) for row in drawn], device=device)

    found = model.generate(
        input_ids=ids,
        attention_mask=mask,
        # Named one by one: what is left out comes from the model's folder.
        generation_config=GenerationConfig(
            max_new_tokens=max_new_tokens,
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            eos_token_id=sorted(stop_ids),
            pad_token_id=pad_id,
        ),
        logits_processor=[pick],
        stopping_criteria=[end],
    )
    cut = []
    for row in found[:, longest:].tolist():
        # What follows a row's end is padding.
        length = next(
            (n + 1 for n, token in enumerate(row) if token in stop_ids or (ended is not None and ended(row[: n + 1]))),
            len(row),
        )
        cut.append(row[:length])
    return cut


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
    chosen = torch.empty(len(scaled), dtype=torch.long, device=scaled.device)
    rows = torch.arange(len(scaled), device=scaled.device)
    count = min(_NUCLEUS, scaled.shape[-1])
    while len(rows):
        values, ids = largest(scaled if len(rows) == len(scaled) else scaled[rows], count)
        probabilities = (values - total[rows]).exp()
        cumulated = probabilities.cumsum(-1)
        # With no nucleus to find, what is drawn may be found before the whole distribution is looked at.
        enough = uniform[rows] if top_p >= 1 else top_p
        settled = (cumulated[:, -1] > enough) | (count == scaled.shape[-1])
        chosen[rows[settled]] = _from_nucleus(
            ids[settled],
            probabilities[settled],
            cumulated[settled],
            uniform[rows[settled]],
            top_p=top_p,
            is_all=count == scaled.shape[-1],
        )
        # A flat distribution: look further, in the end at the whole vocabulary.
        rows, count = rows[~settled], min(count * 8, scaled.shape[-1])
    return chosen


def largest(logits: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """As `logits.topk(count)` for (rows, vocabulary), several times faster on a CPU where `count` is small.

    The largest `count` lie within the `count` blocks with the largest maxima, so only these are looked through.
    """
    width = 64
    rows, size = logits.shape
    if logits.device.type != "cpu" or size % width or count * width * 2 > size:
        return logits.topk(count, dim=-1)
    blocks = logits.reshape(rows, size // width, width)
    best = blocks.amax(-1).topk(count, dim=-1).indices
    candidates = blocks.gather(1, best[:, :, None].expand(-1, -1, width)).view(rows, count * width)
    values, at = candidates.topk(count, dim=-1)
    return values, best.gather(1, at // width) * width + at % width


def _from_nucleus(
    ids: torch.Tensor,
    probabilities: torch.Tensor,
    cumulated: torch.Tensor,
    uniform: torch.Tensor,
    *,
    top_p: float,
    is_all: bool,
) -> torch.Tensor:
    """One id a row from likeliest-first candidates of shape (rows, count) that hold the whole nucleus.

    At top_p 1 they need only reach the uniform number, as a whole distribution's probabilities are known to sum to 1.
    Where they are the whole vocabulary (`is_all`), what rounding made of that sum counts: beyond it there is no token.
    """
    import torch

    # A token is in the nucleus while what comes before it has not reached top_p; the first always is.
    inside = (cumulated - probabilities) < top_p
    inside[:, 0] = True
    kept = torch.where(inside, probabilities, 0.0).cumsum(-1)
    total = kept[:, -1:]
    if top_p >= 1 and not is_all:
        target = uniform[:, None]
    else:  # below the sum, also where the product is rounded up to it
        target = torch.minimum(uniform[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
    picked = (kept <= target).sum(-1, keepdim=True).clamp(max=ids.shape[1] - 1)
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


class _Batch:
    """The rows being drawn: the cache of what they have read, and `logits` (rows, vocabulary) of what comes next."""

    def __init__(
        self, model: Any, prompts: Sequence[Sequence[int]], *, k: int, max_new_tokens: int, pad_id: int
    ) -> None:
        import torch

        self.model = model
        device = next(model.parameters()).device
        # Logits of the last token only: of all positions they would be the largest tensor by far.
        takes = inspect.signature(model.forward).parameters
        self.last_only = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        self.used = longest = max(len(prompt) for prompt in prompts)
        self.cache = _buffers(model.config, rows=len(prompts) * k, capacity=longest + max_new_tokens)
        self.mask = torch.ones(len(prompts) * k, longest + max_new_tokens, dtype=torch.long, device=device)
        self.positions = torch.tensor([len(prompt) for prompt in prompts for _ in range(k)], device=device)
        at_once = _PREFILL_TOKENS.get(device.type, _PREFILL_TOKENS_ELSEWHERE)
        self.logits = torch.empty(0)
        for group in together([len(prompt) for prompt in prompts], tokens=at_once):
            ids, mask = (part.to(device) for part in pad_left([prompts[i] for i in group], value=pad_id))
            single = _buffers(model.config, rows=len(group), capacity=ids.shape[1])
            # Padding stands before a prompt, masked: the last token is everyone's, and a window reaches back rightly.
            positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
            last = self._forward(ids, mask=mask, positions=positions, cache=single)
            rows = torch.tensor([i * k + j for i in group for j in range(k)], device=device)
            if not len(self.logits):
                self.logits = last.new_empty(len(prompts) * k, last.shape[-1])
            self.logits[rows] = last.repeat_interleave(k, dim=0)
            self.mask[rows, : longest - ids.shape[1]] = 0
            self.mask[rows, longest - ids.shape[1] : longest] = mask.repeat_interleave(k, dim=0)
            for layer, read in zip(self.cache.layers, single.layers, strict=True):
                layer.put(rows, read.keys, read.values, end=longest, times=k)

    def step(self, tokens: torch.Tensor) -> None:
        """Read one more token a row, of shape (rows,)."""
        self.used += 1
        self.logits = self._forward(
            tokens[:, None], mask=self.mask[:, : self.used], positions=self.positions[:, None], cache=self.cache
        )
        self.positions = self.positions + 1

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with these rows alone."""
        self.cache.reorder_cache(rows)
        self.mask, self.positions, self.logits = self.mask[rows], self.positions[rows], self.logits[rows]

    def _forward(self, ids: torch.Tensor, *, mask: torch.Tensor, positions: torch.Tensor, cache: Any) -> torch.Tensor:
        # By the model's own forward: some scale or cap their logits after the head (Gemma 2, Granite).
        logits: torch.Tensor = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            **self.last_only,
        ).logits[:, -1]
        return logits


def together(lengths: Sequence[int], *, tokens: int) -> list[list[int]]:
    """Positions of rows to read at once: others of about their length, the longest first, at most `tokens` padded."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    groups: list[list[int]] = []
    for i in order:
        if groups and lengths[groups[-1][0]] * (len(groups[-1]) + 1) <= tokens:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def pad_left(rows: Sequence[Sequence[int]], *, value: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids lengthened on the left with `value`, and their mask; int64, both of shape (rows, longest)."""
    import torch

    longest = max(len(row) for row in rows)
    ids = [[value] * (longest - len(row)) + list(row) for row in rows]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids), torch.tensor(mask)


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
            # Zeros, as what is masked must still be a number.
            self.all_keys = key_states.new_zeros(rows, heads, capacity, width)
            self.all_values = value_states.new_zeros(rows, heads, capacity, value_states.shape[-1])
            self.is_initialized = True

        def put(self, at: Any, key_states: Any, value_states: Any, *, end: int, times: int) -> None:
            """Keys and values of some rows, each `times` over, into the rows `at`, so that they fill up to `end`."""
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
            start = end - key_states.shape[-2]
            self.all_keys[at, :, start:end] = key_states.repeat_interleave(times, dim=0)
            self.all_values[at, :, start:end] = value_states.repeat_interleave(times, dim=0)
            self.filled = end

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

    return Cache(layers=[Buffered() for _ in range(config.get_text_config(decoder=True).num_hidden_layers)])
