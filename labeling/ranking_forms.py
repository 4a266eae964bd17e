"""Ranking forms: what a project asks about answers besides their order, checked, kept, and ready to choose.

A form is JSON: `scales` [{key, label, low, high, low_label, high_label, optional}], `flags` [{key, label, help}],
`strength` (bool), `ties` (bool), `reason` ("off", "optional", "required"). Keys name the values in exported data.
Sources of the presets: Ouyang et al. 2022 (InstructGPT), the table of labeling metadata; Touvron et al. 2023
(Llama 2), section 3.2.1. The wording is ours.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from hone import prepared
from hone.accounts.models import Project, User
from hone.audit.models import record
from labeling import lanes, statements
from labeling.messages import clean_json
from labeling.models import RankingForm
from labeling.models.ranking_form import Reason

Form = dict[str, Any]

HIGHEST = 9  # a digit key for each value
STEPS = 9
SCALES = 6
FLAGS = 24
LABEL_CHARS = 60
END_CHARS = 40
HELP_CHARS = 200
_KEY = re.compile(r"[a-z][a-z0-9_]{0,39}")
_PARTS = {"scales", "flags", "strength", "ties", "reason"}


@dataclass(frozen=True)
class Fault:
    """One sentence about one place of a form: `row` counts from 0 within `part`, `field` is the row's key."""

    part: str
    sentence: str
    row: int | None = None
    field: str = ""


class FormError(ValueError):
    """A form that cannot be used; `faults` says why, a sentence each."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(faults[0].sentence)
        self.faults = faults


def plain() -> Form:
    return {"scales": [], "flags": [], "strength": False, "ties": True, "reason": "off"}


def is_plain(form: Form) -> bool:
    """Whether the form asks for nothing but an order with ties."""
    return form == plain()


def of(project: Project) -> Form | None:
    """The form under which the project's answers are ranked now; None where people give an order alone."""
    found = prepared.row(statements.RANKING_FORM, {"project": project.pk})
    return asked(found and found["form"])


def asked(content: Form | None) -> Form | None:
    """The form of a row of labeling_rankingform, or of none."""
    return None if content is None or is_plain(content) else content


class Changed(Exception):
    """The form that the editor began with is no longer the newest; nothing was written."""


def stamp(form: Form | None) -> str:
    """Says which form an editor began with; None is the plain one."""
    return hashlib.sha256(json.dumps(form or plain(), sort_keys=True).encode()).hexdigest()


@transaction.atomic
def change(*, project: Project, form: Any, actor: User, based_on: str | None = None) -> RankingForm:
    """Checks and keeps the form; items handed out from now on ask by it. Raises FormError.

    With `based_on`, a stamp, raises Changed when somebody else was faster.
    """
    checked = parse(form)
    # Two managers at once: the later one's record then names the earlier one's form as what was before.
    lanes.lock(project)
    before = of(project) or plain()
    if based_on is not None and stamp(before) != based_on:
        raise Changed(_("Somebody else changed the ranking form meanwhile; nothing of yours was saved yet."))
    row, _created = RankingForm.objects.update_or_create(project=project, defaults=checked)
    if before != checked:
        record("ranking_form.changed", project, actor=actor, before=before, after=checked)
    return row


def parse(value: Any) -> Form:
    """The form with every key present and nothing else. Raises FormError with all faults found."""
    value = clean_json(value)
    if not isinstance(value, dict):
        raise FormError([Fault("form", _("A ranking form must be an object."))])
    faults = [
        Fault("form", _("There is no part %(name)s.") % {"name": key[:40]}) for key in sorted(value.keys() - _PARTS)
    ]
    form = {
        "scales": [_scale(row, at, faults) for at, row in enumerate(_rows(value, "scales", SCALES, faults))],
        "flags": [_flag(row, at, faults) for at, row in enumerate(_rows(value, "flags", FLAGS, faults))],
        "strength": _switch(value, "strength", False, faults),
        "ties": _switch(value, "ties", True, faults),
        "reason": value.get("reason", "off"),
    }
    if form["reason"] not in Reason.values:
        faults.append(Fault("reason", _("The reason must be off, optional or required.")))
    for part in ("scales", "flags"):
        _check_once(form[part], part, faults)
    if faults:
        raise FormError(faults)
    return form


def _rows(value: Form, part: str, most: int, faults: list[Fault]) -> list[Form]:
    rows = value.get(part, [])
    if not isinstance(rows, list):
        faults.append(Fault(part, _("%(part)s must be a list.") % {"part": part}))
        return []
    if len(rows) > most:
        faults.append(Fault(part, _("At most %(most)d are possible; this has %(n)d.") % {"most": most, "n": len(rows)}))
    faults += [
        Fault(part, _("Each row must be an object."), at) for at, row in enumerate(rows) if not isinstance(row, dict)
    ]
    return [row for row in rows[:most] if isinstance(row, dict)]


def _switch(value: Form, part: str, default: bool, faults: list[Fault]) -> bool:
    given = value.get(part, default)
    if not isinstance(given, bool):
        faults.append(Fault(part, _("%(part)s must be true or false.") % {"part": part}))
        return default
    return given


