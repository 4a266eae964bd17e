"""What a project has reviewed, the reviews themselves, and their comments at spans of the text."""

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from hone.accounts.models import Project
from labeling.models.labels import Demonstration, Ranking
from labeling.models.work import Kind, Slot


class ReviewRulesQuerySet(models.QuerySet["ReviewRules"]):
    def for_project(self, project: Project) -> "ReviewRules":
        """The project's rules; without a row the defaults, by which nothing is reviewed."""
        return self.filter(project=project).first() or ReviewRules(project=project)


def _percent(label: object) -> models.PositiveSmallIntegerField:
    return models.PositiveSmallIntegerField(label, default=0, validators=[MaxValueValidator(100)])  # type: ignore[arg-type]


class ReviewRules(models.Model):
    """Which of a project's labels go to review. labeling.statements reads the row with the slot that is submitted."""

    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="review_rules")
    demonstrations_percent = _percent(_("demonstrations that are reviewed, percent"))
    rankings_percent = _percent(_("rankings that are reviewed, percent"))
    newcomer_labels = models.PositiveSmallIntegerField(
        _("first labels of each person"),
        default=0,
        validators=[MaxValueValidator(1000)],
        help_text=_("So many are all reviewed, whatever the share. 0: none."),
    )
    on_note = models.BooleanField(_("a note by the author"), default=False)
    on_findings = models.BooleanField(_("remarks of the writing rules that stood at submit"), default=False)
    on_unmoved = models.BooleanField(_("a ranking in the order shown"), default=False)
    fast_seconds = models.PositiveIntegerField(
        _("done in fewer seconds than"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(3600)],
        help_text=_("Active time on the item. Empty: time is no reason."),
    )
    is_blind = models.BooleanField(
        _("blind review"),
        default=True,
        help_text=_("Reviewers see a number in the author's place; managers see the name."),
    )
    overdue_days = models.PositiveSmallIntegerField(
        _("returned work is overdue after, days"),
        default=7,
        validators=[MinValueValidator(1), MaxValueValidator(365)],
        help_text=_("It never leaves its author by itself. Once it is overdue, a manager may ask somebody else."),
    )
    only_reviewed = models.BooleanField(
        _("export only what is approved or was not sampled"),
        default=False,
        help_text=_("Labels that wait for their review then stay out of exports and new snapshots until it is done."),
    )

    objects = ReviewRulesQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "review rules"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(demonstrations_percent__lte=100, rankings_percent__lte=100),
                name="review_rules_percent",
            ),
            models.CheckConstraint(
                condition=models.Q(fast_seconds=None) | models.Q(fast_seconds__gte=1), name="review_rules_seconds"
            ),
            models.CheckConstraint(condition=models.Q(overdue_days__gte=1), name="review_rules_overdue"),
        ]

    def __str__(self) -> str:
        return f"review rules of {self.project_id}"

    @property
    def are_set(self) -> bool:
        """Whether anything can come to review."""
        marks = self.on_note or self.on_findings or self.on_unmoved or self.fast_seconds
        return bool(self.demonstrations_percent or self.rankings_percent or self.newcomer_labels or marks)


class Mark(models.TextChoices):
    """Why a label is reviewed."""

    SAMPLED = "sampled", _("sampled")
    NEWCOMER = "newcomer", _("one of the person's first")
    NOTE = "note", _("note by the author")
    FINDINGS = "findings", _("remarks stood")
    FAST = "fast", _("fast")
    UNMOVED = "unmoved", _("left as shown")
    CORRECTED = "corrected", _("corrected after a return")


class RejectReason(models.TextChoices):
    WRONG = "wrong", _("It is wrong or not true")
    OFF_TASK = "off_task", _("It does not do what the prompt asks")
    GUIDELINE = "guideline", _("It breaks the guideline")
    CARELESS = "careless", _("No care was taken")
    COPIED = "copied", _("It is copied, or written by a machine")
    UNSAFE = "unsafe", _("It is harmful, or holds personal data")
    OTHER = "other", _("Another reason")


