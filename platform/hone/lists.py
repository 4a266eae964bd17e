"""Lists inside a sentence, set as the reader's language sets them."""

from collections.abc import Iterable

from django.utils.translation import pgettext


def listed(parts: Iterable[str]) -> str:
    return pgettext("between the parts of a list", ", ").join(parts)
