"""The one place that decides which rows a user may reach. Nothing reads around it.

A row that exists but is not yours answers 404, so that its existence stays private; a project that is yours but
not for your role answers 403.
"""

from collections.abc import Iterable

from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import Http404
from django.utils.translation import gettext as _

from hone.accounts.models import Membership, Project, User

MANAGER = Membership.Role.MANAGER
REVIEWER = Membership.Role.REVIEWER
CONTRACTOR = Membership.Role.CONTRACTOR
MANAGERS = (MANAGER,)
LEADS = (MANAGER, REVIEWER)
ANYONE = (MANAGER, REVIEWER, CONTRACTOR)


def role_in(user: User, project: Project) -> str | None:
    """The user's active role; staff without a membership count as managers."""
    role = Membership.objects.filter(user=user, project=project, is_active=True).values_list("role", flat=True).first()
    if user.is_staff:
        return MANAGER
    return role


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
    project = Project.objects.filter(slug=slug).first()
    role = role_in(user, project) if project else None
    if project is None or role is None:
        raise Http404(_("There is no such project among yours."))
    if role not in tuple(roles):
        raise PermissionDenied(_("Your role in this project does not allow that."))
    return project


def require_staff(user: User) -> None:
    """Raises PermissionDenied unless the user is staff: training costs money and machines."""
    if not user.is_staff:
        raise PermissionDenied(_("The training console is for staff."))
