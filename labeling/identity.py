"""Answers that name the model that wrote them, or its maker: found, and shown without the name.

A rater who reads "I am ChatGPT" judges the name. Raters see a block in its place; what is stored, exported and trained
on is the text as it was written. Also an item's answers can be set aside when its batch is opened (labeling.batches).
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from django.utils.html import format_html
from django.utils.translation import gettext as _

from hone.markdown import render
from labeling.checks.words import LETTER
from labeling.models.model_names import names_listed

BLOCK = "▒▒▒"
# Stands for a name until the Markdown is HTML: a noncharacter, so that no text has it for a reason of its own, and no
# mark of Markdown, so that code, links and tables stay what they are.
_MARK = "\ufdd0"
_MARK_IN_ADDRESS = "%EF%B7%90"
_TAG = re.compile(r"""(<[a-zA-Z/](?:"[^"]*"|[^">])*>)""")

# What goes with a name: -4, 3.5, 2.5-72B-Instruct. Not a number behind a space, unless it is a version's.
_VERSION = r"(?:[-_]?v?\d+(?:\.\d+)*[A-Za-z]*(?:[-_][A-Za-z0-9]+(?:\.\d+)*)*|[ ]v?\d+\.\d+)?"

# Words that stand between "I am" and a name. Only these, or "I am a teacher who uses …" would count.
_BETWEEN = (
    r"(?:[\s*_`\"“]*\b(?:actually|just|only|not|an?|the|your|ai|artificial|intelligence|large|language|model|llm|"
    r"assistant|chatbot|bot|called|named|known|as|instance|version|of|by|from|at|based|on|helpful|friendly|virtual|"
    r"digital|conversational|generative|pre-?trained|transformer|machine|learning|system|program|researchers?|team|"
    r"engineers?|people|company|developed|trained|created|made|built|designed|powered|provided|fine-?tuned|which|that|"
    r"is|was|am|and)\b[,:\"”*_`]*){0,16}[\s*_`\"“:\[(]*"
)
_MADE = r"(?:made|created|developed|trained|built|designed|produced|provided|powered|fine-?tuned|released|operated)"
_MADE_CJK = "(?:开发|開發|训练|訓練|创建|研发|研發|制造|打造|推出|提供|设计|創建)"
# Each says something of the speaker. The names themselves are marks by then.
_OF_ITSELF = re.compile(
    "|".join(
        [
            rf"(?:\bI\s*(?:['’]m|am)|\bmy\s+name\s*(?:is|['’]s)|\bcall\s+me|\bI\s+go\s+by){_BETWEEN}{_MARK}",
            rf"\b(?:I(?:['’]m|\s+am|\s+was|\s+have\s+been|['’]ve\s+been)|trained\s+me)\b[^.!?\n]{{0,60}}?\b{_MADE}\b"
            rf"[^.!?\n]{{0,80}}?{_MARK}",
            rf"\bmy\s+(?:creators?|developers?|makers?)\b[^.!?\n]{{0,40}}?{_MARK}",
            # "As Qwen, … I": the speaker comes after it. "Such as Qwen" and "known as Qwen" are about others.
            rf"(?<!such )(?<!known )(?<!well )\bas\b{_BETWEEN}{_MARK}(?=[^.!?\n]{{0,120}}?\b(?:I|I['’]m|my|me)\b)",
            rf"(?:^|[.!?,]\s*|\n){_MARK}(?=\s+here\b)",
            rf"我(?:就)?(?:是|叫|名叫|的名字(?:是|叫))[^。！？\n]{{0,40}}?{_MARK}",
            rf"(?:我|本(?:模型|助手|人))[^。！？\n]{{0,20}}?由[^。！？\n]{{0,40}}?{_MARK}[^。！？\n]{{0,30}}?{_MADE_CJK}",
            rf"(?:作为|身为|作為)[^。！？，,\n]{{0,20}}?{_MARK}(?=[^。！？\n]{{0,80}}?我)",
            rf"(?:私は|僕は|저는|나는)[^。！？.\n]{{0,40}}?{_MARK}",
            rf"\b(?:Je suis|Je m['’]appelle|Ich bin|Ich hei(?:ß|ss)e|Soy|Me llamo|Sou|Sono|Mi chiamo|Ik ben)\b"
            rf"[^.!?\n]{{0,50}}?{_MARK}",
            rf"\b(?:Я|Меня зовут)\b[^.!?\n]{{0,50}}?{_MARK}",
        ]
    ),
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?](?=\s)|[。！？\n]")


def names_in(text: str, *, names: Sequence[str], where: str) -> list[tuple[int, int]]:
    """Where names of the list stand, in order: anywhere ("any"), or where the text says them of itself ("self").

    A name that a text gave itself is hidden wherever it stands in it: half of them would tell the same.
    """
    # Most texts hold none, and looking for plain words is a hundred times as quick as an expression of all of them.
    lower = text.lower()
    pattern = _pattern(tuple(name for name in names if name.split()[0].lower() in lower))
    every = [match.span() for match in pattern.finditer(text)] if pattern else []
    if where == "any" or not every:
        return every
    own = {text[start:end].casefold() for start, end in _own(text, every)}
    return [(start, end) for start, end in every if text[start:end].casefold() in own]


def _own(text: str, every: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The places in sentences in which the text speaks of itself: its name, and its maker's beside it."""
    marked = _replaced(text.replace(_MARK, "\ufffd"), every, _MARK)
    places = [at for at, character in enumerate(marked) if character == _MARK]
    for match in _OF_ITSELF.finditer(marked):
        last = match.end() - 1
        while marked[last] != _MARK:  # what follows a name may belong to the sentence
            last -= 1
        end = _SENTENCE_END.search(marked, last)
        stop = end.start() if end else len(marked)
        yield from (every[n] for n, at in enumerate(places) if match.start() <= at < stop)


