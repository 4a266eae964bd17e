"""The loss of demonstrations: logits only where a token is learnt, weights, packing without padding, NEFTune.

The output head sees the positions that predict a learnt token and no others: of a conversation these are often half.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from training.trainers import hardware
from training.trainers.adapters import inner_model
from training.trainers.logps import token_log_probs
from training.trainers.padding import pad_right

if TYPE_CHECKING:
    import torch

IGNORED = -100  # torch's label for a token that no loss is taken of
# Log-probabilities computed in two ways may differ by the rounding of float32 only.
_SAME = 1e-3
# Tokens of a row by which two ways are compared: on a CPU a whole row costs seconds.
_ENOUGH = 32


def collator(pad_id: int, *, packing: bool) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
    """Makes batches of rows of `input_ids`, `labels` (IGNORED for the first token) and `weight`.

    With `packing` the rows stand end to end in one, positions counted anew in each, from which transformers knows that
    none may see another; else they are padded on the right, the mask being of their lengths, not of the pad id.
    `weights` has a number for each learnt token, row by row; `noise_lengths` the length of each token's row.
    """
    import torch

    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        ids, labels = ([row[name] for row in rows] for name in ("input_ids", "labels"))
        lengths = [[len(row)] * len(row) for row in ids]
        weights = [row["weight"] for row in rows for label in row["labels"] if label != IGNORED]
        if packing:
            ids, labels, lengths = ([sum(parts, start=[])] for parts in (ids, labels, lengths))
            positions = [position for row in rows for position in range(len(row["input_ids"]))]
            shape = {"position_ids": torch.tensor([positions])}
        else:
            shape = {"attention_mask": pad_right([[1] * len(row) for row in ids], value=0)}
        return shape | {
            "input_ids": pad_right(ids, value=pad_id),
            "labels": pad_right(labels, value=IGNORED),
            "weights": torch.tensor(weights, dtype=torch.float32),
            "noise_lengths": pad_right(lengths, value=1),
        }

    return collate


def why_not_packed(model: Any, rows: Sequence[dict[str, Any]]) -> str | None:
    """Why this model cannot read conversations end to end without one seeing another, in words; None where it can.

    Checked on the beginnings of the first two: each must get the logits that it gets alone.
    """
    import torch

    pair = [row["input_ids"][:_ENOUGH] for row in rows[:2]]
    if len(pair) < 2:
        return None
    was_training = model.training
    model.eval()
    with torch.no_grad():
        alone = torch.cat([model(input_ids=torch.tensor([ids]), use_cache=False).logits[0] for ids in pair])
        together = model(
            input_ids=torch.tensor([[*pair[0], *pair[1]]]),
            position_ids=torch.tensor([[*range(len(pair[0])), *range(len(pair[1]))]]),
            use_cache=False,
        ).logits[0]
    model.train(was_training)
    return None if torch.allclose(alone, together, rtol=_SAME, atol=_SAME) else "its logits came out different"


class SftLoss:
    """The summed, weighted loss of some rows by one model; rows are those of `collator`."""

    def __init__(
        self, model: Any, *, pad_id: int, packing: bool, first: dict[str, Any], neftune_alpha: float = 0.0
    ) -> None:
        self.model, self.packing = model, packing
        self.collate = collator(pad_id, packing=packing)
        self.shares_head = scores_alike(model, first)
        self.noise_lengths: torch.Tensor | None = None
        if neftune_alpha:
            self._add_noise(neftune_alpha)

    def __call__(self, rows: Sequence[dict[str, Any]]) -> tuple[torch.Tensor, dict[str, float]]:
        """The sum over learnt tokens of weight times -log p; with the tokens `learnt`, guessed `right`, and read."""
        batch = {name: value.to(hardware.device()) for name, value in self.collate(list(rows)).items()}
        weights, self.noise_lengths = batch.pop("weights"), batch.pop("noise_lengths")
        labels = batch.pop("labels")[:, 1:]
        with hardware.autocast():
            scores, right = (token_scores if self.shares_head else plain_scores)(self.model, batch, labels)
        numbers = {
            "learnt": float(len(weights)),
            "right": float(right.sum()),
            "tokens": float(sum(len(row["input_ids"]) for row in rows)),
        }
        return -(scores * weights).sum(), numbers

    def _add_noise(self, alpha: float) -> None:
        """Uniform noise of width alpha / sqrt(length x width) on embeddings in training (NEFTune: Jain et al. 2023,
        algorithm 1), of the row's own length: that of a padded or packed batch says nothing."""
        import torch

        def add_noise(module: Any, _: Any, embedded: torch.Tensor) -> torch.Tensor:
            if not module.training or self.noise_lengths is None:
                return embedded
            scale = alpha / (self.noise_lengths * embedded.shape[-1]).sqrt()
            return embedded + torch.empty_like(embedded).uniform_(-1, 1) * scale[..., None].to(embedded.dtype)

        inner_model(self.model).get_input_embeddings().register_forward_hook(add_noise)


def token_scores(model: Any, batch: dict[str, Any], labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each learnt token, and whether it is the likeliest, (learnt,) each, row by row.

    `labels` stand one to the left: a position's label is the token that it predicts.
    """
    inner = inner_model(model)
    hidden = inner.base_model(**batch, use_cache=False).last_hidden_state[:, :-1]
    learnt = labels != IGNORED
    return token_log_probs(hidden[learnt], inner.get_output_embeddings(), labels[learnt])


def plain_scores(model: Any, batch: dict[str, Any], labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same by the whole model, for one that does something to its logits behind the head."""
    learnt = labels != IGNORED
    logits = model(**batch, use_cache=False).logits[:, :-1][learnt].float()
    targets = labels[learnt]
    return logits.log_softmax(-1).gather(1, targets[:, None]).squeeze(1), logits.argmax(-1) == targets


def scores_alike(model: Any, row: dict[str, Any]) -> bool:
    """Whether the hidden states times the head are this model's logits: some scale or cap them afterwards.

    In float32, as in bfloat16 rounding would hide a difference; by the row's first tokens, each predicting the next.
    """
    import torch

    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    ids = torch.tensor([row["input_ids"][:_ENOUGH]], device=device)
    batch, labels = {"input_ids": ids}, ids[:, 1:]
    with torch.no_grad():
        (one, _), (two, _) = token_scores(model, batch, labels), plain_scores(model, batch, labels)
    model.train(was_training)
    return torch.allclose(one, two, rtol=_SAME, atol=_SAME)
