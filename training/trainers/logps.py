"""Log-probabilities of several completions of one prompt: the prompt read once, logits only where a token is scored.

The decoder reads prompt and completions as one row (`shared_prompt.py`). The last token of the prompt and all but the
last of a completion predict the completion, and the output head sees those positions alone: of a padded batch with its
prompts these are often less than half.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from training.trainers import hardware, parallel, sharding, shared_prompt
from training.trainers.adapters import inner_model
from training.trainers.padding import length_mask, pad_right
from training.trainers.preference_groups import Group
from training.trainers.program import Job, Stopped

if TYPE_CHECKING:
    import torch

# Scored positions whose logits exist at once: at a vocabulary of 49,152 in float32 these are 100 MB.
POSITIONS_AT_ONCE = 512


class Reader:
    """Reads groups with one model, by the shared prompt where the model allows it.

    In training's number format, or in float32 where it is `exact`.
    """

    def __init__(self, model: Any, *, pad_id: int, shared: bool, exact: bool = False) -> None:
        self.model, self.pad_id, self.shared, self.exact = model, pad_id, shared, exact

    def log_probs(self, group: Sequence[Group]) -> list[torch.Tensor]:
        """Summed log-probabilities of each group's completions, (K,) each."""
        with contextlib.nullcontext() if self.exact else hardware.autocast():
            if self.shared:
                return shared_log_probs(self.model, [one.prompt for one in group], [one.completions for one in group])
            return [plain_log_probs(self.model, one.prompt, one.completions, pad_id=self.pad_id) for one in group]

    def all_log_probs(
        self, groups: Sequence[Group], *, rows_at_once: int, job: Job | None = None
    ) -> list[torch.Tensor]:
        """The same of any number of groups, on the CPU, without gradients or dropout; the long ones together.

        Raises Stopped where the `job` was asked to stop meanwhile.
        """
        import torch

        order = sorted(range(len(groups)), key=lambda at: groups[at].tokens)
        found: dict[int, torch.Tensor] = {}
        with torch.no_grad(), _evaluating(self.model):
            for start in range(0, len(order), rows_at_once):
                # Together, as one that leaves the others alone in a pass leaves them waiting.
                if job is not None and parallel.any_of(bool(job.stop)):
                    raise Stopped
                places = order[start : start + rows_at_once]
                parts = self.log_probs([groups[at] for at in places])
                found |= {at: part.float().cpu() for at, part in zip(places, parts, strict=True)}
        return [found[at] for at in range(len(groups))]


def make_reader(model: Any, *, pad_id: int, first: Group, job: Job) -> Reader:
    """The fast reader where it is exact for this model, checked on one group; else the plain one, and says so."""

    def log_probs(shared: bool) -> list[float]:
        reader = Reader(model, pad_id=pad_id, shared=shared, exact=True)
        found: list[float] = reader.all_log_probs([first], rows_at_once=1)[0].tolist()
        return found

    shared = shared_prompt.is_exact(
        model, plain=lambda: log_probs(False), shared=lambda: log_probs(True), tell=job.events.status
    )
    return Reader(model, pad_id=pad_id, shared=shared)


def shared_log_probs(
    model: Any, prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[Sequence[int]]]
) -> list[torch.Tensor]:
    """Summed log-probability of each completion after its prompt: a tensor of shape (K,) for each prompt; K may differ.

    No prompt and no completion may be empty. The model was given `shared_prompt.use_shared_attention`.
    """
    import torch

    values = shared_token_log_probs(model, prompts, completions)
    sums = torch.stack([part.sum() for part in values.split([len(ids) for group in completions for ids in group])])
    return list(sums.split([len(group) for group in completions]))


def shared_token_log_probs(
    model: Any,
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[Sequence[int]]],
    *,
    temperature: float = 1.0,
) -> torch.Tensor:
    """Log-probability of each token of all completions, one behind another, (T,); `temperature` divides the logits."""
    import torch

    layout = shared_prompt.lay_out(prompts, completions)
    hidden = shared_prompt.read(model, layout)[layout.before]
    targets = torch.tensor([token for group in completions for ids in group for token in ids], device=hidden.device)
    head = inner_model(model).get_output_embeddings()
    return token_log_probs(hidden, head, targets, temperature=temperature)[0]


def plain_log_probs(
    model: Any, prompt: Sequence[int], completions: Sequence[Sequence[int]], *, pad_id: int
) -> torch.Tensor:
    """The same numbers of shape (K,), prompt and completion read together by the whole model: right for every one."""
    import torch

    values = plain_token_log_probs(model, prompt, completions, pad_id=pad_id)
    return torch.stack([part.sum() for part in values.split([len(ids) for ids in completions])])


def plain_token_log_probs(
    model: Any,
    prompt: Sequence[int],
    completions: Sequence[Sequence[int]],
    *,
    pad_id: int,
    temperature: float = 1.0,
) -> torch.Tensor:
    """As `shared_token_log_probs` of one prompt, (T,), by the whole model."""
    logits, targets = plain_logits(model, prompt, completions, pad_id=pad_id)
    return (logits / temperature).log_softmax(-1).gather(1, targets[:, None]).squeeze(1)


