"""The managers' pages: spec, prompts, import, members, data."""

import json
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _

from hone.accounts import access
from hone.accounts.models import Membership
from hone.markdown import render as render_markdown
from labeling import earnings, guidelines, importing, people, qualifying, queries
from labeling.export import comparison_lines
from labeling.forms import GuidelineForm, ImportForm, MemberForm, MemberSwitchForm, MemberTagsForm, PromptFilterForm
from labeling.forms_quiz import QuizEditor
from labeling.members import LastManager
from labeling.models import Category, Guideline, Prompt
from labeling.quality import showing
from labeling.views import signed_in


def _begun_with(start: Guideline | None, sent: QueryDict) -> dict[str, object] | None:
    """What the editor shows: what was typed already, or the draft, or the published text for the next version."""
    if sent:
        return {name: sent.get(name, "") for name in GuidelineForm.Meta.fields}
    if start is None:
        return None
    return {"title": start.title, "body": start.body, "is_minor": start.is_minor and not start.is_published}


@login_required
def guideline_edit(request: HttpRequest, slug: str) -> HttpResponse:
    """The project's one draft; "publish" freezes it. A new draft starts from the published text."""
    user = signed_in(request)
    project = access.project_for(user, slug, roles=access.MANAGERS)
    start = guidelines.being_edited(project)
    based_on, theirs = guidelines.stamp(start), None
    action = request.POST.get("action", "")
    is_sent = request.method == "POST" and action in {"save", "publish"}
    # The quiz's own buttons keep nothing, so that they leave the other fields unchecked.
    form = GuidelineForm(request.POST if is_sent else None, initial=_begun_with(start, request.POST))
    quiz = QuizEditor(request.POST or None, kept=start.quiz if start else None, action=action)
    # Both, so that the page shows the faults of both.
    if is_sent and all([form.is_valid(), quiz.is_valid()]):
        try:
            saved = guidelines.edit(
                project=project,
                title=form.cleaned_data["title"],
                body=form.cleaned_data["body"],
                based_on=request.POST.get("based_on", ""),
                actor=user,
                publish_it=action == "publish",
                quiz=quiz.quiz,
                is_minor=form.cleaned_data["is_minor"],
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
        "quiz": quiz,
        "based_on": based_on,
        "theirs": theirs,
        "draft": start if start and not start.is_published else None,
        "is_changed": request.method == "POST",
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
    """Who works here, with their numbers, sorted as the address says; managers add people and change roles."""
    user = signed_in(request)
    project = access.project_for(user, slug, roles=access.MANAGERS)
    action = request.POST.get("action")
    is_adding = action == "add"
    form = MemberForm(request.POST if is_adding else None, project=project)
    tags = MemberTagsForm(request.POST if action == "tags" else None, project=project)
    switch = MemberSwitchForm(request.POST, project=project)
    if tags.is_bound and tags.is_valid():
        tags.save(actor=user)
        name = tags.cleaned_data["member"].user.name
        messages.success(request, _("The languages and skills of %(name)s are saved.") % {"name": name})
        return redirect(request.get_full_path())
    if request.method == "POST" and action != "tags" and (form if is_adding else switch).is_valid():
        try:
            (form if is_adding else switch).save(actor=user)
        except LastManager:
            sentence = _("This is the project's last active manager. Make somebody else a manager first.")
            if is_adding:
                form.add_error(None, sentence)
            else:
                messages.error(request, sentence)
                return redirect(request.get_full_path())
        else:
            return redirect(request.get_full_path())
    sort = request.GET.get("sort", "name")
    standings = qualifying.standings(project)
    rows = [
        {
            **row,
            **_bars(row),
            "qualification": standings.get(row["member"].user_id),
            "tags": _tags_form(tags, row["member"]),
        }
        for row in people.member_rows(project, sort=sort)
    ]
    context = {
        "project": project,
        "rows": rows,
        "form": form,
        "sort": sort if sort.removeprefix("-") in people.SORTS else "name",
        "is_paid": earnings.is_paid(project),
    }
    return render(request, "labeling/members.html", context, status=400 if tags.is_bound else 200)


def _tags_form(sent: MemberTagsForm, member: Membership) -> MemberTagsForm:
    """The member's form: the one that was sent and has faults, or one with what is kept."""
    if sent.is_bound and sent["member"].value() == str(member.pk):
        return sent
    kept = {"member": member.pk, "languages": ", ".join(member.languages), "skills": ", ".join(member.skills)}
    return MemberTagsForm(initial=kept, project=member.project, auto_id=f"tags-{member.pk}-%s")


def _bars(numbers: dict[str, Any]) -> dict[str, Any]:
    return {name: showing.bar(numbers[name]) for name in ("agreement", "first_pass", "gold", "consistency")}


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
