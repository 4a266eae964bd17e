"""The running text of a Markdown source: what is left without code, formulas and addresses."""

import re

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[^\n]*\n.*?(?:^ {0,3}\1[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)(`+)(?!`)[^\n]+?(?<!`)\1(?!`)")
_OTHER = re.compile(r"\$\$.+?\$\$|\\\(.+?\\\)|https?://\S+|\S+@\S+", re.DOTALL)


def code_spans(text: str) -> list[tuple[int, int]]:
    """Where code stands, fenced or inline, in order."""
    fences = [match.span() for match in _FENCE.finditer(text)]
    inline = [match.span() for match in _INLINE.finditer(text)]
    outside = [span for span in inline if not any(start <= span[0] < end for start, end in fences)]
    return sorted([*fences, *outside])


def running_text(text: str) -> str:
    parts, at = [], 0
    for start, end in code_spans(text):
        parts.append(text[at:start])
        at = max(at, end)
    return _OTHER.sub(" ", " ".join([*parts, text[at:]]))
