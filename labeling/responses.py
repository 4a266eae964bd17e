"""Submitting, saving and skipping work: from a person's answer to demonstrations, rankings and comparisons.

Every submit is one transaction: lock the slot, check the lease, write the label (and a ranking's comparisons),
close the slot, drop the draft. A repeated submit with the same client key finds the first one's label.
"""

import contextlib
import string
import uuid
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, models, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from hone import prepared
from hone.accounts.models import User
from hone.audit.models import event, record
from hone.lists import in_a_row, listed
from labeling import checks, comparisons, item_keys, ranking_answers, statements, verdicts
from labeling.assignment import LeaseLost, enter_by_slot, give_back, lock_held, lock_person, move_up
from labeling.checks import duplicates
from labeling.messages import MessagesError, check_messages, clean_json, clean_text, content_hash
from labeling.models import (
    Category,
    Demonstration,
    Draft,
    Prompt,
    Ranking,
    Skip,
    SkipReason,
    Slot,
)
from labeling.review import drawing, returning

LETTERS = string.ascii_uppercase
NOTE_CHARS = 2000
DRAFT_CHARS = 400_000
MOST_SECONDS = 2_147_483_647  # that the column holds


class AlreadySubmitted(Exception):
    """The person has submitted this item before, in another tab perhaps; what they sent now is not kept."""


class Invalid(Exception):
    """An answer that cannot be taken. `errors` maps a field to its sentences; nothing was written."""

    def __init__(self, **errors: str) -> None:
        super().__init__(errors)
        self.errors = {field: [sentence] for field, sentence in errors.items()}


class NotHandedOut(Invalid):
    """Nothing says that the person ever had the item."""


@dataclass(frozen=True)
class Submitted:
    """The label that a submit made, or found: `is_replay` when the same client key was submitted before."""

    label: Demonstration | Ranking
    is_replay: bool
    next_slot: int | None = None  # of the one that waited behind it (labeling.ahead) and is in hand now


def submit(
    *,
    slot_id: int,
    user: User,
    lease_token: uuid.UUID,
    client_key: uuid.UUID,
    answer: dict[str, Any],
    open_for: int | None = None,
) -> Submitted:
    """Takes a person's answer to the slot they hold.

    For `open_for` seconds the author may take it back (labeling.take_back); until then nothing is built on it.

    Raises as access.project_for where the slot is in no project of theirs; LeaseLost (the answer is kept as a draft,
    where `draft_saved` says so), AlreadySubmitted and Invalid (the database is unchanged).
    """
    answer = clean_json(answer)
    try:
        with transaction.atomic():
            # Locked, because a draft that is saved meanwhile must not come back after this.
            project = enter_by_slot(slot_id, user=user, lock=True)
            locked = lock_held(slot_id=slot_id, user=user, lease_token=lease_token, project=project)
            closing = {
                "slot": slot_id,
                "item": locked.item_id,
                "user": user.pk,
                "project": locked.project_id,
                "kind": locked.kind,
                "seconds": locked.project.lease_seconds,
                "open_for": open_for,
            }
            given: dict[str, Any] = {"slot": locked, "user": user, "client_key": client_key, "answer": answer}
            label: Demonstration | Ranking
            if locked.kind == "rank":
                next_slot = _store_ranking(label := _ranking(**given), closing)
            else:
                next_slot = _store_demonstration(label := _demonstration(**given), closing)
            drawing.enter(slot=locked, label=label)
    except LeaseLost as lost:
        # The same request may have been sent before, or twice at once: the second waited for the first one's lock.
        kind = Slot.objects.values_list("kind", flat=True).get(pk=slot_id)
        model: type[Demonstration] | type[Ranking] = Ranking if kind == "rank" else Demonstration
        replay = _replay(model, user=user, client_key=client_key, slot_id=slot_id)
        if replay:
            return replay
        if is_submitted(slot_id=slot_id, user=user):
            raise AlreadySubmitted from None
        keep = draft_of(kind, answer)
        if keep and answer.get("verdict"):  # beside the order that the draft may hold
            kept = Draft.objects.filter(item__slots=slot_id, author=user).values_list("content", flat=True).first()
            keep = {**(kept or {}), **keep}
        if keep:
            with contextlib.suppress(NotHandedOut):
                save_draft(slot_id=slot_id, user=user, content=keep, item_key=answer.get("item_key"))
                lost.draft_saved = True
        raise
    except IntegrityError as error:
        if "client_key" in str(error):
            raise Invalid(client_key=_("This key was used for another submission.")) from error
        raise
    return Submitted(label, is_replay=False, next_slot=next_slot)


