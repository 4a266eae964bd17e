"""Which labels go to review, decided in the transaction of their submit."""

import hmac
import uuid
from typing import Any

from django.conf import settings

from labeling.models import Demonstration, Ranking, Review, Slot
from labeling.models.review import Mark
from labeling.review import returning


def enter(*, slot: Slot, label: Demonstration | Ranking) -> Review | None:
    """The label's review, where there is to be one. The caller holds the author's lock and has closed the slot."""
    if isinstance(label, Ranking) and label.hidden:
        return None  # it is no data, and it scores its author by itself
    if slot.review_id:
        return returning.resubmitted(slot=slot, label=label)
    marks = _marks(slot.review_rules, slot=slot, label=label) if slot.review_rules else []
    return returning.open_review(slot=slot, label=label, marks=marks) if marks else None


def draw(*, project_id: int, client_key: uuid.UUID) -> float:
    """A number from 0 up to 1 that is the label's own, the same whenever it is asked for.

    The key is chosen by the client, so the server's secret goes in: nobody can look for a key that is not drawn.
    """
    text = f"review:{project_id}:{client_key}"
    digest = hmac.digest(settings.SECRET_KEY.encode(), text.encode(), "sha256")
    return int.from_bytes(digest[:8], "big") / 2**64


def _marks(rules: dict[str, Any], *, slot: Slot, label: Demonstration | Ranking) -> list[str]:
    """Every reason for which the rules send this label to review. `rules`: the columns of ReviewRules."""
    percent = rules["rankings_percent"] if isinstance(label, Ranking) else rules["demonstrations_percent"]
    assert label.client_key is not None  # given with every submit
    reasons = {
        Mark.SAMPLED: bool(percent) and draw(project_id=slot.project_id, client_key=label.client_key) < percent / 100,
        Mark.NEWCOMER: bool(rules["newcomer_labels"]) and _is_newcomer(slot, most=rules["newcomer_labels"]),
        Mark.NOTE: rules["on_note"] and bool(label.note.strip()),
        Mark.FINDINGS: rules["on_findings"] and isinstance(label, Demonstration) and bool(label.findings),
        Mark.FAST: bool(rules["fast_seconds"]) and label.active_seconds < rules["fast_seconds"],
        Mark.UNMOVED: rules["on_unmoved"] and isinstance(label, Ranking) and not (label.moved or label.verdict),
    }
    return [mark.value for mark, holds in reasons.items() if holds]


def _is_newcomer(slot: Slot, *, most: int) -> bool:
    """Whether this label, its slot closed already, is among the person's first ones in the project."""
    done = Slot.objects.filter(holder=slot.holder_id, project=slot.project_id, state=Slot.State.SUBMITTED)
    return done.order_by()[: most + 1].count() <= most
