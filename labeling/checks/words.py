"""Words and phrases that a project does not want."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from django.utils.translation import gettext as _

from labeling.checks.finding import Finding

# Scripts that put no space between words: a phrase in them is sought inside longer text.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
LETTER = rf"[^\W{_UNSPACED}]"


def find(text: str, *, phrases: Sequence[str], action: str) -> Iterator[Finding]:
    """Each place of a forbidden phrase: whole words, whatever their case, any white space between its words."""
    pattern = _pattern(tuple(phrases))
    for match in pattern.finditer(text) if pattern else ():
        sentence = _("“%(words)s” is not wanted here.") % {"words": " ".join(match.group().split())}
        yield Finding("words", action, sentence, start=match.start(), end=match.end())


@lru_cache(maxsize=64)
def _pattern(phrases: tuple[str, ...]) -> re.Pattern[str] | None:
    # The longest first, so that a phrase wins over its own first word.
    parts = [_part(phrase) for phrase in sorted(phrases, key=len, reverse=True) if phrase.strip()]
    return re.compile("|".join(parts), re.IGNORECASE) if parts else None


def _part(phrase: str) -> str:
    words = r"\s+".join(re.escape(word) for word in phrase.split())
    phrase = phrase.strip()
    return _edge(phrase[0], f"(?<!{LETTER})") + words + _edge(phrase[-1], f"(?!{LETTER})")


def _edge(character: str, boundary: str) -> str:
    """A boundary where the phrase's end is part of a word that spaces set apart: "C++" ends with no such character."""
    return boundary if re.match(LETTER, character) else ""
