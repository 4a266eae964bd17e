"""Hidden checks: gold items and repeats handed out among ordinary work, at the rates that a project sets.

A check is a slot of its own, made for one person when it is handed out (docs/decisions/0017-hidden-checks.md). It comes
in place of an ordinary item that the person would have been handed, which they get next, so nothing waits or is
lost, and never where nothing else is open. Page, payload and answers to requests are those of ordinary work.
"""

import json
import random
import uuid
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db import transaction

from hone import prepared
from hone.accounts.models import Project, User
from hone.audit.models import record
from labeling import lanes
from labeling import statements_hidden as statements
from labeling.models import Draft, GoldItem, Hidden, HiddenChecks, Item, Slot

# Of the items that are old enough to be repeated, so many of the newest are drawn from: a bound on reading.
REPEATS_DRAWN_FROM = 200


def instead_of(
    found: Mapping[str, Any], *, project: Project, user: User, rates: Mapping[str, Any], after: int | None = None
) -> Any:
    """The row of a hidden check to hand out in place of this row of statements.TAKE, or the row itself.

    The caller holds the person's lock and leases the row in this transaction. The draw depends on the person's newest
    label and skip alone: it is another one after each label, and the same however often the page is loaded. What is
    fetched ahead comes `after` the slot in hand, which counts as their newest label already.
    """
    if found["kind"] != "rank" or not (rates["gold_percent"] or rates["repeat_percent"]):
        return found
    asked = {"user": user.pk, "project": project.pk}
    [newest] = prepared.rows(statements.NEWEST_OF_PERSON, asked)
    seed = f"{settings.SECRET_KEY}:hidden:{project.pk}:{user.pk}:{after or newest['label']}:{newest['skip']}"
    drawn = random.Random(seed)
    place = drawn.random() * 100
    if place < rates["gold_percent"]:
        item, order = _gold(project, asked, drawn), None
        kind = Hidden.GOLD
    elif place < rates["gold_percent"] + rates["repeat_percent"]:
        item, order = _repeat(project, {**asked, "distance": rates["repeat_distance"]}, drawn)
        kind = Hidden.REPEAT
    else:
        return found
    if item is None:
        return found
    made = {
        **asked,
        "item": item,
        "hidden": str(kind),
        "token": uuid.uuid4(),
        "order": json.dumps(order),
        # Their place in the hand-out order stays before the item that waits for them.
        "priority": found["priority"],
        "draw": found["draw"],
    }
    return prepared.row(statements.MAKE, made)


def _gold(project: Project, asked: Mapping[str, Any], drawn: random.Random) -> int | None:
    rows = _readable(project, prepared.rows(statements.GOLD_FOR_PERSON, asked))
    return drawn.choice(rows)["item_id"] if rows else None


def _repeat(project: Project, asked: Mapping[str, Any], drawn: random.Random) -> tuple[int | None, list[int] | None]:
    """An item to repeat and the order to show it in, which differs from the first one."""
    rows = prepared.rows(statements.REPEATS_FOR_PERSON, {**asked, "most": REPEATS_DRAWN_FROM})
    rows = _readable(project, rows)
    if not rows:
        return None, None
    chosen = drawn.choice(rows)
    return chosen["item_id"], reordered(json.loads(chosen["order_shown"]), drawn)


def _readable(project: Project, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those in a language of the person's, where the project asks for that: as the lanes of ordinary slots say."""
    if not project.match_languages:
        return rows
    return [row for row in rows if lanes.is_read(row["language"], by=row["languages"])]


def reordered(order: list[int], drawn: random.Random) -> list[int]:
    """The same answers in another order, each other order alike probable; two answers or more."""
    new = list(order)
    while new == order:
        drawn.shuffle(new)
    return new


def withdraw(slot: Slot) -> None:
    """Ends a hidden check that its holder passed on. The caller holds its row lock.

    The row stays, so that a late request for it is answered as for an ordinary slot that went to somebody else.
    """
    if slot.hidden == Hidden.REPEAT:
        # Its letters are of this repeat's order: the item, if it is returned, and another repeat show other ones.
        Draft.objects.filter(item=slot.item_id, author=slot.holder_id).delete()
    slot.state, slot.is_ahead = Slot.State.WITHDRAWN, False
    slot.holder = slot.lease_token = slot.lease_expires_at = None
    slot.save(update_fields=["state", "is_ahead", "holder", "lease_token", "lease_expires_at"])


def rates_of(project: Project) -> HiddenChecks:
    """The project's rates; without a row those by which nothing is checked."""
    return HiddenChecks.objects.filter(project=project).first() or HiddenChecks(project=project)


class NotGold(ValueError):
    """An order that can be no reference; the text is a sentence for its page."""


@transaction.atomic
def set_gold(*, item: Item, tiers: list[list[int]], unacceptable: list[int], source: str, actor: User) -> GoldItem:
    """Makes the item a gold item, or gives it another reference, or takes it back into use.

    Tiers and the unacceptable are completion indexes that the caller has checked to be the item's. Raises NotGold
    where the reference ties everything, since then no answer could be wrong.
    """
    from labeling.comparisons import from_ranking

    placed = [sorted(tier) for tier in tiers if tier]
    if not from_ranking(placed, unacceptable):
        raise NotGold
    gold, created = GoldItem.objects.update_or_create(
        item=item,
        defaults={
            "project_id": item.project_id,
            "tiers": placed,
            "unacceptable": sorted(unacceptable),
            "source": source,
            "is_active": True,
            "set_by": actor,
        },
    )
    verb = "gold.set" if created else "gold.changed"
    record(verb, gold, actor=actor, item=item.pk, tiers=gold.tiers, unacceptable=gold.unacceptable, source=source)
    return gold


@transaction.atomic
def retire_gold(*, gold: GoldItem, actor: User) -> None:
    """Hands the item out no more and lets its answers score nobody; they and the reference stay stored."""
    gold.is_active = False
    gold.save(update_fields=["is_active", "set_at"])
    record("gold.retired", gold, actor=actor, item=gold.item_id)
