"""Which labels may leave while their review is not done."""

from typing import TypeVar

from django.db import models

from hone.accounts.models import Project
from labeling.models import Review, ReviewRules

M = TypeVar("M", bound=models.Model)


def settled(rows: models.QuerySet[M], *, project: Project, by: str = "") -> models.QuerySet[M]:
    """Without the labels that still wait for review, where the project asks for that; else the rows as they are.

    `by` leads from a row to its label, such as "ranking__" from a comparison.
    """
    if not ReviewRules.objects.filter(project=project, only_reviewed=True).exists():
        return rows
    return rows.exclude(**{f"{by}review__state__in": [Review.State.WAITING, Review.State.LEASED]})
