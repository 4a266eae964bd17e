"""Taking back a person's labels, and putting them back.

Rows stay as they were made and point to their Retraction; counts, mixes, exports, quality and new snapshots leave
them out. Snapshots and models that exist keep what they were made of: `training.retracted` finds those.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Exists, Max, OuterRef, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from hone.accounts.models import Project, User
from hone.audit.models import record
from labeling import importing, lanes, pay
from labeling.assignment import lock_person
from labeling.models import Batch, Comparison, Demonstration, Item, Ranking, Retraction, Slot

REASON_CHARS = 2000


class NothingToRetract(Exception):
    """The person has no standing label there."""


class AlreadyUndone(Exception):
    """Somebody else put these labels back."""


@dataclass(frozen=True)
class Effect:
    """What a retraction would take back. `slots`: places that asking again would open."""

    demonstrations: int
    rankings: int
    comparisons: int
    slots: int

    @property
    def labels(self) -> int:
        return self.demonstrations + self.rankings


def effect(*, project: Project, author: User, since: datetime | None) -> Effect:
    """What `retract` would do now."""
    standing = _standing(project=project, author=author, since=since)
    rankings = standing(Ranking)
    demonstrations = standing(Demonstration)
    return Effect(
        demonstrations=demonstrations.count(),
        rankings=rankings.count(),
        comparisons=Comparison.objects.filter(ranking__in=rankings).count(),
        slots=sum(labels.filter(slot__item__withdrawn="").count() for labels in (rankings, demonstrations)),
    )


def batches_left_empty(*, project: Project, author: User, since: datetime | None) -> list[str]:
    """The names of the batches that `retract` would leave without any label; a round may be waiting for one."""
    standing = _standing(project=project, author=author, since=since)
    submitted = Slot.objects.filter(item__batch=OuterRef("pk"), state=Slot.State.SUBMITTED, hidden="")
    taken = Q(ranking__in=standing(Ranking)) | Q(demonstration__in=standing(Demonstration))
    stays = submitted.filter(ranking__retraction=None, demonstration__retraction=None).exclude(taken)
    found = Batch.objects.filter(Exists(submitted.filter(taken)), ~Exists(stays), project=project)
    return list(found.order_by("pk").values_list("name", flat=True))


@transaction.atomic
def retract(
    *,
    project: Project,
    author: User,
    since: datetime | None,
    reason: str,
    ask_again: bool,
    actor: User,
    take_back_pay: bool = False,
) -> Retraction:
    """Takes back the author's labels made at `since` or later, all where it is None. Raises NothingToRetract.

    What was paid for them stays paid unless `take_back_pay` is set; `undo` gives it back.

    With `ask_again` each label's item gets one more open slot, which its author is never handed: they hold the old one.
    """
    # As a submit does: one that is under way ends first and is taken back as well, or begins after this and stands.
    lock_person(author)
    made = Retraction.objects.create(project=project, author=author, since=since, reason=reason, made_by=actor)
    standing = _standing(project=project, author=author, since=since)
    made.demonstrations = standing(Demonstration).update(retraction=made)
    made.rankings = standing(Ranking).update(retraction=made)
    if not made.demonstrations + made.rankings:
        raise NothingToRetract
    made.comparisons = Comparison.objects.filter(ranking__retraction=made).update(retraction=made)
    if ask_again:
        made.slots_opened = _open_again(made)
    made.save(update_fields=["demonstrations", "rankings", "comparisons", "slots_opened"])
    taken = 0
    if take_back_pay:
        taken = pay.reverse(labels=_labels(made), reason=reason, actor=actor, cause=_cause(made))
    counts = {"demonstrations": made.demonstrations, "rankings": made.rankings, "slots_opened": made.slots_opened}
    record(
        "labels.retracted",
        made,
        actor=actor,
        author=author.pk,
        project=project.slug,
        since=since.isoformat() if since else None,
        reason=reason,
        pay_taken_back=taken,
        **counts,
    )
    return made


def take_back(*, label: Demonstration | Ranking, cause: Retraction.Cause, reason: str, actor: User) -> Retraction:
    """Takes back one label because of its review, for good. The caller holds its author's lock."""
    is_ranking = isinstance(label, Ranking)
    made = Retraction.objects.create(
        project_id=label.project_id,
        author_id=label.author_id,
        cause=cause,
        reason=reason[:REASON_CHARS],
        demonstrations=int(not is_ranking),
        rankings=int(is_ranking),
        made_by=actor,
    )
    label.retraction = made
    label.save(update_fields=["retraction"])
    if isinstance(label, Ranking):
        made.comparisons = Comparison.objects.filter(ranking=label).update(retraction=made)
        made.save(update_fields=["comparisons"])
    return made


def ask_again(retraction: Retraction) -> None:
    """Opens one more slot for each of its labels; their authors hold the old ones, and are never handed the new."""
    retraction.slots_opened = _open_again(retraction)
    retraction.save(update_fields=["slots_opened"])


