"""Reading the ledger for pages: a person's money, and what a project pays."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Q, QuerySet, Sum

from hone.accounts.models import Project, User
from labeling import days, payouts
from labeling.models import LedgerEntry, PayRate

_NOT_PAID_OUT = ~Q(kind=LedgerEntry.Kind.PAYOUT) & (Q(corrects=None) | ~Q(corrects__kind=LedgerEntry.Kind.PAYOUT))


def is_paid(project: Project) -> bool:
    """Whether the project has, or had, a rate of pay."""
    return PayRate.objects.filter(project=project).exists()


def of_person(project: Project, user: User) -> list[dict[str, Any]]:
    """For each currency {currency, today, week, all, paid, balance}: what they got, with bonuses and corrections."""
    rows = (
        LedgerEntry.objects.filter(project=project, user=user)
        .order_by()
        .values("currency")
        .annotate(
            today=Sum("amount", filter=_NOT_PAID_OUT & Q(at__gte=days.midnight()), default=Decimal(0)),
            week=Sum("amount", filter=_NOT_PAID_OUT & Q(at__gte=days.monday()), default=Decimal(0)),
            all=Sum("amount", filter=_NOT_PAID_OUT, default=Decimal(0)),
            balance=Sum("amount"),
        )
        .order_by("currency")
    )
    return [{**row, "paid": row["all"] - row["balance"]} for row in rows]


def of_members(project: Project) -> dict[int, list[dict[str, Any]]]:
    """By user: payouts.balances of the project."""
    found: dict[int, list[dict[str, Any]]] = {}
    for row in payouts.balances(LedgerEntry.objects.filter(project=project)):
        found.setdefault(row["user"], []).append({**row, "all": row["earned"] + row["changed"]})
    return found


def by_project(user: User) -> dict[int, list[dict[str, Any]]]:
    """By project: payouts.balances of the user's own entries."""
    found: dict[int, list[dict[str, Any]]] = {}
    for row in payouts.balances(LedgerEntry.objects.filter(user=user), by=("project",)):
        found.setdefault(row["project"], []).append({**row, "all": row["earned"] + row["changed"]})
    return found


def of_standing_labels(*, project: Project, author: User, since: datetime | None) -> list[dict[str, Any]]:
    """What the person's standing labels since a moment stand at in the ledger, for each currency.

    As retraction.retract takes them back: answers to hidden checks stay paid.
    """
    about = Q()
    for label in ("ranking", "demonstration"):
        standing: dict[str, Any] = {f"{label}__isnull": False, f"{label}__retraction__isnull": True}
        if since:
            standing[f"{label}__created_at__gte"] = since
        if label == "ranking":
            standing["ranking__hidden"] = ""
        about |= Q(**standing)
    entries = LedgerEntry.objects.filter(about, project=project, user=author).order_by()
    rows: Any = entries.values("currency").annotate(amount=Sum("amount"))
    return [row for row in rows if row["amount"] > 0]


def entries_of(project: Project, user: User | None = None) -> QuerySet[LedgerEntry]:
    """The ledger's rows, newest first, with who and what they name."""
    rows = LedgerEntry.objects.filter(project=project, **({"user": user} if user else {}))
    return rows.select_related("user", "actor", "corrects").order_by("-id")