def is_submitted(*, slot_id: int, user: User) -> bool:
    """Whether this person has submitted this slot."""
    return Slot.objects.filter(pk=slot_id, holder=user, state=Slot.State.SUBMITTED).exists()


def _replay(
    model: type[Demonstration] | type[Ranking], *, user: User, client_key: uuid.UUID, slot_id: int
) -> Submitted | None:
    manager: models.Manager[Any] = model._default_manager
    found = manager.filter(client_key=client_key, author=user, slot_id=slot_id).first()
    return Submitted(found, is_replay=True) if found else None


def _common(*, slot: Slot, user: User, answer: dict[str, Any]) -> dict[str, Any]:
    note = answer.get("note") or ""
    if not isinstance(note, str) or len(note) > NOTE_CHARS:
        raise Invalid(note=_("The note may have at most %(limit)d characters.") % {"limit": NOTE_CHARS})
    seconds = answer.get("active_seconds", 0)
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not 0 <= seconds <= MOST_SECONDS:
        raise Invalid(active_seconds=_("The time must be a whole number of seconds."))
    # More than can have passed is no reason to lose an answer: it is cut, and the label says so. Scripts keep theirs.
    possible = slot.can_have_passed
    too_much = possible is not None and seconds > possible and not user.is_simulated
    return {
        **_same_guideline(slot, answer),
        "project": slot.project,
        "slot": slot,
        "author": user,
        "note": note,
        "active_seconds": possible if too_much else seconds,
        "claimed_seconds": seconds if too_much else None,
        "simulated": user.is_simulated,
    }


def _same_guideline(slot: Slot, answer: dict[str, Any]) -> dict[str, Any]:
    """The version that the slot shows, which is also the one that the page says it showed, if it says so."""
    seen, shown = answer.get("guideline_version"), slot.guideline
    # A page that took its item up again may still show an older version than the new lease.
    if seen is not None and seen != (shown.number if shown else None):
        raise Invalid(
            guideline_version=_("This page shows another version of the guideline than the newest: load it again.")
        )
    return {"guideline": shown}


def _demonstration(*, slot: Slot, user: User, client_key: uuid.UUID, answer: dict[str, Any]) -> Demonstration:
    prompt = slot.item.prompt
    try:
        messages = check_messages(
            answer.get("messages"),
            ends_with="assistant",
            max_chars=slot.project.max_chars,
            given=len(prompt.messages) if prompt else 0,
        )
    except MessagesError as error:
        field = "messages" if error.index is None else f"messages.{error.index}.content"
        raise Invalid(**{field: error.at_field}) from error
    findings = checks.run(
        project=slot.project,
        messages=messages,
        given=len(prompt.messages) if prompt else 0,
        own=returning.own_prompts(slot),
    )
    _refuse_blocked(findings)
    if prompt is None:
        prompt = _own_prompt(slot=slot, user=user, messages=messages, answer=answer)
    elif messages[: len(prompt.messages)] != prompt.messages:
        raise Invalid(messages=_("The given prompt was changed; only what follows it is yours to write."))
    return Demonstration(
        **_common(slot=slot, user=user, answer=answer),
        prompt=prompt,
        messages=messages,
        client_key=client_key,
        content_hash=content_hash(messages),
        findings=[finding.as_json() for finding in findings],
    )


def _store_demonstration(label: Demonstration, closing: dict[str, Any]) -> int | None:
    """Stores the label and closes its slot; returns the slot that is in hand now."""
    label.save(force_insert=True)
    [closed] = prepared.rows(statements.CLOSE, {**closing, **_submitted(label)})
    next_slot: int | None = closed["next"]
    return next_slot


def _submitted(label: Demonstration | Ranking) -> dict[str, Any]:
    assert label.slot is not None
    return event(f"{label.slot.kind}.submitted", label, actor=label.author, slot=label.slot.pk)


