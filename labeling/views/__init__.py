"""Pages of the labeling side: home and project here, working and managing beside."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from hone.accounts import access
from hone.accounts.models import Membership, Project, User
from labeling import guidelines, queries
from labeling.assignment import count_open

ROLE_LABELS = dict(Membership.Role.choices)


def signed_in(request: HttpRequest) -> User:
    """The request's user, of our own type; every page here requires log-in."""
    assert isinstance(request.user, User)
    return request.user


@login_required
def home(request: HttpRequest) -> HttpResponse:
    """The user's projects and what waits for them in each."""
    user = signed_in(request)
    projects = [
        {
            "project": found,
            "role": ROLE_LABELS.get(access.role_in(user, found) or ""),
            "write_open": count_open(project=found, user=user, kind="write"),
            "rank_open": count_open(project=found, user=user, kind="rank"),
            "done_today": queries.done_today(project=found, user=user),
        }
        for found in Project.objects.visible_to(user)
    ]
    return render(request, "hone/home.html", {"projects": projects})


@login_required
def project(request: HttpRequest, slug: str) -> HttpResponse:
    """What a project holds and what there is to do in it."""
    user = signed_in(request)
    found = access.project_for(user, slug)
    role = access.role_in(user, found)
    can_manage = role == access.MANAGER
    context = {
        "project": found,
        "role": role,
        "role_label": ROLE_LABELS.get(role or ""),
        "can_manage": can_manage,
        "can_read_data": role in access.LEADS,
        "counts": queries.counts(found),
        "mix": queries.mix(found),
        "guideline": guidelines.current(found),
        "people": queries.people(found) if role in access.LEADS else [],
        "write_open": count_open(project=found, user=user, kind="write"),
        "rank_open": count_open(project=found, user=user, kind="rank"),
        "done_today": queries.done_today(project=found, user=user),
    }
    return render(request, "labeling/project.html", context)
