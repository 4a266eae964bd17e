"""The one place that decides which rows a user may reach. Nothing reads around it.

A row that exists but is not yours answers 404, so that its existence stays private; a project that is yours but
not for your role answers 403.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import Http404
from django.utils.translation import gettext as _

from hone import prepared
from hone.accounts.models import Membership, Project, User

MANAGER = Membership.Role.MANAGER
REVIEWER = Membership.Role.REVIEWER
CONTRACTOR = Membership.Role.CONTRACTOR
MANAGERS = (MANAGER,)
LEADS = (MANAGER, REVIEWER)
ANYONE = (MANAGER, REVIEWER, CONTRACTOR)


def role_in(user: User, project: Project) -> str | None:
    """The user's active role; staff count as managers, whatever their membership says."""
    if user.is_staff:
        return MANAGER
    return Membership.objects.filter(user=user, project=project, is_active=True).values_list("role", flat=True).first()


def roles_in(user: User, projects: models.QuerySet[Project]) -> dict[int, str]:
    """The user's role in each of these projects, as role_in tells it for one."""
    if user.is_staff:
        return dict.fromkeys(projects.values_list("pk", flat=True), MANAGER)
    found = Membership.objects.filter(user=user, project__in=projects, is_active=True)
    return dict(found.values_list("project", "role"))


def project_for(user: User, slug: str, *, roles: Iterable[str] = ANYONE) -> Project:
    """The project under this address, if the user has one of the roles in it.

    Raises Http404 when it does not exist or is not the user's, PermissionDenied when the role is not enough.
    """
    return admit(user, prepared.row(_PROJECT, {"slug": slug, "user": user.pk}), roles=roles)


# For statements that read a project on the way: what `admit` takes, and the join by which `project` gets it.
ADMITTED = f"{prepared.columns(Project, 'project')}, member.role AS role_of_member"
MEMBER = """LEFT JOIN accounts_membership AS member
    ON member.project_id = project.id AND member.user_id = %(user)s AND member.is_active"""
_PROJECT = f"SELECT {ADMITTED} FROM accounts_project AS project {MEMBER} WHERE project.slug = %(slug)s"


def admit(user: User, found: Mapping[str, Any] | None, *, roles: Iterable[str] = ANYONE) -> Project:
    """The project of a row of ADMITTED, or of none. Raises as project_for."""
    role = None if found is None else MANAGER if user.is_staff else found["role_of_member"]
    if found is None or role is None:
        raise Http404(_("There is no such project among yours."))
    if role not in tuple(roles):
        raise PermissionDenied(_("Your role in this project does not allow that."))
    return prepared.instance(Project, found)


def require_staff(user: User) -> None:
    """Raises PermissionDenied unless the user is staff: training costs money and machines."""
    if not user.is_staff:
        raise PermissionDenied(_("The training console is for staff."))
