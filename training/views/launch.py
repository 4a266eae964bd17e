"""Launching a round: the form on the left, on the right what will happen."""

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from hone.accounts import access
from hone.accounts.models import Project
from training import estimates, rounds
from training.forms import RoundForm
from training.models import Round, Stage
from training.views.console import staff


@login_required
def new_round(request: HttpRequest, slug: str) -> HttpResponse:
    """The recipe form; `?from=<round>` starts from that round's policy with its recipe."""
    user = staff(request)
    project = access.project_for(user, slug)
    if request.method == "POST":
        form = RoundForm(request.POST, project=project)
        if form.is_valid():
            return redirect("training:round", rounds.start(project=project, recipe=form.recipe(), actor=user).pk)
    else:
        form = RoundForm(project=project, initial=_initial(project, request.GET.get("from", "")))
    context = {"project": project, "form": form, "plan": estimates.plan(project=project, form=form)}
    status = 400 if form.is_bound else 200
    return render(request, "training/round_new.html", context, status=status)


@login_required
@require_POST
def estimate_round(request: HttpRequest, slug: str) -> HttpResponse:
    """The right-hand side for the values in the form, polled by htmx as they change. Nothing is written."""
    user = staff(request)
    project = access.project_for(user, slug)
    form = RoundForm(request.POST, project=project)
    form.is_valid()
    return render(
        request,
        "training/_plan.html",
        {"project": project, "plan": estimates.plan(project=project, form=form)},
    )


def _initial(project: Project, from_round: str) -> dict[str, Any]:
    """The newest policy and, after a first round, the recipe that was used last without writing and SFT."""
    previous = project.rounds.order_by("-id").first()
    if from_round.isdigit():
        previous = get_object_or_404(Round, project=project, pk=from_round)
    if previous is None:
        return {"start": project.checkpoints.order_by("-id").first() or _base()}
    initial: dict[str, Any] = {
        "start": rounds.policy_of(previous) or previous.start,
        "include_simulated": previous.include_simulated,
        "heldout_percent": previous.heldout_percent,
        f"use-{Stage.Kind.WRITE}": False,
        f"use-{Stage.Kind.SFT}": False,
    }
    for stage in previous.stages.all():
        initial |= {f"{stage.kind}-{name}": value for name, value in stage.params.items()}
    return initial


def _base() -> Any:
    from training.models import Checkpoint

    return Checkpoint.objects.filter(kind=Checkpoint.Kind.BASE).order_by("-id").first()
