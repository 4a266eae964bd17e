"""Numbers by name as one line of text, as a form has it: `coding=2, open_qa=0.5`; no torch."""

from __future__ import annotations

import math


def parse(text: str, *, lowest: float, highest: float) -> dict[str, float]:
    """The number of each name; raises ValueError with what is wrong, in words."""
    found: dict[str, float] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, sign, said = (piece.strip() for piece in part.partition("="))
        if not sign or not name:
            raise ValueError(f"{part!r} is not of the form name=number")
        try:
            number = float(said)
        except ValueError:
            raise ValueError(f"{said!r} is no number") from None
        if not (math.isfinite(number) and lowest <= number <= highest):
            raise ValueError(f"the weight of {name} is not from {lowest:g} to {highest:g}")
        if name in found:
            raise ValueError(f"{name} stands there twice")
        found[name] = number
    return found
