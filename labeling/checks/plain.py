"""The running text of a Markdown source: what is left without code, formulas and addresses."""

import re
from bisect import bisect_right

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[^\n]*\n.*?(?:^ {0,3}\1[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)(`+)(?!`)[^\n]+?(?<!`)\1(?!`)")
# Signs that Chinese and Japanese write without a space beside an address end it. Each part is bounded: unbounded, a
# text without spaces would take time by the square of its length.
MAIL = r"[A-Za-z0-9\u00c0-\u024f._%+'-]{1,64}@[A-Za-z0-9\u00c0-\u024f.-]{3,255}"
_OTHER = re.compile(rf"\$\$.{{1,500}}?\$\$|\\\(.{{1,500}}?\\\)|https?://[!-~]{{1,2000}}|{MAIL}", re.DOTALL)


def code_spans(text: str) -> list[tuple[int, int]]:
    """Where code stands, fenced or inline, in order."""
    fences = [match.span() for match in _FENCE.finditer(text)]
    inline = [match.span() for match in _INLINE.finditer(text)]
    starts = [start for start, _end in fences]

    def is_fenced(at: int) -> bool:
        before = bisect_right(starts, at)
        return before > 0 and at < fences[before - 1][1]

    return sorted([*fences, *(span for span in inline if not is_fenced(span[0]))])


def running_text(text: str) -> str:
    parts, at = [], 0
    for start, end in code_spans(text):
        parts.append(text[at:start])
        at = max(at, end)
    return _OTHER.sub(" ", " ".join([*parts, text[at:]]))
