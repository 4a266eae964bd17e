"""What a lead sees about quality, one person's labels, and taking labels back."""

from datetime import datetime, time
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import Prefetch
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST

from hone.accounts import access
from hone.accounts.models import Project, User
from labeling import earnings, retraction, verdicts
from labeling.models import Completion, Demonstration, Item, Ranking, Retraction
from labeling.quality import measuring, showing, showing_checks
from labeling.review import blind, numbers
from labeling.views import signed_in

LABELS_A_PAGE = 20


class RetractForm(forms.Form):
    """Which of a person's labels to take back, and why. `since` is a day in the server's time zone; empty is all."""

    since = forms.DateField(required=False)
    reason = forms.CharField(max_length=retraction.REASON_CHARS)
    ask_again = forms.BooleanField(required=False)
    take_back_pay = forms.BooleanField(required=False)

    def moment(self) -> datetime | None:
        day = self.cleaned_data["since"]
        return timezone.make_aware(datetime.combine(day, time.min)) if day else None


@login_required
def quality(request: HttpRequest, slug: str) -> HttpResponse:
    """Whether the labels can be trusted: agreement, groups, people. A POST asks for a new measurement."""
    user = signed_in(request)
    project = access.project_for(user, slug, roles=access.LEADS)
    names_hidden = blind.hides_names(project, role=access.role_in(user, project))
    simulated = request.GET.get("include_simulated") == "1"
    report = measuring.report_of(project, include_simulated=simulated)
    if request.method == "POST":
        measuring.ask(report)
        return redirect(request.get_full_path())
    context: dict[str, Any] = {
        **_of_project(user, project),
        "report": report,
        "include_simulated": simulated,
        "has_simulated": project.memberships.filter(user__is_simulated=True).exists(),
        "is_measuring": measuring.is_under_way(report),
        "retractions": (retractions := list(_retractions(project)[:10])),
        "names_hidden": names_hidden,
        "unjudged": verdicts.overview(project),
    }
    for row in retractions if names_hidden else []:
        blind.rename(row.author, project=project)
    if body := report.body:
        scores, of_project = showing_checks.scores(body), Item.objects.filter(project=project)
        users = User.objects.in_bulk([row["person"] for row in body["habits"]] + list(scores))
        for author in users.values() if names_hidden else []:
            blind.rename(author, project=project)
        state, sentence = showing.headline(body["agreement"]["without_ties"])
        context |= {
            "body": body,
            "state": state,
            "headline": sentence,
            "agreement": showing.bar(body["agreement"]["without_ties"]),
            "with_ties": showing.bar(body["agreement"]["with_ties"]),
            "published": {"value": 100 * showing.PUBLISHED, "error": 100 * showing.PUBLISHED_ERROR},
            "groups": [
                [(_("Category"), showing.groups(body["by_category"], "category"))],
                [
                    (_("Guideline"), showing.groups(body["by_version"], "version")),
                    (_("Week from"), showing.groups(body["by_week"][-showing.WEEKS_SHOWN :], "week")),
                ],
            ],
            "matrix": showing.matrix(body, users),
            "people": showing.people(body["habits"], users),
            "reliable": showing_checks.people(body, users),
            "suspects": showing_checks.suspects(body, of_project),
            "disagreements": showing_checks.items(body, "disagreements", of_project),
        }
    return render(request, "labeling/quality.html", context)


