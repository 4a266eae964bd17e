"""One's own numbers, and the members' as a file."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from hone.accounts import access
from labeling import people
from labeling.quality import showing
from labeling.review import listing
from labeling.views import signed_in


@login_required
def me(request: HttpRequest, slug: str) -> HttpResponse:
    """What the user has done in the project; nobody else's numbers."""
    user = signed_in(request)
    project = access.project_for(user, slug)
    role = access.role_in(user, project)
    numbers = people.statistics(project, [user])[user.pk]
    context = {
        "project": project,
        "can_manage": role == access.MANAGER,
        "can_read_data": role in access.LEADS,
        "rows": people.rows_for(numbers),
        "agreement": showing.bar(numbers["agreement"]),
        "enough": people.ENOUGH_COMPARISONS,
        "numbers": numbers,
        "first_pass": showing.bar(numbers["first_pass"]),
        "sent_back": listing.sent_back(project, user),
    }
    return render(request, "labeling/me.html", context)


@login_required
def members_csv(request: HttpRequest, slug: str) -> HttpResponse:
    """The members with their numbers. Managers."""
    project = access.project_for(signed_in(request), slug, roles=access.MANAGERS)
    memberships = project.memberships.select_related("user").order_by("user__username")
    answer = HttpResponse(people.members_csv(project, memberships), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{project.slug}-members.csv"'
    return answer
