"""What people are paid: rates from a moment on, and a ledger whose rows are only ever added."""

from decimal import Decimal
from typing import Any

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext, gettext_noop
from django.utils.translation import gettext_lazy as _

from hone.accounts.models import Project
from labeling.models.labels import Demonstration, Ranking

# Ten thousandths of a currency's unit: a short label at an hourly rate earns less than a cent.
CURRENCY = r"^[A-Z]{3}$"
AMOUNT: Any = {"max_digits": 14, "decimal_places": 4}
REPLACED = gettext_noop("Replaced by its correction")  # the one reason that no person wrote


class PayRate(models.Model):
    """What a project pays from a moment on, to everybody or to one person, until a later row says something else.

    A trigger refuses to change or remove one that an entry of the ledger was made by.
    """

    class Basis(models.TextChoices):
        PIECE = "piece", _("For each piece")
        HOURLY = "hourly", _("By the hour in use")
        NOTHING = "nothing", _("Nothing")
        PROJECT = "project", _("As everybody in the project")

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="pay_rates")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    basis = models.CharField(_("paid"), max_length=8, choices=Basis)
    currency = models.CharField(
        _("currency"), max_length=3, blank=True, help_text=_("Three letters of ISO 4217, such as EUR")
    )
    per_demonstration = models.DecimalField(_("for a demonstration"), null=True, blank=True, **AMOUNT)
    per_ranking = models.DecimalField(_("for a ranking"), null=True, blank=True, **AMOUNT)
    per_hour = models.DecimalField(_("for an hour"), null=True, blank=True, **AMOUNT)
    seconds_cap = models.PositiveIntegerField(
        _("counted at most, seconds an item"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(86_400)],
    )
    effective_from = models.DateTimeField(_("valid from"), db_default=Now())
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    made_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-effective_from", "-id"]
        constraints = [
            models.CheckConstraint(
                name="pay_rate_complete",
                condition=(
                    models.Q(
                        basis="piece",
                        currency__regex=CURRENCY,
                        per_demonstration__gte=0,
                        per_ranking__gte=0,
                        per_hour=None,
                        seconds_cap=None,
                    )
                    | models.Q(
                        basis="hourly",
                        currency__regex=CURRENCY,
                        per_hour__gte=0,
                        per_demonstration=None,
                        per_ranking=None,
                    )
                    | models.Q(
                        basis__in=["nothing", "project"],
                        per_demonstration=None,
                        per_ranking=None,
                        per_hour=None,
                        seconds_cap=None,
                    )
                ),
            ),
            models.CheckConstraint(
                condition=~models.Q(basis="project") | models.Q(user__isnull=False), name="pay_rate_project_for_one"
            ),
        ]
        indexes = [models.Index(fields=["project", "user", "-effective_from", "-id"], name="pay_rate_valid")]

    def __str__(self) -> str:
        return f"{self.basis} from {self.effective_from}"


class Ledger(models.Model):
    """A project's ledger, one row a project: whoever adds entries by hand locks it, and the tick remembers its place.

    Labels up to `…_through` were looked at. Ids commit out of order, so the place moves only to an id (`…_seen`) below
    which no transaction is still at work: when all that ran at `seen_xid` have ended.
    """

    project = models.OneToOneField(Project, primary_key=True, on_delete=models.PROTECT, related_name="ledger")
    rankings_through = models.BigIntegerField(default=0)
    rankings_seen = models.BigIntegerField(default=0)
    demonstrations_through = models.BigIntegerField(default=0)
    demonstrations_seen = models.BigIntegerField(default=0)
    seen_xid = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"ledger of {self.project_id}"


class LedgerEntry(models.Model):
    """One amount to (or from) one person. Rows are only ever added: a trigger refuses to change or remove one."""

    class Kind(models.TextChoices):
        EARNED = "earned", _("Earned")
        REVERSAL = "reversal", _("Taken back or given back")
        CORRECTION = "correction", _("Correction")
        BONUS = "bonus", _("Bonus")
        PAYOUT = "payout", _("Paid out")

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+", db_index=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=10, choices=Kind)
    amount = models.DecimalField(**AMOUNT)
    currency = models.CharField(max_length=3)
    # The label that it is about, copied to what reverses or corrects it, so that a label's pay is a sum of its rows.
    ranking = models.ForeignKey(
        Ranking, null=True, blank=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    demonstration = models.ForeignKey(
        Demonstration, null=True, blank=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    rate = models.ForeignKey(PayRate, null=True, blank=True, on_delete=models.PROTECT, related_name="entries")
    seconds = models.PositiveIntegerField(null=True, blank=True, help_text="counted, at an hourly rate")
    corrects = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="corrections", db_index=False
    )
    cause = models.CharField(max_length=40, blank=True, help_text="what a reversal belongs to, as retraction:7")
    reason = models.TextField(blank=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    at = models.DateTimeField(db_default=Now(), help_text="when it was earned or decided")
    written_at = models.DateTimeField(db_default=Now())
    up_to = models.DateTimeField(null=True, blank=True, help_text="of a payout: the balance of which moment")

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["ranking"], condition=models.Q(kind="earned"), name="ledger_ranking_earned_once"
            ),
            models.UniqueConstraint(
                fields=["demonstration"], condition=models.Q(kind="earned"), name="ledger_demonstration_earned_once"
            ),
            models.CheckConstraint(
                condition=models.Q(ranking=None) | models.Q(demonstration=None), name="ledger_one_label"
            ),
            models.CheckConstraint(condition=models.Q(currency__regex=CURRENCY), name="ledger_has_currency"),
            models.CheckConstraint(
                name="ledger_kind_complete",
                condition=(
                    models.Q(kind="earned", amount__gte=0, rate__isnull=False, corrects=None, up_to=None)
                    & (models.Q(ranking__isnull=False) | models.Q(demonstration__isnull=False))
                    | models.Q(
                        kind__in=["reversal", "correction"], corrects__isnull=False, actor__isnull=False, up_to=None
                    )
                    & ~models.Q(reason="")
                    | models.Q(kind="bonus", amount__gt=0, corrects=None, actor__isnull=False, up_to=None)
                    & models.Q(ranking=None, demonstration=None)
                    & ~models.Q(reason="")
                    | models.Q(kind="payout", amount__lt=0, corrects=None, actor__isnull=False, up_to__isnull=False)
                    & models.Q(ranking=None, demonstration=None)
                ),
            ),
        ]
        indexes = [
            models.Index(fields=["project", "user", "-id"], name="ledger_of_person"),
            models.Index(fields=["ranking"], condition=models.Q(ranking__isnull=False), name="ledger_of_ranking"),
            models.Index(
                fields=["demonstration"],
                condition=models.Q(demonstration__isnull=False),
                name="ledger_of_demonstration",
            ),
            models.Index(fields=["corrects"], condition=models.Q(corrects__isnull=False), name="ledger_corrections"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.amount} {self.currency}"

    @property
    def paid_amount(self) -> Decimal:
        """What a payout paid, as people say it."""
        return -self.amount

    @property
    def reason_shown(self) -> str:
        return gettext(REPLACED) if self.reason == REPLACED else self.reason