def is_named(text: str, *, names: Sequence[str], where: str) -> bool:
    return bool(names_in(text, names=names, where=where))


def shown(text: str, *, hidden: dict[str, Any] | None) -> dict[str, str]:
    """`text` and `html` of an answer as raters see it; `hidden` is Slot.hidden_names."""
    spans = hidden_in(text, hidden=hidden)
    if not spans:
        return {"text": text, "html": render(text)}
    return {
        "text": _replaced(text, spans, BLOCK),
        "html": _html(_replaced(text.replace(_MARK, "\ufffd"), spans, _MARK)),
    }


def hidden_in(text: str, *, hidden: dict[str, Any] | None) -> list[tuple[int, int]]:
    """Where raters see a block, in the order of the text."""
    return names_in(text, names=names_listed(hidden["names"]), where=hidden["where"]) if hidden else []


def part_shown(part: str, *, start: int, spans: Sequence[tuple[int, int]]) -> str:
    """A part of a text as raters see it; it begins at `start` of the text, whose names stand at `spans`.

    A name is looked for in the whole text: a part may hold half of it, or not the sentence that makes it one.
    """
    end = start + len(part)
    inside = [(max(low, start) - start, min(high, end) - start) for low, high in spans if low < end and high > start]
    return _replaced(part, inside, BLOCK)


def _replaced(text: str, spans: list[tuple[int, int]], by: str) -> str:
    parts, at = [], 0
    for start, end in spans:
        parts += [text[at:start], by]
        at = end
    return "".join([*parts, text[at:]])


def _html(source: str) -> str:
    block = format_html('<span class="name-hidden" role="img" aria-label="{}">{}</span>', _("name hidden"), BLOCK)
    # Odd parts are tags: an element would break an attribute, so there the bare block stands.
    parts = _TAG.split(render(source).replace(_MARK_IN_ADDRESS, BLOCK))
    return "".join(part.replace(_MARK, BLOCK if n % 2 else block) for n, part in enumerate(parts))


@lru_cache(maxsize=512)
def _pattern(names: tuple[str, ...]) -> re.Pattern[str] | None:
    # The longest first, so that "Mistral AI" wins over "Mistral".
    parts = [_name(name) for name in sorted(names, key=len, reverse=True)]
    return re.compile("|".join(parts), re.IGNORECASE) if parts else None


def _name(name: str) -> str:
    """A whole word, with its version. Between two scripts is a word's end: 我是GPT-4吗."""
    words = r"\s+".join(re.escape(word) for word in name.split())
    before = f"(?<!{LETTER})" if re.match(LETTER, name[0]) else ""
    after = f"(?!{LETTER})" if re.match(LETTER, name[-1]) else ""
    return f"{before}{words}{_VERSION}{after}"
