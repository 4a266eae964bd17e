"""Writing and publishing the labeling spec."""

import re

from django.db import transaction
from django.utils import timezone

from hone.accounts.models import Project, User
from hone.audit.models import record
from hone.markdown import render
from labeling.messages import clean_text
from labeling.models import Guideline


def current(project: Project) -> Guideline | None:
    """The newest published version: what contractors work to."""
    return project.guidelines.filter(published_at__isnull=False).order_by("-number").first()


@transaction.atomic
def save_draft(*, project: Project, title: str, body: str) -> Guideline:
    """Writes the project's one draft, making the next version number when there is none."""
    body = clean_text(body)
    # The project row is the lock: two editors who save at once must not both make a draft.
    Project.objects.select_for_update().get(pk=project.pk)
    draft = project.guidelines.filter(published_at=None).first()
    if draft is None:
        last = project.guidelines.order_by("-number").first()
        return Guideline.objects.create(project=project, number=last.number + 1 if last else 1, title=title, body=body)
    draft.title, draft.body = title, body
    draft.save(update_fields=["title", "body"])
    return draft


@transaction.atomic
def publish(*, guideline: Guideline, actor: User) -> Guideline:
    """Publishes a draft. From now on it never changes; raises ValueError when it is published already."""
    locked = Guideline.objects.select_for_update().get(pk=guideline.pk)
    if locked.is_published:
        raise ValueError("This version is published already.")
    locked.published_at, locked.published_by = timezone.now(), actor
    locked.save(update_fields=["published_at", "published_by"])
    record("guideline.published", locked, actor=actor, number=locked.number)
    return locked


def html_of(guideline: Guideline) -> str:
    """The rendered text; its headings of level 2 and 3 carry ids that a table of contents can point at."""
    seen = 0

    def numbered(match: re.Match[str]) -> str:
        nonlocal seen
        seen += 1
        return f'<h{match[1]} id="s{seen}" dir="auto">'

    return re.sub(r'<h([23]) dir="auto">', numbered, render(guideline.body))
