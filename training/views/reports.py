"""What a run measured: the part of its page that appears when the report is there, and the samples to read."""

from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _

from training import reports
from training.models import Run
from training.reports import samples
from training.reports.files import Unreadable
from training.views.console import report_context, staff

SAMPLES_A_PAGE = 10
STEPS_A_PAGE = 5


@login_required
def run_report(request: HttpRequest, pk: int) -> HttpResponse:
    """The report of a run's page, polled by htmx while the run is going on."""
    staff(request)
    run = get_object_or_404(Run.objects.select_related("project"), pk=pk)
    return render(
        request, "training/_report_live.html", {"run": run, "is_live": not run.has_ended, **report_context(run)}
    )


@login_required
def run_samples(request: HttpRequest, pk: int) -> HttpResponse:
    """What the models of an evaluation wrote by reward (`?show=worst`), or others' models step by step."""
    staff(request)
    run = get_object_or_404(Run.objects.select_related("project", "stage__round", "model"), pk=pk)
    if not reports.has_samples(run.kind):
        raise Http404(_("A run of this kind leaves no samples."))
    wanted = request.GET.get("show", "")
    shown = wanted if wanted in samples.SHOWN_AS else samples.SHOWN_AS[0]
    by_step = run.kind != "evaluate"
    context: dict[str, Any] = {"run": run, "shown": shown, "by_step": by_step}
    try:
        found = samples.by_step(run) if by_step else samples.rewarded(run, shown_as=shown)
    except Unreadable as error:
        found, context["problem"] = None, _("The samples cannot be read: %(why)s") % {"why": error}
    size = STEPS_A_PAGE if by_step else SAMPLES_A_PAGE
    context["is_there"] = found is not None
    context["page_obj"] = Paginator(found or [], size).get_page(request.GET.get("page"))
    return render(request, "training/samples.html", context)
