"""Blind review: reviewers who are no managers see a name that tells nobody who it is."""

import hmac

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.utils.translation import gettext as _

from hone.accounts import access
from hone.accounts.models import Project, User
from labeling.models import ReviewRules


def pseudonym(*, project_id: int, user_id: int) -> str:
    """The same person's in one project, another in the next; by the server's secret, so that no id leads to it."""
    text = f"blind:{project_id}:{user_id}".encode()
    return f"p-{hmac.digest(settings.SECRET_KEY.encode(), text, 'sha256').hex()[:8]}"


def hides_names(project: Project, *, role: str | None) -> bool:
    """Whether this role may not learn whose work it sees. A project that has no rules of review has no reviews."""
    return role != access.MANAGER and ReviewRules.objects.filter(project=project, is_blind=True).exists()


def check_may_see_people(project: Project, *, role: str | None) -> None:
    """Raises PermissionDenied: a person's page has their labels beside their name."""
    if hides_names(project, role=role):
        raise PermissionDenied(_("Work is reviewed blindly in this project, so people's pages are for managers."))


def rename(user: User, *, project: Project) -> None:
    """Gives a user who was read for a page the pseudonym in place of their name. Never to be saved."""
    user.display_name = pseudonym(project_id=project.pk, user_id=user.pk)
