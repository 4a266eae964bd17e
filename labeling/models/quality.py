"""What was found out about the labels: measured reports, and labels that a lead took back."""

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from hone.accounts.models import Project


class QualityReport(models.Model):
    """The newest measurement of a project's rankings: labeling.quality.report.body, computed by a task.

    `asked_at` is set while a task has been asked for and has not answered; `basis` says from which labels it was made.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="quality_reports")
    include_simulated = models.BooleanField(default=False)
    body = models.JSONField(null=True, blank=True)
    basis = models.CharField(max_length=120, blank=True)
    made_at = models.DateTimeField(null=True, blank=True)
    asked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "include_simulated"], name="quality_report_once"),
        ]

    def __str__(self) -> str:
        return f"quality of {self.project_id} at {self.made_at}"


class Retraction(models.Model):
    """A lead took back a person's labels, all or those from a moment on. The labels stay and point here.

    Undone, no label points here any more, and the row remains as what happened. A review that returns or rejects a
    label takes that one back in the same way, for good.
    """

    class Cause(models.TextChoices):
        LEAD = "lead", _("retracted")
        RETURNED = "returned", _("returned by a reviewer")
        REJECTED = "rejected", _("rejected by a reviewer")

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="retractions")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    since = models.DateTimeField(null=True, blank=True)
    reason = models.TextField()
    cause = models.CharField(max_length=8, choices=Cause, default=Cause.LEAD, db_default=Cause.LEAD)
    demonstrations = models.PositiveIntegerField(default=0)
    rankings = models.PositiveIntegerField(default=0)
    comparisons = models.PositiveIntegerField(default=0)
    slots_opened = models.PositiveIntegerField(default=0)
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    made_at = models.DateTimeField(auto_now_add=True)
    undone_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    undone_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(undone_at=None, undone_by=None)
                | models.Q(undone_at__isnull=False, undone_by__isnull=False),
                name="retraction_undone_by_somebody",
            ),
            models.CheckConstraint(
                condition=models.Q(cause="lead") | models.Q(cause__in=["returned", "rejected"], undone_at=None),
                name="retraction_by_review_stays",
            ),
        ]

    def __str__(self) -> str:
        return f"retraction {self.pk} of {self.author_id}"
