"""Invitations by link: making and revoking them, and joining a project by one."""

import hashlib
import secrets
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from hone.accounts.models import Invitation, InvitationUse, Membership, Project, User
from hone.audit.models import record

# From the least to the most that a role may do: joining again never takes anything away.
_RANKS = (Membership.Role.CONTRACTOR, Membership.Role.REVIEWER, Membership.Role.MANAGER)


class Closed(Exception):
    """Nobody can join by this invitation any more; the text says why."""


class MustAsk(Exception):
    """The person was taken out of the project, and only a manager lets them in again."""


class AlreadyThere(Exception):
    """The person is a member with this role, or one that may do more."""


@transaction.atomic
def invite(
    *, project: Project, role: str, note: str, max_uses: int, expires_at: datetime, actor: User
) -> tuple[Invitation, str]:
    """The invitation, and the token that its link carries: it is known here and now alone."""
    token = secrets.token_urlsafe(32)
    made = Invitation.objects.create(
        project=project,
        digest=_digest(token),
        role=role,
        note=note,
        max_uses=max_uses,
        expires_at=expires_at,
        made_by=actor,
    )
    record("invitation.made", made, actor=actor, project=project.slug, role=role, max_uses=max_uses)
    return made, token


def find(token: str) -> Invitation | None:
    """The invitation of this token, open or not."""
    return Invitation.objects.select_related("project").filter(digest=_digest(token)).first()


def _digest(token: str) -> str:
    return hashlib.sha512(token.encode("utf-8", "surrogatepass")).hexdigest()


def who_may_invite(project: Project, users: Iterable[int]) -> set[int]:
    """Those of these users who manage the project at this moment, or are staff."""
    members = Membership.objects.filter(project=project, role=Membership.Role.MANAGER, is_active=True)
    able = User.objects.filter(pk__in=users, is_active=True)
    return set(able.filter(Q(is_staff=True) | Q(pk__in=members.values("user"))).values_list("pk", flat=True))


def why_closed(invitation: Invitation, *, may_invite: Collection[int] | None = None) -> str:
    """A sentence, or nothing while people can join by it. `may_invite`: of `who_may_invite`, where it is known.

    What somebody may not do any more, their link may not either: it would make managers of whomever they sent it to.
    """
    if invitation.revoked_at is not None:
        return _("This invitation was withdrawn.")
    if may_invite is None:
        may_invite = who_may_invite(invitation.project, [invitation.made_by_id])
    if invitation.made_by_id not in may_invite:
        return _("Whoever made this invitation does not manage the project any more. Ask its manager for a new one.")
    if invitation.expires_at <= timezone.now():
        return _("This invitation has expired.")
    if invitation.uses >= invitation.max_uses:
        return _("This invitation has been used by as many people as it was made for.")
    return ""


@transaction.atomic
def revoke(*, invitation: Invitation, actor: User) -> None:
    """Nobody joins by it from now on; those who did stay."""
    if Invitation.objects.filter(pk=invitation.pk, revoked_at=None).update(revoked_at=timezone.now()):
        record("invitation.revoked", invitation, actor=actor, project=invitation.project.slug)


@transaction.atomic
def join(*, invitation_id: int, user: User) -> Project:
    """Makes the user a member, or gives them the higher role. Raises Closed, MustAsk and AlreadyThere.

    Of two who take the last place at once the second waits for the invitation's row, and finds it closed.
    """
    invitation = Invitation.objects.select_for_update(of=["self"]).select_related("project").get(pk=invitation_id)
    project, role = invitation.project, invitation.role
    member = Membership.objects.select_for_update().filter(user=user, project=project).first()
    if member is not None and not member.is_active:
        raise MustAsk
    if member is not None and _RANKS.index(member.role) >= _RANKS.index(role):
        raise AlreadyThere
    if sentence := why_closed(invitation):
        raise Closed(sentence)
    said: dict[str, Any] = {"role": role, "invitation": invitation.pk}
    if member is None:
        member = Membership.objects.create(user=user, project=project, role=role)
        record("member.added", member, actor=user, **said)
    else:
        said["role_before"] = member.role
        member.role = role
        member.save(update_fields=["role"])
        record("member.changed", member, actor=user, **said)
    invitation.uses += 1
    invitation.save(update_fields=["uses"])
    InvitationUse.objects.create(invitation=invitation, user=user)
    return project
