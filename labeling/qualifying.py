"""Qualifying for paid work: the gate before the next item, attempts at the test, and what managers decide.

Asked are contractors of a project whose test is on. A person's standing is `Membership.qualified_at`: set by an attempt
that passed, by a manager, or for who had labels when the test was switched on; nothing takes it away.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Count, Q
from django.db.models.functions import Now

from hone import prepared
from hone.accounts.access import CONTRACTOR
from hone.accounts.models import Membership, Project, User
from hone.audit.models import record
from labeling import lanes, qualification_questions
from labeling.models import Demonstration, Qualification, QualificationAttempt, Ranking


class NotQualified(Exception):
    """The person has to pass the project's test before their next item; nothing was handed out."""


class Changed(Exception):
    """Somebody else has saved the test since it was read."""


class Stale(Exception):
    """What was sent belongs to another attempt or version than the one that is asked now; nothing was counted."""


class Unanswered(ValueError):
    """Questions without a whole answer; `names` are those of qualification_questions.put."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(names)
        self.names = names


@dataclass(frozen=True)
class Standing:
    """Where a contractor stands. `number` is the next attempt's; `used` and `last` are of the present version."""

    member: Membership
    test: Qualification
    number: int
    used: int
    last: QualificationAttempt | None

    @property
    def is_qualified(self) -> bool:
        return self.member.qualified_at is not None

    @property
    def allowed(self) -> int:
        return self.test.attempts + self.member.extra_attempts

    @property
    def left(self) -> int:
        return max(0, self.allowed - self.used)


_UNQUALIFIED = """
SELECT id FROM accounts_membership
 WHERE project_id = %(project)s AND user_id = %(user)s AND role = 'contractor' AND is_active AND qualified_at IS NULL
"""


def is_asked(user: User, role: str | None) -> bool:
    """Whether the test is for such a person at all."""
    return role == CONTRACTOR and not user.is_staff and not user.is_simulated


def is_missing(*, project: Project, user: User) -> bool:
    """Whether the person has yet to qualify. Projects without a test pay no statement for it."""
    if not project.asks_qualification or user.is_staff or user.is_simulated:
        return False
    return bool(prepared.rows(_UNQUALIFIED, {"project": project.pk, "user": user.pk}))


def require(*, project: Project, user: User) -> None:
    """Raises NotQualified."""
    if is_missing(project=project, user=user):
        raise NotQualified


def test_of(project: Project) -> Qualification:
    """The project's test, unsaved with the defaults where it has none."""
    return Qualification.objects.filter(project=project).first() or Qualification(project=project)


def as_asked(test: Qualification) -> qualification_questions.Test:
    """The copy that an attempt keeps."""
    return {"pass_percent": test.pass_percent, "questions": test.questions, "rankings": test.rankings}


def stamp(test: Qualification) -> str:
    """Names the state that an editor began with."""
    return test.updated_at.isoformat() if test.pk else ""


@transaction.atomic
def save(
    *,
    project: Project,
    is_on: bool,
    pass_percent: int,
    attempts: int,
    questions: list[dict[str, Any]],
    rankings: list[dict[str, Any]],
    keep: bool,
    based_on: str,
    actor: User,
) -> Qualification:
    """Keeps the test and switches it; `keep` qualifies, at switching on, who has labels in the project.

    Other questions are another version: everybody may try it anew, and who is qualified stays so. Raises Changed.
    """
    # Two managers who save at once: the second sees the first one's test.
    project = lanes.lock(project)
    test = test_of(project)
    if stamp(test) != based_on:
        raise Changed
    is_new_version = bool(test.pk) and (questions, rankings) != (test.questions, test.rankings)
    test.version += is_new_version
    test.pass_percent, test.attempts, test.questions, test.rankings = pass_percent, attempts, questions, rankings
    test.save()
    if is_new_version:
        Membership.objects.filter(project=project, extra_attempts__gt=0).update(extra_attempts=0)
    kept = _keep_at_work(project) if is_on and not project.asks_qualification and keep else 0
    project.asks_qualification = is_on
    project.save(update_fields=["asks_qualification"])
    said = {"is_on": is_on, "version": test.version, "pass_percent": pass_percent, "attempts": attempts, "kept": kept}
    record("qualification.changed", test, actor=actor, project=project.slug, **said)
    return test


