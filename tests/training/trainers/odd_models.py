"""Models that do what ours do not, for the checks that must notice it."""

from __future__ import annotations

from typing import Any


def halve_logits(model: Any) -> None:
    """Lets the model scale its logits after the head, as some architectures do."""
    original = model.forward

    def halved(*args: Any, **kwargs: Any) -> Any:
        output = original(*args, **kwargs)
        output.logits = output.logits * 0.5
        return output

    model.forward = halved
