"""Console: what waits, what runs, what broke; rounds, runs and checkpoints."""

import json
import shlex
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from hone.accounts import access
from hone.accounts.models import Project, User
from labeling.queries import batch_progress
from training import launcher, lineage, metrics, reports, retracted, rounds, runs, stage_data
from training.forms import ResumeForm
from training.models import Checkpoint, Metric, Round, Run, Snapshot, Stage
from training.reports import names, of_model, reward
from training.trainers.config import ConfigError


def staff(request: HttpRequest) -> User:
    """The user, who must be staff."""
    assert isinstance(request.user, User)
    access.require_staff(request.user)
    return request.user


@login_required
def home(request: HttpRequest) -> HttpResponse:
    """What each round waits for, what is running and until when, what broke lately."""
    staff(request)
    current = Round.objects.select_related("project", "start").prefetch_related("stages__runs")
    context = {
        "rounds": [round_card(found) for found in current.order_by("-id")[:12]],
        "running": [
            run_card(run)
            for run in Run.objects.filter(state__in=[Run.State.RUNNING, Run.State.QUEUED]).select_related(
                "project", "stage__round", "model"
            )
        ],
        "failed": Run.objects.filter(state=Run.State.FAILED).select_related("project")[:5],
        "projects": Project.objects.all(),
    }
    return render(request, "training/console.html", context)


def round_card(found: Round) -> dict[str, Any]:
    return {
        "round": found,
        "stages": [stage_card(stage) for stage in found.stages.all()],
        "policy": stage_data.policy_of(found),
        "can_cancel": found.state in (Round.State.RUNNING, Round.State.WAITING, Round.State.FAILED),
        "can_resume": found.state in (Round.State.FAILED, Round.State.CANCELLED),
    }


def stage_card(stage: Stage) -> dict[str, Any]:
    """A stage with its run or its people's progress, its gate, and the one number that matters."""
    run = max(stage.runs.all(), key=lambda run: run.pk, default=None)
    progress = batch_progress(stage.batch_id) if stage.batch_id else None
    end = stage.ended_at or (timezone.now() if stage.started_at else None)
    return {
        "stage": stage,
        "run": run_card(run) if run else None,
        "progress": progress,
        "wanted": rounds.labels_wanted(stage, progress) if progress and stage.is_human else None,
        "seconds": (end - stage.started_at).total_seconds() if end and stage.started_at else None,
        "headline": headline(stage, run, progress),
        "can_continue": stage.state in (Stage.State.WAITING, Stage.State.READY),
        "problem": stage.params.get("problem"),
    }


def headline(stage: Stage, run: Run | None, progress: dict[str, int] | None) -> str:
    """The number by which one judges the stage."""
    if progress is not None and stage.is_human:
        return _("%(done)d of %(total)d") % {"done": progress["submitted"], "total": progress["total"]}
    found = (run.result or {}).get("metrics", {}) if run else {}
    for name in metrics.HEADLINES.get(stage.kind, []):
        if isinstance(found.get(name), int | float):
            return f"{metrics.label(name)} {found[name]:.3g}"
    return ""


def run_card(run: Run) -> dict[str, Any]:
    percent = 100 * run.step / run.total_steps if run.total_steps else 0
    return {"run": run, "percent": min(100, round(percent)), "seconds_left": seconds_left(run)}


def seconds_left(run: Run) -> float | None:
    """Time to the end at the pace of this attempt's steps so far; None before the third step."""
    began = run.attempt_started_at
    if run.state != Run.State.RUNNING or not run.total_steps or began is None:
        return None
    logged = Metric.objects.filter(run=run, at__gte=began)
    times = list(logged.order_by("-step").values_list("step", "at").distinct()[:200])
    if len(times) < 2 or times[0][0] - times[-1][0] < 2:
        return None
    (last, last_at), (first, first_at) = times[0], times[-1]
    pace = (last_at - first_at).total_seconds() / (last - first)
    return max(0.0, pace * (run.total_steps - last) - (timezone.now() - last_at).total_seconds())


@login_required
def round_page(request: HttpRequest, pk: int) -> HttpResponse:
    staff(request)
    return render(request, "training/round.html", _round_context(pk))


@login_required
def round_stages(request: HttpRequest, pk: int) -> HttpResponse:
    """The part of the round's page that changes, polled by htmx."""
    staff(request)
    return render(request, "training/_round_live.html", _round_context(pk))


def _round_context(pk: int) -> dict[str, Any]:
    found = get_object_or_404(Round.objects.select_related("project", "start", "created_by"), pk=pk)
    card = round_card(found)
    run = rounds.run_to_resume(found) if card["can_resume"] else None
    return {
        **card,
        "is_live": found.state in (Round.State.RUNNING, Round.State.WAITING),
        "resume_form": ResumeForm(run=run) if run else None,
    }


@login_required
@require_POST
def round_cancel(request: HttpRequest, pk: int) -> HttpResponse:
    return _try(request, lambda user: rounds.cancel(round_id=pk, actor=user), "training:round", pk)


@login_required
@require_POST
def round_resume(request: HttpRequest, pk: int) -> HttpResponse:
    """Resumes the round, with settings changed as its run's own page asks for them."""

    def resume(user: User) -> None:
        run = rounds.run_to_resume(get_object_or_404(Round, pk=pk))
        rounds.resume(round_id=pk, actor=user, params=_changed_settings(request, run))

    return _try(request, resume, "training:round", pk)


@login_required
@require_POST
def stage_continue(request: HttpRequest, pk: int) -> HttpResponse:
    stage = get_object_or_404(Stage, pk=pk)
    go_on = lambda user: rounds.continue_past_gate(stage_id=pk, actor=user)  # noqa: E731
    return _try(request, go_on, "training:round", stage.round_id)


