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
from django.db import transaction
from django.db.models import BigIntegerField
from django.db.models.functions import Now
from django.http import Http404

from hone import prepared
from hone.accounts import access
from hone.accounts.models import Project, User
from labeling import guideline_reading, guidelines, hidden, lanes, qualifying, ranking_forms, statements
from labeling.models import Completion, Guideline, Hidden, Item, Prompt, Slot


class LeaseLost(Exception):
    """The slot is no longer this person's: the lease ran out, or the slot was submitted by another tab."""

    draft_saved = False  # whether the refused answer is kept (labeling.responses.submit)


class GuidelineUnread(Exception):
    """The person has to read `guideline` before their next item; nothing was handed out."""

    def __init__(self, guideline: Guideline) -> None:
        super().__init__(guideline)
        self.guideline = guideline


@transaction.atomic
def next_slot(*, project: Project, user: User, kind: str) -> Slot | None:
    """The slot that the user holds already, with its lease renewed, or else a newly leased one, or None.

    Never an item that the user submitted or skipped, but as a hidden repeat; never a ranking for a prompt whose
    demonstration is theirs.
    Raises qualifying.NotQualified, and GuidelineUnread; a slot whose lease is alive may be finished under the version
    it was handed out with.
    """
    return _next(project=project, user=user, kind=kind, rates=lock_to_hand_out(user=user, project=project))


@transaction.atomic
def next_slot_in(slug: str, *, user: User, kind: str) -> Slot | None:
    """next_slot of the project under this address, read with the person's lock. Raises as access.project_for too."""
    found = prepared.row(statements.ENTER, {"slug": slug, "user": user.pk})
    project = access.admit(user, found)
    assert found is not None
    return _next(project=project, user=user, kind=kind, rates=found)


def _next(*, project: Project, user: User, kind: str, rates: Mapping[str, Any]) -> Slot | None:
    """The caller holds the person's lock: two tabs of one person must not take two slots of one item, which the
    statements below could not see until the other transaction commits."""
    taking = {"user": user.pk, "project": project.pk, "confirm": project.confirm_guideline}
    take = statements.TAKE[kind, rates["has_lanes"]]
    found = prepared.row(statements.NEXT[kind, rates["has_lanes"]], taking) or prepared.row(take, taking)
    if found is not None and found["was_held"]:
        slot = slot_of(found, project)
        if found["is_ahead"]:
            # The item in hand was lost, and it comes first if it is still free: what waited behind it is handed out
            # anew.
            release(slot)
        elif kind == "rank" and slot.wrote_for:
            give_back(slot)
        elif found["alive"]:
            return renewed(slot, project)
        else:
            qualifying.require(project=project, user=user)
            slot.guideline = guidelines.current(project)
            if slot.guideline and guideline_reading.must_read(project=project, user=user):
                raise GuidelineUnread(slot.guideline)
            return lease(slot=slot, project=project, user=user)
        found = prepared.row(take, taking)
    qualifying.require(project=project, user=user)
    if found is None and free_expired(project=project):
        found = prepared.row(take, taking)
    if found is None:
        # Nobody goes without an item that another person has merely waiting.
        found = prepared.row(statements.TAKE_AHEAD[kind], taking)
        while found is not None and lanes.settle([found["id"]]):  # it lay in a lane of before a switch
            found = prepared.row(statements.TAKE_AHEAD[kind], taking)
    if found is None:
        return None
    if found["guideline_unread"]:
        unread = slot_of(found, project).guideline
        assert unread is not None
        raise GuidelineUnread(unread)
    found = hidden.instead_of(found, project=project, user=user, rates=rates)
    return lease(slot=slot_of(found, project), project=project, user=user)


_ANSWER = ("id", "index", "text")  # the last is left out where nothing shows it


