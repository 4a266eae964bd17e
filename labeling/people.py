"""What each person has done in a project: their own numbers, and for leads those of all members."""

import csv
import io
from collections.abc import Callable, Iterable
from typing import Any

from django.db.models import Aggregate, Count, F, FloatField, Max, Q, Sum
from django.utils.translation import gettext as _

from hone.accounts.models import Project, User
from labeling import days, earnings
from labeling.export import annotator, plain
from labeling.models import Demonstration, QualityReport, Ranking
from labeling.quality import showing_checks
from labeling.review import numbers as review_numbers

# Fewer comparisons with others say too little about a person to be shown to them.
ENOUGH_COMPARISONS = 20
CHECKS = ("gold", "consistency")


class Median(Aggregate):
    """PostgreSQL's median, interpolated."""

    function = "PERCENTILE_CONT"
    template = "%(function)s(0.5) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = FloatField()


def statistics(project: Project, users: Iterable[User]) -> dict[int, dict[str, Any]]:
    """By user: `rank` and `write`, each {today, week, all, seconds}, `agreement`, `gold` and `consistency` (Shares as
    JSON) or None, and what review.numbers says.

    Beside those, over both kinds: `retracted` labels, `active` seconds in use of all labels, and `last`, the newest
    label's moment. The others count standing labels only; today begins at midnight in the server's time zone, a week
    on Monday. seconds: the median active time of timed labels, without those that say "cannot judge", which count as
    work all the same. agreement: of the newest quality report, None below ENOUGH_COMPARISONS.
    """
    chosen = list(users)
    nothing = {"today": 0, "week": 0, "all": 0, "seconds": None}
    found: dict[int, dict[str, Any]] = {
        user.pk: {
            "rank": dict(nothing),
            "write": dict(nothing),
            "agreement": None,
            **dict.fromkeys(CHECKS),
            **{"retracted": 0, "active": 0, "last": None},
        }
        for user in chosen
    }
    today, week = days.midnight(), days.monday()
    for kind, model in (("rank", Ranking), ("write", Demonstration)):
        # Imported conversations are nobody's work here.
        own = Q(slot__isnull=False, project=project, author__in=chosen)
        standing = Q(retraction=None)
        is_timed = Q(active_seconds__gt=0, **({"verdict": ""} if kind == "rank" else {}))
        rows: Any = (
            model._default_manager.filter(own)
            .order_by()
            .values("author")
            .annotate(
                today=Count("id", filter=standing & Q(created_at__gte=today)),
                week=Count("id", filter=standing & Q(created_at__gte=week)),
                all=Count("id", filter=standing),
                seconds=Median(F("active_seconds"), filter=standing & is_timed),
                retracted=Count("id", filter=~standing),
                active=Sum("active_seconds"),
                last=Max("created_at"),
            )
        )
        for row in rows:
            person = found[row["author"]]
            person[kind] = {column: row[column] for column in nothing}
            person["retracted"] += row["retracted"]
            person["active"] += row["active"]
            person["last"] = max(filter(None, (person["last"], row["last"])))
    for report in QualityReport.objects.filter(project=project, body__isnull=False).order_by("-include_simulated"):
        for row in (report.body or {})["habits"]:  # the report of people alone comes last and counts
            share = row["agreement"]
            if row["person"] in found and share and share["n"] >= ENOUGH_COMPARISONS:
                found[row["person"]]["agreement"] = share
        for pk, scores in showing_checks.scores(report.body).items():
            if pk in found:
                found[pk] |= {key: scores[key] for key in CHECKS if scores[key]}
    for pk, reviewed in review_numbers.of_people(project, chosen).items():
        found[pk] |= reviewed
    return found


# By what the members can be sorted: the key in the address, and the value of a row.
SORTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "name": lambda row: row["member"].user.name.casefold(),
    "role": lambda row: row["member"].role,
    "rankings": lambda row: row["rank"]["all"],
    "demonstrations": lambda row: row["write"]["all"],
    "retracted": lambda row: row["retracted"],
    "active": lambda row: row["active"],
    "earned": lambda row: max((each["all"] for each in row["money"]), default=0),
    "agreement": lambda row: (row["agreement"] or {"value": -1})["value"],
    "seen": lambda row: row["seen"].timestamp() if row["seen"] else 0,
}


def member_rows(project: Project, *, sort: str = "name") -> list[dict[str, Any]]:
    """Each member with `statistics`, `money` (earnings.of_members) and `seen`, the last log-in or label.

    `sort` is one of SORTS, with a minus the other way round; anything else sorts by name.
    """
    members = list(project.memberships.select_related("user", "project"))
    numbers = statistics(project, [member.user for member in members])
    money = earnings.of_members(project)
    rows = []
    for member in members:
        own = numbers[member.user_id]
        seen = max(filter(None, (own["last"], member.user.last_login)), default=None)
        rows.append({"member": member, **own, "money": money.get(member.user_id, []), "seen": seen})
    rows.sort(key=SORTS["name"])
    key = sort.removeprefix("-")
    return sorted(rows, key=SORTS[key], reverse=sort.startswith("-")) if key in SORTS else rows


def members_csv(project: Project, *, sort: str = "name") -> str:
    """The members' numbers as CSV, shares between 0 and 1; people by name and as they are named in exports."""
    out = io.StringIO()
    rows = csv.writer(out)
    columns = ["today", "week", "all", "median_seconds"]
    header = ["user_name", "name", "annotator", "role", "active", "simulated"]
    header += [f"{kind}_{column}" for kind in ("rankings", "demonstrations") for column in columns]
    header += ["agreement", "agreement_low", "agreement_high", "comparisons_with_others"]
    header += [f"{check}{part}" for check in CHECKS for part in ("", "_low", "_high", "_pairs")]
    header += ["first_pass", "first_pass_low", "first_pass_high", "reviewed", "reviews_made"]
    rows.writerow([*header, "retracted", "active_seconds", "earned", "balance", "last_seen"])
    for row in member_rows(project, sort=sort):
        member, share, passed = row["member"], row["agreement"] or {}, row["first_pass"] or {}
        counted = [row[kind][column] for kind in ("rank", "write") for column in ("today", "week", "all", "seconds")]
        rows.writerow(
            [
                *(plain(text) for text in (member.user.username, member.user.name)),
                annotator(member.user_id),
                member.role,
                int(member.is_active),
                int(member.user.is_simulated),
                *("" if value is None else value for value in counted),
                *(share.get(key, "") for key in ("value", "low", "high", "n")),
                *((row[check] or {}).get(key, "") for check in CHECKS for key in ("value", "low", "high", "n")),
                *(passed.get(key, "") for key in ("value", "low", "high", "n")),
                row["reviews"],
                row["retracted"],
                row["active"],
                *("; ".join(f"{each[key]} {each['currency']}" for each in row["money"]) for key in ("all", "balance")),
                row["seen"].isoformat() if row["seen"] else "",
            ]
        )
    return out.getvalue()


def rows_for(numbers: dict[str, Any]) -> list[dict[str, Any]]:
    """A person's numbers as rows of a table, with the kinds in words."""
    return [{"name": _("Rankings"), **numbers["rank"]}, {"name": _("Demonstrations"), **numbers["write"]}]
