"""What people made: demonstrations, rankings, and the comparisons that a ranking implies."""

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from hone.accounts.models import Project
from labeling.models.guidelines import Guideline
from labeling.models.prompts import Prompt
from labeling.models.quality import Retraction
from labeling.models.work import Completion, Item, Slot, hidden_field


def retraction_field() -> models.ForeignKey:
    """Null on a label that stands. What counts, exports, measures or trains leaves out the others."""
    return models.ForeignKey(
        Retraction, null=True, blank=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )


def one_stands(name: str) -> models.UniqueConstraint:
    """A slot's holder may correct what they submitted: the earlier rows stay, retracted, and one label stands."""
    return models.UniqueConstraint(fields=["slot"], condition=models.Q(retraction=None), name=name)


def retracted_index(name: str) -> models.Index:
    """Of retracted rows alone, which are few: for undoing, and for finding what was trained on them."""
    return models.Index(fields=["retraction"], condition=models.Q(retraction__isnull=False), name=name)


class Label(models.Model):
    """The columns that every submitted label has. `client_key` makes a repeated submit find its first result."""

    # No index of its own: the one by which labels are exported begins with it.
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+", db_index=False)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    guideline = models.ForeignKey(Guideline, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    note = models.TextField(blank=True)
    active_seconds = models.PositiveIntegerField(default=0, help_text="seconds the page was in use")
    claimed_seconds = models.PositiveIntegerField(
        null=True, blank=True, help_text="what the page said, where it was more than can have passed"
    )
    simulated = models.BooleanField(default=False, help_text="made by a scripted contractor")
    created_at = models.DateTimeField(auto_now_add=True)
    retraction = retraction_field()

    class Meta:
        abstract = True


class Demonstration(Label):
    """A conversation whose last turn a person wrote to the spec. Imported ones have no slot."""

    slot = models.ForeignKey(
        Slot,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="demonstrations",
        related_query_name="demonstration",
    )
    prompt = models.ForeignKey(Prompt, on_delete=models.PROTECT, related_name="demonstrations")
    messages = models.JSONField(help_text="the prompt's messages, then turns up to the last assistant turn")
    client_key = models.UUIDField(unique=True, null=True, blank=True)
    content_hash = models.CharField(max_length=64)
    findings = models.JSONField(
        default=list, blank=True, help_text="warnings that stood when it was submitted (labeling.checks), [] for none"
    )

    class Meta:
        ordering = ["id"]
        constraints = [
            # Of imported conversations that stand; two people may well write the same one.
            models.UniqueConstraint(
                fields=["project", "content_hash"],
                condition=models.Q(slot=None, retraction=None) & ~models.Q(content_hash=""),
                name="demonstration_imported_once",
            ),
            one_stands("demonstration_one_a_slot"),
        ]
        indexes = [
            models.Index(fields=["project", "simulated", "id"], name="demonstration_export"),
            models.Index(fields=["project", "content_hash"], name="demonstration_by_hash"),
            retracted_index("demonstration_retracted"),
        ]

    def __str__(self) -> str:
        return f"demonstration {self.pk}"


class Verdict(models.TextChoices):
    """Why nobody could rank an item's answers, in the eyes of a person who tried."""

    ALL_BAD = "all_bad", _("All answers are equally bad")
    PROMPT = "prompt", _("The prompt makes no sense")
    KNOWLEDGE = "knowledge", _("It needs knowledge that nobody here has")
    BROKEN = "broken", _("The answers are broken, or all the same")
    HARMFUL = "harmful", _("The prompt or the answers are harmful")
    OTHER = "other", _("Another reason")


class RankingQuerySet(models.QuerySet["Ranking"]):
    def data(self) -> "RankingQuerySet":
        """Those that are labels: no answers to hidden checks."""
        return self.filter(hidden="")

    def orders(self) -> "RankingQuerySet":
        """Labels that say an order: what measures, counts or trains reads these alone."""
        return self.data().filter(verdict="")

    def verdicts(self) -> "RankingQuerySet":
        """Submissions that say that the answers cannot be judged."""
        return self.data().exclude(verdict="")


