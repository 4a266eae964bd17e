"""What waits for a person: how many items they could take, counted only as far as a page shows.

A count costs the same however much is open: it reads the first entries of the hand-out index and stops.
"""

from collections import Counter
from typing import Any

from django.db import models

from hone.accounts.models import Project, User
from labeling import queries
from labeling.assignment import open_slots
from labeling.models import Slot

SHOWN_AT_MOST = 100
_SLOTS_PER_ITEM = 20  # the most that a project may ask for


class _CountItems(models.Subquery):
    template = "(SELECT COUNT(DISTINCT slots.item_id) FROM (%(subquery)s) AS slots)"
    output_field = models.IntegerField()


def count(*, project: Project, user: User, kind: str) -> int | str:
    """How many items the user could still take, their own lease included; "100+" where there are more."""
    found = Project.objects.filter(pk=project.pk).annotate(waiting=_open_items(user, kind))
    return _shown(found.values_list("waiting", flat=True)[0] + _held(user).filter(project=project, kind=kind).count())


def is_any(*, project: Project, user: User, kind: str) -> bool:
    return _held(user).filter(project=project, kind=kind).exists() or (
        open_slots(project=project, user=user, kind=kind).exists()
    )


def overview(projects: models.QuerySet[Project], *, user: User) -> list[dict[str, Any]]:
    """For each project what waits for the user and what they did today, in four queries however many there are."""
    rows = list(projects.annotate(write=_open_items(user, "write"), rank=_open_items(user, "rank")))
    held = Counter(_held(user).filter(project__in=rows).values_list("project", "kind"))
    done = queries.done_today_by_project(user=user)
    return [
        {
            "project": row,
            "write_open": _shown(row.write + held[row.pk, "write"]),
            "rank_open": _shown(row.rank + held[row.pk, "rank"]),
            "done_today": done.get(row.pk, 0),
        }
        for row in rows
    ]


def _open_items(user: User, kind: str) -> _CountItems:
    slots = open_slots(project=models.OuterRef("pk"), user=user, kind=kind).values("item_id")
    return _CountItems(slots[: (SHOWN_AT_MOST + 1) * _SLOTS_PER_ITEM])


def _held(user: User) -> models.QuerySet[Slot]:
    return Slot.objects.filter(holder=user, state__in=[Slot.State.LEASED, Slot.State.RETURNED])


def _shown(number: int) -> int | str:
    return number if number <= SHOWN_AT_MOST else f"{SHOWN_AT_MOST}+"
