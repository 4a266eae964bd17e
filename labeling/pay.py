"""Rates, and what people decide about pay: taking it back and giving it back, corrections, bonuses.

Nothing in the ledger changes: each decision is a new row that points at the row it concerns, with its reason and who
decided. What labels earn is written by labeling.booking, what is paid out by labeling.payouts.
"""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from hone.accounts.models import Project, User
from hone.audit.models import record
from labeling import booking
from labeling.models import Demonstration, LedgerEntry, PayRate, Ranking

REASON_CHARS = 2000


class RateUsed(Exception):
    """Somebody was paid by this rate, so it stays."""


@transaction.atomic
def set_rate(
    *, project: Project, actor: User, user: User | None = None, effective_from: datetime | None = None, **values: Any
) -> PayRate:
    """Adds a rate for everybody or one person, from now on where no moment is given.

    From a moment that has passed, it also pays the labels since then that were not paid; entries that are there stay.
    """
    ledger = booking.lock(project)
    booking.write(ledger)  # what waits is paid by the rates until now, also where the new one reaches back
    start = effective_from or timezone.now()
    rate = PayRate.objects.create(project=project, user=user, effective_from=start, made_by=actor, **values)
    if effective_from is not None:
        booking.start_over(ledger)
    said = {name: str(value) for name, value in values.items() if value not in (None, "")}
    record(
        "pay.rate_set", rate, actor=actor, project=project.slug, user=user and user.pk, since=start.isoformat(), **said
    )
    return rate


@transaction.atomic
def withdraw_rate(*, rate: PayRate, actor: User) -> None:
    """Removes a rate that nobody was paid by. Raises RateUsed."""
    ledger = booking.lock(rate.project)
    booking.write(ledger)
    record("pay.rate_withdrawn", rate, actor=actor, project=rate.project.slug, basis=rate.basis)
    try:
        with transaction.atomic():
            rate.delete()
    except IntegrityError as error:  # ProtectedError is one, and so is what the trigger raises
        raise RateUsed from error
    booking.start_over(ledger)


def rate_of(project: Project, user: User, *, at: datetime | None = None) -> PayRate | None:
    """The rate by which this person is paid, or None."""
    valid = PayRate.objects.filter(project=project, effective_from__lte=at or timezone.now())
    own = valid.filter(user=user).first()
    return own if own and own.basis != PayRate.Basis.PROJECT else valid.filter(user=None).first()


_REVERSE = """
INSERT INTO labeling_ledgerentry (project_id, user_id, kind, amount, currency, {label}_id, corrects_id, cause, reason,
                                  actor_id, at, written_at)
SELECT project_id, user_id, 'reversal', -sum(amount), currency, {label}_id, min(id) FILTER (WHERE kind = 'earned'),
       %(cause)s, %(reason)s, %(actor)s, statement_timestamp(), statement_timestamp()
  FROM labeling_ledgerentry
 WHERE {label}_id = ANY(%(labels)s)
 GROUP BY project_id, user_id, currency, {label}_id
HAVING sum(amount) > 0
 ORDER BY {label}_id
"""
_RESTORE = """
INSERT INTO labeling_ledgerentry (project_id, user_id, kind, amount, currency, {label}_id, corrects_id, cause, reason,
                                  actor_id, at, written_at)
SELECT taken.project_id, taken.user_id, 'reversal', -taken.amount, taken.currency, taken.{label}_id, taken.id,
       %(cause)s, %(reason)s, %(actor)s, statement_timestamp(), statement_timestamp()
  FROM labeling_ledgerentry AS taken
 WHERE taken.{label}_id = ANY(%(labels)s) AND taken.kind = 'reversal' AND taken.amount < 0 AND taken.cause = %(cause)s
   AND NOT EXISTS (SELECT FROM labeling_ledgerentry AS back
                    WHERE back.corrects_id = taken.id AND back.kind = 'reversal')
 ORDER BY taken.id
"""


def reverse(*, labels: Iterable[Demonstration | Ranking], reason: str, actor: User, cause: str = "") -> int:
    """Takes back what these labels of one project earned, corrections included; returns how many rows were written.

    Again for the same labels it writes nothing. `cause` names what it belongs to ("retraction:7"), so that `restore`
    gives back only that. The caller may be in a transaction; the ledger stays locked until it ends.
    """
    return _write(_REVERSE, labels=labels, reason=reason, actor=actor, cause=cause)


def restore(*, labels: Iterable[Demonstration | Ranking], reason: str, actor: User, cause: str = "") -> int:
    """Gives back what `reverse` took from these labels for the same cause, once."""
    return _write(_RESTORE, labels=labels, reason=reason, actor=actor, cause=cause)


@transaction.atomic
def _write(sql: str, *, labels: Iterable[Demonstration | Ranking], reason: str, actor: User, cause: str) -> int:
    chosen = list(labels)
    if not chosen:
        return 0
    booking.write(booking.lock(chosen[0].project))  # a label of a moment ago has its entry before it is reversed
    written = 0
    with connection.cursor() as cursor:
        for model, label in ((Ranking, "ranking"), (Demonstration, "demonstration")):
            ids = [row.pk for row in chosen if isinstance(row, model)]
            given: dict[str, Any] = {"labels": ids, "cause": cause, "reason": reason, "actor": actor.pk}
            cursor.execute(sql.format(label=label), given)
            written += cursor.rowcount
    return written


@transaction.atomic
def correct(*, entry: LedgerEntry, amount: Decimal, reason: str, actor: User) -> LedgerEntry:
    """Adds an amount, below zero to take away, to what an entry says.

    A correction of a correction corrects the entry that it is about, so that what belongs to a payout is one step away.
    """
    booking.lock(entry.project)
    while entry.kind == LedgerEntry.Kind.CORRECTION and entry.corrects is not None:
        entry = entry.corrects
    made = LedgerEntry.objects.create(
        project=entry.project,
        user=entry.user,
        kind=LedgerEntry.Kind.CORRECTION,
        amount=amount,
        currency=entry.currency,
        ranking_id=entry.ranking_id,
        demonstration_id=entry.demonstration_id,
        corrects=entry,
        reason=reason,
        actor=actor,
    )
    record("pay.corrected", made, actor=actor, project=entry.project.slug, corrects=entry.pk, amount=str(amount))
    return made


@transaction.atomic
def bonus(*, project: Project, user: User, amount: Decimal, currency: str, reason: str, actor: User) -> LedgerEntry:
    """Adds an amount above zero that belongs to no label."""
    booking.lock(project)
    made = LedgerEntry.objects.create(
        project=project,
        user=user,
        kind=LedgerEntry.Kind.BONUS,
        amount=amount,
        currency=currency,
        reason=reason,
        actor=actor,
    )
    record("pay.bonus", made, actor=actor, project=project.slug, user=user.pk, amount=str(amount), currency=currency)
    return made