def plain_logits(
    model: Any, prompt: Sequence[int], completions: Sequence[Sequence[int]], *, pad_id: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits (T, vocabulary), in float32, before each token of all completions, and those tokens, (T,)."""
    device = next(model.parameters()).device
    whole = [[*prompt, *ids] for ids in completions]
    mask = length_mask(whole).to(device)
    ids = pad_right(whole, value=pad_id).to(device)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, len(prompt) - 1 : -1]
    scored = mask[:, len(prompt) :].bool()
    return logits[scored].float(), ids[:, len(prompt) :][scored]


def token_log_probs(
    hidden: torch.Tensor, head: Any, targets: torch.Tensor, *, temperature: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each target, and whether it is the likeliest token, (positions,) each, in float32.

    `hidden` has shape (positions, width); `temperature` divides the logits. They exist for one block of
    `POSITIONS_AT_ONCE` at a time. A head that is not trained is read once: what the backward pass needs of it is known
    in the forward pass. A head that is trained is computed again, block by block.
    """
    import torch
    from torch.utils.checkpoint import checkpoint

    def block(part: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = head(part).float() / temperature
        picked = logits.gather(1, wanted[:, None]).squeeze(1)
        return picked - logits.logsumexp(dim=1), picked.detach() >= logits.detach().amax(dim=1)

    plain = type(head) is torch.nn.Linear and head.bias is None
    if torch.is_grad_enabled() and plain and not head.weight.requires_grad:
        found: tuple[torch.Tensor, torch.Tensor] = _through_frozen_head().apply(
            hidden, head.weight, targets, temperature
        )
        return found
    pieces = list(zip(hidden.split(POSITIONS_AT_ONCE), targets.split(POSITIONS_AT_ONCE), strict=True))
    again = torch.is_grad_enabled() and len(pieces) > 1
    parts = [
        checkpoint(block, part, wanted, use_reentrant=False) if again else block(part, wanted)
        for part, wanted in pieces
    ]
    return torch.cat([scores for scores, _ in parts]), torch.cat([right for _, right in parts])


def token_measures(
    hidden: torch.Tensor, head: Any, targets: torch.Tensor, *, temperature: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each target, and the entropy over the vocabulary at its position (nats).

    (positions,) each, in float32 and without gradients; the logits exist as in `token_log_probs`, and once.
    """
    import torch

    found = []
    with torch.no_grad():
        for part, wanted in zip(hidden.split(POSITIONS_AT_ONCE), targets.split(POSITIONS_AT_ONCE), strict=True):
            logits = head(part).float()
            found.append(measures_of(logits.div_(temperature) if temperature != 1.0 else logits, wanted))
    return torch.cat([picked for picked, _ in found]), torch.cat([entropies for _, entropies in found])


def measures_of(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same of logits (positions, vocabulary) in float32, which it uses up."""
    import torch

    picked, top = logits.gather(1, targets[:, None]), logits.amax(dim=1, keepdim=True)
    shares = logits.sub_(top).exp()
    total = shares.sum(dim=1, keepdim=True)
    # -sum p log p = log Z - sum p logit; a logit of -inf has no share, and 0 times it would be no number.
    weighed = shares.mul_(logits.clamp_(min=torch.finfo(logits.dtype).min)).sum(dim=1, keepdim=True) / total
    return (picked - top - total.log()).squeeze(1), (total.log() - weighed).squeeze(1)


@cache
def _through_frozen_head() -> Any:
    import torch

    class FrozenHead(torch.autograd.Function):
        """With logits W h / t the log-probability of y has the gradient (W[y] - softmax(W h / t) W) / t in h: that is
        kept, (positions, width), in place of the logits, (positions, vocabulary)."""

        @staticmethod
        def forward(
            ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, temperature: float
        ) -> tuple[torch.Tensor, torch.Tensor]:
            found, firsts, slopes = [], [], []
            for part, wanted in zip(hidden.split(POSITIONS_AT_ONCE), targets.split(POSITIONS_AT_ONCE), strict=True):
                logits = (part @ weight.T).float()
                if temperature != 1.0:  # after the rounding, as where no gradient is asked for
                    logits.div_(temperature)
                picked, top = logits.gather(1, wanted[:, None]), logits.amax(dim=1, keepdim=True)
                firsts.append((picked >= top).squeeze(1))
                # In place throughout: at this size the time goes into passes over memory.
                shares = logits.sub_(top).exp_()
                total = shares.sum(dim=1, keepdim=True)
                found.append((picked - top - total.log()).squeeze(1))
                mean = (shares.to(weight.dtype) @ weight).float() / total
                slopes.append(((weight[wanted].float() - mean) / temperature).to(hidden.dtype))
            first = torch.cat(firsts)
            ctx.mark_non_differentiable(first)
            ctx.save_for_backward(torch.cat(slopes))
            return torch.cat(found), first

        @staticmethod
        def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
            [slopes] = ctx.saved_tensors
            return (upstream[0][:, None] * slopes).to(slopes.dtype), None, None, None

    return FrozenHead


@contextlib.contextmanager
def adapter_off(model: Any) -> Iterator[None]:
    """Within it a PEFT model computes as the model it was made of; any other is left as it is."""
    if not hasattr(model, "disable_adapter"):
        yield
        return
    # PEFT freezes the weights that it finds, and frees those: they must be the divided ones both times.
    sharding.settle(model)
    with model.disable_adapter():
        yield
        sharding.settle(model)


@contextlib.contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
