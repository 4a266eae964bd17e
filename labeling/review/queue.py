"""Handing out reviews: leases like those on slots, on the labels that wait for a second look."""

import uuid
from collections.abc import Collection
from datetime import datetime
from typing import Any

from django.db import models, transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from hone import prepared
from hone.accounts.models import Project, User
from labeling.assignment import lock_person
from labeling.messages import clean_json
from labeling.models import Review, Slot
from labeling.responses import DRAFT_CHARS, Invalid
from labeling.review import statements

SHOWN_AT_MOST = 100
_FREED: dict[str, Any] = {
    "state": Review.State.WAITING,
    "reviewer": None,
    "lease_token": None,
    "leased_at": None,
    "lease_expires_at": None,
}


class LeaseLost(Exception):
    """The review is no longer this reviewer's: the lease ran out, or it was decided."""


@transaction.atomic
def next_review(*, project: Project, user: User) -> Review | None:
    """The review that the user holds already, with its lease renewed, or else a newly leased one, or None."""
    lock_person(user)  # two tabs of one reviewer look at the same label
    asked = {"project": project.pk, "user": user.pk}
    held = prepared.row(statements.HELD, asked)
    if held is not None and held["gone"]:
        Review.objects.filter(pk=held["id"]).update(**_FREED)
    elif held is not None and held["alive"]:
        prepared.rows(statements.RENEW, {"review": held["id"], "seconds": project.lease_seconds})
        return read(held["id"])
    elif held is not None:
        return _lease(held["id"], project=project, user=user)
    found = prepared.row(statements.TAKE, asked)
    if found is None and free_expired(project=project):
        found = prepared.row(statements.TAKE, asked)
    return _lease(found["id"], project=project, user=user) if found else None


def _lease(review_id: int, *, project: Project, user: User) -> Review:
    """The caller holds the review's row lock."""
    lease = {"review": review_id, "user": user.pk, "token": uuid.uuid4(), "seconds": project.lease_seconds}
    prepared.rows(statements.LEASE, lease)
    return read(review_id)


def read(review_id: int) -> Review:
    """The review with what its page shows of it."""
    labels = [f"{label}{part}" for label in ("demonstration", "ranking") for part in ("", "__guideline", "__prompt")]
    rows = Review.objects.select_related("project", "author", "previous", "ranking__item", *labels)
    return rows.get(pk=review_id)


def lock_held(*, review_id: int, user: User, lease_token: uuid.UUID) -> Review:
    """The review under a row lock, if the user's lease on it is alive. Raises LeaseLost. In a transaction."""
    held = Review.objects.select_for_update(of=("self",)).filter(
        pk=review_id, reviewer=user, lease_token=lease_token, state=Review.State.LEASED, lease_expires_at__gt=Now()
    )
    found = held.select_related("project").first()
    if found is None:
        raise LeaseLost
    return found


@transaction.atomic
def renew(*, review_id: int, user: User, lease_token: uuid.UUID) -> Review:
    """Extends a lease that is still alive. Raises LeaseLost."""
    found = lock_held(review_id=review_id, user=user, lease_token=lease_token)
    prepared.rows(statements.RENEW, {"review": found.pk, "seconds": found.project.lease_seconds})
    found.refresh_from_db(fields=["lease_expires_at"])
    return found


@transaction.atomic
def save_draft(*, review_id: int, user: User, lease_token: uuid.UUID, content: dict[str, Any]) -> datetime:
    """Keeps the comments and the remark that are being written; when. Raises LeaseLost and Invalid."""
    content = clean_json(content)
    if len(str(content)) > DRAFT_CHARS:
        raise Invalid(content=_("The draft is too large to keep."))
    found = lock_held(review_id=review_id, user=user, lease_token=lease_token)
    found.draft, found.draft_by = content, user
    found.save(update_fields=["draft", "draft_by"])
    return timezone.now()


def free_expired(*, project: Project | None = None) -> int:
    """Puts reviews whose lease ran out back into the queue; returns how many. Those being decided are left alone."""
    with transaction.atomic():
        expired = Review.objects.select_for_update(skip_locked=True, of=("self",)).filter(
            state=Review.State.LEASED, lease_expires_at__lte=Now()
        )
        if project is not None:
            expired = expired.filter(project=project)
        return Review.objects.filter(pk__in=list(expired.values_list("pk", flat=True)[:1000])).update(**_FREED)


class _Count(models.Subquery):
    template = "(SELECT COUNT(*) FROM (%(subquery)s) AS found)"
    output_field = models.IntegerField()


def waiting_by_project(projects: Collection[Project], *, user: User) -> dict[int, int | str]:
    """How many labels of each project the user could review, "100+" where there are more: one query for all.

    As statements.TAKE: none that a lead took back, nor that its author may still take back.
    """
    own = models.Q(author=user)
    held = models.Q(state=Review.State.LEASED, reviewer=user)
    waiting = Review.objects.filter(
        ~own,
        models.Q(state=Review.State.WAITING) | held,
        models.Q(slot__final_at=None) | models.Q(slot__final_at__lte=Now()),
        project=models.OuterRef("pk"),
        demonstration__retraction=None,
        ranking__retraction=None,
    ).order_by()
    rows = Project.objects.filter(pk__in=[project.pk for project in projects]).annotate(
        to_review=_Count(waiting.values("pk")[: SHOWN_AT_MOST + 1])
    )
    return {pk: n if n <= SHOWN_AT_MOST else f"{SHOWN_AT_MOST}+" for pk, n in rows.values_list("pk", "to_review")}


def returned_by_project(projects: Collection[Project], *, user: User) -> dict[int, dict[str, int]]:
    """What was returned to the user and waits for their correction: {project: {kind: number}}, in one query."""
    back = Slot.objects.filter(holder=user, review__isnull=False, project__in=projects)
    found: dict[int, dict[str, int]] = {}
    for project, kind, n in back.order_by().values_list("project", "kind").annotate(n=models.Count("id")):
        found.setdefault(project, {})[kind] = n
    return found