def _keep_at_work(project: Project) -> int:
    made = Q()
    for model in (Demonstration, Ranking):
        # Imported conversations are nobody's work here.
        labels = model._default_manager.filter(project=project, slot__isnull=False).order_by()
        made |= Q(user__in=labels.values("author"))
    working = Membership.objects.filter(made, project=project, role=CONTRACTOR, qualified_at=None)
    return working.update(qualified_at=Now())


def standing(*, project: Project, user: User) -> Standing | None:
    """None for who is no active contractor of the project, or has no test to pass."""
    member = Membership.objects.filter(project=project, user=user, is_active=True).first()
    test = Qualification.objects.filter(project=project).first()
    if member is None or test is None or not is_asked(user, member.role):
        return None
    return _standing(member, test)


def _standing(member: Membership, test: Qualification) -> Standing:
    tries = list(QualificationAttempt.objects.filter(project=member.project_id, user=member.user_id))
    present = [each for each in tries if each.version == test.version]
    return Standing(member, test, len(tries) + 1, len(present), present[-1] if present else None)


@transaction.atomic
def attempt(
    *, project: Project, user: User, number: int, version: int, answers: dict[str, Any]
) -> QualificationAttempt:
    """Takes the attempt of this number at this version, and qualifies the person where it passed.

    Raises Stale, and Unanswered, which counts as no attempt.
    """
    # Two tabs that send at once must make one attempt: the second waits here and is stale then.
    Membership.objects.select_for_update().filter(project=project, user=user).first()
    found = standing(project=project, user=user)
    if found is None or found.is_qualified or not found.left:
        raise Stale
    if (number, version) != (found.number, found.test.version):
        raise Stale
    if names := qualification_questions.missing(answers):
        raise Unanswered(names)
    asked = as_asked(found.test)
    percent = qualification_questions.percent(asked, answers)
    passed = percent >= found.test.pass_percent
    kept = {"asked": asked, "answers": answers, "percent": percent, "passed": passed}
    made = QualificationAttempt.objects.create(project=project, user=user, number=number, version=version, **kept)
    if passed:
        Membership.objects.filter(pk=found.member.pk).update(qualified_at=Now())
    record("qualification.attempted", made, actor=user, project=project.slug, percent=percent, passed=passed)
    return made


@transaction.atomic
def qualify(*, member: Membership, actor: User) -> None:
    """Lets a contractor work without having passed; who is qualified already stays as they are."""
    waiting = Membership.objects.filter(pk=member.pk, role=CONTRACTOR, qualified_at=None)
    if waiting.update(qualified_at=Now()):
        record("qualification.given", member, actor=actor)


@transaction.atomic
def give_attempt(*, member: Membership, actor: User) -> None:
    """One more attempt for a contractor who has used all of theirs; otherwise nothing changes."""
    # Two managers who click at once give one.
    member = Membership.objects.select_for_update().get(pk=member.pk)
    found = standing(project=member.project, user=member.user)
    if found is None or found.is_qualified or found.left:
        return
    member.extra_attempts += 1
    member.save(update_fields=["extra_attempts"])
    record("qualification.attempt_given", member, actor=actor, extra=member.extra_attempts)


def standings(project: Project) -> dict[int, Standing]:
    """For managers, by user: the contractors who are asked, in as many queries for many as for one."""
    test = Qualification.objects.filter(project=project).first()
    if test is None or not project.asks_qualification:
        return {}
    made = QualificationAttempt.objects.filter(project=project)
    counts = Counter(dict(made.order_by().values_list("user").annotate(n=Count("id"))))
    present = made.filter(version=test.version).order_by("number")
    used = Counter(dict(present.order_by().values_list("user").annotate(n=Count("id"))))
    last = {each.user_id: each for each in present.order_by("user", "-number").distinct("user")}
    members = project.memberships.select_related("user")
    return {
        member.user_id: Standing(
            member, test, counts[member.user_id] + 1, used[member.user_id], last.get(member.user_id)
        )
        for member in members
        if is_asked(member.user, member.role)
    }