def slot_of(row: Mapping[str, Any], project: Project | None = None) -> Slot:
    """The slot of a row of labeling.statements, with its item, prompt, answers and guideline; without a project's row
    its project is read when it is asked for."""
    slot = prepared.instance(Slot, row)
    slot.hidden_names, slot.draft, slot.form_now = row.get("hidden_names"), row.get("draft"), row.get("form_now")
    slot.wrote_for = row["wrote_for"]
    item = prepared.instance(Item, {**row, "id": row["item_id"]})
    item.prompt = prepared.instance(Prompt, {**row, "id": row["prompt_id"]}) if row["prompt_id"] else None
    answers = item.completions.all()
    answers._result_cache = [
        prepared.instance(Completion, {"item_id": item.pk, **dict(zip(_ANSWER, answer, strict=False))})
        for answer in row["answers"] or ()
    ]
    item._prefetched_objects_cache = {"completions": answers}  # type: ignore[attr-defined]
    slot.item = item
    slot.guideline = prepared.instance(Guideline, {**row, "id": row["guideline_id"]}) if row["guideline_id"] else None
    if project is not None:
        slot.project = project
    slot.can_have_passed = row.get("can_have_passed")
    return slot


def lock_to_hand_out(*, user: User, project: Project) -> Mapping[str, Any]:
    """As lock_person, with what the hand-out has to know of the project: statements.LOCK_TO_HAND_OUT."""
    [found] = prepared.rows(statements.LOCK_TO_HAND_OUT, {"user": user.pk, "project": project.pk})
    return found


def enter_by_slot(slot_id: int, *, user: User, lock: bool) -> Project:
    """The slot's project, if it is one of the user's; with `lock` as lock_person too. Raises as access.project_for.

    Whose lease it is, the caller decides.
    """
    if slot_id > BigIntegerField.MAX_BIGINT:  # no row has such a number, and looking for it would read every row
        raise Http404
    statement = statements.ENTER_BY_SLOT if lock else statements.PROJECT_OF_SLOT
    return access.admit(user, prepared.row(statement, {"slot": slot_id, "user": user.pk}))


def lock_person(user: User) -> None:
    """Until the caller's transaction ends, nobody else takes, submits or drafts in this person's name."""
    prepared.rows(statements.LOCK_PERSON, {"user": user.pk})


def lease(*, slot: Slot, project: Project, user: User, is_ahead: bool = False) -> Slot:
    """The caller holds the slot's row lock; its guideline is the one to show."""
    slot.state = Slot.State.LEASED
    slot.holder = user
    slot.lease_token = uuid.uuid4()
    slot.is_ahead = is_ahead
    slot.order_shown = _draw_order(slot=slot, user=user)
    slot.ranking_form = ranking_forms.asked(slot.form_now) if slot.kind == "rank" else None
    leased = {
        "slot": slot.pk,
        "user": user.pk,
        "token": slot.lease_token,
        "seconds": ahead_seconds(project) if is_ahead else project.lease_seconds,
        "ahead": is_ahead,
        "order": json.dumps(slot.order_shown),
        # What the page shows now is what the label will have been made under, whatever is published meanwhile.
        "guideline": slot.guideline_id,
        "form": json.dumps(slot.ranking_form) if slot.ranking_form else None,
    }
    [times] = prepared.rows(statements.LEASE, leased)
    slot.leased_at, slot.lease_expires_at = times["leased_at"], times["lease_expires_at"]
    return slot


def renewed(slot: Slot, project: Project) -> Slot:
    """The caller holds the slot's row lock."""
    leased = {
        **_behind(slot, project),
        "seconds": ahead_seconds(project) if slot.is_ahead else project.lease_seconds,
        "ahead_seconds": ahead_seconds(project),
    }
    [times] = prepared.rows(statements.RENEW, leased)
    slot.lease_expires_at = times["lease_expires_at"]
    return slot


def _behind(slot: Slot, project: Project) -> dict[str, Any]:
    """Names what its holder has waiting behind a slot."""
    return {"slot": slot.pk, "user": slot.holder_id, "project": project.pk, "kind": slot.kind}


def ahead_seconds(project: Project) -> int:
    """The lease of what waits behind another item: more than the third of a lease after which the page renews it."""
    return project.lease_seconds // 2


def move_up(slot: Slot) -> None:
    """What waits behind this slot of its holder becomes the one in hand. The caller holds the person's lock."""
    prepared.rows(statements.MOVE_UP, {**_behind(slot, slot.project), "seconds": slot.project.lease_seconds})


def _draw_order(*, slot: Slot, user: User) -> list[int]:
    """An order of the answers for this person: position must not speak for an answer.

    Drawn from a secret and the pair (item, person), so that a draft still fits when the item is leased again. A hidden
    repeat has its order from the start, another one than the first.
    """
    if slot.hidden == Hidden.REPEAT and slot.order_shown:
        return slot.order_shown
    indexes = sorted(answer.index for answer in slot.item.completions.all())
    random.Random(f"{settings.SECRET_KEY}:{slot.item_id}:{user.pk}").shuffle(indexes)
    return indexes


