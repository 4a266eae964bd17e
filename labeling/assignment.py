"""Handing out the next item: leases on slots.

A slot is leased to one person for some minutes, renewed by the open page and freed by a sweep. Taking one is a
single indexed SELECT ... FOR UPDATE SKIP LOCKED over the open slots, whatever the project's size.
"""

import random
import uuid
from datetime import timedelta

from django.conf import settings
from django.db import models, transaction
from django.db.models.functions import Now
from django.utils import timezone

from hone.accounts.models import Project, User
from labeling import guidelines, ranking_forms
from labeling.models import Demonstration, Skip, Slot


class LeaseLost(Exception):
    """The slot is no longer this person's: the lease ran out, or the slot was submitted by another tab."""


@transaction.atomic
def next_slot(*, project: Project, user: User, kind: str) -> Slot | None:
    """The slot that the user holds already, with its lease renewed, or else a newly leased one, or None.

    Never an item that the user submitted or skipped, never a ranking for a prompt whose demonstration is theirs.
    """
    # Two tabs of one person must not take two slots of one item, which the query below could not see until the
    # other transaction commits.
    lock_person(user)
    held = (
        Slot.objects.select_for_update(of=("self",))
        .filter(holder=user, project=project, kind=kind, state=Slot.State.LEASED, lease_expires_at__gt=Now())
        .order_by("leased_at")
        .first()
    )
    if held is not None and kind == "rank" and wrote_for(user=user, prompt_id=held.item.prompt_id):
        release(held)
        held = None
    if held is not None:
        held.lease_expires_at = _expiry(project)
        held.save(update_fields=["lease_expires_at"])
        return held
    free_expired(project=project)
    slot = open_slots(project=project, user=user, kind=kind).select_for_update(skip_locked=True, of=("self",)).first()
    if slot is None:
        return None
    return _lease(slot=slot, project=project, user=user)


def lock_person(user: User) -> None:
    """Until the caller's transaction ends, nobody else takes, submits or drafts in this person's name."""
    User.objects.select_for_update(no_key=True).get(pk=user.pk)


def wrote_for(*, user: User, prompt_id: int | None) -> bool:
    """Whether a demonstration for this prompt is the user's: then they must not rank answers to it."""
    return Demonstration.objects.filter(prompt=prompt_id, author=user).exists()


def open_slots(*, project: Project | models.OuterRef, user: User, kind: str) -> models.QuerySet[Slot]:
    """Open slots that the user may take, in the order in which they are handed out."""
    taken = Slot.objects.filter(item=models.OuterRef("item"), holder=user)
    skipped = Skip.objects.filter(item=models.OuterRef("item"), author=user)
    slots = Slot.objects.filter(
        ~models.Exists(taken), ~models.Exists(skipped), project=project, kind=kind, state=Slot.State.OPEN
    )
    if kind == "rank":
        own = Demonstration.objects.filter(prompt=models.OuterRef("item__prompt"), author=user)
        slots = slots.filter(~models.Exists(own))
    return slots.order_by("-priority", "draw", "index")


def _lease(*, slot: Slot, project: Project, user: User) -> Slot:
    """The caller holds the slot's row lock."""
    slot.state = Slot.State.LEASED
    slot.holder = user
    slot.lease_token = uuid.uuid4()
    slot.leased_at = timezone.now()
    slot.lease_expires_at = _expiry(project)
    slot.order_shown = _draw_order(slot=slot, user=user)
    # What the page shows now is what the label will have been made under, whatever is published meanwhile.
    slot.guideline = guidelines.current(project)
    slot.ranking_form = ranking_forms.of(project) if slot.kind == "rank" else None
    slot.save(update_fields=["state", *(name for name in _FREED if name != "state")])
    return slot


def _draw_order(*, slot: Slot, user: User) -> list[int]:
    """An order of the answers for this person: position must not speak for an answer.

    Drawn from a secret and the pair (item, person), so that a draft still fits when the item is leased again.
    """
    indexes = sorted(slot.item.completions.values_list("index", flat=True))
    random.Random(f"{settings.SECRET_KEY}:{slot.item_id}:{user.pk}").shuffle(indexes)
    return indexes


def _expiry(project: Project) -> models.expressions.Combinable:
    # The database's clock judges leases, so the web servers' clocks need not agree.
    return Now() + timedelta(seconds=project.lease_seconds)


def lock_held(*, slot_id: int, user: User, lease_token: uuid.UUID) -> Slot:
    """The slot under a row lock, if the user's lease on it is alive. Raises LeaseLost otherwise.

    The caller is in a transaction; the lock keeps the sweep and other tabs away until it ends.
    """
    slot = (
        Slot.objects.select_for_update(of=("self",))
        .select_related("item__prompt", "project", "guideline")
        .filter(pk=slot_id, holder=user, lease_token=lease_token, state=Slot.State.LEASED)
        .filter(lease_expires_at__gt=Now())
        .first()
    )
    if slot is None:
        raise LeaseLost
    return slot


@transaction.atomic
def renew(*, slot_id: int, user: User, lease_token: uuid.UUID) -> Slot:
    """Extends a lease that is still alive. Raises LeaseLost."""
    slot = lock_held(slot_id=slot_id, user=user, lease_token=lease_token)
    slot.lease_expires_at = _expiry(slot.project)
    slot.save(update_fields=["lease_expires_at"])
    slot.refresh_from_db(fields=["lease_expires_at"])
    return slot


_FREED = {
    "state": Slot.State.OPEN,
    "holder": None,
    "lease_token": None,
    "leased_at": None,
    "lease_expires_at": None,
    "order_shown": None,
    "guideline": None,
    "ranking_form": None,
}


def release(slot: Slot) -> None:
    """Opens the slot again. The caller holds its row lock."""
    for name, value in _FREED.items():
        setattr(slot, name, value)
    slot.save(update_fields=list(_FREED))


def free_expired(*, project: Project | None = None) -> int:
    """Opens slots whose lease ran out; returns how many. Rows that a submit holds right now are left alone."""
    with transaction.atomic():
        expired = Slot.objects.select_for_update(skip_locked=True).filter(
            state=Slot.State.LEASED, lease_expires_at__lte=Now()
        )
        if project is not None:
            expired = expired.filter(project=project)
        return Slot.objects.filter(pk__in=list(expired.values_list("pk", flat=True)[:1000])).update(**_FREED)
