r"""TeX in Markdown as MathML, which browsers draw without script: $…$, $$…$$, \(…\), and \[…\] around what is TeX.

Amounts stay text: a dollar sign opens no formula before a space, and closes none after one or before a letter or digit;
and what stands between two of them is read as words where it has no mark of TeX (_is_prose).
What is not valid TeX, too long, or too much for one text is shown as its source. The result still passes the sanitiser.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any
from xml.etree.ElementTree import tostring

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin

# Of what latex2mathml writes; no href, class or style.
TAGS = {
    "math", "mrow", "mi", "mn", "mo", "ms", "mtext", "mspace", "mfrac", "msqrt", "mroot", "msub", "msup", "msubsup",
    "munder", "mover", "munderover", "mmultiscripts", "mprescripts", "none", "mtable", "mtr", "mtd", "mstyle",
    "mpadded", "mphantom", "menclose",
}  # fmt: skip
_OF_ALL = {"displaystyle", "scriptlevel", "mathvariant", "mathcolor", "mathsize"}
ATTRIBUTES = {tag: set(_OF_ALL) for tag in TAGS}
for _tag, _names in {
    "math": {"display"},
    "mo": {"stretchy", "fence", "separator", "form", "largeop", "movablelimits", "minsize", "maxsize", "lspace",
           "rspace", "accent"},
    "mspace": {"width", "height", "depth", "linebreak"},
    "mpadded": {"width", "height", "depth", "lspace", "voffset"},
    "mfrac": {"linethickness"},
    "mover": {"accent"},
    "munder": {"accentunder"},
    "munderover": {"accent", "accentunder"},
    "mtable": {"columnalign", "rowalign", "columnlines", "rowlines", "frame", "columnspacing", "rowspacing"},
    "mtr": {"columnalign", "rowalign"},
    "mtd": {"columnalign", "rowalign", "columnspan", "rowspan"},
    "menclose": {"notation"},
}.items():  # fmt: skip
    ATTRIBUTES[_tag] |= _names

LONGEST = 2000  # characters of one formula
MOST = 300  # formulas of one text
DEEPEST = 40  # braces within braces
# Definitions could unfold without end, and links lead out of the text.
_REFUSED = re.compile(
    r"\\(?:new|renew|provide)command|\\DeclareMathOperator|\\[egx]?def(?![a-zA-Z])|\\let(?![a-zA-Z])|\\href|\\url"
)
_CHILDREN = {"mfrac": 2, "mroot": 2, "msub": 2, "msup": 2, "munder": 2, "mover": 2, "msubsup": 3, "munderover": 3}
_TEX = re.compile(r"\\[a-zA-Z]|[=^_\d]")
_WORD = re.compile("[^\\W\u2e80-\uffff]")  # Chinese and its neighbours put no space after a formula
_MARK = re.compile(r"[\\^_{=]")
_LONG_WORD = re.compile("[A-Za-z]{3,}")
_PROSE = re.compile(  # an amount and a word, or a script without spaces
    r"^\d[\d.,]*\s(?:.*\s)?[a-z]{2,}\b|[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]", re.DOTALL
)
_CHARACTER = re.compile(r"&amp;(#x?[0-9A-Fa-f]{1,6};)")


def mathematics(parser: MarkdownIt) -> None:
    """Adds the formulas to a Markdown parser."""
    dollarmath_plugin(parser, allow_labels=False, allow_space=False, allow_digits=False, double_inline=True)
    dollars = next(rule for rule in parser.inline.ruler.__rules__ if rule.name == "math_inline")
    parser.inline.ruler.at("math_inline", _unless_a_word_follows(dollars.fn))
    parser.inline.ruler.before("escape", "math_brackets", _brackets)
    for name in ("math_inline", "math_inline_double", "math_block"):
        parser.add_render_rule(name, _render)


def _unless_a_word_follows(rule: Callable[[StateInline, bool], bool]) -> Callable[[StateInline, bool], bool]:
    """$HOME/$USER are two variables, not a formula and a word; $20 and 30$ are two amounts."""

    def strict(state: StateInline, silent: bool) -> bool:
        start, count = state.pos, len(state.tokens)
        if not rule(state, silent):
            return False
        if (state.pos < len(state.src) and _WORD.match(state.src[state.pos])) or _is_prose(state.src, start, state.pos):
            state.pos = start
            if len(state.tokens) > count and state.tokens[-1].type.startswith("math"):
                state.tokens.pop()
            return False
        return True

    return strict


def _is_prose(source: str, start: int, end: int) -> bool:
    """Whether what stands between single dollar signs reads as words, or the first one ends a word, as in US$."""
    between = source[start + 1 : end - 1]
    if between.startswith("$") or len(between) > LONGEST or _MARK.search(between):
        return False
    ends_a_word = start > 0 and _WORD.match(source[start - 1])
    return bool(ends_a_word or len(_LONG_WORD.findall(between)) > 1 or _PROSE.search(between))


def _brackets(state: StateInline, silent: bool) -> bool:
    source, start = state.src, state.pos
    opening = source[start : start + 2]
    closing = {r"\(": r"\)", r"\[": r"\]"}.get(opening)
    if closing is None:
        return False
    end = source.find(closing, start + 2, min(state.posMax, start + 2 + LONGEST + 2))
    if end < 0 or not source[start + 2 : end].strip():
        return False
    # \[ is also how Markdown writes a bracket that is none of its own: \[citation needed\].
    if opening == r"\[" and not _TEX.search(source, start + 2, end):
        return False
    if not silent:
        token = state.push("math_inline" if opening == r"\(" else "math_inline_double", "math", 0)
        token.content, token.markup = source[start + 2 : end], opening
    state.pos = end + 2
    return True


def _render(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    token = tokens[index]
    display = token.type != "math_inline"
    env["formulas"] = env.get("formulas", 0) + 1
    mathml = to_mathml(token.content.strip(), display) if env["formulas"] <= MOST else None
    closing = {r"\(": r"\)", r"\[": r"\]"}.get(token.markup, token.markup)
    shown = mathml or f"<code>{escapeHtml(token.markup + token.content + closing)}</code>"
    return f"<p>{shown}</p>\n" if token.type == "math_block" else shown


@lru_cache(maxsize=2000)
def to_mathml(tex: str, display: bool) -> str | None:
    """The formula as a <math> element; None where it is not valid TeX, too long, too deep, or defines something."""
    if len(tex) > LONGEST or _REFUSED.search(tex) or _depth(tex) > DEEPEST:
        return None
    from latex2mathml.converter import Converter

    try:
        tree = Converter(display="block" if display else "inline").convert_to_element(tex)
    except Exception:  # it raises its own twelve, and IndexError, StopIteration and others besides
        return None
    for element in tree.iter():
        if element.tag == "mi" and (element.text or "").startswith("\\"):
            return None  # a command that it does not know
        if len(element) != _CHILDREN.get(element.tag, len(element)):
            return None  # \frac{1}, which a browser would draw as a fault
    # It writes signs as references in its texts; all else that tostring escaped stays escaped.
    return _CHARACTER.sub(r"&\1", tostring(tree, encoding="unicode"))


def _depth(tex: str) -> int:
    deepest = depth = 0
    for token in re.findall(r"\\(?:left|begin)(?![a-zA-Z])|\\(?:right|end)(?![a-zA-Z])|\\.|[{}^_]|\\?sqrt", tex):
        depth += token in {"{", r"\left", r"\begin"}
        depth -= token in {"}", r"\right", r"\end"}
        deepest = max(deepest, depth)
    return deepest
