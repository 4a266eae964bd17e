"""What a project asks about ranked answers besides their order."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from hone.accounts.models import Project


class Reason(models.TextChoices):
    OFF = "off", _("Do not ask")
    OPTIONAL = "optional", _("May be given")
    REQUIRED = "required", _("Must be given")


class RankingForm(models.Model):
    """A project's scales, flags, strengths and reason; without a row, people give an order alone.

    `labeling.ranking_forms` checks the content. Slots and rankings hold copies, so a change never reaches backwards.
    """

    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="ranking_form")
    scales = models.JSONField(
        default=list, blank=True, help_text="[{key, label, low, high, low_label, high_label, optional}, …]"
    )
    flags = models.JSONField(default=list, blank=True, help_text="[{key, label, help}, …]")
    strength = models.BooleanField(default=False, help_text="two answers: how much better the better one is")
    ties = models.BooleanField(default=True, help_text="two answers may share a tier")
    reason = models.CharField(max_length=8, choices=Reason, default=Reason.OFF)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(reason__in=Reason.values), name="ranking_form_reason_known")
        ]

    def __str__(self) -> str:
        return f"ranking form of {self.project_id}"
