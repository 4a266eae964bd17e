"""Keeping a project's quality report fresh: who asks, when it is too old, and storing what a task found."""

from datetime import timedelta

from django.db import transaction
from django.db.models import Max, Q
from django.db.models.functions import Now
from django.utils import timezone

from hone.accounts.models import Project
from labeling.models import GoldItem, QualityReport, Ranking, Retraction

FRESH = timedelta(minutes=10)
# A task that has not answered for so long is taken for lost and may be asked for again.
ANSWERS_WITHIN = timedelta(minutes=5)


def report_of(project: Project, *, include_simulated: bool = False) -> QualityReport:
    """The newest report, perhaps with no body yet. Asks for a new one where it is too old and something changed."""
    report, _created = QualityReport.objects.get_or_create(project=project, include_simulated=include_simulated)
    too_old = report.made_at is None or report.made_at < timezone.now() - FRESH
    if too_old and report.basis != _basis(project, include_simulated=include_simulated):
        ask(report)
    return report


def ask(report: QualityReport) -> None:
    """Sends a task, unless one is under way. Where the broker is away, the next look at the page asks again."""
    from labeling.tasks import measure_quality

    # One UPDATE: of two who ask at once, one finds a row.
    lost = Q(asked_at=None) | Q(asked_at__lt=Now() - ANSWERS_WITHIN)
    if not QualityReport.objects.filter(lost, pk=report.pk).update(asked_at=Now()):
        return
    report.refresh_from_db(fields=["asked_at"])
    transaction.on_commit(
        lambda: measure_quality.apply_async((report.pk,), expires=ANSWERS_WITHIN.seconds, retry=False), robust=True
    )


def is_under_way(report: QualityReport) -> bool:
    """Whether a task may still answer; one that was lost leaves `asked_at` behind."""
    return report.asked_at is not None and report.asked_at > timezone.now() - ANSWERS_WITHIN


def measure(report_id: int) -> None:
    """Computes and stores the report, and renews the comparisons' posteriors.

    Labels that arrive meanwhile make it old, not wrong.
    """
    from labeling.quality import posteriors  # numpy: only where it is computed
    from labeling.quality.report import body

    report = QualityReport.objects.select_related("project").get(pk=report_id)
    basis = _basis(report.project, include_simulated=report.include_simulated)
    found = body(project=report.project, include_simulated=report.include_simulated)
    found["consensus"] = posteriors.renew(project=report.project, include_simulated=report.include_simulated)
    QualityReport.objects.filter(pk=report_id).update(body=found, basis=basis, made_at=Now(), asked_at=None)


def _basis(project: Project, *, include_simulated: bool) -> str:
    """Changes whenever the rankings that stand do: their newest id, and what was retracted, restored and made gold."""
    rankings = Ranking.objects.filter(project=project, simulated=False)
    newest = [rankings.aggregate(n=Max("id"))["n"]]
    if include_simulated:
        newest.append(Ranking.objects.filter(project=project, simulated=True).aggregate(n=Max("id"))["n"])
    taken = Retraction.objects.filter(project=project).aggregate(made=Max("id"), undone=Max("undone_at"))
    gold = GoldItem.objects.filter(project=project).aggregate(at=Max("set_at"))["at"]
    return " ".join(str(part) for part in (*newest, taken["made"], taken["undone"], gold))