def _refuse_blocked(findings: list[checks.Finding]) -> None:
    """Raises Invalid with the sentences of all findings that block, each at its message's field."""
    errors: dict[str, list[str]] = {}
    for finding in findings:
        if finding.blocks:
            sentences = errors.setdefault(f"messages.{finding.message}.content", [])
            if finding.sentence not in sentences:
                sentences.append(finding.sentence)
    if errors:
        raise Invalid(**{field: in_a_row(*sentences) for field, sentences in errors.items()})


def _own_prompt(*, slot: Slot, user: User, messages: list[dict[str, str]], answer: dict[str, Any]) -> Prompt:
    """The prompt that the contractor wrote: everything before the first assistant turn."""
    first = next(i for i, turn in enumerate(messages) if turn["role"] == "assistant")
    category = answer.get("category") or Category.OTHER
    if category not in Category.values:
        raise Invalid(category=_("Choose one of the categories."))
    language = str(answer.get("language") or "en")[:16]
    # Locked, because whoever wrote the same prompt just now may be taking it back (labeling.take_back).
    prompt, created = Prompt.objects.select_for_update(no_key=True).get_or_create(
        project=slot.project,
        content_hash=content_hash(messages[:first]),
        defaults={
            "messages": messages[:first],
            "category": category,
            "language": language,
            "source": "contractor",
            "author": user,
            "simulated": user.is_simulated,
            "is_banded": True,
        },
    )
    if created:
        duplicates.remember([prompt])
    return prompt


def _ranking(*, slot: Slot, user: User, client_key: uuid.UUID, answer: dict[str, Any]) -> Ranking:
    item = slot.item
    assert item.prompt is not None  # item_rank_has_prompt
    if slot.wrote_for:  # in another tab, after this was handed out
        raise Invalid(tiers=_("You have written a demonstration for this prompt, so you cannot rank it: skip it."))
    try:
        given = verdicts.given(answer) or _order(slot=slot, answer=answer)
    except ranking_answers.AnswerError as error:
        raise Invalid(**{error.field: str(error)}) from error
    return Ranking(
        **_common(slot=slot, user=user, answer=answer),
        **given,
        item=item,
        prompt=item.prompt,
        order_shown=slot.order_shown or [],
        client_key=client_key,
        hidden=slot.hidden,
    )


def _store_ranking(label: Ranking, closing: dict[str, Any]) -> int | None:
    """Stores the label with its comparisons and closes its slot; returns the slot that is in hand now."""
    # With a verdict there is no order; an answer to a hidden check scores its author and is no data.
    is_order = not (label.verdict or label.hidden)
    completion_ids = {completion.index: completion.pk for completion in label.item.completions.all()}
    pairs = comparisons.from_ranking(label.tiers, label.unacceptable) if is_order else []
    columns = {
        "chosen": [completion_ids[pair.chosen] for pair in pairs],
        "rejected": [completion_ids[pair.rejected] for pair in pairs],
        "margin": [pair.margin for pair in pairs],
        "chosen_acceptable": [pair.chosen_acceptable for pair in pairs],
        "rejected_acceptable": [pair.rejected_acceptable for pair in pairs],
    }
    values = {**closing, **_submitted(label), **columns}
    stored = prepared.insert(label, also=statements.WITH_RANKING, show=statements.NEXT_IN_HAND, values=values)
    next_slot: int | None = stored["next"]
    return next_slot


def _order(*, slot: Slot, answer: dict[str, Any]) -> dict[str, Any]:
    """The ranking's columns for an answer that holds an order. Raises Invalid and AnswerError."""
    shown: list[int] = slot.order_shown or []
    tiers, unacceptable = _placed(shown=shown, answer=answer)
    return {
        "tiers": tiers,
        "unacceptable": unacceptable,
        "moved": tiers != [[index] for index in shown],
        **ranking_answers.given(
            form=slot.ranking_form,
            index_of=dict(zip(LETTERS, shown, strict=False)),
            tiers=tiers,
            unacceptable=unacceptable,
            answer=answer,
        ),
    }


