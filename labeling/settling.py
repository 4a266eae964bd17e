"""When a label is final. For some seconds after a submit its author may take it back, and nothing is built on it.

A slot's `final_at` is that moment, by the database's clock; labels whose submit did not ask for the window have none.
Whatever keeps a label for longer than a page shows it (a snapshot, an export, a round's gate) asks here which labels
to leave out.
"""

from datetime import datetime

from django.db import connection, models, transaction

from hone.accounts.models import Project
from labeling.models import Demonstration, Slot

# The page offers it for ten seconds; the rest is for the way there and back.
SHOWN_SECONDS = 10
OPEN_SECONDS = SHOWN_SECONDS + 5

# The first key of the advisory locks, which belong to the whole database.
_LOCK = 0x5E771E


def hold_still(project_id: int) -> None:
    """Until the caller's transaction ends, `now` of this project waits. Taken before the window is looked at."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s, %s)", [_LOCK, project_id % 2**31])


def now(project: Project) -> datetime:
    """The moment by which to judge what is final, once everything that was allowed before it has happened.

    A label that is final by it was not being taken back then: that began earlier, holds the lock, and is waited for.
    """
    key = [_LOCK, project.pk % 2**31]
    # In a transaction, so that a pooler leaves us one connection for all three.
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
        # Let go at once: it is a turnstile, and freezing may take a minute.
        cursor.execute("SELECT pg_advisory_lock(%s, %s)", key)
        cursor.execute("SELECT pg_advisory_unlock(%s, %s)", key)
    return moment


def open_slots(project: Project, *, at: datetime) -> models.QuerySet[Slot]:
    """The submitted slots whose label may still be taken back. There are never many: those of the last seconds."""
    return Slot.objects.filter(project=project, final_at__gt=at).order_by()


def final(labels: models.QuerySet, *, project: Project, by: str = "slot") -> models.QuerySet:
    """Only labels of the project that stay; `by` names their slot."""
    return labels.exclude(**{f"{by}__in": open_slots(project, at=now(project)).values("pk")})


def open_prompts(project: Project) -> models.QuerySet:
    """Ids of prompts that were written with a label that may still be taken back."""
    slots = open_slots(project, at=now(project)).filter(kind="write", item__prompt=None)
    return Demonstration.objects.filter(slot__in=slots.values("pk")).order_by().values("prompt")
