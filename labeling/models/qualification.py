"""The test that contractors pass before their first item, and their attempts at it."""

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from hone.accounts.models import Project

MOST_ATTEMPTS = 10


class Qualification(models.Model):
    """A project's test; `Project.asks_qualification` says whether it is asked. See labeling.qualifying."""

    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="qualification")
    pass_percent = models.PositiveSmallIntegerField(
        _("pass mark, percent"),
        default=80,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text=_("Of the mean over all questions. 1 to 100."),
    )
    attempts = models.PositiveSmallIntegerField(
        _("attempts"),
        default=3,
        validators=[MinValueValidator(1), MaxValueValidator(MOST_ATTEMPTS)],
        help_text=_("How often a person may try. 1 to 10."),
    )
    version = models.PositiveIntegerField(default=1, help_text="one more with each change of the questions")
    questions = models.JSONField(default=list, blank=True, help_text="as in a guideline's quiz, see labeling.quizzes")
    rankings = models.JSONField(default=list, blank=True, help_text="see labeling.qualification_questions")
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(
                    pass_percent__gte=1, pass_percent__lte=100, attempts__gte=1, attempts__lte=MOST_ATTEMPTS
                ),
                name="qualification_in_bounds",
            )
        ]

    def __str__(self) -> str:
        return f"qualification of {self.project_id}"


class QualificationAttempt(models.Model):
    """One attempt at a project's test, with a copy of what was asked; none is ever overwritten."""

    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="qualification_attempts", db_index=False
    )
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="qualification_attempts")
    number = models.PositiveSmallIntegerField(help_text="of the person's attempts in the project, from 1")
    version = models.PositiveIntegerField(help_text="of the test")
    asked = models.JSONField(help_text="{pass_percent, questions, rankings} at the time")
    answers = models.JSONField(help_text="{questions: [[option, …], …], rankings: [[tier of each answer, …], …]}")
    percent = models.PositiveSmallIntegerField(help_text="the mean over all questions, rounded down")
    passed = models.BooleanField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["project", "user", "number"], name="qualification_attempt_once"),
            models.CheckConstraint(
                condition=models.Q(number__gte=1, percent__lte=100), name="qualification_attempt_in_bounds"
            ),
        ]

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.user_id} in {self.project_id}"
