"""When today and this week began, in the server's time zone."""

from datetime import datetime, timedelta

from django.utils import timezone


def midnight() -> datetime:
    return timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)


def monday() -> datetime:
    """The midnight that began the week."""
    today = midnight()
    return today - timedelta(days=today.weekday())
