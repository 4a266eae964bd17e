"""What a qualification test asks, and what an attempt at it scores: pure functions over JSON.

A test is {pass_percent, questions, rankings}: choice questions as in a guideline's quiz (labeling.quizzes), and ranking
questions {prompt, answers: [text, …], tiers: [1, 2, …]}, where `tiers` is the reference, 1 the best. A choice question
scores 1 or 0, a ranking question the share of the reference's strict pairs that are ordered alike, a tie counting half.
"""

import random
import string
from fractions import Fraction
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from labeling import quizzes
from labeling.messages import clean_text
from labeling.quizzes import Fault, QuizError

RANKINGS = 10
ANSWERS = 4
TEXT_CHARS = 2000

Test = dict[str, Any]


def parse_rankings(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The ranking questions as they are kept. Raises QuizError with every fault.

    A row has `prompt`, `answers` and, beside each, `tiers` (a number, or None where none is chosen).
    """
    faults = []
    if len(rows) > RANKINGS:
        sentence = ngettext("At most %(n)d question.", "At most %(n)d questions.", RANKINGS) % {"n": RANKINGS}
        faults.append(Fault(None, "rankings", sentence))
    found = []
    for number, row in enumerate(rows[:RANKINGS]):
        pairs = [(clean_text(text).strip(), tier) for text, tier in zip(row["answers"], row["tiers"], strict=True)]
        written = [(text, tier) for text, tier in pairs if text]
        question = {
            "prompt": clean_text(row["prompt"]).strip(),
            "answers": [text for text, _tier in written],
            "tiers": [tier for _text, tier in written],
        }
        faults += [Fault(number, field, sentence) for field, sentence in _faults(question)]
        found.append(question)
    if faults:
        raise QuizError(faults)
    for question in found:
        levels = sorted(set(question["tiers"]))
        question["tiers"] = [levels.index(tier) + 1 for tier in question["tiers"]]
    return found


def _faults(question: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    answers, tiers = question["answers"], question["tiers"]
    if not question["prompt"]:
        found.append(("prompt", _("Write the prompt.")))
    if len(answers) < 2:
        found.append(("answers", _("Write at least two answers.")))
    elif len(set(answers)) < len(answers):
        found.append(("answers", _("Two answers are the same.")))
    elif None in tiers:
        found.append(("answers", _("Choose a tier for each answer.")))
    elif len(set(tiers)) == 1:
        found.append(("answers", _("Put at least one answer above another: no answer could be wrong otherwise.")))
    long = _("At most %(n)d characters.") % {"n": TEXT_CHARS}
    for field, texts in (("prompt", [question["prompt"]]), ("answers", answers)):
        if any(len(text) > TEXT_CHARS for text in texts):
            found.append((field, long))
    return found


def put(test: Test, *, seed: str) -> dict[str, list[dict[str, Any]]]:
    """The questions for a page: options and answers in an order drawn from the seed, named by their own index."""
    draw = random.Random(seed)
    questions = quizzes.drawn(test, draw)
    rankings = []
    for number, question in enumerate(test["rankings"]):
        order = list(range(len(question["answers"])))
        draw.shuffle(order)
        answers = [
            {"name": f"r{number}-{index}", "letter": letter, "text": question["answers"][index]}
            for letter, index in zip(string.ascii_uppercase, order, strict=False)
        ]
        rankings.append(
            {
                "name": f"r{number}",
                "prompt": question["prompt"],
                "answers": answers,
                "tiers": range(1, len(order) + 1),
            }
        )
    return {"questions": questions, "rankings": rankings}


def read_answers(test: Test, posted: Any) -> dict[str, Any]:
    """What a form's data (a QueryDict) answers; None stands for a tier that was not chosen."""
    rankings = []
    for number, question in enumerate(test["rankings"]):
        count = len(question["answers"])
        valid = {str(tier): tier for tier in range(1, count + 1)}
        rankings.append([valid.get(posted.get(f"r{number}-{index}", "")) for index in range(count)])
    return {"questions": quizzes.read_answers(test, posted), "rankings": rankings}


def missing(answers: dict[str, Any]) -> list[str]:
    """The names of the questions without a whole answer, as `put` names them."""
    questions = [f"q{number}" for number, chosen in enumerate(answers["questions"]) if not chosen]
    return questions + [f"r{number}" for number, tiers in enumerate(answers["rankings"]) if None in tiers]


def percent(test: Test, answers: dict[str, Any]) -> int:
    """The mean score over all questions in percent, rounded down, so that it reaches a pass mark only by passing."""
    from labeling.quality.hidden_scores import gold_score  # numpy

    scores = [
        Fraction(quizzes.is_right(question, chosen))
        for question, chosen in zip(test["questions"], answers["questions"], strict=True)
    ]
    for question, tiers in zip(test["rankings"], answers["rankings"], strict=True):
        points, pairs = gold_score(dict(enumerate(question["tiers"])), dict(enumerate(tiers)))
        scores.append(Fraction(points) / pairs)  # points are halves, which a float holds exactly
    return int(100 * sum(scores) / len(scores))
