"""A PEFT model and the transformers model inside it."""

from __future__ import annotations

from typing import Any


def inner_model(model: Any) -> Any:
    """The transformers model, whether PEFT wraps it or not; adapters live inside its layers."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
