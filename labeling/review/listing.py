"""Lists of reviews: a project's for its leads, a person's own, and the numbers on the home and project pages."""

from collections.abc import Mapping
from typing import Any

from django.db.models import Case, Prefetch, QuerySet, When

from hone.accounts import access
from hone.accounts.models import Project, User
from labeling.models import Review, ReviewComment
from labeling.review import queue

SENT_BACK_SHOWN = 50


def of_project(project: Project) -> QuerySet[Review]:
    """Newest first, with what a row of a list needs."""
    comments = Prefetch("comments", queryset=ReviewComment.objects.order_by("id"))
    rows = Review.objects.filter(project=project).select_related(
        "author", "reviewer", "demonstration__prompt", "ranking__prompt"
    )
    return rows.prefetch_related(comments).order_by("-id")


def sent_back(project: Project, user: User) -> list[Review]:
    """The user's work that was returned or rejected, what waits for them first, then the newest."""
    states = [Review.State.RETURNED, Review.State.REJECTED, Review.State.DROPPED]
    waits_first = Case(When(state=Review.State.RETURNED, then=0), default=1)
    return list(
        of_project(project).filter(author=user, state__in=states).order_by(waits_first, "-id")[:SENT_BACK_SHOWN]
    )


def waiting_for(user: User, projects: Mapping[Project, str | None]) -> dict[int, dict[str, Any]]:
    """By project: `to_review` for its leads, `returned` {kind: number} and `returned_count` for an author.

    Two queries, however many projects. `projects` tells the user's role in each.
    """
    led = [project for project, role in projects.items() if role in access.LEADS]
    to_review = queue.waiting_by_project(led, user=user)
    returned = queue.returned_by_project(list(projects), user=user)
    return {
        project.pk: {
            "to_review": to_review.get(project.pk, 0),
            "returned": returned.get(project.pk, {}),
            "returned_count": sum(returned.get(project.pk, {}).values()),
        }
        for project in projects
    }
