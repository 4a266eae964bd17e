"""The item that follows, fetched while a person still works on theirs, so that Submit shows it at once.

Its slot is leased to the same person and marked `is_ahead`: one a person, project and kind. A submit or skip of the
item in hand moves it up (labeling.statements), renewing that item renews it, leaving the page gives it back. It never
starves anybody: a hand-out that finds nothing open takes it, as long as nothing was entered in it.
"""

import uuid

from django.db import transaction

from hone import prepared
from hone.accounts.models import Project, User
from labeling import hidden, qualifying, statements
from labeling.assignment import LeaseLost, lease, lock_held, lock_person, lock_to_hand_out, release, renewed, slot_of
from labeling.models import Slot


@transaction.atomic
def fetch(*, slot_id: int, user: User, lease_token: uuid.UUID, project: Project) -> Slot | None:
    """The slot that waits behind this one, leased now or before; None where nothing is open or this one is lost."""
    # Two tabs that fetch at once must not take two.
    rates = lock_to_hand_out(user=user, project=project)
    try:
        current = lock_held(slot_id=slot_id, user=user, lease_token=lease_token, project=project)
    except LeaseLost:
        return None
    if current.is_ahead or current.project_id != project.pk:
        return None
    asked = {"user": user.pk, "project": project.pk, "kind": current.kind}
    waiting = prepared.row(statements.AHEAD, asked)
    if waiting is not None:
        slot = slot_of(waiting, project)
        if current.kind == "write" or not slot.wrote_for:
            return renewed(slot, project)
        release(slot)
    # Returned work comes first, and by a page of its own; so do the qualification test and a new guideline version.
    if qualifying.is_missing(project=project, user=user):
        return None
    if Slot.objects.filter(holder=user, project=project, kind=current.kind, state=Slot.State.RETURNED).exists():
        return None
    taking = {"user": user.pk, "project": project.pk, "confirm": project.confirm_guideline}
    found = prepared.row(statements.TAKE[current.kind, rates["has_lanes"]], taking)
    if found is None or found["guideline_unread"]:
        return None
    found = hidden.instead_of(found, project=project, user=user, rates=rates, after=current.pk)
    return lease(slot=slot_of(found, project), project=project, user=user, is_ahead=True)


@transaction.atomic
def give_back(*, slot_id: int, user: User, lease_token: uuid.UUID) -> bool:
    """Opens a slot that waited, as a page does that is left; says whether it did. The one in hand stays as it is."""
    lock_person(user)
    try:
        slot = lock_held(slot_id=slot_id, user=user, lease_token=lease_token)
    except LeaseLost:
        return False
    if not slot.is_ahead:
        return False
    release(slot)
    return True


def lay_aside(slot: Slot) -> None:
    """What its holder has in hand waits behind `slot` from here on, and what waited goes back.

    Work that was returned to them waits without a lease, as it did: nobody else may take it, and it comes next.

    The caller holds the person's lock and is about to put `slot` into their hand.
    """
    leased = Slot.objects.filter(
        holder=slot.holder_id, project=slot.project_id, kind=slot.kind, state=Slot.State.LEASED
    ).exclude(pk=slot.pk)
    for waiting in leased.filter(is_ahead=True).select_for_update():
        release(waiting)
    in_hand = leased.select_for_update().order_by("-leased_at").first()
    if in_hand is not None and in_hand.review_id is not None:
        release(in_hand)
    elif in_hand is not None:
        in_hand.is_ahead = True
        in_hand.save(update_fields=["is_ahead"])
