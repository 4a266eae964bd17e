"""One's own numbers and money, in a project and in all, and the members' as a file."""

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from hone.accounts import access
from labeling import earnings, lanes, own_work, pay, people
from labeling.quality import showing
from labeling.review import listing
from labeling.views import signed_in

ENTRIES_A_PAGE = 20


@login_required
def me(request: HttpRequest, slug: str) -> HttpResponse:
    """What the user has done in the project and what it earned; nobody else's numbers."""
    user = signed_in(request)
    project = access.project_for(user, slug)
    role = access.role_in(user, project)
    numbers = people.statistics(project, [user])[user.pk]
    periods = own_work.by_project(user, project=project).get(project.pk) or own_work.nothing()
    entries = Paginator(earnings.entries_of(project, user), ENTRIES_A_PAGE).get_page(request.GET.get("page"))
    context = {
        "project": project,
        "can_manage": role == access.MANAGER,
        "can_read_data": role in access.LEADS,
        "rows": people.rows_for(numbers),
        "counts": own_work.rows_for(periods),
        "seconds": {period: periods[period]["seconds"] for period in own_work.PERIODS},
        "agreement": showing.bar(numbers["agreement"]),
        **lanes.brought_by(project=project, user=user),
        "enough": people.ENOUGH_COMPARISONS,
        "rate": pay.rate_of(project, user),
        "money": earnings.of_person(project, user),
        "page_obj": entries,
        "numbers": numbers,
        "first_pass": showing.bar(numbers["first_pass"]),
        "sent_back": listing.sent_back(project, user),
    }
    return render(request, "labeling/me.html", context)


@login_required
def overview(request: HttpRequest) -> HttpResponse:
    """The same over all projects that the user works in, or has worked in."""
    return render(request, "labeling/my_work.html", {"rows": own_work.overview(signed_in(request))})


@login_required
def members_csv(request: HttpRequest, slug: str) -> HttpResponse:
    """The members with their numbers, in the order of the address. Managers."""
    project = access.project_for(signed_in(request), slug, roles=access.MANAGERS)
    found = people.members_csv(project, sort=request.GET.get("sort", "name"))
    answer = HttpResponse(found, content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{project.slug}-members.csv"'
    return answer
