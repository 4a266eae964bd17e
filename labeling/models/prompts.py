"""Prompts as chat messages."""

import json
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Cast
from django.utils.translation import gettext_lazy as _

from hone.accounts.models import Project


class Category(models.TextChoices):
    """InstructGPT's ten uses (Ouyang et al. 2022, table 1)."""

    GENERATION = "generation", _("Generation")
    OPEN_QA = "open_qa", _("Open QA")
    BRAINSTORMING = "brainstorming", _("Brainstorming")
    CHAT = "chat", _("Chat")
    REWRITE = "rewrite", _("Rewrite")
    SUMMARIZATION = "summarization", _("Summarisation")
    CLASSIFICATION = "classification", _("Classification")
    OTHER = "other", _("Other")
    CLOSED_QA = "closed_qa", _("Closed QA")
    EXTRACTION = "extraction", _("Extraction")


# The share of each use among InstructGPT's prompts, in percent (table 1): the mix wanted unless a project says else.
WANTED_PERCENT = {
    "generation": 45.6,
    "open_qa": 12.4,
    "brainstorming": 11.2,
    "chat": 8.4,
    "rewrite": 6.6,
    "summarization": 4.2,
    "classification": 3.5,
    "other": 3.5,
    "closed_qa": 2.6,
    "extraction": 1.9,
}


class PromptQuerySet(models.QuerySet):
    def containing(self, words: str) -> "PromptQuerySet":
        """Prompts with a turn whose text holds these words, whatever their case; reads texts alone, not the JSON."""
        path = f'$[*].content ? (@ like_regex {json.dumps(words, ensure_ascii=False)} flag "iq")'
        return self.filter(
            models.Func(
                "messages",
                Cast(models.Value(path), _JsonPath()),
                function="jsonb_path_exists",
                output_field=models.BooleanField(),
            )
        )


class _JsonPath(models.Field):
    def db_type(self, connection: Any) -> str:
        return "jsonpath"


class Prompt(models.Model):
    """A conversation that ends with a user turn and waits for an answer."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="prompts")
    messages = models.JSONField(help_text="[{role: system|user|assistant, content: text}], the last a user turn")
    category = models.CharField(_("category"), max_length=20, choices=Category, default=Category.OTHER)
    language = models.CharField(_("language"), max_length=16, default="en")
    skills = ArrayField(
        models.CharField(max_length=24),
        default=list,
        db_default=[],
        blank=True,
        help_text="what a person must have to be handed its items, sorted; see labeling.lanes",
    )
    source = models.CharField(_("source"), max_length=120, blank=True)
    # labeling.messages.content_hash: one prompt once a project, and the held-out split is a function of it alone,
    # so it never moves between rounds.
    content_hash = models.CharField(max_length=64)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    simulated = models.BooleanField(default=False)
    is_banded = models.BooleanField(default=False, editable=False, help_text="its PromptBand rows are written")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = PromptQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["project", "content_hash"], name="prompt_once"),
            models.CheckConstraint(condition=models.Q(category__in=Category.values), name="prompt_category_known"),
        ]
        indexes = [
            models.Index(fields=["project", "category"], name="prompt_by_category"),
            models.Index(fields=["id"], condition=models.Q(is_banded=False), name="prompt_without_bands"),
        ]

    def __str__(self) -> str:
        return self.preview

    @property
    def preview(self) -> str:
        """The last user turn's beginning, on one line."""
        return " ".join(self.messages[-1]["content"].split())[:120]
