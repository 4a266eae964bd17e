"""The managers' pages: spec, prompts, import, members, data."""

import json
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _

from hone.accounts import access
from hone.markdown import render as render_markdown
from labeling import guidelines, importing, people, queries
from labeling.export import comparison_lines
from labeling.forms import GuidelineForm, ImportForm, MemberForm, MemberSwitchForm, PromptFilterForm
from labeling.models import Category, Prompt
from labeling.quality import showing
from labeling.views import signed_in


@login_required
def guideline_edit(request: HttpRequest, slug: str) -> HttpResponse:
    """The project's one draft; "publish" freezes it. A new draft starts from the published text."""
    user = signed_in(request)
    project = access.project_for(user, slug, roles=access.MANAGERS)
    start = guidelines.being_edited(project)
    based_on, theirs = guidelines.stamp(start), None
    form = GuidelineForm(request.POST or None, initial={"title": start.title, "body": start.body} if start else None)
    if request.method == "POST" and form.is_valid():
        try:
            saved = guidelines.edit(
                project=project,
                title=form.cleaned_data["title"],
                body=form.cleaned_data["body"],
                based_on=request.POST.get("based_on", ""),
                actor=user,
                publish_it=request.POST.get("action") == "publish",
            )
        except guidelines.Changed as error:
            form.add_error(None, str(error))
            theirs = start = guidelines.being_edited(project)
            based_on = guidelines.stamp(start)
        else:
            if saved.is_published:
                messages.success(request, _("Version %(n)d is published.") % {"n": saved.number})
                return redirect("labeling:guideline", slug=slug)
            messages.success(request, _("The draft is saved."))
            return redirect("labeling:guideline_edit", slug=slug)
    elif request.method == "POST":
        based_on = request.POST.get("based_on", "")  # the text that was begun with, not what is newest now
    context = {
        "project": project,
        "form": form,
        "based_on": based_on,
        "theirs": theirs,
        "draft": start if start and not start.is_published else None,
        "preview_html": render_markdown(start.body) if start else "",
    }
    return render(request, "labeling/guideline_edit.html", context, status=409 if theirs else 200)


@login_required
def prompts(request: HttpRequest, slug: str) -> HttpResponse:
    """The project's prompts, filtered by category, language and text; the filter is in the address."""
    project = access.project_for(signed_in(request), slug, roles=access.LEADS)
    rows = Prompt.objects.filter(project=project).order_by("-id")
    form = PromptFilterForm(request.GET)
    if not form.is_valid():
        rows = rows.none()  # no prompt has such a category, or a text with such a character
    chosen = form.cleaned_data
    if category := chosen.get("category"):
        rows = rows.filter(category=category)
    if language := chosen.get("language"):
        rows = rows.filter(language=language)
    if words := chosen.get("q"):
        rows = rows.containing(words)
    context = {
        "project": project,
        "page_obj": Paginator(rows, 50).get_page(request.GET.get("page")),
        "categories": Category.choices,
        "languages": project.prompts.order_by("language").values_list("language", flat=True).distinct(),
        "can_manage": access.role_in(signed_in(request), project) == access.MANAGER,
    }
    return render(request, "labeling/prompts.html", context)


@login_required
def import_file(request: HttpRequest, slug: str) -> HttpResponse:
    """Imports a file, all or nothing; faults are listed by line."""
    user = signed_in(request)
    project = access.project_for(user, slug, roles=access.MANAGERS)
    form = ImportForm(request.POST or None, request.FILES or None)
    context: dict[str, object] = {"project": project, "form": form}
    if request.method == "POST" and form.is_valid():
        file = form.cleaned_data["file"]
        load = importing.import_prompts if form.cleaned_data["kind"] == "prompts" else importing.import_demonstrations
        try:
            context["result"] = load(project=project, file=file.file, name=file.name, actor=user)
        except importing.ImportRefused as error:
            context["errors"], context["file"] = error.faults, error.file
            return render(request, "labeling/import.html", context, status=400)
    return render(request, "labeling/import.html", context)


@login_required
def members(request: HttpRequest, slug: str) -> HttpResponse:
    """Who works here; managers add people and change roles."""
    user = signed_in(request)
    project = access.project_for(user, slug, roles=access.MANAGERS)
    form = MemberForm(request.POST if request.POST.get("action") == "add" else None, project=project)
    if request.method == "POST":
        if request.POST.get("action") == "add" and form.is_valid():
            form.save(actor=user)
            return redirect("labeling:members", slug=slug)
        switch = MemberSwitchForm(request.POST, project=project)
        if request.POST.get("action") != "add" and switch.is_valid():
            switch.save(actor=user)
            return redirect("labeling:members", slug=slug)
    memberships = project.memberships.select_related("user").order_by("user__username")
    numbers = people.statistics(project, [member.user for member in memberships])
    rows = [{"member": member, **numbers[member.user_id], **_bars(numbers[member.user_id])} for member in memberships]
    return render(request, "labeling/members.html", {"project": project, "rows": rows, "form": form})


def _bars(numbers: dict[str, Any]) -> dict[str, Any]:
    return {name: showing.bar(numbers[name]) for name in ("agreement", "first_pass")}


@login_required
def data(request: HttpRequest, slug: str) -> HttpResponse:
    """How to get the comparisons: counts, links, a curl command and a real line."""
    project = access.project_for(signed_in(request), slug, roles=access.LEADS)
    fmt = "plain" if request.GET.get("fmt") == "plain" else "conversational"
    simulated = request.GET.get("include_simulated") in {"1", "on", "true"}
    line = next(comparison_lines(project=project, fmt=fmt, include_simulated=simulated, limit=1), b"").strip()
    query = f"?fmt={fmt}" + ("&include_simulated=true" if simulated else "")
    address = reverse("api:comparisons-export", args=[slug]) + query
    context = {
        "project": project,
        "counts": queries.counts(project),
        "fmt": fmt,
        "include_simulated": simulated,
        "example": json.dumps(json.loads(line), ensure_ascii=False, indent=2) if line else "",
        "absolute_url": request.build_absolute_uri(address),
        "can_manage": access.role_in(signed_in(request), project) == access.MANAGER,
    }
    return render(request, "labeling/data.html", context)
