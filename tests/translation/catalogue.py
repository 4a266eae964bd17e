"""The catalogue of one language: a .po file that people edit and the .mo file that Django reads, both committed."""

import re
import string
from pathlib import Path

import polib

from tests.translation.sources import ROOT, Message, messages

PO = ROOT / "platform/hone/locale/zh_Hans/LC_MESSAGES/django.po"
MO = PO.with_suffix(".mo")
_METADATA = {
    "Project-Id-Version": "hone",
    "Language": "zh_Hans",
    "MIME-Version": "1.0",
    "Content-Type": "text/plain; charset=UTF-8",
    "Content-Transfer-Encoding": "8bit",
    "Plural-Forms": "nplurals=1; plural=0;",
}


def read(path: Path = PO) -> polib.POFile:
    return polib.pofile(str(path), wrapwidth=0)


def update() -> list[polib.POEntry]:
    """Makes the catalogue's strings those of the source, keeps what is translated; the entries that wait for words."""
    old = {(entry.msgctxt, entry.msgid): entry for entry in read()} if PO.exists() else {}
    catalogue = polib.POFile(wrapwidth=0)
    catalogue.metadata = dict(_METADATA)
    for message, paths in _merged().items():
        known = old.get(message.key)
        entry = polib.POEntry(
            msgctxt=message.context,
            msgid=message.text,
            occurrences=[(path, "") for path in paths],
            flags=_flags(message),
        )
        if message.plural is None:
            entry.msgstr = (known.msgstr or known.msgstr_plural.get(0, "")) if known else ""
        else:
            entry.msgid_plural = message.plural
            entry.msgstr_plural = {0: (known.msgstr_plural.get(0, "") or known.msgstr) if known else ""}
        catalogue.append(entry)
    catalogue.save(str(PO))
    compile_it(catalogue)
    return [entry for entry in catalogue if not entry.translated()]


def compile_it(catalogue: polib.POFile) -> None:
    MO.write_bytes(catalogue.to_binary())


def placeholders(text: str) -> set[str]:
    """What is filled in: %(name)s of Python and templates, {name} of the pages' scripts and of str.format."""
    percent = {part.split(")")[0] for part in text.split("%(")[1:]}
    try:
        braces = {name for _, name, _, _ in string.Formatter().parse(text) if name}
    except ValueError:
        braces = set()
    return {f"%({name})s" for name in percent} | {f"{{{name}}}" for name in braces}


_BADLY_SET = re.compile(
    r"[\u4e00-\u9fff][,;?!](?![a-zA-Z0-9{%])"  # a half-width mark after Chinese
    r"|[\u4e00-\u9fff]:[^/]"
    r"|[，。；：？！、（）“”] | [，。；：？！、（）”]"  # a space beside a mark that brings its own
    r"|[，。；：、]{2}"
    r"|[\u4e00-\u9fff][A-Za-z0-9]|(?<!%)[A-Za-z0-9][\u4e00-\u9fff]"  # Latin letters and figures stand apart
)


def badly_set(text: str) -> bool:
    """Whether marks and spaces are not as Chinese typography has them; what is filled in counts as neither."""
    return bool(_BADLY_SET.search(re.sub(r"%\(\w+\)\w|\{\w+\}|<[^>]*>", "◆", text)))


def _merged() -> dict[Message, list[str]]:
    """One message for each text, a plural one where there is any, with its files; lines would only churn."""
    found: dict[tuple[str | None, str], tuple[Message, list[str]]] = {}
    for message in messages():
        first, paths = found.get(message.key, (message, []))
        if message.path not in paths:
            paths = [*paths, message.path]
        found[message.key] = (message if first.plural is None and message.plural else first, paths)
    return dict(found.values())


def _flags(message: Message) -> list[str]:
    return ["python-format"] if "%(" in message.text else []
