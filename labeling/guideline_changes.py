"""What changed between two versions of a guideline, section by section and word by word.

Compared are the Markdown texts. Words keep the space behind them; Chinese, Japanese kana and Korean go by character.
Comparing words takes time with the number of equal pairs, so texts that repeat themselves are compared by line,
and what is huge even so is shown as replaced: the page never waits on a text.
"""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Literal

Part = tuple[Literal["same", "gone", "new"], str]

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_WORDS = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+\s*|[^\w\s]\s*|\s+|_+\s*")
_LINES = re.compile(r"[^\n]*\n+|[^\n]+")
_HEADING = re.compile(r"#{1,6}\s+(.+?)\s*#*\s*")
_FENCE = re.compile(r"\s{0,3}(```|~~~)")
_MOST_TOKENS = 6_000
_MOST_PAIRS = 200_000


@dataclass(frozen=True)
class Section:
    """A heading with its text. `state`: "same", "changed", "new" or "gone"."""

    heading: str
    state: str
    parts: tuple[Part, ...]


@lru_cache(maxsize=32)  # versions never change, and everybody who works reads the same two
def between(before: str, after: str) -> tuple[Section, ...]:
    """The sections of `after` in their order, and those of `before` that are gone where they stood."""
    old, new = _sections(before), _sections(after)
    found: list[Section] = []
    names_old, names_new = [name for name, _text in old], [name for name, _text in new]
    # A section that moved is compared with itself, not shown as gone and new.
    text_of = dict(old)
    kept = set(names_new)
    for kind, a, b, c, d in SequenceMatcher(None, names_old, names_new, autojunk=False).get_opcodes():
        if kind != "equal":
            for name, text in old[a:b]:
                if name not in kept:
                    found.append(Section(name[0], "gone", (("gone", text),)))
        for name, text in new[c:d]:
            if name not in text_of:
                found.append(Section(name[0], "new", (("new", text),)))
            elif text_of[name] == text:
                found.append(Section(name[0], "same", (("same", text),)))
            else:
                found.append(Section(name[0], "changed", tuple(diff(text_of[name], text))))
    return tuple(found)


def _sections(body: str) -> list[tuple[tuple[str, int], str]]:
    """((heading, which of that name), text) in order; what stands before the first heading has none."""
    seen: Counter[str] = Counter()
    found: list[tuple[tuple[str, int], str]] = []
    heading, lines, in_code = "", list[str](), False

    def close() -> None:
        text = "\n".join(lines).strip("\n")
        if heading or text.strip():
            found.append(((heading, seen[heading]), text))
            seen[heading] += 1

    for line in body.replace("\r\n", "\n").split("\n"):
        if _FENCE.match(line):
            in_code = not in_code
        match = None if in_code else _HEADING.fullmatch(line)
        if match:
            close()
            heading, lines = match[1], []
        else:
            lines.append(line.rstrip())
    close()
    return found


def diff(before: str, after: str) -> list[Part]:
    """The parts that turn one text into the other, words as far as that is affordable."""
    for tokens in (_WORDS, _LINES):
        a, b = tokens.findall(before), tokens.findall(after)
        # Only words count: the space behind one may end the text here and not there.
        keys_a, keys_b = [_key(token) for token in a], [_key(token) for token in b]
        # What both begin and end with costs nothing to find, whatever its length.
        start, end = _shared(keys_a, keys_b)
        inner_a, inner_b = keys_a[start : len(a) - end], keys_b[start : len(b) - end]
        if _affordable(inner_a, inner_b):
            parts: list[Part] = [("same", token) for token in b[:start]]
            for kind, i, j, k, m in SequenceMatcher(None, inner_a, inner_b, autojunk=False).get_opcodes():
                if kind == "equal":
                    parts += [("same", token) for token in b[start + k : start + m]]
                else:
                    parts += [("gone", token) for token in a[start + i : start + j]]
                    parts += [("new", token) for token in b[start + k : start + m]]
            parts += [("same", token) for token in b[len(b) - end :]]
            return _joined(parts)
    return [("gone", before), ("new", after)]


def _key(token: str) -> str:
    return token.rstrip() or " "


def _shared(a: list[str], b: list[str]) -> tuple[int, int]:
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    end = 0
    while end < min(len(a), len(b)) - start and a[-1 - end] == b[-1 - end]:
        end += 1
    return start, end


def _affordable(a: list[str], b: list[str]) -> bool:
    if len(a) + len(b) > _MOST_TOKENS:
        return False
    counts = Counter(b)
    return sum(counts[token] for token in a) <= _MOST_PAIRS


def _joined(parts: list[Part]) -> list[Part]:
    """Neighbours of one kind as one part; within a change everything that is gone comes first."""
    joined: list[Part] = []
    changed: defaultdict[str, str] = defaultdict(str)

    def flush() -> None:
        if changed["gone"]:
            joined.append(("gone", changed["gone"]))
        if changed["new"]:
            joined.append(("new", changed["new"]))
        changed.clear()

    for kind, text in parts:
        if kind != "same":
            changed[kind] += text
        elif joined and joined[-1][0] == "same" and not changed:
            joined[-1] = ("same", joined[-1][1] + text)
        else:
            flush()
            joined.append(("same", text))
    flush()
    return joined
