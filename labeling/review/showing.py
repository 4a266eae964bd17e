"""Reviews as pages and the API show them. Never which model wrote an answer; the author's name to managers alone.

Names of models that the project hides are hidden from the author here as well (`hidden`: Slot.hidden_names); reviewers
read the answers as they were written, and their spans count in those.
"""

from typing import Any

from hone.accounts import access
from hone.accounts.models import User
from hone.markdown import render
from labeling import drafting, given, guidelines, identity
from labeling.models import Demonstration, Ranking, Review, ReviewComment, ReviewRules, Slot
from labeling.models.review import Mark, RejectReason
from labeling.quality.showing import order_of
from labeling.responses import LETTERS
from labeling.review import blind
from labeling.review.spans import blocks, pieces
from labeling.templatetags.ranking import strengths

_Names = dict[int, list[tuple[int, int]]]  # by completion index: where names are hidden in an answer


def author_shown(review: Review, *, role: str | None, rules: ReviewRules) -> str:
    """The author's name, or a pseudonym where this role reviews blindly."""
    if rules.is_blind and role != access.MANAGER:
        return blind.pseudonym(project_id=review.project_id, user_id=review.author_id)
    return review.author.name


def payload(review: Review, *, user: User, role: str | None) -> dict[str, Any]:
    """A held review as JSON: the label's texts, what was said about them, guideline, lease, and the draft so far."""
    guideline = review.label.guideline
    return {
        "review": review.pk,
        "project": review.project.slug,
        "lease_token": str(review.lease_token),
        "lease_expires_at": review.lease_expires_at.isoformat() if review.lease_expires_at else None,
        "lease_seconds": review.project.lease_seconds,
        "author": author_shown(review, role=role, rules=ReviewRules.objects.for_project(review.project)),
        "guideline": guideline
        and {"number": guideline.number, "title": guideline.title, "html": guidelines.html_of(guideline)},
        "previous": verdict(review.previous) if review.previous else None,
        "draft": review.draft if review.draft_by_id == user.pk else None,
        **label_of(review),
    }


def marks_of(review: Review) -> list[dict[str, str]]:
    """Why it is reviewed, in words."""
    return [{"mark": mark, "label": str(Mark(mark).label)} for mark in review.marks]


def label_of(review: Review) -> dict[str, Any]:
    """What is reviewed, as its author left it."""
    label = review.label
    return {
        "kind": review.kind,
        "round": review.round,
        "marks": marks_of(review),
        "category": label.prompt.get_category_display(),
        "language": label.prompt.language,
        "note": label.note,
        "active_seconds": label.active_seconds,
        "submitted_at": label.created_at.isoformat(),
        **(_ranked(label) if isinstance(label, Ranking) else _written(label)),
    }


def _written(label: Demonstration) -> dict[str, Any]:
    return {
        "conversation": [],
        "texts": [
            _text(turn["content"], message=index, role=turn["role"]) for index, turn in enumerate(label.messages)
        ],
        "findings": [finding["sentence"] for finding in label.findings],
        "order": "",
        "bad": "",
        "strength": "",
        "reason": "",
        "cannot_judge": "",
    }


def _ranked(label: Ranking) -> dict[str, Any]:
    order = order_of(label)
    found = {answer["letter"]: answer for answer in order["answers"]}
    shown = zip(LETTERS, label.order_shown, strict=False)
    return {
        "conversation": label.prompt.messages,
        "texts": [
            _text(found[letter]["text"], answer=letter, is_bad=found[letter]["is_bad"], **given.of_answer(label, index))
            for letter, index in shown
        ],
        "findings": [],
        "order": order["order"],
        "bad": order["bad"],
        "strength": next((row["word"] for row in strengths("") if row["value"] == label.strength), ""),
        "reason": label.reason,
        "cannot_judge": label.get_verdict_display() if label.verdict else "",
    }


def _text(text: str, **more: Any) -> dict[str, Any]:
    known = {"message": None, "answer": None, "role": None, "is_bad": False, "ratings": [], "flags": [], **more}
    cut = [{"start": block.start, "end": block.end, "text": block.text} for block in blocks(text)]
    return {**known, "text": text, "html": render(text), "blocks": cut}


def verdict(review: Review, *, hidden: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a reviewer said, for the author and for the next look. Not who said it."""
    names = _names(review, hidden)
    comments = review.comments.all()
    return {
        "review": review.pk,
        "state": review.state,
        "state_label": review.get_state_display(),
        "remark": review.remark,
        "reason": str(RejectReason(review.reject_reason).label) if review.reject_reason else "",
        "decided_at": review.decided_at.isoformat() if review.decided_at else None,
        "comments": [_comment(review, row, number, names) for number, row in enumerate(comments, start=1)],
    }


def _names(review: Review, hidden: dict[str, Any] | None) -> _Names:
    if hidden is None or review.ranking is None:
        return {}
    answers = review.ranking.item.completions.all()
    return {answer.index: identity.hidden_in(answer.text, hidden=hidden) for answer in answers}


def _comment(review: Review, row: ReviewComment, number: int, names: _Names) -> dict[str, Any]:
    letters = dict(zip(review.ranking.order_shown, LETTERS, strict=False)) if review.ranking else {}
    return {
        "number": number,
        "message": None if review.ranking else row.text,
        "answer": letters.get(row.text),
        "start": row.start,
        "end": row.end,
        "quote": identity.part_shown(row.quote, start=row.start, spans=names.get(row.text, [])),
        "body": row.body,
    }


def returned(slot: Slot) -> dict[str, Any] | None:
    """What came back to the author of the slot: the verdict, and their texts cut at the comments' spans."""
    if slot.review_id is None:
        return None
    found = Review.objects.select_related("demonstration__prompt", "ranking__item")
    review = found.prefetch_related("comments", "ranking__item__completions").get(pk=slot.review_id)
    texts = cut_texts(review, hidden=slot.hidden_names)
    commented = [text for text in texts if text["comments"]]
    # The label keeps its time: what the author works on it from now on is the corrected one's.
    content = drafting.of_label(review.label, with_time=False)
    return {**verdict(review, hidden=slot.hidden_names), "texts": texts, "commented": commented, "content": content}


def cut_texts(review: Review, *, hidden: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """The label's texts in pieces with the numbers of their comments."""
    comments = verdict(review, hidden=hidden)["comments"]
    label = review.label
    # (message, letter, role, text, where names are hidden in it)
    texts: list[tuple[int | None, str | None, str | None, str, list[tuple[int, int]]]]
    if isinstance(label, Ranking):
        answers = order_of(label)["answers"]
        texts = [
            (None, row["letter"], None, row["text"], identity.hidden_in(row["text"], hidden=hidden)) for row in answers
        ]
    else:
        texts = [(index, None, turn["role"], turn["content"], []) for index, turn in enumerate(label.messages)]
    found = []
    for message, answer, role, text, names in texts:
        own = [row for row in comments if (row["message"], row["answer"]) == (message, answer)]
        rows, at = [], 0
        for piece in pieces(text, [(row["start"], row["end"], row["number"]) for row in own]):
            shown = identity.part_shown(piece.text, start=at, spans=names)
            rows.append({"text": shown, "numbers": list(piece.numbers)})
            at += len(piece.text)
        found.append({"message": message, "answer": answer, "role": role, "pieces": rows, "comments": own})
    return found
