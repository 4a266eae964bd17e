"""What the templates of reviews need beyond Django's own filters."""

from typing import Any

from django import template

register = template.Library()


@register.filter
def about(returned: dict[str, Any], letter: str) -> list[dict[str, Any]]:
    """A reviewer's comments on the answer of this letter."""
    return [row for row in returned["comments"] if row["answer"] == letter]
