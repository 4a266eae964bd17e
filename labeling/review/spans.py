"""Places in a text: the paragraphs that a comment may be about, and a text cut where its comments begin and end."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")


@dataclass(frozen=True)
class Block:
    """A paragraph: text[start:end]."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Piece:
    """A part of a text, with the numbers of the comments that are about it."""

    text: str
    numbers: tuple[int, ...] = ()


def blocks(text: str) -> list[Block]:
    """The paragraphs of a text, divided by blank lines, which belong to none."""
    edges = [0, *(at for gap in _BLANK_LINES.finditer(text) for at in gap.span()), len(text)]
    cut = [(edges[at], edges[at + 1]) for at in range(0, len(edges), 2)]
    return [Block(start, end, text[start:end]) for start, end in cut if text[start:end].strip()]


def pieces(text: str, spans: Sequence[tuple[int, int, int]]) -> list[Piece]:
    """The whole text in pieces; `spans` are (start, end, number) and may overlap."""
    edges = sorted({0, len(text), *(at for start, end, _number in spans for at in (start, end))})
    return [
        Piece(text[start:end], tuple(number for low, high, number in spans if low <= start and end <= high))
        for start, end in zip(edges, edges[1:], strict=False)
    ]
