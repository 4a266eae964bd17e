"""Reading a new guideline version before the next item, and confirming it, with its quiz where it has one.

The hand-out asks by itself whether a reading is missing (statements.TAKE), so that no cycle pays for a question more.
"""

from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Count
from django.db.models.functions import Now

from hone.accounts.models import Project, User
from hone.audit.models import record
from labeling import quizzes
from labeling.models import Guideline, GuidelineReading, QuizAttempt


class NotPublished(Exception):
    """Only published versions are read and confirmed."""


class QuizNotPassed(Exception):
    """The version has a quiz, and the user has not passed it."""


@dataclass(frozen=True)
class Tried:
    """What a try at a version's quiz came to; without a quiz `attempt` is None and the version is confirmed."""

    reading: GuidelineReading
    attempt: QuizAttempt | None


def must_read(*, project: Project, user: User) -> bool:
    """Whether the user has to confirm the current version before the next item; statements.TAKE says it too."""
    if not project.confirm_guideline:
        return False
    last = project.guidelines.filter(published_at__isnull=False, is_minor=False).order_by("-number").first()
    return last is not None and not _confirmed(project, user).filter(guideline__number__gte=last.number).exists()


def last_confirmed(*, project: Project, user: User, before: Guideline) -> Guideline | None:
    """The newest version that the user has confirmed of those before this one."""
    found = _confirmed(project, user).filter(guideline__number__lt=before.number).select_related("guideline")
    newest = found.order_by("-guideline__number").first()
    return newest.guideline if newest else None


def _confirmed(project: Project, user: User) -> Any:
    return GuidelineReading.objects.filter(user=user, guideline__project=project, confirmed_at__isnull=False)


def open_reading(*, guideline: Guideline, user: User) -> GuidelineReading:
    """The user's reading of a published version, begun now if it is new. Raises NotPublished."""
    if not guideline.is_published:
        raise NotPublished
    reading, _created = GuidelineReading.objects.get_or_create(user=user, guideline=guideline)
    return reading


@transaction.atomic
def confirm(*, guideline: Guideline, user: User) -> GuidelineReading:
    """Confirms that the user has read a version; what is confirmed already stays as it was.

    A version with a quiz needs a try that passed (`attempt`), but for a scripted contractor, who reads nothing.
    Raises NotPublished and QuizNotPassed.
    """
    # Two tabs that send at once must make one confirmation.
    reading = GuidelineReading.objects.select_for_update().get(pk=open_reading(guideline=guideline, user=user).pk)
    if reading.confirmed_at is not None:
        return reading
    if guideline.quiz and not user.is_simulated and not reading.attempts.filter(passed=True).exists():
        raise QuizNotPassed
    reading.confirmed_at = Now()
    reading.save(update_fields=["confirmed_at"])
    reading.refresh_from_db(fields=["confirmed_at"])
    record("guideline.confirmed", guideline, actor=user, number=guideline.number)
    return reading


@transaction.atomic
def attempt(*, guideline: Guideline, user: User, answers: list[list[int]]) -> Tried:
    """Takes one try at the version's quiz, keeps it, and confirms the version where it passed.

    Raises NotPublished, and quizzes.Unanswered where a question has no answer, which counts as no try.
    """
    reading = GuidelineReading.objects.select_for_update().get(pk=open_reading(guideline=guideline, user=user).pk)
    made = None
    if guideline.quiz and reading.confirmed_at is None:
        score, passed = quizzes.score(guideline.quiz, answers)
        made = QuizAttempt.objects.create(reading=reading, answers=answers, score=score, passed=passed)
        if not passed:
            return Tried(reading, made)
    return Tried(confirm(guideline=guideline, user=user), made)


def readers(guideline: Guideline) -> list[dict[str, Any]]:
    """For managers: each active member, when they confirmed this version, their tries, and the newest one confirmed."""
    project = guideline.project
    members = list(project.memberships.filter(is_active=True).select_related("user").order_by("user__username"))
    readings = GuidelineReading.objects.filter(
        guideline__project=project, user__in=[member.user_id for member in members]
    )
    own: dict[int, GuidelineReading] = {}
    newest: dict[int, GuidelineReading] = {}
    for reading in readings.select_related("guideline").order_by("guideline__number"):
        if reading.guideline_id == guideline.pk:
            own[reading.user_id] = reading
        if reading.confirmed_at is not None:
            newest[reading.user_id] = reading
    tries = dict(
        QuizAttempt.objects.filter(reading__guideline=guideline)
        .order_by()
        .values_list("reading__user")
        .annotate(n=Count("id"))
    )
    return [
        {
            "member": member,
            "has_opened": member.user_id in own,
            "confirmed_at": own[member.user_id].confirmed_at if member.user_id in own else None,
            "tries": tries.get(member.user_id, 0),
            "newest": newest.get(member.user_id),
        }
        for member in members
    ]
