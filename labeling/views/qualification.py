"""The qualification test: the managers' editor, and the page on which a contractor takes it."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache

from hone.accounts import access
from hone.accounts.models import Project, User
from labeling import qualification_questions, qualifying, quizzes
from labeling.forms_qualification import QualificationForm, RankingEditor
from labeling.forms_quiz import QuizEditor
from labeling.models.work import Kind
from labeling.qualifying import Standing
from labeling.views import signed_in


def address(slug: str, kind: str) -> str:
    """The test's page, which leads on to this kind of work."""
    return f"{reverse('labeling:qualify', args=[slug])}?{urlencode({'for': kind})}"


@login_required
def edit(request: HttpRequest, slug: str) -> HttpResponse:
    """The project's test, switched on and off. Managers."""
    user = signed_in(request)
    project = access.project_for(user, slug, roles=access.MANAGERS)
    test = qualifying.test_of(project)
    sent = request.POST if request.method == "POST" else None
    action = sent.get("action", "") if sent is not None else ""
    is_sent = action == "save"
    kept_values = {"pass_percent": test.pass_percent, "attempts": test.attempts}
    start = {"is_on": project.asks_qualification, "keep": True, **kept_values} if sent is None else sent.dict()
    # The rows' own buttons keep nothing, so that they leave the other fields unchecked.
    form = QualificationForm(sent if is_sent else None, initial=start)
    kept = {"pass_percent": test.pass_percent, "questions": test.questions}
    quiz = QuizEditor(sent, kept=kept, action=action)
    rankings = RankingEditor(sent, kept=test.rankings, action=action)
    # All of them, so that the page shows the faults of each.
    is_whole = is_sent and all([form.is_valid(), quiz.is_valid(), rankings.is_valid()])
    if is_whole and _asks_something(form, quiz, rankings):
        try:
            qualifying.save(
                project=project,
                **form.cleaned_data,
                questions=quiz.quiz["questions"] if quiz.quiz else [],
                rankings=rankings.rankings,
                based_on=request.POST.get("based_on", ""),
                actor=user,
            )
        except qualifying.Changed:
            form.add_error(
                None, _("Somebody else has saved this test meanwhile. Open it in another tab to see theirs.")
            )
        else:
            messages.success(request, _("The qualification test is saved."))
            return redirect("labeling:qualification", slug=slug)
    context = {
        "project": project,
        "form": form,
        "quiz": quiz,
        "rankings": rankings,
        "test": test,
        "based_on": request.POST.get("based_on", "") if sent is not None else qualifying.stamp(test),
        "is_changed": sent is not None,
    }
    return render(request, "labeling/qualification.html", context, status=400 if is_sent else 200)


def _asks_something(form: QualificationForm, quiz: QuizEditor, rankings: RankingEditor) -> bool:
    if form.cleaned_data["is_on"] and not quiz.quiz and not rankings.rankings:
        form.add_error("is_on", _("Write at least one question before you switch the test on."))
        return False
    return True


@login_required
@never_cache
def qualify(request: HttpRequest, slug: str) -> HttpResponse:
    """Where the user stands, with the test while they have an attempt left; a POST is an attempt."""
    user = signed_in(request)
    project = access.project_for(user, slug)
    kind = request.GET.get("for", "")
    if not project.asks_qualification:
        return redirect(f"labeling:{kind}" if kind in Kind.values else "labeling:project", slug=slug)
    found = qualifying.standing(project=project, user=user)
    answers: dict[str, Any] | None = None
    missing: list[str] = []
    is_stale = False
    if request.method == "POST" and found is not None:
        answers = qualification_questions.read_answers(qualifying.as_asked(found.test), request.POST)
        try:
            qualifying.attempt(
                project=project,
                user=user,
                number=_number(request, "number"),
                version=_number(request, "version"),
                answers=answers,
            )
        except qualifying.Unanswered as error:
            missing = error.names
        except qualifying.Stale:
            is_stale, answers = True, None
            found = qualifying.standing(project=project, user=user)
        else:
            return redirect(f"{request.get_full_path()}#result")
    context = {
        "project": project,
        "standing": found,
        "is_stale": is_stale,
        "kind": kind if kind in Kind.values else "",
        "onward": reverse(f"labeling:{kind}" if kind in Kind.values else "labeling:project", args=[slug]),
        "missing": missing,
        "wrong": _wrong(found) if not missing else [],
        "managers": _managers(project),
        **_questions(project, user, found, answers, missing),
    }
    return render(request, "labeling/qualify.html", context, status=400 if missing else 409 if is_stale else 200)


def _number(request: HttpRequest, name: str) -> int:
    """Zero, which no attempt or version has, for anything but a number."""
    text = request.POST.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0


def _wrong(found: Standing | None) -> list[dict[str, Any]]:
    if found is None or found.last is None:
        return []
    return quizzes.result(found.last.asked, found.last.answers["questions"])


def _managers(project: Project) -> list[str]:
    members = project.memberships.filter(role=access.MANAGER, is_active=True, user__is_active=True)
    return [member.user.name for member in members.select_related("user")]


def _questions(
    project: Project, user: User, found: Standing | None, answers: dict[str, Any] | None, missing: list[str]
) -> dict[str, Any]:
    """What is asked at the person's next attempt; managers see it as it would be put to them."""
    if found is not None and (found.is_qualified or not found.left):
        return {"is_open": False}
    is_preview = found is None
    if is_preview and access.role_in(user, project) != access.MANAGER:
        return {"is_open": False}
    test = found.test if found is not None else qualifying.test_of(project)
    number = found.number if found is not None else 1
    # Drawn from a secret, so that a page that is opened again shows the same attempt.
    seed = f"{settings.SECRET_KEY}:qualify:{project.pk}:{user.pk}:{number}"
    asked = qualification_questions.put(qualifying.as_asked(test), seed=seed)
    for at, question in enumerate(asked["questions"]):
        question["chosen"] = answers["questions"][at] if answers else []
        question["is_missing"] = question["name"] in missing
    for at, question in enumerate(asked["rankings"]):
        question["is_missing"] = question["name"] in missing
        for answer in question["answers"]:
            index = int(answer["name"].partition("-")[2])
            answer["chosen"] = answers["rankings"][at][index] if answers else None
    return {"is_open": True, "is_preview": is_preview, "test": test, **asked}
