"""What the templates of ranking forms need beyond Django's own filters."""

from typing import Any

from django import template
from django.utils.translation import gettext as _

register = template.Library()


@register.filter
def steps(scale: dict[str, Any]) -> list[dict[str, Any]]:
    """A scale's values from low to high, [{value, name}]; the ends' names carry their words."""
    ends = {scale["low"]: scale["low_label"], scale["high"]: scale["high_label"]}
    return [
        {"value": value, "name": f"{value}, {ends[value]}" if ends.get(value) else str(value)}
        for value in range(scale["low"], scale["high"] + 1)
    ]


@register.simple_tag
def strengths(better: str) -> list[dict[str, Any]]:
    """The four strengths of an answer's lead, strongest first: [{value, word, name}]."""
    words = [
        (4, _("significantly"), _("%(letter)s is significantly better")),
        (3, _("clearly"), _("%(letter)s is clearly better")),
        (2, _("slightly"), _("%(letter)s is slightly better")),
        (1, _("barely, unsure"), _("%(letter)s is negligibly better, or unsure")),
    ]
    return [{"value": value, "word": word, "name": name % {"letter": better}} for value, word, name in words]
