"""A field of a stage's dataclass with the words and bounds that a form needs; no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

FieldType = Literal["int", "float", "bool", "choice", "text"]


class ConfigError(ValueError):
    """Values that do not make a config; `errors` holds one sentence a field."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__(" ".join(errors.values()))
        self.errors = dict(errors)


@dataclass(frozen=True, kw_only=True)
class FieldSpec:
    """All a form needs to draw one field."""

    name: str
    type: FieldType
    default: Any
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    help: str
    expert: bool
    label: str
    unit: str
    check: Callable[[str], str | None] | None = None


def option(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    expert: bool = False,
    label: str = "",
    unit: str = "",
    check: Callable[[str], str | None] | None = None,
) -> Any:
    """A dataclass field that carries its bounds and its one sentence of help.

    `check` gives what is wrong with a text, or None.
    """
    metadata = {"help": help, "minimum": minimum, "maximum": maximum, "choices": choices}
    return dataclasses.field(
        default=default, metadata=metadata | {"expert": expert, "label": label, "unit": unit, "check": check}
    )
