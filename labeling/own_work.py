"""One person's own work by project: submitted, accepted, taken back and time in use, today, this week and in all."""

from typing import Any

from django.db.models import Count, Q, Sum
from django.utils.translation import gettext as _

from hone.accounts.models import Project, User
from labeling import days, earnings
from labeling.models import Demonstration, Ranking

PERIODS = ("today", "week", "all")
_COLUMNS = ("submitted", "accepted", "retracted", "seconds")


def by_project(user: User, *, project: Project | None = None) -> dict[int, dict[str, dict[str, int]]]:
    """By project: for each of PERIODS {submitted, accepted, retracted, seconds}, both kinds of label together."""
    starts = {"today": days.midnight(), "week": days.monday(), "all": None}
    wanted: dict[str, Any] = {}
    for period, start in starts.items():
        within = Q(created_at__gte=start) if start else Q()
        wanted[f"{period}_submitted"] = Count("id", filter=within & Q(id__isnull=False))
        wanted[f"{period}_accepted"] = Count("id", filter=within & Q(retraction=None))
        wanted[f"{period}_retracted"] = Count("id", filter=within & Q(retraction__isnull=False))
        wanted[f"{period}_seconds"] = Sum("active_seconds", filter=within & Q(id__isnull=False), default=0)
    found: dict[int, dict[str, dict[str, int]]] = {}
    for model in (Ranking, Demonstration):
        # Imported conversations are nobody's work here.
        own = model._default_manager.filter(
            author=user, slot__isnull=False, **({"project": project} if project else {})
        )
        rows: Any = own.order_by().values("project").annotate(**wanted)
        for row in rows:
            numbers = found.setdefault(row["project"], nothing())
            for period in PERIODS:
                for column in _COLUMNS:
                    numbers[period][column] += row[f"{period}_{column}"]
    return found


def nothing() -> dict[str, dict[str, int]]:
    return {period: dict.fromkeys(_COLUMNS, 0) for period in PERIODS}


def rows_for(numbers: dict[str, dict[str, int]]) -> list[dict[str, Any]]:
    """The counts as rows of a table, one cell a period."""
    names = {"submitted": _("Submitted"), "accepted": _("Accepted"), "retracted": _("Taken back")}
    return [{"name": name, **{period: numbers[period][column] for period in PERIODS}} for column, name in names.items()]


def overview(user: User) -> list[dict[str, Any]]:
    """All projects that the user belongs to or has worked in: {project, is_open, numbers, money}."""
    numbers, money = by_project(user), earnings.by_project(user)
    active = set(user.memberships.filter(is_active=True).values_list("project", flat=True))
    projects = Project.objects.filter(pk__in={*numbers, *money, *active})
    return [
        {
            "project": project,
            "is_open": user.is_staff or project.pk in active,
            "numbers": numbers.get(project.pk) or nothing(),
            "money": money.get(project.pk, []),
        }
        for project in projects
    ]
