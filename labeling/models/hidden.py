"""Hidden checks: ordinary-looking rankings by which a person's own work is judged, never data."""

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from hone.accounts.models import Project
from labeling.models.work import Item

MOST_GOLD, MOST_REPEATS = 30, 20


class HiddenChecks(models.Model):
    """How often a project hands out hidden checks. Without a row, and with zeros, never."""

    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="hidden_checks")
    gold_percent = models.PositiveSmallIntegerField(
        _("gold items, percent"),
        default=0,
        validators=[MaxValueValidator(MOST_GOLD)],
        help_text=_("Of the items handed out to a person, the share that has a known order. 0 to 30."),
    )
    repeat_percent = models.PositiveSmallIntegerField(
        _("hidden repeats, percent"),
        default=0,
        validators=[MaxValueValidator(MOST_REPEATS)],
        help_text=_("The share that the person has ranked before, with the answers in a new order. 0 to 20."),
    )
    repeat_distance = models.PositiveSmallIntegerField(
        _("labels before a repeat"),
        default=20,
        validators=[MinValueValidator(1), MaxValueValidator(10_000)],
        help_text=_("So many rankings of their own must lie between the first time and the second."),
    )

    class Meta:
        verbose_name_plural = "hidden checks"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(
                    gold_percent__lte=MOST_GOLD, repeat_percent__lte=MOST_REPEATS, repeat_distance__gte=1
                ),
                name="hidden_checks_in_bounds",
            )
        ]

    def __str__(self) -> str:
        return f"hidden checks of {self.project_id}"


class GoldItem(models.Model):
    """A ranking item with a reference: the weak order that a careful reader of the guideline gives.

    Retired, it is handed out no more and its answers score nobody; set again, it is back.
    """

    class Source(models.TextChoices):
        MANAGER = "manager", _("set by hand")
        CONSENSUS = "consensus", _("taken from consensus")

    item = models.OneToOneField(Item, on_delete=models.CASCADE, related_name="gold")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="gold_items")
    tiers = models.JSONField(help_text="[[completion index, …], …], best first; all acceptable ones")
    unacceptable = models.JSONField(default=list, blank=True)
    source = models.CharField(max_length=10, choices=Source)
    is_active = models.BooleanField(default=True)
    set_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    set_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(condition=models.Q(source__in=["manager", "consensus"]), name="gold_source_known")
        ]

    def __str__(self) -> str:
        return f"gold item {self.item_id}"
