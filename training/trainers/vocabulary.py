"""Whether two checkpoints read the same tokens, known before either is loaded."""

from __future__ import annotations

from training.trainers.program import TrainerError
from training.trainers.token_files import token_ids


def check_same_vocabulary(model: str, other: str, *, field: str) -> None:
    """Refuse `other`, named by `field`, where its tokens or their ids differ from the model's; raises TrainerError.

    Where a folder has no tokenizer.json, both tokenizers are loaded for it.
    """
    ours, theirs = token_ids(model), token_ids(other)
    if ours is None or theirs is None:
        from training.trainers.models import load_tokenizer

        ours, theirs = load_tokenizer(model).get_vocab(), load_tokenizer(other).get_vocab()
    if ours != theirs:
        raise TrainerError(
            f"The {field} {other} has another tokenizer than {model}: the same text would be other tokens, so the two "
            "cannot be compared token by token."
        )
