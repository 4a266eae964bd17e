"""The quiz of a guideline version: choice questions that are asked before its first item.

A quiz is JSON: {pass_percent, questions: [{text, several, options: [text, …], right: [index, …], explanation}, …]}.
A question is answered rightly when exactly its right options are chosen. It lies on the guideline's row and is
final with it; options are shown in another order at each try and are always named by their index here.
"""

import random
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from labeling.messages import clean_text
from labeling.models import GuidelineReading

QUESTIONS = 20
OPTIONS = 6
TEXT_CHARS = 1000

Quiz = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """What is wrong, and where: `question` is None for the quiz as a whole, `field` a field of the question."""

    question: int | None
    field: str
    sentence: str


class QuizError(ValueError):
    """A quiz that cannot be asked."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__([fault.sentence for fault in faults])
        self.faults = faults


class Unanswered(ValueError):
    """Questions without an answer; `questions` are their indexes."""

    def __init__(self, questions: list[int]) -> None:
        super().__init__(questions)
        self.questions = questions


def parse(raw: Quiz) -> Quiz | None:
    """The quiz as it is kept, None for one without questions. Raises QuizError with every fault."""
    if not raw["questions"]:
        return None
    faults = []
    percent = raw["pass_percent"]
    if not isinstance(percent, int) or not 1 <= percent <= 100:
        faults.append(Fault(None, "pass_percent", _("The pass mark is a whole number from 1 to 100.")))
    if len(raw["questions"]) > QUESTIONS:
        sentence = ngettext("At most %(n)d question.", "At most %(n)d questions.", QUESTIONS) % {"n": QUESTIONS}
        faults.append(Fault(None, "questions", sentence))
    questions = []
    for number, row in enumerate(raw["questions"][:QUESTIONS]):
        question = _question(row)
        faults += [Fault(number, field, sentence) for field, sentence in _faults(question)]
        questions.append(question)
    if faults:
        raise QuizError(faults)
    return {"pass_percent": percent, "questions": questions}


def _question(row: dict[str, Any]) -> dict[str, Any]:
    """Cleaned, with empty options left out and the right ones renumbered."""
    options: list[str] = []
    right = []
    for index, text in enumerate(row["options"]):
        if cleaned := clean_text(text).strip():
            if index in row["right"]:
                right.append(len(options))
            options.append(cleaned)
    return {
        "text": clean_text(row["text"]).strip(),
        "several": bool(row["several"]),
        "options": options,
        "right": right,
        "explanation": clean_text(row["explanation"]).strip(),
    }


def _faults(question: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    if not question["text"]:
        found.append(("text", _("Write the question.")))
    if len(question["options"]) < 2:
        found.append(("options", _("Write at least two answers.")))
    elif len(set(question["options"])) < len(question["options"]):
        found.append(("options", _("Two answers are the same.")))
    elif not question["right"]:
        found.append(("options", _("Mark the right answer.")))
    elif len(question["right"]) > 1 and not question["several"]:
        found.append(("options", _("Mark one right answer, or say that several are right.")))
    long = _("At most %(n)d characters.") % {"n": TEXT_CHARS}
    for field, texts in (
        ("text", [question["text"]]),
        ("options", question["options"]),
        ("explanation", [question["explanation"]]),
    ):
        if any(len(text) > TEXT_CHARS for text in texts):
            found.append((field, long))
    return found


def score(quiz: Quiz, answers: list[list[int]]) -> tuple[int, bool]:
    """How many questions are answered rightly, and whether that passes. Raises Unanswered."""
    missing = [number for number, chosen in enumerate(answers) if not chosen]
    if missing:
        raise Unanswered(missing)
    right = sum(is_right(question, chosen) for question, chosen in zip(quiz["questions"], answers, strict=True))
    return right, 100 * right >= quiz["pass_percent"] * len(quiz["questions"])


def is_right(question: dict[str, Any], chosen: list[int]) -> bool:
    """Exactly the right options, no more and no fewer."""
    return sorted(set(chosen)) == sorted(question["right"])


def asked(reading: GuidelineReading) -> list[dict[str, Any]]:
    """The questions as they are put at the reading's next try: options as (index, text), in a new order each time."""
    quiz = reading.guideline.quiz or {"questions": []}
    # Drawn from a secret, so that a page that is opened again shows the same try.
    return drawn(quiz, random.Random(f"{settings.SECRET_KEY}:{reading.pk}:{reading.attempts.count()}"))


def drawn(quiz: Quiz, draw: random.Random) -> list[dict[str, Any]]:
    """The questions for a page, each with its options as (index, text) in an order of this draw."""
    questions = []
    for number, question in enumerate(quiz["questions"]):
        options = list(enumerate(question["options"]))
        draw.shuffle(options)
        questions.append(
            {"name": f"q{number}", "text": question["text"], "several": question["several"], "options": options}
        )
    return questions


def read_answers(quiz: Quiz, posted: Any) -> list[list[int]]:
    """The options chosen for each question in a form's data (a QueryDict); what is no option of it is left out."""
    found = []
    for number, question in enumerate(quiz["questions"]):
        valid = {str(index): index for index in range(len(question["options"]))}
        found.append(sorted({valid[value] for value in posted.getlist(f"q{number}") if value in valid}))
    return found


def result(quiz: Quiz, answers: list[list[int]]) -> list[dict[str, Any]]:
    """What was answered wrong in a try, with the explanations; never the right answers themselves."""
    return [
        {
            "number": number + 1,
            "text": question["text"],
            "chosen": [question["options"][index] for index in chosen],
            "explanation": question["explanation"],
        }
        for number, (question, chosen) in enumerate(zip(quiz["questions"], answers, strict=True))
        if not is_right(question, chosen)
    ]
