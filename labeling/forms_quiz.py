"""The editor of a guideline's quiz: rows of questions that buttons add and remove, without scripts.

Every button sends the whole page. "add_question" and "remove_question:2" change the editor alone; nothing is kept.
"""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from labeling import quizzes
from labeling.quizzes import Quiz

_OPTIONS = range(quizzes.OPTIONS)
_EMPTY: dict[str, Any] = {"text": "", "several": False, "options": [], "right": [], "explanation": ""}


class QuestionRow(forms.Form):
    text = forms.CharField(
        label=_("Question"),
        widget=forms.Textarea(attrs={"rows": 2}),
        error_messages={"required": _("Write the question.")},
    )
    several = forms.BooleanField(label=_("Several answers may be right"), required=False)
    explanation = forms.CharField(
        label=_("Explanation"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=_("Shown to people who answered wrong."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for at in _OPTIONS:
            self.fields[f"option{at}"] = forms.CharField(required=False)
            self.fields[f"right{at}"] = forms.BooleanField(required=False)
        self.option_faults: list[str] = []

    def options(self) -> list[tuple[forms.BoundField, forms.BoundField]]:
        """(answer, whether it is right), four of them and one more than are filled."""
        pairs = [(self[f"option{at}"], self[f"right{at}"]) for at in _OPTIONS]
        filled = max((at for at, (option, _right) in enumerate(pairs) if option.value()), default=-1) + 1
        return pairs[: max(4, filled + 1)]

    def question(self) -> dict[str, Any]:
        values = self.cleaned_data
        return {
            "text": values.get("text", ""),
            "several": values.get("several", False),
            "explanation": values.get("explanation", ""),
            "options": [values.get(f"option{at}", "") for at in _OPTIONS],
            "right": [at for at in _OPTIONS if values.get(f"right{at}")],
        }


class _Mark(forms.Form):
    pass_percent = forms.IntegerField(
        label=_("Pass mark, percent"), required=False, help_text=_("Of the questions that must be answered rightly.")
    )


class QuizEditor:
    """What the page shows of a quiz, from the kept one or from what was sent; `quiz` after `is_valid`."""

    def __init__(self, data: Any = None, *, kept: Quiz | None, action: str = "") -> None:
        self.quiz: Quiz | None = None
        self.faults: list[str] = []
        if data is None:
            questions = kept["questions"] if kept else []
            percent: Any = kept["pass_percent"] if kept else 100
        else:
            questions, percent = self._read(data), data.get("pass_percent", "")
            questions = self._edited(questions, action)
        self.mark = _Mark({"pass_percent": percent})
        self.rows = [self._row(number, question) for number, question in enumerate(questions)]
        for form in [self.mark, *self.rows]:
            form.full_clean()

    @property
    def may_grow(self) -> bool:
        return len(self.rows) < quizzes.QUESTIONS

    def _read(self, data: Any) -> list[dict[str, Any]]:
        count = data.get("questions", "")
        # One more than a quiz may have, so that parse can say so.
        number = min(int(count), quizzes.QUESTIONS + 1) if count.isdecimal() and len(count) < 4 else 0
        return [
            {
                "text": data.get(f"q{at}-text", ""),
                "several": bool(data.get(f"q{at}-several")),
                "explanation": data.get(f"q{at}-explanation", ""),
                "options": [data.get(f"q{at}-option{index}", "") for index in _OPTIONS],
                "right": [index for index in _OPTIONS if data.get(f"q{at}-right{index}")],
            }
            for at in range(number)
        ]

    def _edited(self, questions: list[dict[str, Any]], action: str) -> list[dict[str, Any]]:
        verb, _colon, number = action.partition(":")
        if verb == "add_question" and len(questions) < quizzes.QUESTIONS:
            return [*questions, _EMPTY]
        if verb == "remove_question" and number.isdecimal():
            return [question for at, question in enumerate(questions) if str(at) != number]
        return questions

    def _row(self, number: int, question: dict[str, Any]) -> QuestionRow:
        prefix = f"q{number}"
        data: dict[str, Any] = {f"{prefix}-{field}": question[field] for field in ("text", "explanation")}
        if question["several"]:
            data[f"{prefix}-several"] = "on"
        for at, text in enumerate(question["options"]):
            data[f"{prefix}-option{at}"] = text
        for at in question["right"]:
            data[f"{prefix}-right{at}"] = "on"
        return QuestionRow(data, prefix=prefix)

    def is_valid(self) -> bool:
        """Whether the quiz can be kept; faults are put at their fields."""
        raw = {
            "pass_percent": self.mark.cleaned_data.get("pass_percent"),
            "questions": [row.question() for row in self.rows],
        }
        try:
            self.quiz = quizzes.parse(raw)
        except quizzes.QuizError as error:
            for fault in error.faults:
                self._put(fault)
            return False
        unread = [row for row in self.rows if row.errors]
        return not unread

    def _put(self, fault: quizzes.Fault) -> None:
        if fault.question is None:
            if fault.field != "pass_percent":
                self.faults.append(fault.sentence)
            elif not self.mark.has_error("pass_percent"):
                self.mark.add_error("pass_percent", fault.sentence)
        elif fault.field == "options":
            self.rows[fault.question].option_faults.append(fault.sentence)
        elif not self.rows[fault.question].has_error(fault.field):
            self.rows[fault.question].add_error(fault.field, fault.sentence)
