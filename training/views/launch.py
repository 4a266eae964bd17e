"""Launching a round: the form on the left, on the right what will happen."""

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from hone.accounts import access
from hone.accounts.models import Project
from training import estimates, rounds, stage_data
from training.forms import RoundForm
from training.models import Checkpoint, Round, Stage
from training.views.console import staff

# A later round begins with the trained policy's answers.
_FIRST = (Stage.Kind.PRETRAIN, Stage.Kind.WRITE, Stage.Kind.SFT)


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
    """The newest policy and, after a first round, the recipe that was used last without what trained it first."""
    previous = project.rounds.order_by("-id").first()
    if from_round.isdigit():
        previous = get_object_or_404(Round, project=project, pk=from_round)
    if previous is None:
        return {"start": Checkpoint.objects.filter(kind=Checkpoint.Kind.BASE).order_by("-id").first()}
    stages = {stage.kind: stage.params for stage in previous.stages.all()}
    initial: dict[str, Any] = {
        "start": stage_data.policy_of(previous) or previous.start,
        "include_simulated": previous.include_simulated,
        "heldout_percent": previous.heldout_percent,
    }
    for kind in rounds.ORDER:
        initial[f"use-{kind}"] = kind in stages and kind not in _FIRST
    for stage_kind, params in stages.items():
        # How many labels to wait for was chosen for that round's batch.
        initial |= {f"{stage_kind}-{name}": value for name, value in params.items() if name != "min_labels"}
    return initial
