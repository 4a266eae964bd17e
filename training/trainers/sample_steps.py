"""After which steps something is done, as one line of text: `500, 5000, 30000`, or `every 100`; no torch."""

from __future__ import annotations

import re
from collections.abc import Callable

_EVERY = re.compile(r"every\s+(\d+)")


def parse(text: str) -> Callable[[int], bool]:
    """Whether a step is one of those named; raises ValueError with what is wrong, in words."""
    cleaned = text.strip().lower()
    if found := _EVERY.fullmatch(cleaned):
        every = int(found[1])
        if every > 0:
            return lambda step: step > 0 and step % every == 0
    else:
        parts = cleaned.replace(",", " ").split()
        if all(part.isdecimal() for part in parts):
            chosen = {int(part) for part in parts}
            return lambda step: step in chosen
    raise ValueError(f'steps must be numbers like "500, 5000", or "every 100", not {text!r}')


def fault(text: str) -> str | None:
    """What is wrong with the text, or None."""
    try:
        parse(text)
    except ValueError as error:
        return str(error)
    return None
