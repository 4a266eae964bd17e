"""Lists inside a sentence and sentences in a row, set as the reader's language sets them."""

from collections.abc import Iterable

from django.utils.translation import pgettext


def listed(parts: Iterable[str]) -> str:
    return pgettext("between the parts of a list", ", ").join(parts)


def in_a_row(*sentences: object) -> str:
    """One after the other, with a space where the language has one: Chinese stops bring their own."""
    row = ""
    for sentence in filter(None, map(str, sentences)):
        row += sentence if not row or row.endswith(("。", "！", "？")) else f" {sentence}"
    return row
