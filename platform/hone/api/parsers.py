"""Reading JSON from anybody: what is nested beyond reason is refused before any code recurses into it."""

from typing import Any

from django.utils.translation import gettext as _
from rest_framework import parsers
from rest_framework.exceptions import ParseError

MAX_DEPTH = 100


class JSONParser(parsers.JSONParser):
    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        """Raises ParseError, which answers 400."""
        try:
            value = super().parse(stream, media_type, parser_context)
        except RecursionError:
            raise ParseError(_("The JSON is nested too deeply.")) from None
        level, depth = [value], 0
        while level := [part for parent in level for part in _parts(parent)]:
            depth += 1
            if depth > MAX_DEPTH:
                raise ParseError(_("The JSON is nested too deeply."))
        return value


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
