"""The managers' pages: spec, prompts, import, members, data."""

import json

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _

from hone.accounts import access
from hone.accounts.models import Membership
from hone.audit.models import record
from hone.markdown import render as render_markdown
from labeling import guidelines, importing, queries
from labeling.export import comparison_lines
from labeling.forms import GuidelineForm, ImportForm, MemberForm
from labeling.models import Category
from labeling.views import signed_in


@login_required
def guideline_edit(request: HttpRequest, slug: str) -> HttpResponse:
    """The project's one draft; "publish" freezes it. A new draft starts from the published text."""
    user = signed_in(request)
    project = access.project_for(user, slug, roles=access.MANAGERS)
    draft = project.guidelines.filter(published_at=None).first()
    start = draft or guidelines.current(project)
    form = GuidelineForm(request.POST or None, initial={"title": start.title, "body": start.body} if start else None)
    if request.method == "POST" and form.is_valid():
        draft = guidelines.save_draft(project=project, **form.cleaned_data)
        if request.POST.get("action") == "publish":
            guidelines.publish(guideline=draft, actor=user)
            messages.success(request, _("Version %(n)d is published.") % {"n": draft.number})
            return redirect("labeling:guideline", slug=slug)
        messages.success(request, _("The draft is saved."))
        return redirect("labeling:guideline_edit", slug=slug)
    context = {
        "project": project,
        "form": form,
        "draft": draft,
        "preview_html": render_markdown(start.body) if start else "",
    }
    return render(request, "labeling/guideline_edit.html", context)


@login_required
def prompts(request: HttpRequest, slug: str) -> HttpResponse:
    """The project's prompts, filtered by category, language and text; the filter is in the address."""
    project = access.project_for(signed_in(request), slug, roles=access.LEADS)
    rows = project.prompts.order_by("-id")
    chosen = {name: request.GET.get(name, "").strip() for name in ("category", "language", "q")}
    if chosen["category"]:
        rows = rows.filter(category=chosen["category"])
    if chosen["language"]:
        rows = rows.filter(language=chosen["language"])
    if chosen["q"]:
        rows = rows.filter(messages__icontains=chosen["q"])
    context = {
        "project": project,
        "page_obj": Paginator(rows, 50).get_page(request.GET.get("page")),
        "filters": chosen,
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
            member = form.save()
            record("member.added", member, actor=user, role=member.role)
            return redirect("labeling:members", slug=slug)
        member_id = request.POST.get("member", "")
        if request.POST.get("action") in {"deactivate", "activate"} and member_id.isdigit():
            found = Membership.objects.filter(project=project, pk=member_id).first()
            if found:
                found.is_active = request.POST["action"] == "activate"
                found.save(update_fields=["is_active"])
                record(f"member.{request.POST['action']}d", found, actor=user)
            return redirect("labeling:members", slug=slug)
    memberships = project.memberships.select_related("user").order_by("user__username")
    return render(request, "labeling/members.html", {"project": project, "memberships": memberships, "form": form})


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
        "export_url": address,
        "absolute_url": request.build_absolute_uri(address),
        "can_manage": access.role_in(signed_in(request), project) == access.MANAGER,
    }
    return render(request, "labeling/data.html", context)
