"""Rules that tell running text from the rest of the web, and the sentence for each that was broken.

From Gopher (Rae et al. 2021, appendix A.1.1: quality rules and table A1 on repetition), C4 (Raffel et al. 2020,
section 2.2) and FineWeb (Penedo et al. 2024, section 3.6). Left out: C4's rule that a line must end with punctuation
and have five words, which drops headings, dialogue and verse (FineWeb found it to drop too much as well), and its
list of bad words.

Rules over words are kept for scripts without spaces by counting two characters as a word: minimum lengths and runs
of n words become runs of 2 n characters; a mean word length is not asked of them. Stop words are asked of English
and Chinese alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.trainers.corpus.units import Units

FEWEST_WORDS, MOST_WORDS = 50, 100_000
# Below, a share of lines says nothing: of an article in one line, all lines may lack the full stop at their end.
_FEWEST_LINES = 5
_STOP_WORDS = {"the", "be", "to", "of", "and", "that", "have", "with"}
_STOP_CHARACTERS = set("的了是在和不有之也而")
_BULLETS = ("-", "*", "•", "●", "▪", "‣", "·")
_ENDS = tuple(".!?\"'”’。！？…」』）)：:；;")
_SENTENCE = re.compile(r"[.!?](?=\s|$|[\"'”’)])|[。！？…]")
_POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
# Gopher, table A1: the largest share of characters in the commonest run of n words, and in all repeated runs.
_TOP_RUNS = {2: 0.20, 3: 0.18, 4: 0.16}
_REPEATED_RUNS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}

# The reasons that `fault` gives, in its order; those about lines are for texts of 5 lines and more.
RULES = {
    "too_short": "fewer than 50 words (Gopher); two characters of a script without spaces count as a word",
    "too_long": "more than 100,000 words (Gopher)",
    "word_length": "a mean word length outside 3 to 10 characters (Gopher)",
    "symbols": "more than one # or ellipsis to ten words (Gopher)",
    "few_letters": "under 80 % of words have a letter (Gopher)",
    "no_stop_words": "English or Chinese without two of its commonest words (Gopher)",
    "placeholder": "lorem ipsum (C4)",
    "code_brackets": "curly brackets, as code has (C4)",
    "few_sentences": "fewer than 3 sentences (C4)",
    "bullets": "over 90 % of lines begin with a bullet (Gopher)",
    "ellipsis_lines": "over 30 % of lines end with an ellipsis (Gopher)",
    "no_sentence_ends": "under 12 % of lines end with punctuation (FineWeb)",
    "short_lines": "over 67 % of lines have 30 characters or fewer (FineWeb)",
    "repeated_lines": "over 30 % of lines, or 10 % of characters in lines, repeat (Gopher, FineWeb)",
    "repeated_paragraphs": "over 30 % of paragraphs, or 20 % of characters in them, repeat (Gopher)",
    "top_run": "one run of 2 to 4 words makes up over 20 to 16 % of the text (Gopher)",
    "repeated_runs": "repeated runs of 5 to 10 words make up over 15 to 10 % of the text (Gopher)",
}


def without_notices(text: str) -> tuple[str, int]:
    """The text without the lines that ask for JavaScript or speak of cookies and policies (C4), and their number."""
    lowered = text.lower()
    if "javascript" not in lowered and not any(phrase in lowered for phrase in _POLICY):
        return text, 0
    lines = text.split("\n")
    kept = [line for line in lines if not _is_notice(line.lower())]
    return "\n".join(kept).strip("\n "), len(lines) - len(kept)


def _is_notice(line: str) -> bool:
    return "javascript" in line or any(phrase in line for phrase in _POLICY)


def fault(text: str, units: Units, *, language: str) -> str | None:
    """The first rule of RULES that the text breaks, None where it breaks none; `language` is an ISO 639-1 code."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return (
        _by_words(text, units, language=language)
        or _by_lines(text, lines, dense=units.is_dense)
        or _by_repetition(text, lines, units)
    )


