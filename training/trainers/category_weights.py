"""Weights of categories as one line of text, as a form has it: `coding=2, open_qa=0.5`; no torch."""

from __future__ import annotations

import math


def parse(text: str) -> dict[str, float]:
    """The weight of each category that is named; raises ValueError with what is wrong, in words."""
    weights: dict[str, float] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, sign, number = (piece.strip() for piece in part.partition("="))
        if not sign or not name:
            raise ValueError(f"{part!r} is not of the form category=number")
        try:
            weight = float(number)
        except ValueError:
            raise ValueError(f"{number!r} is no number") from None
        if not (math.isfinite(weight) and 0 <= weight <= 1000):
            raise ValueError(f"the weight of {name} is not from 0 to 1000")
        if name in weights:
            raise ValueError(f"{name} stands there twice")
        weights[name] = weight
    return weights


def fault(text: str) -> str | None:
    """What is wrong with the text, or None."""
    try:
        parse(text)
    except ValueError as error:
        return str(error)
    return None