class Ranking(Label):
    """One person's weak order of an item's completions: tiers from best to worst, ties inside a tier.

    Completions below the "unacceptable" line stand under every tier and are not compared with each other.
    With a verdict there is no order: the person says that the answers cannot be judged (labeling.verdicts).
    """

    slot = models.ForeignKey(Slot, on_delete=models.PROTECT, related_name="rankings", related_query_name="ranking")
    item = models.ForeignKey(Item, on_delete=models.PROTECT, related_name="rankings")
    prompt = models.ForeignKey(Prompt, on_delete=models.PROTECT, related_name="rankings")
    tiers = models.JSONField(help_text="[[completion index, …], …], best first; all acceptable ones")
    unacceptable = models.JSONField(default=list, help_text="[completion index, …]")
    order_shown = models.JSONField(help_text="completion indexes in the order shown to this person")
    moved = models.BooleanField(default=True, help_text="the order differs from the one shown")
    ratings = models.JSONField(default=dict, blank=True, help_text="{completion index: {scale key: value}}")
    flags = models.JSONField(default=dict, blank=True, help_text="{completion index: [flag key, …]}")
    strength = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="of two answers, how much better: 1 negligibly or unsure … 4 significantly"
    )
    reason = models.TextField(blank=True)
    form = models.JSONField(null=True, blank=True, help_text="a copy of the ranking form shown; null: an order alone")
    verdict = models.CharField(
        max_length=12, choices=Verdict, blank=True, default="", db_default="", help_text="why there is no order, or ''"
    )
    client_key = models.UUIDField(unique=True)
    # A copy of the slot's. Set, this is an answer to a hidden check: it scores its author and is no data.
    hidden = hidden_field()

    objects = RankingQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(verdict="")
                | models.Q(verdict__in=Verdict.values, tiers=[], unacceptable=[], moved=False),
                name="ranking_verdict_without_order",
            ),
            models.CheckConstraint(
                condition=models.Q(strength=None) | models.Q(strength__range=(1, 4)), name="ranking_strength_known"
            ),
            one_stands("ranking_one_a_slot"),
        ]
        indexes = [
            models.Index(fields=["project", "simulated", "id"], name="ranking_export"),
            models.Index(fields=["project"], condition=~models.Q(hidden=""), name="ranking_hidden"),
            models.Index(fields=["project", "item"], condition=~models.Q(verdict=""), name="ranking_verdict"),
            retracted_index("ranking_retracted"),
        ]

    def __str__(self) -> str:
        return f"ranking {self.pk}"


class Comparison(models.Model):
    """One strict preference of a ranking: this person set `chosen` above `rejected` for this prompt."""

    # Neither has an index of its own: those of the constraint and of the export begin with them.
    ranking = models.ForeignKey(Ranking, on_delete=models.CASCADE, related_name="comparisons", db_index=False)
    # Copies of the ranking's columns, so that an export is one walk along one index; `retraction` alone may change.
    # PostgreSQL checks the ranking alone, whose own row holds on to the project, prompt and item; the other four would
    # be 24 looks more at each submit of four answers (docs/decisions/0014-hot-path.md).
    project = models.ForeignKey(
        Project, models.PROTECT, related_name="comparisons", db_index=False, db_constraint=False
    )
    prompt = models.ForeignKey(Prompt, models.PROTECT, related_name="comparisons", db_constraint=False)
    chosen = models.ForeignKey(Completion, models.PROTECT, related_name="+", db_constraint=False)
    rejected = models.ForeignKey(Completion, models.PROTECT, related_name="+", db_constraint=False)
    margin = models.PositiveSmallIntegerField(help_text="tiers between the two; 1 is the next tier")
    chosen_acceptable = models.BooleanField(default=True)
    rejected_acceptable = models.BooleanField(default=True)
    simulated = models.BooleanField(default=False)
    retraction = retraction_field()
    posterior = models.FloatField(
        null=True, blank=True, help_text="how probable it is that chosen is better, by all labels (quality.consensus)"
    )
    posterior_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["ranking", "chosen", "rejected"], name="comparison_once"),
            models.CheckConstraint(condition=~models.Q(chosen=models.F("rejected")), name="comparison_of_two_answers"),
        ]
        indexes = [
            models.Index(fields=["project", "simulated", "id"], name="comparison_export"),
            retracted_index("comparison_retracted"),
        ]

    def __str__(self) -> str:
        return f"comparison {self.pk}"