def _try(request: HttpRequest, action: Any, page: str, pk: int) -> HttpResponse:
    """Does what the lead asked for; a refusal becomes a message on the page."""
    user = staff(request)
    try:
        action(user)
    except (runs.NotPossible, ConfigError) as error:
        messages.error(request, str(error))
    return redirect(page, pk)


@login_required
def run_list(request: HttpRequest) -> HttpResponse:
    staff(request)
    rows = Run.objects.select_related("project", "stage__round", "model").order_by("-id")
    state = request.GET.get("state", "")
    if state in Run.State.values:
        rows = rows.filter(state=state)
    page = Paginator(rows, 50).get_page(request.GET.get("page"))
    context = {"page_obj": page, "states": Run.State.choices, "state": state}
    return render(request, "training/runs.html", context)


@login_required
def run_page(request: HttpRequest, pk: int) -> HttpResponse:
    """Curve, log, configuration, data and result of a run."""
    staff(request)
    live = _live_context(pk)
    run = live["run"]
    context = {
        **live,
        "command": shlex.join(runs.command(run)),
        "config": json.dumps(runs.config(run), indent=2, ensure_ascii=False),
        "manifest": _manifest_summary(run.snapshot),
        **report_context(run),
    }
    return render(request, "training/run.html", context)


def report_context(run: Run) -> dict[str, Any]:
    """What the run measured, apart from what is polled often: its files may be large."""
    report = reports.of(run)
    return {
        "makes_report": reports.is_made_by(run.kind),
        "report": report,
        "body": names.fill(report.body) if report else {},
    }


@login_required
def run_live(request: HttpRequest, pk: int) -> HttpResponse:
    """Progress bar, metrics and log, polled by htmx while the run is going on."""
    staff(request)
    return render(request, "training/_run_live.html", _live_context(pk))


def _live_context(pk: int) -> dict[str, Any]:
    """What changes while a run is going on; asked for every three seconds, so nothing that grows with the run."""
    run = get_object_or_404(Run.objects.select_related("project", "stage__round", "model"), pk=pk)
    return {
        **run_card(run),
        "is_live": not run.has_ended,
        "latest": metrics.newest(run),
        "log": launcher.log_tail(run),
        "result": json.dumps(run.result, indent=2, ensure_ascii=False) if run.result else "",
        "inputs": run.inputs.select_related("checkpoint", "snapshot"),
        "made": Checkpoint.objects.filter(run=run).first(),
        "can_cancel": not run.has_ended and not run.cancel_requested,
        "resume_form": ResumeForm(run=run) if run.can_be_resumed else None,
        "changes": runs.changes(run),
    }


def _manifest_summary(snapshot: Snapshot) -> dict[str, Any]:
    """The manifest without its long list of label ids."""
    summary = {key: value for key, value in snapshot.manifest.items() if key != "label_ids"}
    return {**summary, "labels": len(snapshot.manifest.get("label_ids", [])), "rows": snapshot.rows}


@login_required
@require_POST
def run_cancel(request: HttpRequest, pk: int) -> HttpResponse:
    return _try(request, lambda user: runs.cancel(run_id=pk, actor=user), "training:run", pk)


@login_required
@require_POST
def run_resume(request: HttpRequest, pk: int) -> HttpResponse:
    """Resumes the run; one that belongs to a round takes its round with it."""

    def resume(user: User) -> None:
        run = get_object_or_404(Run.objects.select_related("stage"), pk=pk)
        params = _changed_settings(request, run)
        if run.stage is not None:
            rounds.resume(round_id=run.stage.round_id, actor=user, params=params)
        else:
            runs.resume(run_id=pk, actor=user, params=params)

    return _try(request, resume, "training:run", pk)


def _changed_settings(request: HttpRequest, run: Run | None) -> dict[str, Any] | None:
    """What a question before a resume was answered with; None where it asked for nothing. Raises NotPossible."""
    if run is None or not any(name.startswith(f"{ResumeForm.prefix}-") for name in request.POST):
        return None
    form = ResumeForm(request.POST, run=run)
    if not form.is_valid():
        raise runs.NotPossible(" ".join(form.sentences))
    return form.changes


@login_required
def checkpoints(request: HttpRequest) -> HttpResponse:
    """All models, or with `?retracted=1` those trained on labels that were retracted since."""
    staff(request)
    rows = Checkpoint.objects.select_related("project", "parent", "run__stage__round").order_by("-id")
    context: dict[str, Any] = {"only_retracted": request.GET.get("retracted") == "1"}
    if context["only_retracted"]:
        context["retracted"] = retracted.by_snapshot()
        rows = rows.filter(run__snapshot__in=context["retracted"])
    context["page_obj"] = Paginator(rows, 50).get_page(request.GET.get("page"))
    return render(request, "training/checkpoints.html", context)


@login_required
def checkpoint_page(request: HttpRequest, pk: int) -> HttpResponse:
    """A checkpoint and its lineage back to labels, authors, spec versions and sampled models."""
    staff(request)
    found = get_object_or_404(Checkpoint.objects.select_related("project", "run__snapshot", "run__stage__round"), pk=pk)
    context = {
        "checkpoint": found,
        "lineage": lineage.of(found),
        "children": found.children.all(),
        "evaluations": of_model.evaluations(found),
        "beside_people": reward.of_checkpoint(found),
        "sampled_in": Round.objects.filter(stages__runs__model=found, stages__kind="sample").distinct(),
    }
    return render(request, "training/checkpoint.html", context)
