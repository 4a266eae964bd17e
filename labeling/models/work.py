"""Work to hand out: batches of items, each with N slots; the answers to rank; drafts and skips."""

from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from hone.accounts.models import Project
from labeling.models.guidelines import Guideline
from labeling.models.prompts import Prompt


class Kind(models.TextChoices):
    WRITE = "write", _("Write")
    RANK = "rank", _("Rank")


class Hidden(models.TextChoices):
    """What an ordinary-looking slot checks; ordinary ones have none. Set, its ranking is never data."""

    GOLD = "gold", _("Gold item")
    REPEAT = "repeat", _("Hidden repeat")


def hidden_field() -> models.CharField:
    # With a database default, since slots are also written in bulk by SQL.
    return models.CharField(max_length=6, choices=Hidden, blank=True, default="", db_default="")


class Batch(models.Model):
    """Items that were opened together; a training round waits for a batch."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="batches")
    kind = models.CharField(max_length=8, choices=Kind)
    name = models.CharField(max_length=120)
    answers_set_aside = models.PositiveIntegerField(
        default=0, db_default=0, help_text="answers not shown because they name their model"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "batches"

    def __str__(self) -> str:
        return self.name


class Lane(models.Model):
    """A requirement that items of the project have: a language, skills, or both. Slots carry its name.

    There are few, and the hand-out looks at the head of each that the person may take. Items without a requirement
    are in the lane "", which has no row.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="lanes", db_index=False)
    name = models.CharField(max_length=160)
    language = models.CharField(max_length=8, blank=True)
    skills = ArrayField(models.CharField(max_length=24), default=list, blank=True)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="lane_once"),
            models.CheckConstraint(condition=~models.Q(name=""), name="lane_requires_something"),
        ]

    def __str__(self) -> str:
        return self.name


