"""Finds text that people would read and no translation reaches: in templates, scripts, forms and refusals."""

import ast
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from django.template.base import Lexer, TokenType

from tests.translation.sources import ROOT

_WORD = re.compile(r"[^\W\d_]{2,}")
_SHOWN_ATTRIBUTES = {"placeholder", "title", "aria-label", "alt", "aria-description", "aria-roledescription"}
# Names, key caps and code are the same in every language.
_SAME = {
    "Hone",
    "Ctrl",
    "FLOPs",
    "Authorization: Token …",
    "config.json",
    "result.json",
    "SHA-256",
    "sha256",
    "InstructGPT",
}
_UNREAD = {"script", "style", "code", "kbd", "datalist", "svg"}
_DEFAULT = re.compile(r"\|\s*(?:default|default_if_none|yesno|pluralize)\s*:\s*(?:\"([^\"]*)\"|'([^']*)')")


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.inside: list[str] = []
        self.found: list[tuple[int, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _UNREAD:
            self.inside.append(tag)
        for name, value in attrs:
            if name in _SHOWN_ATTRIBUTES:
                self._look(value or "")

    def handle_endtag(self, tag: str) -> None:
        if self.inside and self.inside[-1] == tag:
            self.inside.pop()

    def handle_data(self, data: str) -> None:
        if not self.inside:
            self._look(data)

    def _look(self, text: str) -> None:
        text = " ".join(text.split())
        rest = text
        for name in sorted(_SAME, key=len, reverse=True):
            rest = rest.replace(name, " ")
        if _WORD.search(rest):
            self.found.append((self.getpos()[0], text))


def in_template(path: Path, source: str | None = None) -> Iterator[str]:
    """Texts outside translate and blocktranslate; tags and variables are blanked, so that the lines stay."""
    parts, translating, hidden = [], False, ""
    name = path.relative_to(ROOT)
    for token in Lexer(source or path.read_text(encoding="utf-8")).tokenize():
        words = token.contents.split() if token.token_type == TokenType.BLOCK else []
        inside = token.contents
        if words and words[0] in ("blocktranslate", "blocktrans"):
            translating = True
        elif words and words[0] in ("endblocktranslate", "endblocktrans"):
            translating = False
        elif words[:1] == ["comment"] or (words[:1] == ["block"] and words[1].endswith("_class")):
            hidden = f"end{words[0]}"
        elif words and words[0] == hidden:
            hidden = ""
        if token.token_type == TokenType.VAR:
            for given in _DEFAULT.finditer(inside):
                # Of words for people, not for attributes.
                if _WORD.search(given[1] or given[2] or "") and (given[1] or given[2]) not in ("en", "true,false"):
                    yield f"{name}:{token.lineno}: {given[0]}"
        if token.token_type == TokenType.TEXT and not translating and not hidden:
            parts.append(inside)
        else:
            parts.append("\n" * inside.count("\n"))
    page = _Text()
    page.feed("".join(parts))
    page.close()
    yield from (f"{name}:{line}: {text}" for line, text in page.found)


# Two words with a space between them, and none of the marks of selectors, styles, addresses and code.
_SENTENCE = re.compile(r"^[^\[\]#<>=:;/\\{}|]*[A-Za-z]{2,}[,.]? +[A-Za-z]{2,}[^\[\]#<>=;/\\{}|]*$")
_SCRIPT = re.compile(
    r"//[^\n]*|/\*.*?\*/|(?P<text>\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`)", re.DOTALL
)
# Where a literal is never shown: imports, selectors, styles, attributes, events.
_CODE_BEFORE = re.compile(
    r"(?:import|from|querySelector(?:All)?\(|closest\(|matches\(|find\(|getAttribute\(|CSS\.supports\(|matchMedia\("
    r"|classList\.\w+\(|addEventListener\(|className = |in srgb)\s*$"
)


def in_script(path: Path, source: str | None = None) -> Iterator[str]:
    """Literals that look like a sentence. Honest, not complete: a single word that is shown is not found."""
    source = source or path.read_text(encoding="utf-8")
    for match in _SCRIPT.finditer(source):
        literal = match["text"]
        if literal is None or _CODE_BEFORE.search(source[: match.start()][-60:]):
            continue
        text = re.sub(r"\$\{[^}]*\}", " ", literal[1:-1])
        if _SENTENCE.match(text) and not re.search(r"--|\dpx|\bpx\b", text):
            yield f"{path.relative_to(ROOT)}:{source.count(chr(10), 0, match.start()) + 1}: {literal}"


_SHOWN_ARGUMENTS = {"label", "help_text", "verbose_name", "verbose_name_plural", "empty_label", "error_messages"}
_REFUSALS = {
    "ValidationError", "ParseError", "NotFound", "PermissionDenied", "Http404", "NotPossible", "Refused", "Conflict",
    "add_error", "FieldErrors",
}  # fmt: skip
_MESSAGES = {"success", "error", "warning", "info"}


def in_module(path: Path, source: str | None = None) -> Iterator[str]:
    """Words that forms, models and refusals give as a plain literal.

    What describes a column or a field of the API is its reference, in English as the names that it explains.
    """
    name = path.relative_to(ROOT)
    is_model = "models" in str(name)
    for node in ast.walk(ast.parse(source or path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        owner = node.func.value if isinstance(node.func, ast.Attribute) else None
        told = _SHOWN_ARGUMENTS - {"help_text"} if is_model and not _has_a_name(node) else _SHOWN_ARGUMENTS
        shown = [] if "api" in path.parts else [keyword.value for keyword in node.keywords if keyword.arg in told]
        if called in _REFUSALS or (called in _MESSAGES and isinstance(owner, ast.Name) and owner.id == "messages"):
            shown += node.args
        for value in shown:
            for literal in _plain_texts(value):
                if " " in literal or (value not in node.args and _WORD.search(literal)):
                    yield f"{name}:{value.lineno}: {literal}"


def _has_a_name(node: ast.Call) -> bool:
    """A model field that people meet in a form has its name as the first argument."""
    first = node.args[0] if node.args else None
    return isinstance(first, ast.Call) and getattr(first.func, "id", "") == "_"


def _plain_texts(node: ast.expr) -> Iterator[str]:
    """Literals in the expression that stand outside a call, and so outside gettext."""
    if isinstance(node, ast.Call):
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    # Of {"required": …} the values are shown, and of "…" % {"name": …} the text.
    shown = node.values if isinstance(node, ast.Dict) else [node.left] if isinstance(node, ast.BinOp) else None
    for child in shown if shown is not None else ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            yield from _plain_texts(child)
