"""A reviewer's verdict: approve, return with comments, reject with a reason."""

import uuid
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from hone.accounts.models import User
from hone.audit.models import record
from labeling import retraction
from labeling.assignment import lock_person
from labeling.messages import clean_json
from labeling.models import Demonstration, Retraction, Review, ReviewComment, Slot
from labeling.models.review import RejectReason
from labeling.responses import LETTERS, Invalid
from labeling.review.queue import LeaseLost, lock_held, read

REMARK_CHARS = 4000
COMMENT_CHARS = 2000
MOST_COMMENTS = 200
STATES = {
    "approve": Review.State.APPROVED,
    "return": Review.State.RETURNED,
    "reject": Review.State.REJECTED,
}


class LabelGone(Exception):
    """A lead took the label back while it was reviewed."""


class AlreadyDecided(Exception):
    """This reviewer gave another verdict under the same lease, in another tab perhaps; that one stands."""


@dataclass(frozen=True)
class Decided:
    review: Review
    is_replay: bool


def decide(
    *,
    review_id: int,
    user: User,
    lease_token: uuid.UUID,
    verdict: str,
    comments: Any = (),
    remark: str = "",
    reason: str = "",
) -> Decided:
    """Gives the verdict on the review that the user holds. The same one sent again finds the first.

    Raises LeaseLost, LabelGone, AlreadyDecided and Invalid (the database is unchanged).
    """
    if verdict not in STATES:
        raise Invalid(verdict=_("Approve, return or reject."))
    comments, remark = clean_json(comments), clean_json(remark).strip()
    author = User.objects.filter(pk__in=Review.objects.filter(pk=review_id).values("author")).first()
    if author is None:
        raise LeaseLost
    with transaction.atomic():
        lock_person(author)  # retracting their labels and submitting a correction go by the same lock
        try:
            found = lock_held(review_id=review_id, user=user, lease_token=lease_token)
        except LeaseLost:
            return _replay(review_id=review_id, user=user, lease_token=lease_token, verdict=verdict)
        made = _checked(read(found.pk), verdict=verdict, comments=comments, remark=remark, reason=reason)
        _close(found, verdict=verdict, remark=remark, reason=reason, actor=user)
        ReviewComment.objects.bulk_create(made)
        detail = {"label": found.ranking_id or found.demonstration_id, "round": found.round, "comments": len(made)}
        record(f"review.{found.state}", found, actor=user, **detail)
    return Decided(found, is_replay=False)


def _replay(*, review_id: int, user: User, lease_token: uuid.UUID, verdict: str) -> Decided:
    """Returned work may have gone on since: what counts is the verdict that this lease ended with."""
    found = Review.objects.get(pk=review_id)
    if found.decided_at is None or (found.reviewer_id, found.lease_token) != (user.pk, lease_token):
        raise LeaseLost
    later = {Review.State.RESUBMITTED: "return", Review.State.DROPPED: "return"}
    given = {state.value: name for name, state in STATES.items()} | {state.value: name for state, name in later.items()}
    if given[found.state] != verdict:
        raise AlreadyDecided
    return Decided(found, is_replay=True)


def _checked(review: Review, *, verdict: str, comments: Any, remark: str, reason: str) -> list[ReviewComment]:
    """The comments as rows, not written yet. Raises Invalid and LabelGone."""
    if review.label.retraction_id is not None:
        raise LabelGone
    if len(remark) > REMARK_CHARS:
        raise Invalid(remark=_("The remark may have at most %(limit)d characters.") % {"limit": REMARK_CHARS})
    if not isinstance(comments, list | tuple) or len(comments) > MOST_COMMENTS:
        raise Invalid(comments=_("There may be at most %(limit)d comments.") % {"limit": MOST_COMMENTS})
    texts = texts_of(review)
    made = [_comment(review, row, at=at, texts=texts) for at, row in enumerate(comments)]
    if verdict == "return" and not made and not remark:
        raise Invalid(remark=_("Say what to change: a comment at the text, or a remark."))
    if verdict == "reject" and reason not in RejectReason.values:
        raise Invalid(reason=_("Choose one of the reasons."))
    return made


def texts_of(review: Review) -> dict[int, str]:
    """The texts that a comment may be about: messages by index, or answers by completion index."""
    label = review.label
    if isinstance(label, Demonstration):
        return {index: turn["content"] for index, turn in enumerate(label.messages)}
    return {answer.index: answer.text for answer in label.item.completions.all()}


def _comment(review: Review, row: Any, *, at: int, texts: dict[int, str]) -> ReviewComment:
    field = f"comments.{at}"
    if not isinstance(row, dict):
        raise Invalid(**{field: _("A comment must be an object.")})
    index = _text_index(review, row)
    text = texts.get(index) if index is not None else None
    if index is None or text is None:
        raise Invalid(**{field: _("There is no such text.")})
    start, end, body = row.get("start"), row.get("end"), row.get("body")
    whole = isinstance(start, int) and isinstance(end, int) and not isinstance(start, bool)
    if not whole or not (0 <= start < end <= len(text) or start == end == len(text) == 0):  # type: ignore[operator]
        raise Invalid(**{field: _("The span does not lie in the text.")})
    if not isinstance(body, str) or not body.strip():
        raise Invalid(**{field: _("This comment is empty.")})
    if len(body) > COMMENT_CHARS:
        raise Invalid(**{field: _("A comment may have at most %(limit)d characters.") % {"limit": COMMENT_CHARS}})
    return ReviewComment(
        review=review,
        text=index,
        start=start,
        end=end,
        quote=text[start:end],
        body=body.strip(),  # type: ignore[misc]
    )


def _text_index(review: Review, row: dict[str, Any]) -> int | None:
    """A message by its number; an answer by the letter under which its author saw it."""
    if review.ranking is None:
        message = row.get("message")
        return message if isinstance(message, int) and not isinstance(message, bool) else None
    letters = dict(zip(LETTERS, review.ranking.order_shown, strict=False))
    return letters.get(str(row.get("answer")))


def _close(review: Review, *, verdict: str, remark: str, reason: str, actor: User) -> None:
    """Writes the verdict and what it does to label and slot. The caller holds the author's and the review's locks."""
    review.state, review.decided_at = STATES[verdict], timezone.now()
    review.remark, review.reject_reason = remark, reason if verdict == "reject" else ""
    review.draft = review.draft_by = None
    fields = ["state", "decided_at", "remark", "reject_reason", "draft", "draft_by"]
    review.save(update_fields=fields)
    if verdict == "approve":
        return
    why = remark or (str(RejectReason(reason).label) if verdict == "reject" else _("See the comments."))
    cause = Retraction.Cause.REJECTED if verdict == "reject" else Retraction.Cause.RETURNED
    taken_back = retraction.take_back(label=review.label, cause=cause, reason=why, actor=actor)
    if verdict == "reject":
        retraction.ask_again(taken_back)
        return
    # The author's again, without a lease: labeling.statements.HELD hands it out before anything new.
    slot = Slot.objects.select_for_update().get(pk=review.slot_id)
    slot.state, slot.review = Slot.State.RETURNED, review
    slot.lease_token = slot.leased_at = slot.lease_expires_at = slot.submitted_at = slot.final_at = None
    times = ["leased_at", "lease_expires_at", "submitted_at", "final_at"]
    slot.save(update_fields=["state", "review", "lease_token", *times])
