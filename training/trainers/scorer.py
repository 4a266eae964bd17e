"""A reward model's scores of rankings.

A reward model is a sequence classifier with one label: the decoder of a language model, and a head of one number that
reads the hidden state at a completion's last token.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from training.trainers import hardware, parallel, shared_prompt
from training.trainers.adapters import inner_model
from training.trainers.padding import length_mask, pad_right
from training.trainers.program import Job, Stopped, TrainerError
from training.trainers.rankings import EncodedRanking

if TYPE_CHECKING:
    import torch


def load_reward_model(model: str, tokenizer: Any, *, seed: int, in_4_bits: bool = False) -> Any:
    """A sequence classifier with one label from a language model's folder or an earlier reward model's.

    On the CPU; with `in_4_bits` its linear layers but the head are (`quantized.py`), on this process's device.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    from training.trainers import quantized

    words = quantized.words() if in_4_bits else {}
    loaded = AutoModelForSequenceClassification.from_pretrained(
        model, num_labels=1, dtype=hardware.training_dtype(), use_safetensors=True, **words
    )
    loaded.config.pad_token_id = tokenizer.pad_token_id
    if not is_reward_model(model):
        if not hasattr(loaded, "score"):
            raise TrainerError(f"No reward model can be made of {model}: its architecture has no scoring head.")
        width = loaded.score.weight.shape[1]
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            drawn = torch.empty(loaded.score.weight.shape).normal_(0, 1 / math.sqrt(width + 1), generator=generator)
            loaded.score.weight.copy_(drawn)
    return loaded


def is_reward_model(model: str) -> bool:
    """Whether a model folder has a scoring head of its own, by its config.json."""
    from training.trainers.models import describe_folder

    names = describe_folder(model).get("architectures") or []
    return any(name.endswith("ForSequenceClassification") for name in names)


class Scorer:
    """Scores encoded rankings with one model, by the shared prompt where the model allows it.

    In training's number format, or in float32 where it is `exact`.
    """

    def __init__(self, model: Any, *, pad_id: int, shared: bool, exact: bool = False) -> None:
        self.model, self.pad_id, self.shared, self.exact = model, pad_id, shared, exact

    def scores(self, group: Sequence[EncodedRanking]) -> list[torch.Tensor]:
        """Rewards of shape (K,) for each ranking."""
        with contextlib.nullcontext() if self.exact else hardware.autocast():
            if self.shared:
                return shared_scores(
                    self.model, [ranking.prompt for ranking in group], [ranking.completions for ranking in group]
                )
            return [
                plain_scores(self.model, ranking.prompt, ranking.completions, pad_id=self.pad_id) for ranking in group
            ]

    def all_scores(
        self, group: Sequence[EncodedRanking], *, rows_at_once: int, job: Job | None = None
    ) -> list[list[float]]:
        """Rewards as plain numbers, without gradients or dropout; raises Stopped where the `job` was asked to stop."""
        import torch

        was_training = self.model.training
        self.model.eval()
        found: list[list[float]] = []
        with torch.no_grad():
            for start in range(0, len(group), rows_at_once):
                if job is not None and parallel.any_of(bool(job.stop)):
                    raise Stopped
                found += [row.float().tolist() for row in self.scores(group[start : start + rows_at_once])]
        self.model.train(was_training)
        return found


def make_scorer(model: Any, *, pad_id: int, first: EncodedRanking, job: Job) -> Scorer:
    """The fast scorer where it is exact for this model, checked on one ranking; else the plain one, and says so."""

    def scores(shared: bool) -> list[float]:
        return Scorer(model, pad_id=pad_id, shared=shared, exact=True).all_scores([first], rows_at_once=1)[0]

    shared = shared_prompt.is_exact(
        model, plain=lambda: scores(False), shared=lambda: scores(True), tell=job.events.status
    )
    return Scorer(model, pad_id=pad_id, shared=shared)


def shared_scores(
    model: Any, prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[Sequence[int]]]
) -> list[torch.Tensor]:
    """Rewards of several prompts' completions, a tensor of shape (K,) for each prompt; K may differ.

    The model was given `shared_prompt.use_shared_attention`.
    """
    layout = shared_prompt.lay_out(prompts, completions)
    hidden = shared_prompt.read(model, layout)
    return list(head_scores(model, hidden[layout.lasts]).split(layout.sizes))


def plain_scores(
    model: Any, prompt_ids: Sequence[int], completion_ids: Sequence[Sequence[int]], *, pad_id: int
) -> torch.Tensor:
    """The same rewards of shape (K,), each prompt and completion read together: right for every architecture."""
    import torch

    trunk = shared_prompt.trunk_of(model)
    device = next(trunk.parameters()).device
    whole = [[*prompt_ids, *ids] for ids in completion_ids]
    mask = length_mask(whole).to(device)
    hidden = trunk(
        input_ids=pad_right(whole, value=pad_id).to(device), attention_mask=mask, use_cache=False
    ).last_hidden_state
    return head_scores(model, hidden[torch.arange(len(whole), device=device), mask.sum(dim=1) - 1])


def head_scores(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Scores of shape (rows,), by the head's float32 weights whatever the trunk computes in.

    A score in bfloat16 has 8 bits: completions of scores 2.00 and 2.01 would tie.
    """
    import torch

    inner = inner_model(model)
    if not hasattr(inner, "score"):
        raise TrainerError(f"A reward model needs a head named score, which {type(inner).__name__} has not.")
    with torch.autocast(hidden.device.type, enabled=False):
        scores: torch.Tensor = inner.score(hidden.float()).squeeze(-1)
    return scores
