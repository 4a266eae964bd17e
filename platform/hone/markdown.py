"""Markdown to sanitised HTML, for guidelines, prompts and answers."""

import functools
import re
from collections.abc import Sequence
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from hone import mathematics

# Raw HTML in the source is shown as text: answers often contain it, and a rater must see what was written.
_parser = MarkdownIt("commonmark", {"html": False, "linkify": False, "breaks": True}).enable(["table", "strikethrough"])


def _image_as_text(self: RendererHTML, tokens: Sequence[Token], index: int, *_: Any) -> str:
    """An image's source: a remote image would tell its host who reads, and one that vanished would leave no trace."""
    image = tokens[index]
    title = f' "{image.attrs["title"]}"' if image.attrs.get("title") else ""
    return escapeHtml(f"![{image.content}]({image.attrs['src']}{title})")


_parser.add_render_rule("image", _image_as_text)
mathematics.mathematics(_parser)

_TAGS = {
    "p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code",
    "em", "strong", "s", "del", "a", "table", "thead", "tbody", "tr", "th", "td",
} | mathematics.TAGS  # fmt: skip
_ATTRIBUTES = {"a": {"href", "title"}, "code": {"class"}, "ol": {"start"}, **mathematics.ATTRIBUTES}

_cleaner = nh3.Cleaner(
    tags=_TAGS,
    attributes=_ATTRIBUTES,
    url_schemes={"http", "https", "mailto"},
    link_rel="noopener noreferrer nofollow",
    strip_comments=True,
)
_OWN_DIRECTION = re.compile("<(p|li|h[1-6]|blockquote|td|th)>")


# An item's texts are shown to all of its people one after the other, and to each of them more than once.
_KEPT, _KEPT_CHARS = 1024, 16_384


def render(text: str) -> str:
    """CommonMark with tables and formulas (hone.mathematics), as HTML that is safe to insert into a page.

    Images are shown as their source (_image_as_text), links open without referrer, and every
    block of text takes its own direction so that right-to-left answers read correctly.
    """
    return _rendered(text) if len(text) <= _KEPT_CHARS else _rendered.__wrapped__(text)


# A paragraph of one line in which nothing means anything to CommonMark or to HTML.
_PLAIN = re.compile(r"(?![-+=#]|\d+[.)])[^\\`*_\[\]<>&!$~|\x00-\x1f\x7f-\xa0]+")


def _plain(text: str) -> str | None:
    """What _parsed gives for paragraphs of plain text, which most answers are, in a twentieth of its time; or None."""
    paragraphs = text.split("\n\n")
    if all(_PLAIN.fullmatch(one) and one == one.strip() for one in paragraphs):
        return "".join(f'<p dir="auto">{one}</p>\n' for one in paragraphs)
    return None


@functools.lru_cache(_KEPT)
def _rendered(text: str) -> str:
    return _plain(text) or _parsed(text)


def _parsed(text: str) -> str:
    html = _cleaner.clean(_parser.render(text))
    # The page has its own first heading.
    html = html.replace("<h1>", "<h2>").replace("</h1>", "</h2>")
    return _OWN_DIRECTION.sub(r'<\1 dir="auto">', html)