@transaction.atomic
def undo(*, retraction: Retraction, actor: User) -> int:
    """Puts the labels back, and closes the places that were opened for them and that nobody took yet.

    A conversation that was imported again meanwhile stands already: the one taken back stays so. Answers how many
    these are. A reviewer's verdict is none to be undone. Raises AlreadyUndone.
    """
    importing.one_at_a_time(retraction.project)  # or an import would bring the same one at this moment
    found = Retraction.objects.select_for_update().get(pk=retraction.pk)
    if found.undone_at is not None:
        raise AlreadyUndone
    closed = _close_again(found) if found.slots_opened else 0
    reason = _("The labels were restored.")
    given_back = pay.restore(labels=_labels(found), reason=reason, actor=actor, cause=_cause(found))
    again = Demonstration.objects.filter(
        project=OuterRef("project"), content_hash=OuterRef("content_hash"), slot=None, retraction=None
    )
    replaced = Q(slot=None) & ~Q(content_hash="") & Exists(again)
    Demonstration.objects.filter(~replaced, retraction=found).update(retraction=None)
    stay = Demonstration.objects.filter(retraction=found).count()
    for model in (Ranking, Comparison):
        model._default_manager.filter(retraction=found).update(retraction=None)
    found.undone_at, found.undone_by = timezone.now(), actor
    found.save(update_fields=["undone_at", "undone_by"])
    record("labels.restored", found, actor=actor, slots_closed=closed, replaced=stay, pay_given_back=given_back)
    return stay


def _labels(retraction: Retraction) -> list[Demonstration | Ranking]:
    taken = {"retraction": retraction}
    return [
        *Ranking.objects.filter(**taken).only("id", "project_id"),
        *Demonstration.objects.filter(**taken).only("id", "project_id"),
    ]


def _cause(retraction: Retraction) -> str:
    return f"retraction:{retraction.pk}"


def _standing(*, project: Project, author: User, since: datetime | None) -> Callable[[Any], QuerySet[Any]]:
    """The author's labels that stand, for either kind of label. Answers to hidden checks are none and stay as they are:
    they may be the very reason."""
    when: dict[str, Any] = {"created_at__gte": since} if since else {}

    def found(model: Any) -> QuerySet[Any]:
        labels = Ranking.objects.data() if model is Ranking else model._default_manager.all()
        return labels.filter(project=project, author=author, retraction=None, **when)

    return found


def _items(retraction: Retraction) -> QuerySet[Item]:
    """The items whose labels it took back, each once, locked in the order of their ids.

    Two retractions of one item must not give the same index to two slots, nor wait for each other in turn.
    """
    slots = Slot.objects.filter(ranking__retraction=retraction) | Slot.objects.filter(
        demonstration__retraction=retraction
    )
    # no_key: a submit meanwhile may still refer to the item.
    return Item.objects.select_for_update(no_key=True).filter(pk__in=slots.values("item")).order_by("pk")


def _open_again(retraction: Retraction) -> int:
    """One more open slot for each retracted label that had one; a person labels an item once, so one an item.

    Withdrawn items are not asked for again.
    """
    # The project before the items, as who opens a batch; retraction.project may be older than its settings.
    project = lanes.lock(retraction.project)
    items = {item.pk: item for item in _items(retraction).prefetch_related("prompt") if not item.withdrawn}
    names = dict(zip(items, lanes.open_for(project, [item.prompt for item in items.values()]), strict=True))
    ordinary = Slot.objects.filter(item__in=items, hidden="").order_by()
    last = ordinary.values("item").annotate(index=Max("index"), draw=Max("draw"))
    new = [
        Slot(
            item=items[row["item"]],
            project_id=retraction.project_id,
            kind=items[row["item"]].kind,
            lane=names[row["item"]],
            priority=items[row["item"]].priority,
            index=row["index"] + 1,
            draw=row["draw"],
        )
        for row in last
    ]
    return len(Slot.objects.bulk_create(new, batch_size=2000))


def _close_again(retraction: Retraction) -> int:
    """Open slots of an item are alike, so any one of them may go; one that somebody holds or has filled stays.

    Those of an item that was withdrawn since wait withdrawn. One that was withdrawn before was not asked for again.
    """
    items = [
        item.pk for item in _items(retraction) if item.withdrawn_at is None or item.withdrawn_at > retraction.made_at
    ]
    unfilled = Slot.objects.filter(state__in=[Slot.State.OPEN, Slot.State.WITHDRAWN], hidden="")
    newest = unfilled.filter(item__in=items).order_by("item_id", "-index").distinct("item_id")
    # Somebody may lease one at this moment: then it is skipped here, and the item gets one label more.
    free = unfilled.select_for_update(skip_locked=True).filter(pk__in=list(newest.values_list("pk", flat=True)))
    return Slot.objects.filter(pk__in=[slot.pk for slot in free]).delete()[0]
