"""Amounts and times in use, as people read them."""

from decimal import Decimal

from django import template
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from labeling.currencies import PLACES, payable

register = template.Library()


@register.filter
def money(amount: Decimal | None, currency: str) -> str:
    """The amount with its currency: in whole coins where it is one, with four decimals where it is not."""
    if amount is None:
        return ""
    places = PLACES.get(currency, 2)
    is_whole = amount == round(amount, places)
    shown = number_format(amount, decimal_pos=places if is_whole else 4, force_grouping=True)
    return _("%(amount)s %(currency)s") % {"amount": shown, "currency": currency}


@register.filter
def coins(amount: Decimal, currency: str) -> str:
    """The amount in whole coins, as far as it could be paid out."""
    return money(payable(amount, currency), currency)


@register.filter
def in_seconds(seconds: float) -> str:
    """Seconds with their unit, however many."""
    return _("%(n)d s") % {"n": round(seconds)}


@register.filter
def in_use(seconds: float | None) -> str:
    """Seconds as hours and minutes, or as seconds where it is less than a minute."""
    whole = int(seconds or 0)
    if whole < 60:
        return in_seconds(whole)
    hours, minutes = divmod(whole // 60, 60)
    if not hours:
        return _("%(n)d min") % {"n": minutes}
    return _("%(hours)d h %(minutes)02d min") % {"hours": hours, "minutes": minutes}
