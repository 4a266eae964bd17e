"""Returned work: back to its author first, corrected as a new label, or given up and asked of somebody else."""

from datetime import datetime, timedelta
from typing import Any

from django.db import models, transaction
from django.db.models.functions import Now
from django.utils import timezone

from hone.accounts.models import Membership, User
from hone.audit.models import record
from labeling import retraction
from labeling.assignment import lock_person
from labeling.models import Demonstration, Ranking, Review, ReviewRules, Slot
from labeling.models.review import Mark


class NotReturned(Exception):
    """The work is not with its author any more."""


class NotOverdue(Exception):
    """The author still has time."""


class InHand(Exception):
    """The author has it open right now."""


def open_review(*, slot: Slot, label: Demonstration | Ranking, marks: list[str], **more: Any) -> Review:
    """A label's place in the queue."""
    which = {"ranking": label} if isinstance(label, Ranking) else {"demonstration": label}
    return Review.objects.create(
        project_id=slot.project_id, kind=slot.kind, author_id=label.author_id, slot=slot, marks=marks, **which, **more
    )


def resubmitted(*, slot: Slot, label: Demonstration | Ranking) -> Review:
    """The corrected label's review, which the same reviewer should make. The returned label stays as it was, retracted.

    The caller holds the author's and the slot's locks.
    """
    before = _returned_by(slot)
    before.state, before.ended_at = Review.State.RESUBMITTED, timezone.now()
    before.save(update_fields=["state", "ended_at"])
    more = {"round": before.round + 1, "previous": before, "preferred_id": before.reviewer_id}
    return open_review(slot=slot, label=label, marks=[Mark.CORRECTED], **more)


def give_up(slot: Slot) -> None:
    """Somebody else will be asked. The author keeps the old slot as one that they filled, so never gets the new one.

    The caller holds the slot's row lock; returned work of which nothing was submitted again.
    """
    found = _returned_by(slot)
    taken_back = found.label.retraction
    assert taken_back is not None  # as of its return
    found.state, found.ended_at = Review.State.DROPPED, timezone.now()
    found.save(update_fields=["state", "ended_at"])
    slot.state, slot.review, slot.submitted_at = Slot.State.SUBMITTED, None, found.label.created_at
    slot.is_ahead = False  # a lease that is given up from behind another one
    slot.save(update_fields=["state", "review", "submitted_at", "is_ahead"])
    retraction.ask_again(taken_back)


def _returned_by(slot: Slot) -> Review:
    assert slot.review_id is not None  # the callers' condition
    return Review.objects.get(pk=slot.review_id)


def own_prompts(slot: Slot) -> set[int]:
    """The prompts that the author wrote in this slot before: what they correct is no copy of an earlier prompt."""
    return set(slot.demonstrations.values_list("prompt_id", flat=True)) if slot.review_id else set()


def due_since(rules: ReviewRules) -> datetime:
    """Work that was returned before this moment is overdue."""
    return timezone.now() - timedelta(days=rules.overdue_days)


def may_be_freed(rules: ReviewRules) -> models.Q:
    """Returned reviews that a manager may take from their author: overdue, or the author has left the project."""
    here = Membership.objects.filter(project=models.OuterRef("project"), user=models.OuterRef("author"), is_active=True)
    return models.Q(decided_at__lt=due_since(rules)) | models.Q(~models.Exists(here))


@transaction.atomic
def free(*, review: Review, actor: User) -> None:
    """Takes overdue work from its author and asks somebody else. Raises NotReturned, NotOverdue and InHand."""
    lock_person(review.author)  # a correction that is under way ends first
    slot = Slot.objects.select_for_update().get(pk=review.slot_id)
    if slot.review_id != review.pk:
        raise NotReturned
    rules = ReviewRules.objects.for_project(review.project)
    if not Review.objects.filter(may_be_freed(rules), pk=review.pk).exists():
        raise NotOverdue
    if Slot.objects.filter(pk=slot.pk, state=Slot.State.LEASED, lease_expires_at__gt=Now()).exists():
        raise InHand
    give_up(slot)
    record("review.freed", review, actor=actor, author=review.author_id)
