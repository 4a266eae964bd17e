"""One form for texts that look alike, which changes nothing that a reader would miss."""

from __future__ import annotations

import re
import unicodedata

# Controls (tab and line feed stay), soft hyphens, zero-width spaces, byte order marks, halves of surrogate pairs (JSON
# may hold one). Zero-width joiners stay: Persian, Indic scripts and emoji need them.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f\xad\u200b\u2060\ufeff\ud800-\udfff]")
_LINE_ENDS = re.compile("\r\n|\r|\x85|\u2028|\u2029")
_TRAILING = re.compile(r"[ \t\u00a0]+$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n{4,}")


def normalise(text: str) -> str:
    """NFC, line feeds alone, no unseen characters or trailing blanks, two blank lines in a row at most.

    NFC and not NFKC: the latter turns x² into x2 and full-width punctuation into another.
    """
    text = _LINE_ENDS.sub("\n", text)
    text = _UNSEEN.sub("", unicodedata.normalize("NFC", text)).replace("\u00a0", " ")
    return _BLANK_LINES.sub("\n\n\n", _TRAILING.sub("", text)).strip("\n ")
