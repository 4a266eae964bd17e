"""How much the demonstrations of each category count, as one line of text (`named_numbers.py`)."""

from __future__ import annotations

from training.trainers import named_numbers


def parse(text: str) -> dict[str, float]:
    """The weight of each category that is named, from 0 to 1000; raises ValueError with what is wrong, in words."""
    return named_numbers.parse(text, lowest=0.0, highest=1000.0)


def fault(text: str) -> str | None:
    """What is wrong with the text, or None."""
    try:
        parse(text)
    except ValueError as error:
        return str(error)
    return None
