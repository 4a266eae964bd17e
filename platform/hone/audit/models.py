"""The audit event and the one function that writes it."""

from typing import Any

from django.conf import settings
from django.db import models


class Event(models.Model):
    """One thing that happened. Rows are only ever added (a trigger refuses changes)."""

    at = models.DateTimeField(auto_now_add=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    verb = models.CharField(max_length=60)
    target = models.CharField(max_length=80, help_text="model:id")
    detail = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["target", "-id"], name="audit_by_target")]

    def __str__(self) -> str:
        return f"{self.verb} {self.target}"


def record(verb: str, target: models.Model, *, actor: Any = None, **detail: Any) -> Event:
    """Writes one event inside the caller's transaction: it lands with the change, or not at all."""
    return Event.objects.create(actor=actor, verb=verb, target=f"{target._meta.model_name}:{target.pk}", detail=detail)
