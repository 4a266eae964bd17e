"""The managers' pages of hidden checks: rates and gold items, and one item's reference."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _

from hone import markdown
from hone.accounts import access
from hone.accounts.models import Project
from labeling import hidden
from labeling.comparisons import ranks
from labeling.forms_hidden import GoldForm, HiddenChecksForm, start_of
from labeling.models import GoldItem, Item, QualityReport, Ranking
from labeling.quality import showing_checks
from labeling.responses import LETTERS
from labeling.views import signed_in

GOLD_A_PAGE = 30


@login_required
def hidden_checks(request: HttpRequest, slug: str) -> HttpResponse:
    """The rates, the gold items with how they fared, and what the consensus suggests. Managers."""
    user = signed_in(request)
    project = access.project_for(user, slug, roles=access.MANAGERS)
    form = HiddenChecksForm(request.POST or None, project=project)
    if request.method == "POST" and form.is_valid():
        form.save_for(user)
        messages.success(request, _("The hidden checks are saved. They hold from the next item handed out."))
        return redirect("labeling:hidden_checks", slug=slug)
    body = _body(project)
    fared = showing_checks.gold_items(body)
    rows = (
        GoldItem.objects.filter(project=project).select_related("item__prompt", "set_by").order_by("-is_active", "-id")
    )
    page = Paginator(rows, GOLD_A_PAGE).get_page(request.GET.get("page"))
    known = set(GoldItem.objects.filter(project=project).values_list("item", flat=True))
    suggested = showing_checks.items(body, "suggestions", Item.objects.filter(project=project))
    context = {
        "project": project,
        "form": form,
        "page_obj": page,
        "gold": [{"row": row, "fared": fared.get(row.item_id)} for row in page],
        "suggestions": [row for row in suggested if row["item"] not in known],
        "ranked": _newest_ranked(project, known),
    }
    return render(request, "labeling/hidden_checks.html", context)


@login_required
def gold(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """One item's answers, what people say, and its reference: set, changed or retired. Managers."""
    user = signed_in(request)
    project = access.project_for(user, slug, roles=access.MANAGERS)
    item = get_object_or_404(Item.objects.select_related("prompt"), pk=pk, project=project, kind="rank")
    if item.completions.count() < 2:
        raise Http404(_("This item has nothing to compare."))
    kept = GoldItem.objects.filter(item=item).first()
    if request.method == "POST" and request.POST.get("action") == "retire":
        if kept is not None and kept.is_active:
            hidden.retire_gold(gold=kept, actor=user)
            messages.success(request, _("The gold item is retired. It is handed out no more and scores nobody."))
        return redirect("labeling:hidden_checks", slug=slug)
    suggested = _suggested(project, item)
    from_consensus = request.GET.get("from") == "consensus" and suggested is not None
    if from_consensus and suggested is not None:
        start = start_of(suggested, [])
    else:
        start = start_of(kept.tiers, kept.unacceptable) if kept else {}
    form = GoldForm(request.POST or None, item=item, start=start)
    if request.method == "POST" and form.is_valid():
        # Confirmed as it was suggested, it is the consensus; changed, it is the manager's own.
        own = not from_consensus or form.has_changed()
        if form.save_for(user, source=GoldItem.Source.MANAGER if own else GoldItem.Source.CONSENSUS):
            messages.success(request, _("The gold item is saved."))
            return redirect("labeling:hidden_checks", slug=slug)
    context = {
        "project": project,
        "item": item,
        "form": form,
        "rows": _with_strengths(form, item),
        "kept": kept,
        "fared": showing_checks.gold_items(_body(project)).get(item.pk),
        "suggested": suggested is not None,
        "from_consensus": from_consensus,
        "people": _people(item, form),
    }
    return render(request, "labeling/gold.html", context)


def _body(project: Project) -> dict[str, Any] | None:
    report = QualityReport.objects.filter(project=project, include_simulated=False).first()
    return report.body if report else None


def _suggested(project: Project, item: Item) -> list[list[int]] | None:
    rows = (_body(project) or {}).get("consensus", {}).get("suggestions", [])
    return next((row["tiers"] for row in rows if row["item"] == item.pk), None)


def _newest_ranked(project: Project, known: set[int]) -> list[Ranking]:
    """The newest ranked items that are no gold yet, to pick one by hand."""
    newest = Ranking.objects.orders().filter(project=project, retraction=None).exclude(item__in=known)
    return list(newest.select_related("prompt").order_by("-id")[:10])


def _with_strengths(form: GoldForm, item: Item) -> list[dict[str, Any]]:
    """The form's rows, with the answers as raters see them."""
    from labeling.quality.posteriors import strengths  # numpy

    found = strengths(item.pk)
    return [
        {**row, "strength": found.get(row["answer"].index), "html": markdown.render(row["answer"].text)}
        for row in form.rows()
    ]


def _people(item: Item, form: GoldForm) -> list[dict[str, Any]]:
    """Who ranked the item and how, in the page's letters."""
    letter = {row["answer"].index: row["letter"] for row in form.rows()}
    rows = Ranking.objects.orders().filter(item=item, retraction=None).select_related("author").order_by("id")[:50]
    return [{"author": row.author, "order": _order(ranks(row.tiers, row.unacceptable), letter)} for row in rows]


def _order(rank: dict[int, int], letter: dict[int, str]) -> str:
    tiers = sorted(set(rank.values()))
    return " > ".join(
        " = ".join(letter.get(index, LETTERS[-1]) for index in rank if rank[index] == tier) for tier in tiers
    )
