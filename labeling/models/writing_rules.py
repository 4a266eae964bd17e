"""What a project asks of a demonstration's text, and the index that finds a prompt's earlier likeness."""

from typing import Any

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from hone.accounts.models import Project
from labeling.models.prompts import Prompt


class Action(models.TextChoices):
    """What a finding does to a submit."""

    OFF = "off", _("Do not look")
    WARN = "warn", _("Warn, and record it with the label")
    BLOCK = "block", _("Refuse the submission")


class WritingRulesQuerySet(models.QuerySet["WritingRules"]):
    def for_project(self, project: Project) -> "WritingRules":
        """The project's rules; without a row the defaults, by which nothing is looked at."""
        return self.filter(project=project).first() or WritingRules(project=project)


def _action(label: Any, help_text: Any = "") -> models.CharField:
    return models.CharField(label, max_length=5, choices=Action, default=Action.OFF, help_text=help_text)


class WritingRules(models.Model):
    """The rules for what people write in a project. Imports are not held to them."""

    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="writing_rules")
    min_chars = models.PositiveIntegerField(
        _("shortest response, characters"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("A shorter response is refused. Empty: any length."),
    )
    max_chars = models.PositiveIntegerField(
        _("longest response, characters"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("A longer response is refused. Empty: the project's own limit for every text."),
    )
    language = _action(_("another language than the prompt's"), _("Short texts and code are not judged."))
    words_action = _action(_("forbidden words"))
    words = models.TextField(
        _("words and phrases"),
        blank=True,
        max_length=20_000,
        help_text=_("One a line. Whole words, capitals or not; Chinese, Japanese and Thai inside longer text too."),
    )
    personal = _action(_("personal data"), _("E-mail addresses, phone numbers, bank cards and IBANs."))
    phone_regions = models.CharField(
        _("countries of phone numbers"),
        max_length=60,
        blank=True,
        help_text=_("Two letters each, such as US, GB. Numbers that begin with + are found in any case."),
    )
    duplicates = _action(_("a prompt like an earlier one"), _("For items in which people write the prompt too."))
    similarity = models.PositiveSmallIntegerField(
        _("alike from, percent"), default=85, validators=[MinValueValidator(60), MaxValueValidator(100)]
    )

    objects = WritingRulesQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "writing rules"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(min_chars=None)
                | models.Q(max_chars=None)
                | models.Q(min_chars__lte=models.F("max_chars")),
                name="writing_rules_min_below_max",
            ),
            models.CheckConstraint(
                condition=models.Q(similarity__gte=60, similarity__lte=100), name="writing_rules_similarity"
            ),
            *(
                models.CheckConstraint(
                    condition=models.Q(**{f"{field}__in": Action.values}), name=f"writing_rules_{field}"
                )
                for field in ("language", "words_action", "personal", "duplicates")
            ),
        ]

    def __str__(self) -> str:
        return f"writing rules of {self.project}"

    @property
    def phrases(self) -> list[str]:
        """The forbidden words and phrases, each once."""
        return list(dict.fromkeys(" ".join(line.split()) for line in self.words.splitlines() if line.strip()))

    @property
    def regions(self) -> list[str]:
        return [part.strip().upper() for part in self.phone_regions.split(",") if part.strip()]

    @property
    def are_set(self) -> bool:
        """Whether anything is looked at."""
        actions = {self.language, self.words_action, self.personal, self.duplicates}
        return bool(self.min_chars or self.max_chars or actions != {Action.OFF})


class PromptBand(models.Model):
    """One band of a prompt's MinHash: prompts that share a band are candidates for being alike (checks.duplicates)."""

    pk = models.CompositePrimaryKey("project", "band", "prompt")  # the one index, in the order of the look-up
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+", db_index=False)
    band = models.BigIntegerField()
    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="bands", db_index=False)

    def __str__(self) -> str:
        return f"band {self.band} of prompt {self.prompt_id}"
