"""What a working page needs to know about the slot it holds. Never which model wrote an answer."""

from typing import Any

from hone.accounts.models import User
from hone.markdown import render
from labeling import guidelines, identity, item_keys
from labeling.models import Category, Slot, WritingRules
from labeling.responses import LETTERS
from labeling.review import showing


def payload(*, slot: Slot, user: User) -> dict[str, Any]:
    """A slot of labeling.assignment as JSON: prompt, answers by letter as shown, spec, draft, lease, limits."""
    project, item, guideline = slot.project, slot.item, slot.guideline
    back = showing.returned(slot)
    draft = slot.draft
    return {
        "slot": slot.pk,
        "item_key": item_keys.of(slot, user=user),
        "kind": slot.kind,
        "project": project.slug,
        "lease_token": str(slot.lease_token),
        "lease_expires_at": slot.lease_expires_at.isoformat() if slot.lease_expires_at else None,
        "lease_seconds": project.lease_seconds,
        "prompt": item.prompt
        and {
            "messages": [{**turn, "html": render(turn["content"])} for turn in item.prompt.messages],
            "category": str(Category(item.prompt.category).label),
            "language": item.prompt.language,
        },
        "answers": _answers(slot),
        "form": slot.ranking_form,
        "by_strength": bool(slot.ranking_form and slot.ranking_form["strength"] and len(slot.order_shown or []) == 2),
        "guideline": guideline
        and {"number": guideline.number, "title": guideline.title, "html": guidelines.html_of(guideline)},
        "draft": draft["content"] if draft else back and back["content"],
        "draft_saved_at": draft["saved_at"] if draft else None,
        "limits": _limits(slot),
        "returned": back and {key: value for key, value in back.items() if key != "content"},
    }


def _limits(slot: Slot) -> dict[str, Any]:
    rules = WritingRules.objects.for_project(slot.project) if slot.kind == "write" else WritingRules()
    return {
        "max_chars": slot.project.max_chars,
        "response_min": rules.min_chars,
        "response_max": rules.max_chars,
        "checked": rules.are_set,
    }


def _answers(slot: Slot) -> list[dict[str, str]]:
    texts = {answer.index: answer.text for answer in slot.item.completions.all()}
    return [
        {"letter": letter, **identity.shown(texts[index], hidden=slot.hidden_names)}
        for letter, index in zip(LETTERS, slot.order_shown or [], strict=False)
    ]
