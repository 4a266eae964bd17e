"""The audit event and the one function that writes it."""

import json
from typing import Any

from django.conf import settings
from django.db import models

from hone import prepared


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


def record(verb: str, target: models.Model, *, actor: Any = None, **detail: Any) -> None:
    """Writes one event inside the caller's transaction: it lands with the change, or not at all."""
    prepared.rows(RECORD, event(verb, target, actor=actor, **detail))


def events_of(target: models.Model) -> models.QuerySet[Event]:
    """What happened to this row, the newest first."""
    return Event.objects.filter(target=_named(target))


def _named(target: models.Model) -> str:
    return f"{target._meta.model_name}:{target.pk}"


def event(verb: str, target: models.Model, *, actor: Any = None, **detail: Any) -> dict[str, Any]:
    """The values of RECORD, for a statement that makes the change and keeps the event in one."""
    return {
        "actor": actor.pk if actor else None,
        "verb": verb,
        "target": _named(target),
        "detail": json.dumps(detail),
    }


RECORD = """
INSERT INTO audit_event (at, actor_id, verb, target, detail)
VALUES (statement_timestamp(), %(actor)s, %(verb)s, %(target)s, %(detail)s::jsonb)
"""
