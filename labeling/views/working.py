"""The pages on which contractors work: write, rank, and the spec."""

from typing import Any

from django import forms
from django.contrib.auth.decorators import login_required
from django.db.models import BigIntegerField
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from hone.accounts import access
from hone.accounts.models import Project, User
from labeling import guideline_reading, guidelines, lanes, queries, waiting
from labeling.ahead import fetch as fetch_ahead
from labeling.assignment import GuidelineUnread, next_slot
from labeling.models import Category, SkipReason, Slot, Verdict
from labeling.qualifying import NotQualified
from labeling.views import qualification, reading, signed_in
from labeling.work import payload


@login_required
@never_cache
def write(request: HttpRequest, slug: str) -> HttpResponse:
    return _working_page(request, slug=slug, kind="write")


@login_required
@never_cache
def rank(request: HttpRequest, slug: str) -> HttpResponse:
    return _working_page(request, slug=slug, kind="rank")


def _working_page(request: HttpRequest, *, slug: str, kind: str) -> HttpResponse:
    """Leases the next item and shows it; without one, says what there is to do instead."""
    user = signed_in(request)
    project = access.project_for(user, slug)
    try:
        slot = next_slot(project=project, user=user, kind=kind)
    except NotQualified:
        return redirect(qualification.address(slug, kind))
    except GuidelineUnread:
        return redirect(reading.address(slug, kind))
    other = "rank" if kind == "write" else "write"
    context = _of_work(project=project, user=user, kind=kind, slot=slot)
    context["other_open"] = waiting.is_any(project=project, user=user, kind=other)
    return render(request, f"labeling/{kind}.html", context)


@login_required
@never_cache
@require_POST
def ahead(request: HttpRequest, slug: str, kind: str) -> HttpResponse:
    """The part of the page that shows the following item, as it will stand after this one's submit; 204: none."""
    user = signed_in(request)
    project = access.project_for(user, slug)
    asked = _HeldForm(request.POST)
    held = asked.cleaned_data if asked.is_valid() else None
    slot = fetch_ahead(project=project, user=user, **held) if held else None
    if slot is None or slot.kind != kind:
        return HttpResponse(status=204)
    context = _of_work(project=project, user=user, kind=kind, slot=slot)
    context["done_today"] += 1
    if isinstance(context["open_count"], int):
        context["open_count"] -= 1
    return render(request, f"labeling/_{kind}_work.html", context)


class _HeldForm(forms.Form):
    """The slot in hand."""

    slot_id = forms.IntegerField(min_value=1, max_value=BigIntegerField.MAX_BIGINT)
    lease_token = forms.UUIDField()


def _of_work(*, project: Project, user: User, kind: str, slot: Slot | None) -> dict[str, Any]:
    work = payload(slot=slot, user=user) if slot else None
    asks_prompt = work is not None and kind == "write" and not work["prompt"]
    return {
        "project": project,
        "work": work,
        "most_wanted": queries.most_wanted(project) if asks_prompt else None,
        "done_today": queries.done_today(project=project, user=user, kind=kind),
        "open_count": waiting.count(project=project, user=user, kind=kind),
        "is_work_elsewhere": slot is None and lanes.is_work_elsewhere(project=project, user=user, kind=kind),
        "skip_reasons": SkipReason.choices,
        "verdicts": Verdict.choices,
        "categories": Category.choices,
    }


@login_required
def guideline(request: HttpRequest, slug: str, number: int | None = None) -> HttpResponse:
    """The spec: the current version, or the one named; drafts for managers alone."""
    user = signed_in(request)
    project = access.project_for(user, slug)
    role = access.role_in(user, project)
    can_manage = role == access.MANAGER
    versions = project.guidelines.select_related("published_by")
    if not can_manage:
        versions = versions.filter(published_at__isnull=False)
    shown = guidelines.current(project) if number is None else versions.filter(number=number).first()
    if shown is None and number is not None:
        raise Http404(_("There is no such version."))
    readers = guideline_reading.readers(shown) if can_manage and shown and shown.is_published else []
    context = {
        "project": project,
        "readers": readers,
        "confirmed_count": sum(row["confirmed_at"] is not None for row in readers),
        "has_quiz": bool(shown and shown.quiz),
        "guideline": shown
        and {
            "number": shown.number,
            "title": shown.title,
            "html": guidelines.html_of(shown),
            "published_at": shown.published_at,
            "published_by": shown.published_by,
            "is_published": shown.is_published,
            "is_minor": shown.is_minor,
        },
        "versions": versions,
        "can_manage": can_manage,
        "can_read_data": role in access.LEADS,
    }
    return render(request, "labeling/guideline.html", context)
