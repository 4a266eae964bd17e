"""The pages of reviewing: the rules, the next label, the list, one verdict."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from hone.accounts import access
from labeling.models import ModelNames, Review, ReviewRules
from labeling.models.review import RejectReason
from labeling.review import listing, queue, returning, showing
from labeling.review.rules import ReviewRulesForm
from labeling.views import signed_in

REVIEWS_A_PAGE = 50


@login_required
def rules(request: HttpRequest, slug: str) -> HttpResponse:
    """What of a project is reviewed, and how. Managers."""
    user = signed_in(request)
    project = access.project_for(user, slug, roles=access.MANAGERS)
    form = ReviewRulesForm(request.POST or None, project=project)
    if request.method == "POST" and form.is_valid():
        form.save_for(user)
        messages.success(request, _("The review rules are saved."))
        return redirect("labeling:review_rules", slug=slug)
    return render(request, "labeling/review_rules.html", {"project": project, "form": form})


@login_required
@never_cache
def review(request: HttpRequest, slug: str) -> HttpResponse:
    """Leases the next label to review and shows it; without one, says why."""
    user = signed_in(request)
    project = access.project_for(user, slug, roles=access.LEADS)
    role = access.role_in(user, project)
    found = queue.next_review(project=project, user=user)
    context: dict[str, Any] = {
        "project": project,
        "can_manage": role == access.MANAGER,
        "can_read_data": True,
        "work": showing.payload(found, user=user, role=role) if found else None,
        "waiting": queue.waiting_by_project([project], user=user)[project.pk],
        "reject_reasons": RejectReason.choices,
    }
    if found is None:
        context |= {
            "rules_are_set": ReviewRules.objects.for_project(project).are_set,
            "with_others": Review.objects.filter(project=project, state=Review.State.LEASED).count(),
        }
    return render(request, "labeling/review.html", context)


@login_required
def reviews(request: HttpRequest, slug: str) -> HttpResponse:
    """The project's reviews by state; what is with its author too long stands out. Managers and reviewers."""
    user = signed_in(request)
    project = access.project_for(user, slug, roles=access.LEADS)
    role = access.role_in(user, project)
    state = request.GET.get("state", "")
    rows = listing.of_project(project)
    if state in Review.State.values:
        rows = rows.filter(state=state)
    page = Paginator(rows, REVIEWS_A_PAGE).get_page(request.GET.get("page"))
    found = ReviewRules.objects.for_project(project)
    free = Review.objects.filter(returning.may_be_freed(found), pk__in=[row.pk for row in page], state="returned")
    may_be_freed = set(free.values_list("pk", flat=True))
    context = {
        "project": project,
        "can_manage": role == access.MANAGER,
        "can_read_data": True,
        "page_obj": page,
        "states": Review.State.choices,
        "state": state,
        "rules": found,
        "rows": [
            {
                "review": row,
                "author": showing.author_shown(row, role=role, rules=found),
                "marks": showing.marks_of(row),
                "may_be_freed": row.pk in may_be_freed,
            }
            for row in page
        ],
    }
    return render(request, "labeling/reviews.html", context)


@login_required
def verdict(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """One review as it stands: for its author, and for managers and reviewers."""
    user = signed_in(request)
    project = access.project_for(user, slug)
    role = access.role_in(user, project)
    found = get_object_or_404(Review, pk=pk, project=project)
    if role not in access.LEADS and (found.author_id != user.pk or found.decided_at is None):
        raise PermissionDenied(_("Only its author and the project's reviewers see a review."))
    found = queue.read(found.pk)
    rules = ReviewRules.objects.for_project(project)
    is_own = found.author_id == user.pk
    hidden = ModelNames.objects.for_project(project).hidden if is_own else None
    context = {
        "project": project,
        "can_manage": role == access.MANAGER,
        "can_read_data": role in access.LEADS,
        "review": found,
        "is_own": is_own,
        "author": showing.author_shown(found, role=role, rules=rules),
        "said": showing.verdict(found, hidden=hidden),
        "texts": showing.cut_texts(found, hidden=hidden),
        "label": showing.label_of(found),
    }
    return render(request, "labeling/verdict.html", context)


@login_required
@require_POST
def free(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """Takes overdue work from its author and asks somebody else. Managers."""
    user = signed_in(request)
    project = access.project_for(user, slug, roles=access.MANAGERS)
    found = get_object_or_404(Review.objects.select_related("author", "project"), pk=pk, project=project)
    try:
        returning.free(review=found, actor=user)
    except returning.NotReturned:
        messages.error(request, _("It is not with its author any more."))
    except returning.NotOverdue:
        messages.error(request, _("It is not overdue yet; its author still has time."))
    except returning.InHand:
        messages.error(request, _("Its author is working on it right now."))
    else:
        messages.success(request, _("Somebody else will be asked for it."))
    return redirect("labeling:reviews", slug=slug)
