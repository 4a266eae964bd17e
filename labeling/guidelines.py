"""Writing and publishing the labeling spec."""

import hashlib
import json
import re
from functools import lru_cache
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from hone.accounts.models import Project, User
from hone.audit.models import record
from hone.markdown import render
from labeling import lanes
from labeling.messages import clean_text
from labeling.models import Guideline, Slot


def current(project: Project) -> Guideline | None:
    """The newest published version: what contractors work to."""
    return project.guidelines.filter(published_at__isnull=False).order_by("-number").first()


def newer_than_shown(slot: Slot) -> bool:
    """Whether a version was published after the slot was handed out."""
    newest = current(slot.project)
    return newest is not None and newest.pk != slot.guideline_id


class Changed(Exception):
    """The text that the editor began with is no longer the newest; nothing was written."""


def being_edited(project: Project) -> Guideline | None:
    """What an editor starts from: the draft, or else the current version."""
    return project.guidelines.filter(published_at=None).first() or current(project)


def stamp(guideline: Guideline | None) -> str:
    """Says which text an editor began with; empty where there was none."""
    if guideline is None:
        return ""
    text = f"{guideline.number}\n{guideline.is_published}\n{guideline.title}\n{guideline.body}"
    text += f"\n{guideline.is_minor}\n{json.dumps(guideline.quiz, sort_keys=True)}"
    return hashlib.sha256(text.encode()).hexdigest()


@transaction.atomic
def edit(
    *,
    project: Project,
    title: str,
    body: str,
    based_on: str,
    actor: User,
    publish_it: bool,
    quiz: dict[str, Any] | None = None,
    is_minor: bool = False,
) -> Guideline:
    """Saves the draft and, if asked, publishes it. Raises Changed when somebody else was faster."""
    lanes.lock(project)
    if stamp(being_edited(project)) != based_on:
        raise Changed(_("Somebody else changed the guideline meanwhile; nothing of yours was saved yet."))
    draft = save_draft(project=project, title=title, body=body, quiz=quiz, is_minor=is_minor)
    return publish(guideline=draft, actor=actor) if publish_it else draft


@transaction.atomic
def save_draft(
    *, project: Project, title: str, body: str, quiz: dict[str, Any] | None = None, is_minor: bool = False
) -> Guideline:
    """Writes the project's one draft, making the next version number when there is none.

    `quiz` is what labeling.quizzes.parse returned.
    """
    title, body = clean_text(title), clean_text(body)
    lanes.lock(project)
    draft = project.guidelines.filter(published_at=None).first()
    if draft is None:
        last = project.guidelines.order_by("-number").first()
        number = last.number + 1 if last else 1
        return Guideline.objects.create(
            project=project, number=number, title=title, body=body, quiz=quiz, is_minor=is_minor
        )
    draft.title, draft.body, draft.quiz, draft.is_minor = title, body, quiz, is_minor
    draft.save(update_fields=["title", "body", "quiz", "is_minor"])
    return draft


@transaction.atomic
def publish(*, guideline: Guideline, actor: User) -> Guideline:
    """Publishes a draft. From now on it never changes; raises ValueError when it is published already."""
    lanes.lock(guideline.project)
    locked = Guideline.objects.select_for_update().get(pk=guideline.pk)
    if locked.is_published:
        raise ValueError("This version is published already.")
    locked.published_at, locked.published_by = timezone.now(), actor
    # The first version is news to everybody.
    locked.is_minor = locked.is_minor and current(locked.project) is not None
    locked.save(update_fields=["published_at", "published_by", "is_minor"])
    record("guideline.published", locked, actor=actor, number=locked.number, is_minor=locked.is_minor)
    return locked


def html_of(guideline: Guideline) -> str:
    """The rendered text; its headings of level 2 and 3 carry ids that a table of contents can point at."""
    return _html_of(guideline.body)


@lru_cache(maxsize=64)  # every working page shows one, and there are few
def _html_of(body: str) -> str:
    seen = 0

    def numbered(match: re.Match[str]) -> str:
        nonlocal seen
        seen += 1
        return f'<h{match[1]} id="s{seen}" dir="auto">'

    return re.sub(r'<h([23]) dir="auto">', numbered, render(body))
