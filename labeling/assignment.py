"""Handing out the next item: leases on slots.

A slot is leased to one person for some minutes, renewed by the open page and freed by a sweep. Taking one is a
single indexed SELECT ... FOR UPDATE SKIP LOCKED over the open slots, whatever the project's size
(labeling.statements).
"""

import json
import random
import uuid
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db import models, transaction
from django.db.models.functions import Now

from hone import prepared
from hone.accounts.models import Project, User
from labeling import guidelines, ranking_forms, statements
from labeling.models import Completion, Demonstration, Guideline, Item, Prompt, Skip, Slot


class LeaseLost(Exception):
    """The slot is no longer this person's: the lease ran out, or the slot was submitted by another tab."""


@transaction.atomic
def next_slot(*, project: Project, user: User, kind: str) -> Slot | None:
    """The slot that the user holds already, with its lease renewed, or else a newly leased one, or None.

    Never an item that the user submitted or skipped, never a ranking for a prompt whose demonstration is theirs.
    """
    # Two tabs of one person must not take two slots of one item, which the statements below could not see until the
    # other transaction commits.
    lock_person(user)
    asked = {"user": user.pk, "project": project.pk, "kind": kind}
    held = prepared.row(statements.HELD, asked)
    if held is not None:
        slot = _slot(held, project)
        if kind == "rank" and wrote_for(user=user, prompt_id=slot.item.prompt_id):
            give_back(slot)
        elif held["alive"]:
            return _renewed(slot, project)
        else:
            slot.guideline = guidelines.current(project)
            return _lease(slot=slot, project=project, user=user)
    found = prepared.row(statements.TAKE[kind], asked)
    if found is None and free_expired(project=project):
        found = prepared.row(statements.TAKE[kind], asked)
    return _lease(slot=_slot(found, project), project=project, user=user) if found else None


def _slot(row: Mapping[str, Any], project: Project | None = None) -> Slot:
    """The slot of a row of labeling.statements, with its item, prompt, answers and guideline; without a project's row
    its project is read when it is asked for."""
    slot = prepared.instance(Slot, row)
    item = prepared.instance(Item, {**row, "id": row["item_id"]})
    item.prompt = prepared.instance(Prompt, {**row, "id": row["prompt_id"]}) if row["prompt_id"] else None
    answers = item.completions.all()
    answers._result_cache = [
        prepared.instance(Completion, {"id": pk, "item_id": item.pk, "index": index, "text": text})
        for pk, index, text in row["answers"] or ()
    ]
    item._prefetched_objects_cache = {"completions": answers}  # type: ignore[attr-defined]
    slot.item = item
    slot.guideline = prepared.instance(Guideline, {**row, "id": row["guideline_id"]}) if row["guideline_id"] else None
    if project is not None:
        slot.project = project
    return slot


def lock_person(user: User) -> None:
    """Until the caller's transaction ends, nobody else takes, submits or drafts in this person's name."""
    prepared.rows(statements.LOCK_PERSON, {"user": user.pk})


def wrote_for(*, user: User, prompt_id: int | None) -> bool:
    """Whether a demonstration for this prompt is the user's: then they must not rank answers to it."""
    return bool(prepared.rows(statements.WROTE_FOR, {"prompt": prompt_id, "user": user.pk}))


def open_slots(*, project: Project | models.OuterRef, user: User, kind: str) -> models.QuerySet[Slot]:
    """Open slots that the user may take, for counting them; statements.TAKE chooses one."""
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
    """The caller holds the slot's row lock; its guideline is the one to show."""
    slot.state = Slot.State.LEASED
    slot.holder = user
    slot.lease_token = uuid.uuid4()
    slot.order_shown = _draw_order(slot=slot, user=user)
    slot.ranking_form = ranking_forms.of(project) if slot.kind == "rank" else None
    lease = {
        "slot": slot.pk,
        "user": user.pk,
        "token": slot.lease_token,
        "seconds": project.lease_seconds,
        "order": json.dumps(slot.order_shown),
        # What the page shows now is what the label will have been made under, whatever is published meanwhile.
        "guideline": slot.guideline_id,
        "form": json.dumps(slot.ranking_form) if slot.ranking_form else None,
    }
    [times] = prepared.rows(statements.LEASE, lease)
    slot.leased_at, slot.lease_expires_at = times["leased_at"], times["lease_expires_at"]
    return slot


def _renewed(slot: Slot, project: Project) -> Slot:
    """The caller holds the slot's row lock."""
    [times] = prepared.rows(statements.RENEW, {"slot": slot.pk, "seconds": project.lease_seconds})
    slot.lease_expires_at = times["lease_expires_at"]
    return slot


def _draw_order(*, slot: Slot, user: User) -> list[int]:
    """An order of the answers for this person: position must not speak for an answer.

    Drawn from a secret and the pair (item, person), so that a draft still fits when the item is leased again.
    """
    indexes = sorted(answer.index for answer in slot.item.completions.all())
    random.Random(f"{settings.SECRET_KEY}:{slot.item_id}:{user.pk}").shuffle(indexes)
    return indexes


def lock_held(*, slot_id: int, user: User, lease_token: uuid.UUID, project: Project | None = None) -> Slot:
    """The slot under a row lock, if the user's lease on it is alive. Raises LeaseLost otherwise.

    `project` is the slot's, from a caller that has read it already.

    The caller is in a transaction; the lock keeps the sweep and other tabs away until it ends.
    """
    found = prepared.row(statements.LOCK_HELD, {"slot": slot_id, "user": user.pk, "token": lease_token})
    if found is None:
        raise LeaseLost
    slot = _slot(found, project)
    slot.review_rules = found["review_rules"]
    return slot


@transaction.atomic
def renew(*, slot_id: int, user: User, lease_token: uuid.UUID) -> Slot:
    """Extends a lease that is still alive. Raises LeaseLost."""
    slot = lock_held(slot_id=slot_id, user=user, lease_token=lease_token)
    return _renewed(slot, slot.project)


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
# Returned work stays its author's.
_RETURNED = {"state": Slot.State.RETURNED, "lease_token": None, "leased_at": None, "lease_expires_at": None}


def give_back(slot: Slot) -> None:
    """Lets somebody else do it: opens the slot, or another one where this person's work was returned to them.

    The caller holds its row lock.
    """
    if slot.review_id is None:
        release(slot)
    else:
        from labeling.review import returning  # it needs lock_person

        returning.give_up(slot)


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
        rows = list(expired.values_list("pk", "review")[:1000])
        opened = Slot.objects.filter(pk__in=[pk for pk, review in rows if review is None]).update(**_FREED)
        if back := [pk for pk, review in rows if review is not None]:
            Slot.objects.filter(pk__in=back).update(**_RETURNED)
        return opened