class Review(models.Model):
    """One look at one label. A corrected label is a new row with a review of its own, `previous` the one before.

    returned: with its author (the slot says so as well). resubmitted: the author corrected it. dropped: returned and
    then declined by its author or freed by a manager. From `returned` on, the label points at a Retraction.
    """

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        LEASED = "leased", _("in review")
        APPROVED = "approved", _("approved")
        RETURNED = "returned", _("returned")
        RESUBMITTED = "resubmitted", _("corrected")
        REJECTED = "rejected", _("rejected")
        DROPPED = "dropped", _("given up")

    # Copies of the label's columns: the next-review query reads one partial index.
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="reviews")
    kind = models.CharField(max_length=8, choices=Kind)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    slot = models.ForeignKey(Slot, on_delete=models.PROTECT, related_name="reviews")
    demonstration = models.OneToOneField(
        Demonstration, null=True, blank=True, on_delete=models.PROTECT, related_name="review"
    )
    ranking = models.OneToOneField(Ranking, null=True, blank=True, on_delete=models.PROTECT, related_name="review")
    state = models.CharField(max_length=12, choices=State, default=State.WAITING)
    marks = models.JSONField(default=list, help_text="why it is here, [labeling.models.review.Mark, …]")
    round = models.PositiveSmallIntegerField(default=1)
    previous = models.OneToOneField("self", null=True, blank=True, on_delete=models.PROTECT, related_name="following")
    preferred = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        db_index=False,
        help_text="who returned it, and should see it again",
    )
    reviewer = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="reviews"
    )
    # The token stays after the decision, so that the same decision sent again is known.
    lease_token = models.UUIDField(null=True, blank=True)
    leased_at = models.DateTimeField(null=True, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    draft = models.JSONField(null=True, blank=True, help_text="what draft_by has written so far")
    draft_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    remark = models.TextField(blank=True)
    reject_reason = models.CharField(max_length=12, choices=RejectReason, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    decided_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True, help_text="when returned work was corrected or given up")

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(
                name="review_of_one_label",
                condition=models.Q(kind="write", demonstration__isnull=False, ranking=None)
                | models.Q(kind="rank", demonstration=None, ranking__isnull=False),
            ),
            models.CheckConstraint(
                name="review_not_by_author",
                condition=models.Q(reviewer=None) | ~models.Q(reviewer=models.F("author")),
            ),
            models.CheckConstraint(
                name="review_state_consistent",
                condition=(
                    models.Q(state="waiting", reviewer=None, lease_token=None, decided_at=None)
                    | models.Q(
                        state="leased",
                        reviewer__isnull=False,
                        lease_token__isnull=False,
                        lease_expires_at__isnull=False,
                        decided_at=None,
                    )
                    | models.Q(
                        state__in=["approved", "returned", "resubmitted", "rejected", "dropped"],
                        reviewer__isnull=False,
                        decided_at__isnull=False,
                    )
                ),
            ),
            models.CheckConstraint(
                name="review_rejected_for_a_reason",
                condition=models.Q(state="rejected", reject_reason__in=RejectReason.values)
                | (~models.Q(state="rejected") & models.Q(reject_reason="")),
            ),
            # Two tabs of one reviewer look at the same label.
            models.UniqueConstraint(
                fields=["project", "reviewer"], condition=models.Q(state="leased"), name="review_held_once"
            ),
            models.CheckConstraint(condition=models.Q(round__gte=1), name="review_round_from_one"),
        ]
        indexes = [
            models.Index(
                fields=["project", "created_at", "id"], condition=models.Q(state="waiting"), name="review_next"
            ),
            models.Index(
                fields=["project", "preferred", "created_at", "id"],
                condition=models.Q(state="waiting", preferred__isnull=False),
                name="review_again",
            ),
            models.Index(fields=["project", "state", "-id"], name="review_list"),
            models.Index(fields=["lease_expires_at"], condition=models.Q(state="leased"), name="review_lease_expiry"),
        ]

    def __str__(self) -> str:
        return f"review {self.pk}"

    @property
    def label(self) -> Demonstration | Ranking:
        found = self.demonstration if self.kind == "write" else self.ranking
        assert found is not None  # review_of_one_label
        return found


class ReviewComment(models.Model):
    """A reviewer's words about a span of one text: of a message of a demonstration, or of an answer of a ranking."""

    review = models.ForeignKey(Review, on_delete=models.CASCADE, related_name="comments")
    text = models.PositiveSmallIntegerField(help_text="index of the message, or of the completion")
    start = models.PositiveIntegerField(help_text="in characters (code points) of that text")
    end = models.PositiveIntegerField()
    quote = models.TextField(help_text="what stood there")
    body = models.TextField()

    class Meta:
        ordering = ["review", "id"]
        constraints = [
            models.CheckConstraint(condition=models.Q(start__lte=models.F("end")), name="review_comment_span"),
            models.CheckConstraint(condition=~models.Q(body=""), name="review_comment_says_something"),
        ]

    def __str__(self) -> str:
        return f"comment {self.pk} on review {self.review_id}"
