"""Pages of the labeling side: home and project here, working and managing beside."""

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from hone.accounts import access
from hone.accounts.models import Membership, Project, User
from labeling import guidelines, queries, waiting
from labeling.review import listing

PROJECTS_A_PAGE = 50
ROLE_LABELS = dict(Membership.Role.choices)


def signed_in(request: HttpRequest) -> User:
    """The request's user, of our own type; every page here requires log-in."""
    assert isinstance(request.user, User)
    return request.user


@login_required
def home(request: HttpRequest) -> HttpResponse:
    """The user's projects and what waits for them in each."""
    user = signed_in(request)
    page = Paginator(Project.objects.visible_to(user), PROJECTS_A_PAGE).get_page(request.GET.get("page"))
    # Page.object_list is a slice, which the counts could not be added to.
    shown = Project.objects.filter(pk__in=[found.pk for found in page])
    roles = access.roles_in(user, shown)
    overview = waiting.overview(shown, user=user)
    reviewing = listing.waiting_for(user, {row["project"]: roles.get(row["project"].pk) for row in overview})
    projects = [
        {**row, **reviewing[row["project"].pk], "role": ROLE_LABELS.get(roles.get(row["project"].pk, ""))}
        for row in overview
    ]
    return render(request, "hone/home.html", {"projects": projects, "page_obj": page})


@login_required
def project(request: HttpRequest, slug: str) -> HttpResponse:
    """What a project holds and what there is to do in it."""
    user = signed_in(request)
    found = access.project_for(user, slug)
    role = access.role_in(user, found)
    can_manage = role == access.MANAGER
    [mine] = waiting.overview(Project.objects.filter(pk=found.pk), user=user)
    context = {
        **mine,
        **listing.waiting_for(user, {found: role})[found.pk],
        "project": found,
        "role": role,
        "role_label": ROLE_LABELS.get(role or ""),
        "can_manage": can_manage,
        "can_read_data": role in access.LEADS,
        "counts": queries.counts(found, role=role),
        "mix": queries.mix(found),
        "guideline": guidelines.current(found),
        "people": queries.people(found) if role in access.LEADS else [],
    }
    return render(request, "labeling/project.html", context)
