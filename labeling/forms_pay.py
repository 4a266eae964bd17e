"""The managers' forms about pay."""

from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from hone.accounts.models import Project, User
from labeling import pay
from labeling.currencies import PLACES
from labeling.models import PayRate

Basis = PayRate.Basis
MOST = Decimal(1_000_000)


class CurrencyField(forms.CharField):
    """A code of ISO 4217, whatever its case."""

    widget = forms.TextInput(attrs={"autocapitalize": "characters", "autocomplete": "off", "size": 4})

    def clean(self, value: Any) -> str:
        code = super().clean(value).upper()
        if code and code not in PLACES:
            raise forms.ValidationError(
                _t("%(code)s is no currency's code of three letters, such as EUR or USD.") % {"code": code}
            )
        return code


def amount_field(label: Any, *, lowest: Decimal | None = Decimal(0), **more: Any) -> forms.DecimalField:
    return forms.DecimalField(
        label=label, max_value=MOST, min_value=-MOST if lowest is None else lowest, decimal_places=4, **more
    )


class PayRateForm(forms.Form):
    """One new rate. Fields that the chosen way of paying does not ask for are left out of it."""

    basis = forms.ChoiceField(label=_("Paid"), choices=Basis.choices, initial=Basis.PIECE)
    currency = CurrencyField(
        label=_("Currency"), max_length=3, required=False, help_text=_("Its code of ISO 4217, such as EUR or USD.")
    )
    per_demonstration = amount_field(_("For a demonstration"), required=False)
    per_ranking = amount_field(_("For a ranking"), required=False)
    per_hour = amount_field(_("For an hour in use"), required=False)
    seconds_cap = forms.IntegerField(
        label=_("At most this many seconds an item"),
        min_value=1,
        max_value=86_400,
        required=False,
        help_text=_("Time in use beyond it is shown, but not paid. Empty: no limit."),
    )
    user = forms.ModelChoiceField(
        User.objects.none(), label=_("For whom"), required=False, empty_label=_("Everybody in the project")
    )
    effective_from = forms.DateTimeField(
        label=_("Valid from"),
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )

    def __init__(self, data: Any = None, *, project: Project) -> None:
        super().__init__(data)
        self.project = project
        self.fields["user"].queryset = User.objects.filter(  # type: ignore[attr-defined]
            memberships__project=project
        ).order_by("username")
        self.fields["user"].label_from_instance = lambda user: user.name  # type: ignore[attr-defined]
        self.fields["effective_from"].help_text = _t(
            "In the time zone %(zone)s. Empty: from now on. A moment that has passed also pays what was made since "
            "then and has not been paid; what stands in the ledger stays as it is."
        ) % {"zone": timezone.get_current_timezone_name()}

    def clean(self) -> dict[str, Any]:
        values = self.cleaned_data
        basis = values.get("basis")
        if basis in {Basis.PIECE, Basis.HOURLY} and not values.get("currency") and "currency" not in self.errors:
            self.add_error("currency", _t("Say in which currency."))
        if basis == Basis.PIECE:
            named = ("per_demonstration", "per_ranking")
            if not any(values.get(name) for name in named) and not any(name in self.errors for name in named):
                self.add_error("per_demonstration", _t("Say what a demonstration or a ranking is paid."))
        if basis == Basis.HOURLY and not values.get("per_hour") and "per_hour" not in self.errors:
            self.add_error("per_hour", _t("Say what an hour is paid."))
        if basis == Basis.PROJECT and not values.get("user") and "user" not in self.errors:
            self.add_error("user", _t("Choose the person who is paid as everybody again."))
        return values

    def save(self, *, actor: User) -> PayRate:
        values = self.cleaned_data
        kept: dict[str, Any] = {"basis": values["basis"]}
        if values["basis"] == Basis.PIECE:
            zero = Decimal(0)
            kept |= {name: values[name] or zero for name in ("per_demonstration", "per_ranking")}
        if values["basis"] == Basis.HOURLY:
            kept |= {"per_hour": values["per_hour"], "seconds_cap": values["seconds_cap"]}
        if values["basis"] in {Basis.PIECE, Basis.HOURLY}:
            kept["currency"] = values["currency"]
        return pay.set_rate(
            project=self.project,
            actor=actor,
            user=values["user"],
            effective_from=values["effective_from"],
            **kept,
        )


class CloseForm(forms.Form):
    """Which balances become payouts: of one person or all, up to the end of a day in the server's time zone."""

    user = forms.ModelChoiceField(User.objects.none(), label=_("For whom"), required=False, empty_label=_("Everybody"))
    until = forms.DateField(
        label=_("Up to and including"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text=_("Empty: up to now."),
    )
    reason = forms.CharField(
        label=_("Note"), max_length=200, required=False, help_text=_("Such as the number of a transfer.")
    )

    def __init__(self, data: Any = None, *, project: Project, people: Any) -> None:
        super().__init__(data)
        self.fields["user"].queryset = User.objects.filter(pk__in=people).order_by("username")  # type: ignore[attr-defined]
        self.fields["user"].label_from_instance = lambda user: user.name  # type: ignore[attr-defined]

    def clean_until(self) -> datetime | None:
        day = self.cleaned_data["until"]
        if day is None:
            return None
        if day > timezone.localdate():
            raise forms.ValidationError(_t("This day has not come yet."))
        return timezone.make_aware(datetime.combine(day + timedelta(days=1), time.min))


class BonusForm(forms.Form):
    amount = amount_field(_("Amount"), lowest=Decimal("0.0001"))
    currency = CurrencyField(label=_("Currency"), max_length=3)
    reason = forms.CharField(label=_("Reason"), max_length=pay.REASON_CHARS)


class CorrectForm(forms.Form):
    entry = forms.IntegerField(widget=forms.HiddenInput)
    amount = amount_field(
        _("Amount to add"), lowest=None, help_text=_("With a minus sign to take away. It becomes a row of its own.")
    )
    reason = forms.CharField(label=_("Reason"), max_length=pay.REASON_CHARS)

    def clean_amount(self) -> Decimal:
        amount = self.cleaned_data["amount"]
        if not amount:
            raise forms.ValidationError(_t("An amount of zero corrects nothing."))
        return amount