class Item(models.Model):
    """One thing to write or to rank. A write item without a prompt asks for the prompt as well.

    A withdrawn item is handed out no more: its open slots are withdrawn with it (labeling.withdrawal).
    """

    class Withdrawn(models.TextChoices):
        LEAD = "lead", _("by a lead")
        IDENTITY = "identity", _("its answers name their model")

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="items")
    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="items")
    kind = models.CharField(max_length=8, choices=Kind)
    prompt = models.ForeignKey(Prompt, null=True, blank=True, on_delete=models.PROTECT, related_name="items")
    priority = models.SmallIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    withdrawn = models.CharField(
        max_length=10, choices=Withdrawn, blank=True, default="", db_default="", help_text="why, '' while it stands"
    )
    withdrawn_at = models.DateTimeField(null=True, blank=True)
    withdrawn_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(withdrawn="", withdrawn_at=None, withdrawn_by=None)
                | models.Q(withdrawn="lead", withdrawn_at__isnull=False, withdrawn_by__isnull=False)
                | models.Q(withdrawn="identity", withdrawn_at__isnull=False, withdrawn_by=None),
                name="item_withdrawn_consistent",
            ),
            models.CheckConstraint(
                condition=models.Q(kind="write") | models.Q(prompt__isnull=False), name="item_rank_has_prompt"
            ),
            models.UniqueConstraint(fields=["batch", "prompt"], name="item_prompt_once_a_batch"),
        ]
        indexes = [
            models.Index(
                fields=["project", "-withdrawn_at"],
                condition=models.Q(withdrawn_at__isnull=False),
                name="item_withdrawn",
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} item {self.pk}"


class Completion(models.Model):
    """One sampled answer of an item. Which model wrote it is known to `training` alone, never to a rater."""

    item = models.ForeignKey(Item, on_delete=models.CASCADE, related_name="completions")
    index = models.PositiveSmallIntegerField()
    text = models.TextField()

    class Meta:
        ordering = ["item", "index"]
        constraints = [models.UniqueConstraint(fields=["item", "index"], name="completion_index_once")]

    def __str__(self) -> str:
        return f"completion {self.index} of {self.item_id}"


class Slot(models.Model):
    """One submission wanted for an item. Exactly N rows an item, so never more than N submissions.

    A hidden check is a further row, made for its holder (`labeling.hidden`), which no other person is ever handed.

    returned: a reviewer sent the label back, and it waits for its author without a lease; `review` says which one did,
    while the author corrects it as well.
    """

    class State(models.TextChoices):
        OPEN = "open", pgettext_lazy("a place for a label", "Open")
        LEASED = "leased", _("Leased")
        SUBMITTED = "submitted", _("Submitted")
        WITHDRAWN = "withdrawn", _("Withdrawn")  # its item was, or it was a hidden check that its holder passed on
        RETURNED = "returned", _("Returned")

    item = models.ForeignKey(Item, on_delete=models.CASCADE, related_name="slots")
    # Copies of the item's columns: the next-item query reads one partial index and no join.
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=8, choices=Kind)
    priority = models.SmallIntegerField(default=0)
    index = models.PositiveSmallIntegerField()
    # Drawn once an item: a random order without sorting a million rows by random(), in which an item's slots
    # stand together, so that items are finished before new ones are opened.
    draw = models.FloatField()
    lane = models.CharField(max_length=160, default="", db_default="", blank=True, help_text="see labeling.lanes")
    state = models.CharField(max_length=10, choices=State, default=State.OPEN)
    holder = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="slots"
    )
    lease_token = models.UUIDField(null=True, blank=True)
    leased_at = models.DateTimeField(null=True, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    order_shown = models.JSONField(null=True, blank=True, help_text="completion indexes in the order shown")
    guideline = models.ForeignKey(
        Guideline, null=True, blank=True, on_delete=models.PROTECT, related_name="+", help_text="the version shown"
    )
    ranking_form = models.JSONField(null=True, blank=True, help_text="a copy of the form shown; null: an order alone")
    submitted_at = models.DateTimeField(null=True, blank=True)
    hidden = hidden_field()
    # The one that waits behind the slot in hand (labeling.ahead): fetched before it is needed, or laid aside.
    is_ahead = models.BooleanField(default=False, db_default=False)
    final_at = models.DateTimeField(
        null=True, blank=True, help_text="until then its author may take the label back; null: final from the start"
    )
    review = models.ForeignKey(
        "labeling.Review", null=True, blank=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )

    # Not stored: what labeling.statements reads with a slot.
    hidden_names: dict[str, Any] | None = None  # which names its page hides; None hides none
    draft: dict[str, Any] | None = None  # of its item, the asking person's: {content, saved_at in ISO 8601}
    wrote_for = False  # whether the asking person wrote a demonstration for its prompt: then they must not rank
    form_now: dict[str, Any] | None = None  # the project's ranking form, to copy when the slot is leased
    can_have_passed: int | None = None  # by LOCK_HELD: how many seconds its holder can have worked on it
    review_rules: dict[str, Any] | None = None  # by LOCK_HELD: the columns of the project's ReviewRules

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["item", "index"], condition=models.Q(hidden=""), name="slot_index_once"),
            models.CheckConstraint(
                condition=models.Q(is_ahead=False) | models.Q(state="leased"), name="slot_ahead_is_leased"
            ),
            models.CheckConstraint(
                condition=models.Q(final_at=None) | models.Q(state="submitted"), name="slot_final_is_submitted"
            ),
            # Whoever holds two items holds no third, and a fetch that is sent twice takes one.
            models.UniqueConstraint(
                fields=["holder", "project", "kind"], condition=models.Q(is_ahead=True), name="slot_ahead_once"
            ),
            # Two tabs of one person must not take two slots of one item; a hidden check of each kind may come on top.
            models.UniqueConstraint(
                fields=["item", "holder", "hidden"], condition=models.Q(holder__isnull=False), name="slot_holder_once"
            ),
            models.CheckConstraint(
                name="slot_state_consistent",
                condition=(
                    models.Q(
                        state__in=["open", "withdrawn"], holder=None, lease_token=None, submitted_at=None, review=None
                    )
                    | models.Q(
                        state="leased",
                        holder__isnull=False,
                        lease_token__isnull=False,
                        lease_expires_at__isnull=False,
                        submitted_at=None,
                    )
                    | models.Q(state="submitted", holder__isnull=False, submitted_at__isnull=False, review=None)
                    | models.Q(
                        state="returned",
                        holder__isnull=False,
                        lease_token=None,
                        submitted_at=None,
                        review__isnull=False,
                    )
                ),
            ),
            # Open slots are anybody's: a hidden check is leased in the transaction that makes it, or withdrawn.
            models.CheckConstraint(
                name="slot_hidden_is_somebodys",
                condition=models.Q(hidden="")
                | models.Q(hidden__in=["gold", "repeat"], kind="rank") & ~models.Q(state="open"),
            ),
        ]
        indexes = [
            models.Index(
                fields=["project", "kind", "lane", "-priority", "draw", "index"],
                condition=models.Q(state="open"),
                name="slot_next_open",
            ),
            models.Index(fields=["lease_expires_at"], condition=models.Q(state="leased"), name="slot_lease_expiry"),
            models.Index(
                fields=["holder", "project", "kind"],
                condition=models.Q(state__in=["leased", "returned"]),
                name="slot_in_hand",
            ),
            models.Index(fields=["review"], condition=models.Q(review__isnull=False), name="slot_corrected"),
            # A person's newest label of a kind in a project is one step, whatever they did elsewhere.
            models.Index(
                fields=["holder", "project", "kind", "submitted_at"],
                condition=models.Q(state="submitted"),
                name="slot_done_here",
            ),
            models.Index(fields=["project", "kind"], condition=models.Q(is_ahead=True), name="slot_ahead"),
            models.Index(fields=["project", "final_at"], condition=models.Q(final_at__isnull=False), name="slot_final"),
        ]

    def __str__(self) -> str:
        return f"slot {self.index} of item {self.item_id}"


class Draft(models.Model):
    """What a person has typed for an item so far. Outlives the lease: nothing typed is lost."""

    item = models.ForeignKey(Item, on_delete=models.CASCADE, related_name="drafts", db_index=False)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="drafts")
    content = models.JSONField()
    saved_at = models.DateTimeField(db_default=Now())
    begun_at = models.DateTimeField(
        db_default=Now(), help_text="when the item was handed out first: the draft outlives that lease"
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["item", "author"], name="draft_once")]

    def __str__(self) -> str:
        return f"draft of {self.author_id} for item {self.item_id}"


class SkipReason(models.TextChoices):
    UNCLEAR = "unclear", _("The prompt cannot be understood")
    EXPERTISE = "expertise", _("It needs knowledge that I do not have")
    LANGUAGE = "language", _("I do not read this language well enough")
    HARMFUL = "harmful", _("It is distressing or unlawful")
    BROKEN = "broken", _("Something is broken on the page")
    OTHER = "other", _("Another reason")


class Skip(models.Model):
    """A person passed an item on, and why. They are never handed the item again."""

    item = models.ForeignKey(Item, on_delete=models.CASCADE, related_name="skips")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="skips")
    reason = models.CharField(max_length=20, choices=SkipReason)
    note = models.TextField(blank=True)
    simulated = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["item", "author"], name="skip_once")]

    def __str__(self) -> str:
        return f"{self.author_id} skipped item {self.item_id}: {self.reason}"
