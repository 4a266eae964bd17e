"""Taking back one's own label within seconds of its submit: it was the wrong key, or the better thought came late.

The label goes as if it had never been sent (the audit trail keeps what it was), its slot is the author's again with
the answer as their draft, and what they had in hand meanwhile waits behind it. `labeling.retraction` is the other
thing: a lead's, at any time, with the rows kept.
"""

import uuid
from datetime import datetime, timedelta
from typing import Any

from django.db import models, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from hone.accounts.models import Project, User
from hone.audit.models import record
from labeling import ahead, drafting, settling
from labeling.assignment import LeaseLost, lock_held, lock_person
from labeling.models import Demonstration, Draft, Prompt, Ranking, Review, Slot


class NotTakenBack(Exception):
    """The label stays. `code` is "too_late", "in_use" or "not_yours"; the text is a sentence."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@transaction.atomic
def take_back(*, slot_id: int, user: User, client_key: uuid.UUID, project: Project) -> Slot:
    """Removes the label that this key submitted, and leases its slot to its author again. Raises NotTakenBack.

    The key becomes the lease's token, so that the same request sent twice finds the slot that the first one leased.
    """
    lock_person(user)  # no submit, draft or retraction of theirs meanwhile
    settling.hold_still(project.pk)  # no snapshot reads the label between this look at the window and our commit
    slot = Slot.objects.select_for_update().filter(pk=slot_id, holder=user, project=project).first()
    if slot is not None and slot.state == Slot.State.LEASED and slot.lease_token == client_key:
        try:
            return lock_held(slot_id=slot_id, user=user, lease_token=client_key, project=project, for_page=True)
        except LeaseLost:
            raise NotTakenBack("too_late", _("Your lease on this item has ended.")) from None
    label = _label(slot, client_key) if slot is not None else None
    if slot is None or label is None:
        raise NotTakenBack("not_yours", _("There is no submission of yours to take back here."))
    # Asked of the row by the database's clock, as everything that reads `final_at` does.
    if not Slot.objects.filter(pk=slot_id, final_at__gt=Now()).exists():
        raise NotTakenBack("too_late", _("The time to take it back is over: it stays submitted."))
    content = drafting.of_label(label)
    record(
        f"{slot.kind}.taken_back",
        label,
        actor=user,
        slot=slot_id,
        item=slot.item_id,
        prompt=label.prompt_id,
        guideline=label.guideline_id,
        client_key=str(client_key),
        content=content,
    )
    try:
        _remove(label, slot=slot, user=user)
    except (models.ProtectedError, models.RestrictedError):
        # Whatever refers to it came within these seconds, so it is not ours to know which.
        raise NotTakenBack("in_use", _("Something was built on it already: it stays submitted.")) from None
    ahead.lay_aside(slot)
    _lease_again(slot, client_key, project)
    draft = {"content": content, "saved_at": Now(), "begun_at": _begun_at(slot, label)}
    Draft.objects.update_or_create(item_id=slot.item_id, author=user, defaults=draft)
    return lock_held(slot_id=slot_id, user=user, lease_token=client_key, project=project, for_page=True)


def _label(slot: Slot, client_key: uuid.UUID) -> Demonstration | Ranking | None:
    """The standing label of the slot that was submitted under this key."""
    model: type[Demonstration] | type[Ranking] = Ranking if slot.kind == "rank" else Demonstration
    labels: models.Manager[Any] = model._default_manager
    return labels.filter(slot=slot, client_key=client_key, retraction=None).select_related("prompt").first()


def _remove(label: Demonstration | Ranking, *, slot: Slot, user: User) -> None:
    """The label with a ranking's comparisons, and the prompt that was written with it if nobody else uses it."""
    prompt = label.prompt
    # A first review that nobody has begun goes with it; a correction that a reviewer waits for is in use.
    Review.objects.filter(slot=slot, state=Review.State.WAITING, round=1, **_review_of(label)).delete()
    label.delete()
    if slot.kind == "rank" or prompt.author_id != user.pk:
        return
    item_asked_for_it = Slot.objects.filter(pk=slot.pk, item__prompt=None).exists()
    # The lock waits for whoever is writing the same prompt at this moment, and then sees what they wrote.
    locked = Prompt.objects.select_for_update().get(pk=prompt.pk)
    used = Demonstration.objects.filter(prompt=locked).exists() or locked.items.exists()
    if item_asked_for_it and not used:
        locked.delete()


def _review_of(label: Demonstration | Ranking) -> dict[str, Any]:
    return {"ranking": label} if isinstance(label, Ranking) else {"demonstration": label}


def _begun_at(slot: Slot, label: Demonstration | Ranking) -> datetime:
    """When the work on it began, by which its time in use is cut: the submit dropped the draft that knew it."""
    worked_since = label.created_at - timedelta(seconds=label.active_seconds)
    return min(worked_since, slot.leased_at or worked_since)


def _lease_again(slot: Slot, token: uuid.UUID, project: Project) -> None:
    """With the order, the guideline, the form and the moment of its hand-out, which the slot has kept."""
    Slot.objects.filter(pk=slot.pk).update(
        state=Slot.State.LEASED,
        lease_token=token,
        lease_expires_at=Now() + timedelta(seconds=project.lease_seconds),
        submitted_at=None,
        final_at=None,
    )
