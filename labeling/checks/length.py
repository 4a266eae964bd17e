"""Whether a response has the length that the project wants."""

from collections.abc import Iterator

from django.utils.translation import gettext as _

from labeling.checks.finding import Finding


def find(text: str, *, minimum: int | None, maximum: int | None) -> Iterator[Finding]:
    """Counts characters without outer white space. An empty text is no finding: the page asks for one in any case."""
    inner = text.strip()
    length = len(inner)
    if minimum and 0 < length < minimum:
        sentence = _("%(n)d characters; at least %(limit)d are wanted.") % {"n": length, "limit": minimum}
        yield Finding("length", "block", sentence)
    if maximum and length > maximum:
        first = len(text) - len(text.lstrip())
        sentence = _("%(n)d characters; at most %(limit)d are wanted.") % {"n": length, "limit": maximum}
        yield Finding("length", "block", sentence, start=first + maximum, end=first + length)