def _scale(row: Form, at: int, faults: list[Fault]) -> Form:
    row = _named(row, "scales", at, {"low", "high", "low_label", "high_label", "optional"}, faults)
    low, high = row.get("low"), row.get("high")
    for field, number in (("low", low), ("high", high)):
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= HIGHEST:
            sentence = _("This must be a whole number from 0 to %(highest)d.") % {"highest": HIGHEST}
            faults.append(Fault("scales", sentence, at, field))
            break
    else:
        if low >= high:  # type: ignore[operator]
            faults.append(Fault("scales", _("The highest value must be above the lowest."), at, "high"))
        elif high - low + 1 > STEPS:  # type: ignore[operator]
            faults.append(Fault("scales", _("A scale has at most %(n)d steps.") % {"n": STEPS}, at, "high"))
    optional = row.get("optional", False)
    if not isinstance(optional, bool):
        faults.append(Fault("scales", _("%(part)s must be true or false.") % {"part": "optional"}, at, "optional"))
    return {
        "key": row["key"],
        "label": row["label"],
        "low": low,
        "high": high,
        "low_label": _text(row, "low_label", END_CHARS, "scales", at, faults),
        "high_label": _text(row, "high_label", END_CHARS, "scales", at, faults),
        "optional": optional,
    }


def _flag(row: Form, at: int, faults: list[Fault]) -> Form:
    row = _named(row, "flags", at, {"help"}, faults)
    return {
        "key": row["key"],
        "label": row["label"],
        "help": _text(row, "help", HELP_CHARS, "flags", at, faults),
    }


def _named(row: Form, part: str, at: int, more: set[str], faults: list[Fault]) -> Form:
    """The row with a checked key and label."""
    unknown = sorted(row.keys() - more - {"key", "label"})
    faults += [Fault(part, _("There is no field %(name)s.") % {"name": key[:40]}, at) for key in unknown]
    label = _text(row, "label", LABEL_CHARS, part, at, faults)
    if not label and not any(fault.row == at and fault.part == part and fault.field == "label" for fault in faults):
        faults.append(Fault(part, _("This needs a name."), at, "label"))
    key = row.get("key")
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        sentence = _("Use small letters a to z, digits and _, beginning with a letter, at most 40.")
        faults.append(Fault(part, sentence, at, "key"))
        key = ""
    return {**row, "key": key, "label": label}


def _text(row: Form, field: str, most: int, part: str, at: int, faults: list[Fault]) -> str:
    text = row.get(field, "")
    if not isinstance(text, str):
        faults.append(Fault(part, _("This must be a text."), at, field))
        return ""
    text = " ".join(text.split())
    if len(text) > most:
        faults.append(Fault(part, _("At most %(most)d characters are possible.") % {"most": most}, at, field))
    return text


def _check_once(rows: list[Form], part: str, faults: list[Fault]) -> None:
    for field, sentence in (
        ("key", _("Another row has this name in the data.")),
        ("label", _("Another row has this name.")),
    ):
        seen: set[str] = set()
        for at, row in enumerate(rows):
            name = row[field].casefold()
            if name and name in seen:
                faults.append(Fault(part, sentence, at, field))
            seen.add(name)


def key_from(label: str, taken: set[str]) -> str:
    """A key for a row that was given a name alone: "Overall quality" becomes overall_quality."""
    base = re.sub(r"[^a-z0-9]+", "_", label.casefold()).strip("_")[:36]
    base = base if base[:1].isalpha() else f"key_{base}".rstrip("_")
    key, number = base, 2
    while key in taken:
        key, number = f"{base}_{number}", number + 1
    return key


def presets() -> list[tuple[str, str, Form]]:
    """(name, title, form) of the forms that a manager can start from."""
    return [
        ("plain", _("Order alone"), plain()),
        ("instructgpt", _("InstructGPT: quality and eleven flags"), _instructgpt()),
        ("llama2", _("Llama 2: four strengths and a safety flag"), _llama2()),
    ]


def _instructgpt() -> Form:
    flags = [
        ("misses_task", _("Misses the task"), _("It does not do what the prompt asks, or does something else.")),
        (
            "unfit_for_customers",
            _("Unfit for customers"),
            _("A company's assistant should not say this to a customer."),
        ),
        ("hallucination", _("Makes things up"), _("It states something that the prompt or the facts do not support.")),
        (
            "keeps_constraint",
            _("Keeps the constraint"),
            _("The prompt sets a limit or a form, and the answer keeps to it."),
        ),
        ("sexual", _("Sexual content"), _("It holds sexual content.")),
        ("violent", _("Violent content"), _("It describes violence.")),
        ("encourages_harm", _("Encourages harm"), _("It calls for or excuses violence, abuse, terror or self-harm.")),
        (
            "denigrates",
            _("Demeans a group"),
            _("It demeans people for what they are, such as origin, sex, faith or disability."),
        ),
        ("harmful_advice", _("Gives harmful advice"), _("Following it could hurt the person who asked, or others.")),
        ("opinion", _("States an opinion"), _("It takes a side where people differ.")),
        ("moral_judgement", _("Judges morally"), _("It says what is right or wrong to do or to be.")),
    ]
    return {
        **plain(),
        "scales": [
            {
                "key": "quality",
                "label": _("Overall quality"),
                "low": 1,
                "high": 7,
                "low_label": _("very poor"),
                "high_label": _("excellent"),
                "optional": False,
            }
        ],
        "flags": [{"key": key, "label": label, "help": text} for key, label, text in flags],
    }


def _llama2() -> Form:
    unsafe = {"key": "unsafe", "label": _("Unsafe"), "help": _("It breaks the safety rules of the guideline.")}
    return {**plain(), "flags": [unsafe], "strength": True, "ties": False}
