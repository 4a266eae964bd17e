"""Writing into the ledger what submitted labels have earned: by a tick, never while somebody submits.

Each label of a person gets one entry, at the rate that was valid when it was submitted. It can run at any time, any
number of times: the database holds one entry a label, and one process at a time works on a project.
"""

from typing import Any

from django.db import connection, transaction
from django.db.models import Max, Min
from django.db.models.functions import Now

from hone.accounts.models import Project
from labeling.models import Demonstration, Ledger, Ranking
from labeling.models.pay import REPLACED

# What is counted at an hourly rate is the time in use, cut at the rate's cap. Imported labels (no slot) and those of
# scripts are nobody's work; a retracted label was work all the same. Labels whose author may still take them back
# (labeling.settling) wait for a later tick.
_EARN = """
INSERT INTO labeling_ledgerentry
  (project_id, user_id, kind, amount, currency, {label}_id, rate_id, seconds, cause, reason, at, written_at)
SELECT label.project_id, label.author_id, 'earned',
       round(CASE rate.basis WHEN 'piece' THEN rate.per_{label} ELSE rate.per_hour * counted.seconds / 3600 END, 4),
       rate.currency, label.id, rate.id, CASE rate.basis WHEN 'hourly' THEN counted.seconds END,
       '', '', label.created_at, statement_timestamp()
  FROM labeling_{label} AS label
  JOIN labeling_slot AS slot ON slot.id = label.slot_id
  JOIN labeling_payrate AS rate ON rate.id = coalesce(
    (SELECT CASE WHEN own.basis <> 'project' THEN own.id END FROM labeling_payrate AS own
      WHERE own.project_id = %(project)s AND own.user_id = label.author_id AND own.effective_from <= label.created_at
      ORDER BY own.effective_from DESC, own.id DESC LIMIT 1),
    (SELECT everybody.id FROM labeling_payrate AS everybody
      WHERE everybody.project_id = %(project)s AND everybody.user_id IS NULL
        AND everybody.effective_from <= label.created_at
      ORDER BY everybody.effective_from DESC, everybody.id DESC LIMIT 1))
 CROSS JOIN LATERAL (SELECT least(label.active_seconds, rate.seconds_cap) AS seconds) AS counted
 WHERE label.project_id = %(project)s AND NOT label.simulated AND label.id > %(through)s
   AND (slot.final_at IS NULL OR slot.final_at <= statement_timestamp())
   AND rate.basis IN ('piece', 'hourly')
   AND NOT EXISTS (SELECT FROM labeling_ledgerentry AS entry
                    WHERE entry.{label}_id = label.id AND entry.kind = 'earned')
 ORDER BY label.id
ON CONFLICT DO NOTHING
"""
# Work that was returned and corrected is one piece, paid once: for the label that came of it, at the rate of that one's
# submit. Time that was worked stays paid. `cause` names the review that returned it, whose reviewer is the actor.
_REPLACE = """
INSERT INTO labeling_ledgerentry (project_id, user_id, kind, amount, currency, {label}_id, corrects_id, cause, reason,
                                  actor_id, at, written_at)
SELECT before.project_id, before.user_id, 'reversal', -before.amount, before.currency, returned.{label}_id,
       before.earned_id, 'review:' || returned.id, %(reason)s, returned.reviewer_id, label.created_at,
       statement_timestamp()
  FROM labeling_{label} AS label
  JOIN labeling_review AS review ON review.{label}_id = label.id
  JOIN labeling_review AS returned ON returned.id = review.previous_id AND returned.reviewer_id IS NOT NULL
  JOIN labeling_ledgerentry AS own ON own.{label}_id = label.id AND own.kind = 'earned'
  JOIN labeling_payrate AS rate ON rate.id = own.rate_id AND rate.basis = 'piece'
 CROSS JOIN LATERAL (
    SELECT project_id, user_id, currency, sum(amount) AS amount,
           min(entry.id) FILTER (WHERE kind = 'earned') AS earned_id
      FROM labeling_ledgerentry AS entry
     WHERE entry.{label}_id = returned.{label}_id
     GROUP BY project_id, user_id, currency
    HAVING sum(amount) > 0) AS before
  JOIN labeling_ledgerentry AS first ON first.id = before.earned_id
  JOIN labeling_payrate AS rate_before ON rate_before.id = first.rate_id AND rate_before.basis = 'piece'
 WHERE label.project_id = %(project)s AND label.id > %(through)s
   AND NOT EXISTS (SELECT FROM labeling_ledgerentry AS entry
                    WHERE entry.{label}_id = returned.{label}_id AND entry.cause = 'review:' || returned.id)
 ORDER BY label.id
"""
_KINDS = ((Ranking, "ranking"), (Demonstration, "demonstration"))


