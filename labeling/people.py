"""What each person has done in a project: their own numbers, and for leads those of all members."""

import csv
import io
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.db.models import Aggregate, Count, F, FloatField, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from hone.accounts.models import Membership, Project, User
from labeling.export import annotator
from labeling.models import Demonstration, QualityReport, Ranking

# Fewer comparisons with others say too little about a person to be shown to them.
ENOUGH_COMPARISONS = 20


class Median(Aggregate):
    """PostgreSQL's median, interpolated."""

    function = "PERCENTILE_CONT"
    template = "%(function)s(0.5) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = FloatField()


def statistics(project: Project, users: Iterable[User]) -> dict[int, dict[str, Any]]:
    """By user: `rank` and `write`, each {today, week, all, seconds}, and `agreement` (a Share as JSON) or None.

    Standing labels only; today begins at midnight in the server's time zone, a week on Monday. seconds: the median
    active time of timed labels, without those that say "cannot judge", which count as work all the same. agreement:
    of the newest quality report, None below ENOUGH_COMPARISONS.
    """
    chosen = list(users)
    nothing = {"today": 0, "week": 0, "all": 0, "seconds": None}
    found: dict[int, dict[str, Any]] = {
        user.pk: {"rank": dict(nothing), "write": dict(nothing), "agreement": None} for user in chosen
    }
    today = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    week = today - timedelta(days=today.weekday())
    for kind, model in (("rank", Ranking), ("write", Demonstration)):
        # Imported conversations are nobody's work here.
        is_timed = Q(active_seconds__gt=0, **({"verdict": ""} if kind == "rank" else {}))
        own = Q(slot__isnull=False, project=project, author__in=chosen, retraction=None)
        rows: Any = (
            model._default_manager.filter(own)
            .order_by()
            .values("author")
            .annotate(
                today=Count("id", filter=Q(created_at__gte=today)),
                week=Count("id", filter=Q(created_at__gte=week)),
                all=Count("id"),
                seconds=Median(F("active_seconds"), filter=is_timed),
            )
        )
        for row in rows:
            found[row["author"]][kind] = {column: row[column] for column in nothing}
    for report in QualityReport.objects.filter(project=project, body__isnull=False).order_by("-include_simulated"):
        for row in (report.body or {})["habits"]:  # the report of people alone comes last and counts
            share = row["agreement"]
            if row["person"] in found and share and share["n"] >= ENOUGH_COMPARISONS:
                found[row["person"]]["agreement"] = share
    return found


def members_csv(project: Project, memberships: Iterable[Membership]) -> str:
    """The members' numbers as CSV, shares between 0 and 1; people by name and as they are named in exports."""
    members = list(memberships)
    numbers = statistics(project, [member.user for member in members])
    out = io.StringIO()
    rows = csv.writer(out)
    columns = ["today", "week", "all", "median_seconds"]
    header = ["user_name", "name", "annotator", "role", "active", "simulated"]
    header += [f"{kind}_{column}" for kind in ("rankings", "demonstrations") for column in columns]
    rows.writerow([*header, "agreement", "agreement_low", "agreement_high", "comparisons_with_others"])
    for member in members:
        own = numbers[member.user_id]
        share = own["agreement"] or {}
        counted = [own[kind][column] for kind in ("rank", "write") for column in ("today", "week", "all", "seconds")]
        rows.writerow(
            [
                *(_plain(text) for text in (member.user.username, member.user.name)),
                annotator(member.user_id),
                member.role,
                int(member.is_active),
                int(member.user.is_simulated),
                *("" if value is None else value for value in counted),
                *(share.get(key, "") for key in ("value", "low", "high", "n")),
            ]
        )
    return out.getvalue()


def _plain(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in "=+-@\t\r" else text


def rows_for(numbers: dict[str, Any]) -> list[dict[str, Any]]:
    """A person's numbers as rows of a table, with the kinds in words."""
    return [{"name": _("Rankings"), **numbers["rank"]}, {"name": _("Demonstrations"), **numbers["write"]}]
