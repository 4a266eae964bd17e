"""The labeling spec, in numbered versions that never change once published."""

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from hone.accounts.models import Project


class Guideline(models.Model):
    """One version of a project's labeling spec. A trigger refuses changes to a published one."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="guidelines")
    number = models.PositiveIntegerField(_("version"))
    title = models.CharField(_("title"), max_length=160)
    body = models.TextField(_("text"), help_text=_("Markdown. Headings make the table of contents."))
    is_minor = models.BooleanField(
        _("minor change"), default=False, db_default=False, help_text=_("Nobody has to read it before going on.")
    )
    quiz = models.JSONField(
        null=True, blank=True, help_text="{pass_percent, questions: […]}, see labeling.quizzes; null: none is asked"
    )
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


class GuidelineReading(models.Model):
    """A person opened a published version, and perhaps confirmed that they have read it."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="guideline_readings", db_index=False
    )
    guideline = models.ForeignKey(Guideline, on_delete=models.CASCADE, related_name="readings")
    opened_at = models.DateTimeField(db_default=Now())
    confirmed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["user", "guideline"], name="guideline_reading_once")]

    def __str__(self) -> str:
        return f"{self.user_id} reads guideline {self.guideline_id}"


class QuizAttempt(models.Model):
    """One try at a version's quiz; none is ever overwritten."""

    reading = models.ForeignKey(GuidelineReading, on_delete=models.CASCADE, related_name="attempts")
    answers = models.JSONField(help_text="[[option, …], …]: the options chosen for each question, by their index")
    score = models.PositiveSmallIntegerField(help_text="questions answered rightly")
    passed = models.BooleanField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"attempt {self.pk} at the quiz of reading {self.reading_id}"