def book_all() -> int:
    """Every project that pays, each in a transaction of its own; returns how many entries were written."""
    return sum(book(project_id) for project_id in Ledger.objects.values_list("project_id", flat=True))


@transaction.atomic
def book(project_id: int) -> int:
    """Writes what the project's labels have earned. Where somebody else holds the ledger, the next tick does it."""
    ledger = Ledger.objects.select_for_update(skip_locked=True).filter(pk=project_id).first()
    return write(ledger) if ledger else 0


def lock(project: Project) -> Ledger:
    """The project's ledger until the caller's transaction ends: others who add to it wait, the tick passes it over."""
    Ledger.objects.get_or_create(project=project)
    return Ledger.objects.select_for_update().get(project=project)


def start_over(ledger: Ledger) -> None:
    """All labels are looked at again, since a rate came or went that reaches back. The caller holds the lock."""
    Ledger.objects.filter(pk=ledger.pk).update(
        rankings_through=0, rankings_seen=0, demonstrations_through=0, demonstrations_seen=0, seen_xid=0
    )


def write(ledger: Ledger) -> int:
    """Adds the entries that are missing behind the ledger's place, and moves the place on. The caller holds the lock.

    A label may commit after one with a higher id. An id is drawn by a transaction that has a number already, since
    every submit locks the person first; so all labels up to `seen` are there once the transactions with numbers below
    `seen_xid` have ended. Until then what lies behind the place is looked at again. Nor does the place pass a label
    that its author may still take back, which may have committed after `seen` was noted.
    """
    written = 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
        all_ended = cursor.fetchone()[0] >= ledger.seen_xid  # before the INSERT, which then sees what they wrote
        # Before the INSERT too: what is final for it and was not a moment earlier is only looked at once more.
        open_from = {label: _open_from(_of_people(model, ledger)) for model, label in _KINDS}
        for _model, label in _KINDS:
            given = {"project": ledger.pk, "through": getattr(ledger, f"{label}s_through"), "reason": REPLACED}
            cursor.execute(_EARN.format(label=label), given)
            written += cursor.rowcount
            cursor.execute(_REPLACE.format(label=label), given)
            written += cursor.rowcount
        if all_ended:
            for model, label in _KINDS:
                seen, first_open = getattr(ledger, f"{label}s_seen"), open_from[label]
                setattr(ledger, f"{label}s_through", min(seen, first_open - 1) if first_open else seen)
                setattr(ledger, f"{label}s_seen", _newest(model, ledger))
            cursor.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")  # after the newest ids
            ledger.seen_xid = cursor.fetchone()[0]
            ledger.save()
    return written


def _newest(model: type[Ranking] | type[Demonstration], ledger: Ledger) -> int:
    """The newest label's id, but none from the first on that its author may still take back."""
    own = _of_people(model, ledger)
    open_from = _open_from(own)
    before = own.filter(id__lt=open_from) if open_from else own
    return before.aggregate(newest=Max("id"))["newest"] or 0


def _of_people(model: type[Ranking] | type[Demonstration], ledger: Ledger) -> Any:
    return model._default_manager.filter(project=ledger.pk, simulated=False).order_by()


def _open_from(labels: Any) -> int | None:
    """The first one's id that its author may still take back."""
    first: int | None = labels.filter(slot__final_at__gt=Now()).aggregate(first=Min("id"))["first"]
    return first
