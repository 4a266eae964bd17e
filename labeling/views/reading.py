"""The page on which a person reads a guideline version that is new to them, and confirms it."""

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache

from hone.accounts import access
from labeling import guideline_changes, guideline_reading, guidelines, quizzes
from labeling.models import Guideline, GuidelineReading
from labeling.models.work import Kind
from labeling.views import signed_in


def address(slug: str, kind: str) -> str:
    """The reading page, which leads back to this kind of work."""
    return f"{reverse('labeling:guideline_read', args=[slug])}?{urlencode({'for': kind})}"


@login_required
@never_cache
def read(request: HttpRequest, slug: str) -> HttpResponse:
    """What changed since the version that the user last confirmed; a POST confirms the version it names."""
    user = signed_in(request)
    project = access.project_for(user, slug)
    kind = request.GET.get("for", "")
    onward = (
        reverse(f"labeling:{kind}", args=[slug]) if kind in Kind.values else reverse("labeling:guideline", args=[slug])
    )
    newest = guidelines.current(project)
    if newest is None:
        return redirect("labeling:guideline", slug=slug)
    # Where a newer version came meanwhile, what was sent was read in another text.
    sent = request.method == "POST" and request.POST.get("version") == str(newest.number)
    reading = guideline_reading.open_reading(guideline=newest, user=user)
    answers, missing = None, []
    if sent:
        answers = quizzes.read_answers(newest.quiz, request.POST) if newest.quiz else []
        try:
            tried = guideline_reading.attempt(guideline=newest, user=user, answers=answers)
        except quizzes.Unanswered as error:
            missing = error.questions
        else:
            return redirect(onward if tried.reading.confirmed_at else f"{request.get_full_path()}#quiz")
    context = {
        "project": project,
        "guideline": {"number": newest.number, "title": newest.title, "html": guidelines.html_of(newest)},
        "is_superseded": request.method == "POST" and not sent,
        "reading": reading,
        "kind": kind if kind in Kind.values else "",
        "onward": onward,
        **_changes(guideline_reading.last_confirmed(project=project, user=user, before=newest), newest),
        **_quiz(reading, newest, answers, missing),
    }
    return render(request, "labeling/guideline_read.html", context, status=400 if missing else 200)


def _changes(before: Guideline | None, newest: Guideline) -> dict[str, Any]:
    if before is None:
        return {"since": None}
    sections = guideline_changes.between(before.body, newest.body)
    return {
        "since": before,
        "sections": [section for section in sections if section.state != "same"],
        "unchanged": [section for section in sections if section.state == "same"],
    }


def _quiz(
    reading: GuidelineReading, newest: Guideline, answers: list[list[int]] | None, missing: list[int]
) -> dict[str, Any]:
    if not newest.quiz or reading.confirmed_at:
        return {"questions": []}
    reading.guideline = newest
    questions = quizzes.asked(reading)
    for number, question in enumerate(questions):
        question["chosen"] = answers[number] if answers else []
        question["is_missing"] = number in missing
    last = reading.attempts.order_by("-id").first()
    return {
        "questions": questions,
        "missing": missing,
        "last": last,
        "wrong": quizzes.result(newest.quiz, last.answers) if last and not missing else [],
        "needed": -(-newest.quiz["pass_percent"] * len(questions) // 100),
    }
