"""Who belongs to a project: adding people, changing their role, taking them out and letting them in again.

A project keeps at least one active manager. Taking somebody out keeps their drafts, labels, pay and numbers.
"""

from django.db import transaction

from hone.accounts.access import MANAGER
from hone.accounts.models import Membership, Project, User
from hone.audit.models import record
from labeling import assignment, lanes


class LastManager(Exception):
    """Nobody else could manage the project."""


@transaction.atomic
def add(*, project: Project, user: User, role: str, actor: User) -> Membership:
    """Adds the member, or changes the role of one who is there and lets them in again. Raises LastManager."""
    lanes.lock(project)  # two managers who take each other out must not both find the other one left
    member, created = Membership.objects.select_for_update().get_or_create(
        user=user, project=project, defaults={"role": role}
    )
    if created:
        record("member.added", member, actor=actor, role=member.role)
        return member
    if role != MANAGER:
        _check_not_last(member)
    before = {"role_before": member.role, "active_before": member.is_active}
    member.role, member.is_active = role, True
    member.save(update_fields=["role", "is_active"])
    record("member.changed", member, actor=actor, role=member.role, **before)
    return member


@transaction.atomic
def deactivate(*, member: Membership, actor: User) -> None:
    """Ends the membership at once, and frees the items that the person holds here. Raises LastManager."""
    # As a submit does: one that is under way ends first, and counts. The person before the project, as everywhere.
    assignment.lock_person(member.user)
    lanes.lock(member.project)
    member = Membership.objects.select_for_update().get(pk=member.pk)
    _check_not_last(member)
    member.is_active = False
    member.save(update_fields=["is_active"])
    freed = assignment.free_of(project=member.project, user=member.user)
    record("member.deactivated", member, actor=actor, slots_freed=freed)


@transaction.atomic
def activate(*, member: Membership, actor: User) -> None:
    """Lets the person in again, with the role that they had."""
    Membership.objects.filter(pk=member.pk).update(is_active=True)
    record("member.activated", member, actor=actor)


def _check_not_last(member: Membership) -> None:
    """The caller holds the project's lock."""
    if member.role != MANAGER or not member.is_active:
        return
    others = Membership.objects.filter(project=member.project_id, role=MANAGER, is_active=True, user__is_active=True)
    if not others.exclude(pk=member.pk).exists():
        raise LastManager
