"""What waits for a person: how many items they could take, counted only as far as a page shows.

A count costs the same however much is open: it reads the first entries of the hand-out index and stops.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from django.db import models

from hone import prepared
from hone.accounts.models import Project, User
from labeling import queries, statements
from labeling.models import Slot

SHOWN_AT_MOST = 100
_SLOTS_PER_ITEM = 20  # the most that a project may ask for


def count(*, project: Project, user: User, kind: str) -> int | str:
    """How many items the user could still take, their own lease included; "100+" where there are more."""
    number = _open([project.pk], user, kind)[project.pk] + _held(user).filter(project=project, kind=kind).count()
    return _shown(number or int(_in_hand(user).filter(project=project, kind=kind).exists()))


def is_any(*, project: Project, user: User, kind: str) -> bool:
    return _in_hand(user).filter(project=project, kind=kind).exists() or (
        _open([project.pk], user, kind, most=1)[project.pk] > 0
    )


def overview(projects: models.QuerySet[Project], *, user: User) -> list[dict[str, Any]]:
    """For each project what waits for the user and what they did today, in a few queries however many there are."""
    rows = list(projects)
    numbers = [project.pk for project in rows]
    write, rank = _open(numbers, user, "write"), _open(numbers, user, "rank")
    held = Counter(_held(user).filter(project__in=rows).values_list("project", "kind"))
    done = queries.done_today_by_project(user=user, projects=numbers)
    return [
        {
            "project": row,
            "write_open": _shown(write[row.pk] + held[row.pk, "write"]),
            "rank_open": _shown(rank[row.pk] + held[row.pk, "rank"]),
            "done_today": done.get(row.pk, 0),
        }
        for row in rows
    ]


def _open(
    projects: Iterable[int], user: User, kind: str, *, most: int = (SHOWN_AT_MOST + 1) * _SLOTS_PER_ITEM
) -> dict[int, int]:
    """By project how many open items the user may take, looking at no more than `most` slots of a lane."""
    asked = {"projects": list(projects), "user": user.pk, "most": most}
    return {row["id"]: row["items"] for row in prepared.rows(statements.WAITING[kind], asked)}


def _held(user: User) -> models.QuerySet[Slot]:
    # A hidden check comes in place of an item that is still open for them, and so counted.
    return _in_hand(user).filter(hidden="")


def _in_hand(user: User) -> models.QuerySet[Slot]:
    return Slot.objects.filter(holder=user, state__in=[Slot.State.LEASED, Slot.State.RETURNED])


def _shown(number: int) -> int | str:
    return number if number <= SHOWN_AT_MOST else f"{SHOWN_AT_MOST}+"
