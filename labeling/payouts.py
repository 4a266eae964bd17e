"""What each person is owed, and closing a period: the balance up to a moment becomes a payout row."""

import csv
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet, Sum
from django.utils import timezone

from hone.accounts.models import Project, User
from hone.audit.models import record
from labeling import booking
from labeling.currencies import payable
from labeling.export import annotator, plain
from labeling.models import LedgerEntry

Kind = LedgerEntry.Kind
_PAID = Q(kind=Kind.PAYOUT) | Q(corrects__kind=Kind.PAYOUT)


def balances(
    entries: QuerySet[LedgerEntry], *, by: tuple[str, ...] = ("user",), up_to: datetime | None = None
) -> list[dict[str, Any]]:
    """For each person (or what `by` names) and currency: earned, changed (bonuses, corrections), paid and balance.

    With a moment, what was earned or decided after it is left out, but never a payout: nothing is paid twice.
    """
    if up_to is not None:
        entries = entries.filter(Q(at__lte=up_to) | _PAID)
    rows = (
        entries.order_by()
        .values(*by, "currency")
        .annotate(
            earned=Sum("amount", filter=Q(kind=Kind.EARNED), default=Decimal(0)),
            paid=Sum("amount", filter=_PAID, default=Decimal(0)),
            balance=Sum("amount"),
        )
        .order_by(*by, "currency")
    )
    return [{**row, "paid": -row["paid"], "changed": row["balance"] - row["earned"] - row["paid"]} for row in rows]


@transaction.atomic
def close(
    *, project: Project, actor: User, user: User | None = None, up_to: datetime | None = None, reason: str = ""
) -> list[LedgerEntry]:
    """Pays out each balance above zero up to a moment, of one person or all, in whole coins; the rest stays.

    Never more than the balance of today: what was taken back or paid after the moment is not owed any more. Of two who
    close at once the second waits, and finds nothing left to pay.
    """
    booking.write(booking.lock(project))
    moment = min(up_to or timezone.now(), timezone.now())
    entries = LedgerEntry.objects.filter(project=project, **({"user": user} if user else {}))
    owed = {(row["user"], row["currency"]): row["balance"] for row in balances(entries)}
    made = []
    for row in balances(entries, up_to=moment):
        amount = payable(min(row["balance"], owed[row["user"], row["currency"]]), row["currency"])
        if amount > 0:
            made.append(
                LedgerEntry.objects.create(
                    project=project,
                    user_id=row["user"],
                    kind=Kind.PAYOUT,
                    amount=-amount,
                    currency=row["currency"],
                    up_to=moment,
                    reason=reason,
                    actor=actor,
                )
            )
    if made:
        record("pay.closed", project, actor=actor, up_to=moment.isoformat(), payouts=[entry.pk for entry in made])
    return made


COLUMNS = [
    "id", "at", "kind", "user_name", "name", "annotator", "amount", "currency", "ranking", "demonstration", "seconds",
    "corrects", "up_to", "reason", "by", "written_at",
]  # fmt: skip


class _Line:
    """csv writes into it and gets the line back."""

    def write(self, text: str) -> str:
        return text


def csv_lines(entries: QuerySet[LedgerEntry], *, bom: bool = False) -> Iterator[str]:
    """The entries as CSV, streamed; amounts with a point. With `bom`, spreadsheets read the names as UTF-8."""
    rows = csv.writer(_Line())
    if bom:
        yield "\ufeff"
    yield rows.writerow(COLUMNS)
    for entry in entries.select_related("user", "actor").order_by("id").iterator(chunk_size=2000):
        yield rows.writerow(
            [
                entry.pk,
                entry.at.isoformat(),
                entry.kind,
                plain(entry.user.username),
                plain(entry.user.name),
                annotator(entry.user_id),
                entry.amount,
                entry.currency,
                entry.ranking_id or "",
                entry.demonstration_id or "",
                "" if entry.seconds is None else entry.seconds,
                entry.corrects_id or "",
                entry.up_to.isoformat() if entry.up_to else "",
                plain(entry.reason),
                plain(entry.actor.username) if entry.actor else "",
                entry.written_at.isoformat(),
            ]
        )
