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
from labeling.review import numbers as review_numbers

# Fewer comparisons with others say too little about a person to be shown to them.
ENOUGH_COMPARISONS = 20


class Median(Aggregate):
    """PostgreSQL's median, interpolated."""

    function = "PERCENTILE_CONT"
    template = "%(function)s(0.5) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = FloatField()


def statistics(project: Project, users: Iterable[User]) -> dict[int, dict[str, Any]]:
    """By user: `rank` and `write`, each {today, week, all, seconds}, `agreement` (a Share as JSON) or None, and what
    review.numbers says.

    Standing labels only; today begins at midnight in the server's time zone, a week on Monday. seconds: the median
    active time of timed labels. agreement: of the newest quality report, None below ENOUGH_COMPARISONS.
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
        own = Q(slot__isnull=False, project=project, author__in=chosen, retraction=None)
        rows: Any = (
            model._default_manager.filter(own)
            .order_by()
            .values("author")
            .annotate(
                today=Count("id", filter=Q(created_at__gte=today)),
                week=Count("id", filter=Q(created_at__gte=week)),
                all=Count("id"),
                seconds=Median(F("active_seconds"), filter=Q(active_seconds__gt=0)),
            )
        )
        for row in rows:
            found[row["author"]][kind] = {column: row[column] for column in nothing}
    for report in QualityReport.objects.filter(project=project, body__isnull=False).order_by("-include_simulated"):
        for row in (report.body or {})["habits"]:  # the report of people alone comes last and counts
            share = row["agreement"]
            if row["person"] in found and share and share["n"] >= ENOUGH_COMPARISONS:
                found[row["person"]]["agreement"] = share
    for pk, reviewed in review_numbers.of_people(project, chosen).items():
        found[pk] |= reviewed
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
    header += ["agreement", "agreement_low", "agreement_high", "comparisons_with_others"]
    rows.writerow([*header, "first_pass", "first_pass_low", "first_pass_high", "reviewed", "reviews_made"])
    for member in members:
        own = numbers[member.user_id]
        share, passed = own["agreement"] or {}, own["first_pass"] or {}
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
                *(passed.get(key, "") for key in ("value", "low", "high", "n")),
                own["reviews"],
            ]
        )
    return out.getvalue()


def _plain(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in "=+-@\t\r" else text


def rows_for(numbers: dict[str, Any]) -> list[dict[str, Any]]:
    """A person's numbers as rows of a table, with the kinds in words."""
    return [{"name": _("Rankings"), **numbers["rank"]}, {"name": _("Demonstrations"), **numbers["write"]}]