def _by_words(text: str, units: Units, *, language: str) -> str | None:
    count = units.words
    if count < FEWEST_WORDS:
        return "too_short"
    if count > MOST_WORDS:
        return "too_long"
    # A long dense text is one word between two spaces: only its digits and signs would be told apart.
    spaced = text.split() if not units.is_dense else []
    if spaced and not 3 <= sum(map(len, spaced)) / len(spaced) <= 10:
        return "word_length"
    if max(text.count("#"), text.count("...") + text.count("…")) > 0.1 * count:
        return "symbols"
    if spaced and sum(any(map(str.isalpha, word)) for word in spaced) < 0.8 * len(spaced):
        return "few_letters"
    if not spaced and sum(map(str.isalpha, text)) < 0.8 * sum(map(str.isalnum, text)):
        return "few_letters"
    if language == "en" and len(_STOP_WORDS.intersection(text.lower().split())) < 2:
        return "no_stop_words"
    if language == "zh" and len(_STOP_CHARACTERS.intersection(text)) < 2:
        return "no_stop_words"
    return None


def _by_lines(text: str, lines: list[str], *, dense: bool) -> str | None:
    count = len(lines)
    if "lorem ipsum" in text.lower():
        return "placeholder"
    if "{" in text:
        return "code_brackets"
    if sum(1 for _ in _SENTENCE.finditer(text)) < 3:
        return "few_sentences"
    if count < _FEWEST_LINES:
        return None
    if sum(line.startswith(_BULLETS) for line in lines) > 0.9 * count:
        return "bullets"
    if sum(line.endswith(("...", "…")) for line in lines) > 0.3 * count:
        return "ellipsis_lines"
    if sum(line.endswith(_ENDS) for line in lines) < 0.12 * count:
        return "no_sentence_ends"
    if sum(len(line) <= (15 if dense else 30) for line in lines) > 0.67 * count:
        return "short_lines"
    return None


def _by_repetition(text: str, lines: list[str], units: Units) -> str | None:
    if _repeats(lines, parts=0.30, characters=0.10):
        return "repeated_lines"
    if _repeats([part.strip() for part in text.split("\n\n") if part.strip()], parts=0.30, characters=0.20):
        return "repeated_paragraphs"
    for length, most in _TOP_RUNS.items():
        if _top_share(units, length * units.per_word) > most:
            return "top_run"
    for length, most in _REPEATED_RUNS.items():
        if _repeated_share(units, length * units.per_word) > most:
            return "repeated_runs"
    return None


def _repeats(parts_: list[str], *, parts: float, characters: float) -> bool:
    first = set(parts_)
    total = sum(map(len, parts_))
    again = total - sum(map(len, first))
    return len(parts_) - len(first) > parts * len(parts_) or again > characters * total


def _top_share(units: Units, length: int) -> float:
    """Share of characters in the commonest run of `length` units, 0 where none comes twice."""
    import numpy

    _, first, counts = numpy.unique(units.runs(length), return_index=True, return_counts=True)
    if not len(counts) or counts.max() < 2:
        return 0.0
    # Of the runs that come most often, the longest.
    commonest = first[counts == counts.max()]
    starts = numpy.concatenate([[0], numpy.cumsum(units.lengths)])
    longest = int((starts[commonest + length] - starts[commonest]).max())
    return int(counts.max()) * longest / int(units.lengths.sum())


def _repeated_share(units: Units, length: int) -> float:
    """Share of characters inside runs of `length` units that came before, each character counted once."""
    import numpy

    runs = units.runs(length)
    _, first = numpy.unique(runs, return_index=True)
    if len(first) == len(runs):
        return 0.0
    again = numpy.ones(len(runs), dtype=bool)
    again[first] = False
    edges = numpy.zeros(len(units) + 1, dtype=numpy.int64)
    edges[: len(runs)] += again
    edges[length : length + len(runs)] -= again
    inside = numpy.cumsum(edges)[:-1] > 0
    return int(units.lengths[inside].sum()) / int(units.lengths.sum())