def _placed(*, shown: list[int], answer: dict[str, Any]) -> tuple[list[list[int]], list[int]]:
    """The letters of the page turned into completion indexes; every answer must be placed exactly once."""
    tiers, unacceptable = answer.get("tiers"), answer.get("unacceptable", [])
    if (
        not isinstance(tiers, list)
        or not all(isinstance(tier, list) for tier in tiers)
        or not isinstance(unacceptable, list)
    ):
        raise Invalid(tiers=_("The order must be a list of lists of letters."))
    index_of = dict(zip(LETTERS, shown, strict=False))
    letters = [letter for tier in [*tiers, unacceptable] for letter in tier]
    unknown = [str(letter) for letter in letters if not isinstance(letter, str) or letter not in index_of]
    if unknown:
        raise Invalid(tiers=_("There is no answer %(letter)s.") % {"letter": unknown[0][:20]})
    twice = [letter for letter in index_of if letters.count(letter) > 1]
    if twice:
        raise Invalid(tiers=_("Answer %(letter)s is placed twice.") % {"letter": twice[0]})
    missing = [letter for letter in index_of if letter not in letters]
    if missing:
        raise Invalid(tiers=_("Not placed yet: %(letters)s.") % {"letters": listed(missing)})
    # Inside a tier the order says nothing, so it is stored sorted.
    placed = [sorted(index_of[letter] for letter in tier) for tier in tiers if tier]
    return placed, sorted(index_of[letter] for letter in unacceptable)


def draft_of(kind: str, answer: dict[str, Any]) -> dict[str, Any]:
    """The part of a submitted answer that its page can restore as a draft."""
    fields: tuple[str, ...]
    if kind == "rank":
        given = ("ratings", "flags", "strength", "reason", "verdict")
        fields = ("tiers", "unacceptable", *given, "note", "active_seconds")
    else:
        fields = ("messages", "note", "category", "language", "active_seconds")
    return {field: answer[field] for field in fields if field in answer}


@transaction.atomic
def save_draft(*, slot_id: int, user: User, content: dict[str, Any], item_key: object = None) -> Draft:
    """Keeps what the person has typed for the slot's item, with or without a lease.

    Who neither holds the item nor has a draft of it shows by `item_key` that they had it: a lease that was lost leaves
    no trace, and a draft of any other item would choose it, since begun work comes first.

    Raises NotHandedOut, and Invalid when it is absurdly large.
    """
    content = clean_json(content)
    if len(str(content)) > DRAFT_CHARS:
        raise Invalid(content=_("The draft is too large to keep."))
    lock_person(user)  # as submit does, which drops the draft
    slot = Slot.objects.only("item_id", "holder_id", "leased_at", "hidden").get(pk=slot_id)
    item_id = slot.item_id
    begun = {"begun_at": slot.leased_at} if slot.holder_id == user.pk and slot.leased_at else {}
    # A hidden repeat is of an item that they have submitted: its draft is kept until it is submitted itself.
    if Slot.objects.filter(item=item_id, holder=user, state=Slot.State.SUBMITTED, hidden=slot.hidden).exists():
        raise Invalid(content=_("This item is submitted already."))
    had = slot.holder_id == user.pk or item_keys.is_of(item_key, slot, user=user)
    if not had and not Draft.objects.filter(item=item_id, author=user).exists():
        raise NotHandedOut(content=_("You do not hold this item. Send the item_key that came with it."))
    draft, _created = Draft.objects.update_or_create(
        item_id=item_id,
        author=user,
        defaults={"content": content, "saved_at": Now()},
        create_defaults={"content": content, "saved_at": Now(), **begun},
    )
    draft.refresh_from_db(fields=["saved_at"])
    return draft


@transaction.atomic
def skip(*, slot_id: int, user: User, lease_token: uuid.UUID, reason: str, note: str) -> Skip:
    """Passes the item on: its slot opens for others, and this person never sees it again. The draft stays
    (but a hidden repeat's).

    Raises LeaseLost and Invalid.
    """
    if reason not in SkipReason.values:
        raise Invalid(reason=_("Choose one of the reasons."))
    if len(note) > NOTE_CHARS:
        raise Invalid(note=_("The note may have at most %(limit)d characters.") % {"limit": NOTE_CHARS})
    lock_person(user)  # nothing is fetched ahead of an item that is going
    slot = lock_held(slot_id=slot_id, user=user, lease_token=lease_token)
    # Somebody may skip an item's hidden repeat, and later the item itself that a reviewer returned to them.
    why = {"reason": reason, "note": clean_text(note), "simulated": user.is_simulated}
    skipped, _created = Skip.objects.update_or_create(item=slot.item, author=user, defaults=why)
    if not slot.is_ahead:
        move_up(slot)
    give_back(slot)
    record("item.skipped", slot.item, actor=user, reason=reason)
    return skipped
