"""Withdrawing an item that nobody can judge, and restoring it.

A withdrawn item is handed out no more. Labels that it has stay as they are. Somebody who holds it at that moment may
still submit; what they give back instead is withdrawn too (assignment.release, assignment.free_expired).
"""

from django.db import transaction
from django.utils import timezone

from hone.accounts.models import User
from hone.audit.models import record
from labeling import lanes
from labeling.models import Item, Slot


class NotPossible(Exception):
    """Somebody else withdrew or restored the item meanwhile."""


@transaction.atomic
def withdraw(*, item: Item, actor: User) -> int:
    """Closes the item's open slots; returns how many. Raises NotPossible."""
    found = _locked(item)
    if found.withdrawn:
        raise NotPossible
    found.withdrawn, found.withdrawn_at, found.withdrawn_by = Item.Withdrawn.LEAD, timezone.now(), actor
    found.save(update_fields=["withdrawn", "withdrawn_at", "withdrawn_by"])
    # A slot that is being leased at this moment is waited for, and is then not open any more.
    closed = Slot.objects.filter(item=found, state=Slot.State.OPEN).update(state=Slot.State.WITHDRAWN)
    record("item.withdrawn", found, actor=actor, project=found.project.slug, slots=closed)
    return closed


@transaction.atomic
def restore(*, item: Item, actor: User) -> int:
    """Opens the slots that were withdrawn; returns how many. Raises NotPossible."""
    found = _locked(item)
    if not found.withdrawn:
        raise NotPossible
    why, found.withdrawn, found.withdrawn_at, found.withdrawn_by = found.withdrawn, "", None, None
    found.save(update_fields=["withdrawn", "withdrawn_at", "withdrawn_by"])
    opened = Slot.objects.filter(item=found, state=Slot.State.WITHDRAWN, hidden="").update(state=Slot.State.OPEN)
    record("item.restored", found, actor=actor, project=found.project.slug, why=why, slots=opened)
    return opened


def _locked(item: Item) -> Item:
    # Of two leads at once the second finds what the first one did; no_key, so that a submit may refer to the item.
    found = Item.objects.select_for_update(no_key=True).get(pk=item.pk)
    lanes.hold_matching(found.project_id)  # a switch would look again and again at slots of which we lock some
    return found
