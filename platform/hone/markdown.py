"""Markdown to sanitised HTML, for guidelines, prompts and answers."""

import nh3
from markdown_it import MarkdownIt

# Raw HTML in the source is shown as text: answers often contain it, and a rater must see what was written.
_parser = MarkdownIt("commonmark", {"html": False, "linkify": False, "breaks": True}).enable(["table", "strikethrough"])

_TAGS = {
    "p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code",
    "em", "strong", "s", "del", "a", "table", "thead", "tbody", "tr", "th", "td",
}  # fmt: skip
_ATTRIBUTES = {"a": {"href", "title"}, "code": {"class"}, "ol": {"start"}}


def render(text: str) -> str:
    """CommonMark with tables, as HTML that is safe to insert into a page.

    Images are dropped (a remote image would tell its host who reads), links open without referrer, and every
    block of text takes its own direction so that right-to-left answers read correctly.
    """
    html = nh3.clean(
        _parser.render(text),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
        strip_comments=True,
    )
    # The page has its own first heading.
    html = html.replace("<h1>", "<h2>").replace("</h1>", "</h2>")
    for tag in ("p", "li", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "td", "th"):
        html = html.replace(f"<{tag}>", f'<{tag} dir="auto">')
    return html
