"""The labeling spec, in numbered versions that never change once published."""

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from hone.accounts.models import Project


class Guideline(models.Model):
    """One version of a project's labeling spec. A trigger refuses changes to a published one."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="guidelines")
    number = models.PositiveIntegerField(_("version"))
    title = models.CharField(_("title"), max_length=160)
    body = models.TextField(_("text"), help_text=_("Markdown. Headings make the table of contents."))
    created_at = models.DateTimeField(auto_now_add=True)
    published_at = models.DateTimeField(null=True, blank=True)
    published_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="guideline_number_once"),
            # At most one draft a project, so that two editors meet on the same one.
            models.UniqueConstraint(
                fields=["project"], condition=models.Q(published_at=None), name="guideline_one_draft"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.title} v{self.number}"

    @property
    def is_published(self) -> bool:
        return self.published_at is not None
