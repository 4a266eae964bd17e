"""Every string that the source marks for translation, with its place: templates, Python, and the trainers' words.

It needs no gettext tools: templates go through Django's own reading of them, Python through its syntax tree.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.utils.translation.template import templatize

from training.trainers.config import STAGES, fields_of

ROOT = Path(__file__).resolve().parents[2]
CODE = ("platform/hone", "labeling", "training")
TEMPLATES = ROOT / "templates"
SCRIPTS = ROOT / "platform/hone/static/hone/js"

# What a call's first arguments mean: (place of the context, of the singular, of the plural).
_CALLS = {
    "gettext": (None, 0, None),
    "gettext_lazy": (None, 0, None),
    "gettext_noop": (None, 0, None),
    "ngettext": (None, 0, 1),
    "ngettext_lazy": (None, 0, 1),
    "pgettext": (0, 1, None),
    "pgettext_lazy": (0, 1, None),
    "npgettext": (0, 1, 2),
    "npgettext_lazy": (0, 1, 2),
}
# These take the language of the moment in which they run.
_AT_ONCE = {"gettext", "ngettext", "pgettext", "npgettext"}
# The trainers know nothing of Django: their forms' words are translated where they are shown.
_TRAINERS = "training/trainers/config"

_TEMPLATE_CALL = re.compile(r"\b(n?p?gettext)\(((?:u(?:'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\")\s*,?\s*)+)", re.DOTALL)
_LITERAL = re.compile(r"u('(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\")", re.DOTALL)


@dataclass(frozen=True)
class Message:
    text: str
    plural: str | None
    context: str | None
    path: str
    line: int

    @property
    def key(self) -> tuple[str | None, str]:
        return self.context, self.text

    @property
    def place(self) -> str:
        return f"{self.path}:{self.line}"


def messages() -> list[Message]:
    """In the order of paths and lines, so that the catalogue changes where the source does."""
    found = [message for path in templates() for message in in_template(path)]
    found += [message for path in modules() for message in in_module(path)]
    found += in_trainers()
    return sorted(found, key=lambda message: (message.path, message.line, message.text))


def templates() -> list[Path]:
    return sorted(TEMPLATES.rglob("*.html"))


def modules() -> list[Path]:
    return sorted(
        path
        for folder in CODE
        for path in (ROOT / folder).rglob("*.py")
        if "migrations" not in path.parts and "static" not in path.parts
    )


def product_modules() -> list[Path]:
    """Those whose words appear on pages: not the trainers, which are other programs, nor the demo's terminal."""
    return [path for path in modules() if not {"trainers", "demo", "management"} & set(path.parts)]


def scripts() -> list[Path]:
    return sorted(SCRIPTS.rglob("*.js"))


def in_template(path: Path) -> Iterator[Message]:
    source = templatize(path.read_text(encoding="utf-8"), origin=str(path))
    for call in _TEMPLATE_CALL.finditer(source):
        texts = [ast.literal_eval(literal) for literal in _LITERAL.findall(call[2])]
        context, single, plural = _CALLS[call[1]]
        yield Message(
            text=texts[single],
            plural=None if plural is None else texts[plural],
            context=None if context is None else texts[context],
            path=str(path.relative_to(ROOT)),
            line=source.count("\n", 0, call.start()) + 1,
        )


def in_module(path: Path) -> Iterator[Message]:
    name = str(path.relative_to(ROOT))
    tree = ast.parse(path.read_text(encoding="utf-8"))
    named = _imported(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if places := _CALLS.get(named.get(_name(node.func), "")):
            texts = [_literal(argument) for argument in node.args]
            context, single, plural = ((None if at is None else texts[at]) for at in places)
            if single:
                yield Message(single, plural, context, name, node.lineno)


def in_trainers() -> Iterator[Message]:
    """Labels, units and help of the trainers' settings, as the launch form shows them."""
    sources = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / _TRAINERS).glob("*.py"))}
    texts = {
        text for stage in STAGES for spec in fields_of(stage) for text in (spec.label, spec.help, spec.unit) if text
    }
    for text in texts:
        # A long text stands in several pieces, and is not found.
        path, source = next(((path, source) for path, source in sources.items() if text in source), (None, ""))
        line = source.count("\n", 0, source.find(text)) + 1
        yield Message(text, None, None, str(path.relative_to(ROOT)) if path else f"{_TRAINERS}/__init__.py", line)


def frozen(path: Path) -> Iterator[str]:
    """Places where a string is translated while the module is imported: it would keep the language of that moment."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    eager = {name for name, function in _imported(tree).items() if function in _AT_ONCE}
    yield from (f"{path.relative_to(ROOT)}:{line}" for line in _eager_calls(tree, eager))


def _imported(tree: ast.AST) -> dict[str, str]:
    """Under which name the module calls which function of Django's: {"_": "gettext_lazy"}."""
    return {
        alias.asname or alias.name: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "django.utils.translation"
        for alias in node.names
    }


def _eager_calls(node: ast.AST, eager: set[str]) -> Iterator[int]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.Call) and _name(child.func) in eager:
            yield child.lineno
        yield from _eager_calls(child, eager)


def _name(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def _literal(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