@login_required
def person(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """One person's labels in the project, newest first, with the habits that were measured."""
    user = signed_in(request)
    project = access.project_for(user, slug, roles=access.LEADS)
    blind.check_may_see_people(project, role=access.role_in(user, project))
    return render(request, "labeling/person.html", _person_context(request, user, project, _author(project, pk)))


@login_required
@require_POST
def retract(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """First says what would be taken back; with `confirmed` takes it back. Managers."""
    user = signed_in(request)
    project = access.project_for(user, slug, roles=access.MANAGERS)
    author = _author(project, pk)
    form = RetractForm(request.POST)
    if not form.is_valid():
        context = _person_context(request, user, project, author)
        return render(request, "labeling/person.html", {**context, "form": form}, status=400)
    since, reason, ask_again = form.moment(), form.cleaned_data["reason"], form.cleaned_data["ask_again"]
    take_back_pay = form.cleaned_data["take_back_pay"]
    if "confirmed" not in request.POST:
        effect = retraction.effect(project=project, author=author, since=since)
        context = {**_of_project(user, project), "author": author, "form": form, "effect": effect, "since": since}
        context["paid"] = earnings.of_standing_labels(project=project, author=author, since=since)
        context["emptied"] = retraction.batches_left_empty(project=project, author=author, since=since)
        return render(request, "labeling/retract.html", context)
    try:
        made = retraction.retract(
            project=project,
            author=author,
            since=since,
            reason=reason,
            ask_again=ask_again,
            actor=user,
            take_back_pay=take_back_pay,
        )
    except retraction.NothingToRetract:
        messages.error(request, _("There is no label to retract any more."))
    else:
        n = made.demonstrations + made.rankings
        done = ngettext("%(n)d label is retracted.", "%(n)d labels are retracted.", n) % {"n": n}
        messages.success(request, done)
    return redirect("labeling:person", slug=slug, pk=pk)


@login_required
@require_POST
def restore(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """Undoes a retraction. Managers."""
    user = signed_in(request)
    project = access.project_for(user, slug, roles=access.MANAGERS)
    found = get_object_or_404(Retraction, pk=pk, project=project, cause=Retraction.Cause.LEAD)
    try:
        stay = retraction.undo(retraction=found, actor=user)
    except retraction.AlreadyUndone:
        messages.error(request, _("These labels were restored already."))
    else:
        messages.success(request, _("The labels are restored."))
        if stay:
            sentence = ngettext(
                "%(n)d conversation was imported again meanwhile; that one stands, the earlier one stays retracted.",
                "%(n)d conversations were imported again meanwhile; those stand, the earlier ones stay retracted.",
                stay,
            )
            messages.info(request, sentence % {"n": stay})
    return redirect("labeling:person", slug=slug, pk=found.author_id)


def _of_project(user: User, project: Project) -> dict[str, Any]:
    """What the tabs of a project's page ask for."""
    can_manage = access.role_in(user, project) == access.MANAGER
    return {"project": project, "can_manage": can_manage, "can_read_data": True}


def _author(project: Project, pk: int) -> User:
    """Somebody who is or was a member, or has a label here. Raises Http404."""
    found = User.objects.filter(pk=pk).first()
    if found is None or not (
        project.memberships.filter(user=found).exists()
        or Ranking.objects.filter(project=project, author=found).exists()
        or Demonstration.objects.filter(project=project, author=found).exists()
    ):
        raise Http404(_("There is no such person in this project."))
    return found


def _retractions(project: Project) -> Any:
    rows = Retraction.objects.filter(project=project, cause=Retraction.Cause.LEAD)
    return rows.select_related("author", "made_by", "undone_by")


def _person_context(request: HttpRequest, user: User, project: Project, author: User) -> dict[str, Any]:
    kind = "write" if request.GET.get("kind") == "write" else "rank"
    rows: Any
    if kind == "write":
        rows = Demonstration.objects.filter(project=project, author=author)
    else:
        completions = Prefetch("item__completions", queryset=Completion.objects.order_by("index"))
        rows = Ranking.objects.filter(project=project, author=author).prefetch_related(completions)
    rows = rows.select_related("prompt", "guideline", "retraction").order_by("-id")
    page = Paginator(rows, LABELS_A_PAGE).get_page(request.GET.get("page"))
    report = measuring.report_of(project, include_simulated=author.is_simulated)
    measured = next((row for row in (report.body or {}).get("habits", []) if row["person"] == author.pk), None)
    reviewed = numbers.of_people(project, [author])[author.pk]
    return {
        **_of_project(user, project),
        "author": author,
        "kind": kind,
        "page_obj": page,
        "labels": [{"row": row, **(showing.order_of(row) if kind == "rank" else {})} for row in page],
        "checked": showing_checks.shown(showing_checks.scores(report.body).get(author.pk)),
        "measured": showing.people([measured], {author.pk: author})[0] if measured else None,
        "report": report,
        "reviewed": reviewed,
        "first_pass": showing.bar(reviewed["first_pass"]),
        "retractions": _retractions(project).filter(author=author),
        "form": RetractForm(),
        "is_paid": earnings.is_paid(project),
    }