def lock_held(
    *, slot_id: int, user: User, lease_token: uuid.UUID, project: Project | None = None, for_page: bool = False
) -> Slot:
    """The slot under a row lock, if the user's lease on it is alive. Raises LeaseLost otherwise.

    `project` is the slot's, from a caller that has read it already; `for_page` reads what labeling.work shows, too.

    The caller is in a transaction; the lock keeps the sweep and other tabs away until it ends.
    """
    statement = statements.LOCK_HELD_FOR_PAGE if for_page else statements.LOCK_HELD
    found = prepared.row(statement, {"slot": slot_id, "user": user.pk, "token": lease_token})
    if found is None:
        raise LeaseLost
    slot = slot_of(found, project)
    slot.review_rules = found["review_rules"]
    return slot


@transaction.atomic
def renew(*, slot_id: int, user: User, lease_token: uuid.UUID) -> Slot:
    """Extends a lease that is still alive, and what waits behind it. Raises LeaseLost."""
    lock_person(user)  # who waits for two rows of one person holds this lock, so no two wait for each other
    slot = lock_held(slot_id=slot_id, user=user, lease_token=lease_token)
    return renewed(slot, slot.project)


_FREED = {
    "state": Slot.State.OPEN,
    "holder": None,
    "lease_token": None,
    "leased_at": None,
    "lease_expires_at": None,
    "order_shown": None,
    "guideline": None,
    "ranking_form": None,
    "is_ahead": False,
}
# Returned work stays its author's.
_RETURNED = {
    "state": Slot.State.RETURNED,
    "lease_token": None,
    "leased_at": None,
    "lease_expires_at": None,
    "is_ahead": False,
}


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
    """Opens the slot again, or withdraws it: a hidden check, or one of an item that was withdrawn meanwhile.

    Work that was returned to its author stays theirs. The caller holds the slot's row lock.
    """
    if slot.hidden:
        hidden.withdraw(slot)
        return
    columns = _FREED if slot.review_id is None else _RETURNED
    for name, value in columns.items():
        setattr(slot, name, value)
    slot.save(update_fields=list(columns))
    if slot.review_id is None:
        _as_others([slot.pk])


def _as_others(slots: list[int]) -> None:
    """Does for slots that were just freed what passed over them while they were held. The caller locks them."""
    _withdraw_with_item(slots)
    lanes.settle(slots)


def _withdraw_with_item(slots: list[int]) -> None:
    """Of slots that were just freed, those whose item a lead withdrew while they were held. The caller locks them."""
    # All of their items are locked: a withdrawal under way is waited for and seen, a later one sees the freed slots.
    items = Item.objects.select_for_update(no_key=True).filter(pk__in=Slot.objects.filter(pk__in=slots).values("item"))
    if gone := [item.pk for item in items.order_by("pk") if item.withdrawn]:
        Slot.objects.filter(pk__in=slots, item__in=gone).update(state=Slot.State.WITHDRAWN)


def free_of(*, project: Project, user: User) -> int:
    """Opens what the person holds in the project; returns how many. The caller holds the person's lock."""
    held = list(Slot.objects.select_for_update().filter(project=project, holder=user, state=Slot.State.LEASED))
    for slot in held:
        release(slot)
    return len(held)


def free_expired(*, project: Project | None = None) -> int:
    """Opens slots whose lease ran out; returns how many. Rows that a submit holds right now are left alone.

    A hidden check waits for its holder: they are handed it again, as an ordinary item that nobody took meanwhile.
    """
    with transaction.atomic():
        expired = Slot.objects.select_for_update(skip_locked=True).filter(
            state=Slot.State.LEASED, lease_expires_at__lte=Now(), hidden=""
        )
        if project is not None:
            expired = expired.filter(project=project)
        rows = list(expired.values_list("pk", "review")[:1000])
        if opened := [pk for pk, review in rows if review is None]:
            Slot.objects.filter(pk__in=opened).update(**_FREED)
            _as_others(opened)
        if back := [pk for pk, review in rows if review is not None]:
            Slot.objects.filter(pk__in=back).update(**_RETURNED)
        return len(opened)
