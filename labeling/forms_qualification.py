"""The editor of a project's qualification test: its switch and marks, and rows of ranking questions.

The choice questions have the guideline quiz's own editor (labeling.forms_quiz). As there, every button sends the whole
page; "add_ranking" and "remove_ranking:2" change the editor alone, and nothing is kept.
"""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from labeling import qualification_questions
from labeling.models import Qualification
from labeling.quizzes import Fault, QuizError

_ANSWERS = range(qualification_questions.ANSWERS)
_TIERS = [("", _("Tier")), *((str(n), str(n)) for n in range(1, qualification_questions.ANSWERS + 1))]
_EMPTY: dict[str, Any] = {"prompt": "", "answers": [], "tiers": []}


class QualificationForm(forms.ModelForm):
    is_on = forms.BooleanField(
        label=_("Contractors pass this test before their first item"),
        required=False,
        help_text=_("Managers, reviewers and staff are not asked."),
    )
    keep = forms.BooleanField(
        label=_("Who has labels in this project goes on without it"),
        required=False,
        help_text=_("Counts when the test is switched on."),
    )

    class Meta:
        model = Qualification
        fields = ["pass_percent", "attempts"]
        error_messages = {
            "pass_percent": dict.fromkeys(
                ("required", "invalid", "min_value", "max_value"), _("The pass mark is a whole number from 1 to 100.")
            ),
            "attempts": dict.fromkeys(
                ("required", "invalid", "min_value", "max_value"), _("Attempts are a whole number from 1 to 10.")
            ),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Each fault has one sentence, of the form and not of the column as well.
        for name in self.Meta.fields:
            sentence = self.Meta.error_messages[name]["invalid"]
            for validator in self.fields[name].validators:
                validator.message = sentence  # type: ignore[attr-defined]


class RankingRow(forms.Form):
    prompt = forms.CharField(label=_("Prompt"), required=False, widget=forms.Textarea(attrs={"rows": 2}))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for at in _ANSWERS:
            self.fields[f"answer{at}"] = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 2}))
            self.fields[f"tier{at}"] = forms.ChoiceField(required=False, choices=_TIERS)
        self.answer_faults: list[str] = []

    def answers(self) -> list[tuple[forms.BoundField, forms.BoundField]]:
        """(answer, its tier)."""
        return [(self[f"answer{at}"], self[f"tier{at}"]) for at in _ANSWERS]

    def question(self) -> dict[str, Any]:
        values = self.cleaned_data
        tiers = [values.get(f"tier{at}", "") for at in _ANSWERS]
        return {
            "prompt": values.get("prompt", ""),
            "answers": [values.get(f"answer{at}", "") for at in _ANSWERS],
            "tiers": [int(tier) if tier else None for tier in tiers],
        }


class RankingEditor:
    """What the page shows of the ranking questions, kept or sent; `rankings` after `is_valid`."""

    def __init__(self, data: Any = None, *, kept: list[dict[str, Any]], action: str = "") -> None:
        self.rankings: list[dict[str, Any]] = []
        self.faults: list[str] = []
        questions = kept if data is None else _edited(_read(data), action)
        self.rows = [_row(number, question) for number, question in enumerate(questions)]
        for row in self.rows:
            row.full_clean()

    @property
    def may_grow(self) -> bool:
        return len(self.rows) < qualification_questions.RANKINGS

    def is_valid(self) -> bool:
        """Whether the questions can be kept; faults are put at their fields."""
        try:
            self.rankings = qualification_questions.parse_rankings([row.question() for row in self.rows])
        except QuizError as error:
            for fault in error.faults:
                self._put(fault)
            return False
        return not any(row.errors for row in self.rows)

    def _put(self, fault: Fault) -> None:
        if fault.question is None:
            self.faults.append(fault.sentence)
        elif fault.field == "answers":
            self.rows[fault.question].answer_faults.append(fault.sentence)
        elif not self.rows[fault.question].has_error(fault.field):
            self.rows[fault.question].add_error(fault.field, fault.sentence)


def _read(data: Any) -> list[dict[str, Any]]:
    count = data.get("rankings", "")
    # One more than a test may have, so that parse_rankings can say so.
    most = qualification_questions.RANKINGS + 1
    number = min(int(count), most) if count.isdecimal() and len(count) < 4 else 0
    return [
        {
            "prompt": data.get(f"r{at}-prompt", ""),
            "answers": [data.get(f"r{at}-answer{index}", "") for index in _ANSWERS],
            "tiers": [data.get(f"r{at}-tier{index}", "") for index in _ANSWERS],
        }
        for at in range(number)
    ]


def _edited(questions: list[dict[str, Any]], action: str) -> list[dict[str, Any]]:
    verb, _colon, number = action.partition(":")
    if verb == "add_ranking" and len(questions) < qualification_questions.RANKINGS:
        return [*questions, _EMPTY]
    if verb == "remove_ranking" and number.isdecimal():
        return [question for at, question in enumerate(questions) if str(at) != number]
    return questions


def _row(number: int, question: dict[str, Any]) -> RankingRow:
    prefix = f"r{number}"
    data: dict[str, Any] = {f"{prefix}-prompt": question["prompt"]}
    for at, (text, tier) in enumerate(zip(question["answers"], question["tiers"], strict=True)):
        data |= {f"{prefix}-answer{at}": text, f"{prefix}-tier{at}": str(tier)}
    return RankingRow(data, prefix=prefix)
