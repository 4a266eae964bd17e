"""What a person gave beside the order of answers, held against the form that the page showed."""

from collections.abc import Iterable
from typing import Any

from django.utils.translation import gettext as _

from hone.lists import listed
from labeling.ranking_forms import Form, plain

REASON_CHARS = 2000
STRENGTHS = range(1, 5)  # negligibly better or unsure, slightly better, better, significantly better


class AnswerError(ValueError):
    """What was given cannot be taken; `field` is the answer's, the text a sentence."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


def given(
    *,
    form: Form | None,
    index_of: dict[str, int],
    tiers: list[list[int]],
    unacceptable: list[int],
    answer: dict[str, Any],
) -> dict[str, Any]:
    """The ranking's columns `ratings`, `flags`, `strength`, `reason` and `form`.

    `index_of` leads from the page's letters to completion indexes; ratings and flags come by letter and are kept
    by index (as text, since JSON's keys are). Raises AnswerError.
    """
    asked = form or plain()
    _check_ties(asked, index_of, tiers)
    return {
        "ratings": _ratings(asked["scales"], index_of, answer.get("ratings")),
        "flags": _flags(asked["flags"], index_of, answer.get("flags")),
        "strength": _strength(asked, len(index_of), tiers, unacceptable, answer.get("strength")),
        "reason": _reason(asked["reason"], answer.get("reason")),
        "form": form,
    }


def _check_ties(form: Form, index_of: dict[str, int], tiers: list[list[int]]) -> None:
    tied = next((tier for tier in tiers if len(tier) > 1), None)
    if tied and not form["ties"]:
        letters = sorted(letter for letter, index in index_of.items() if index in tied)
        raise AnswerError("tiers", _("This project takes no ties: part %(letters)s.") % {"letters": listed(letters)})


def _by_letter(field: str, index_of: dict[str, int], value: Any) -> dict[str, Any]:
    """An object whose keys are letters of the page; nothing given counts as an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise AnswerError(field, _("This must be an object with a letter for each answer."))
    _only(field, value, index_of, _("There is no answer %(name)s."))
    return value


def _only(field: str, names: Iterable[Any], known: Iterable[str], sentence: str) -> None:
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise AnswerError(field, sentence % {"name": str(name)[:40]})


def _ratings(scales: list[Form], index_of: dict[str, int], value: Any) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    by_letter = _by_letter("ratings", index_of, value)
    for letter, index in index_of.items():
        rated = by_letter.get(letter, {})
        if not isinstance(rated, dict):
            raise AnswerError("ratings", _("The ratings of %(letter)s must be an object.") % {"letter": letter})
        _only("ratings", rated, [scale["key"] for scale in scales], _("There is no scale %(name)s."))
        values = {}
        for scale in scales:
            number = rated.get(scale["key"])
            words = {"scale": scale["label"], "letter": letter, "low": scale["low"], "high": scale["high"]}
            if number is None:
                if not scale["optional"]:
                    raise AnswerError("ratings", _("%(scale)s of %(letter)s is missing.") % words)
                continue
            if isinstance(number, bool) or not isinstance(number, int) or not scale["low"] <= number <= scale["high"]:
                sentence = _("%(scale)s of %(letter)s must be a whole number from %(low)d to %(high)d.")
                raise AnswerError("ratings", sentence % words)
            values[scale["key"]] = number
        if values:
            found[str(index)] = values
    return found


def _flags(flags: list[Form], index_of: dict[str, int], value: Any) -> dict[str, list[str]]:
    """The keys of each flagged answer, in the form's order."""
    known = [flag["key"] for flag in flags]
    found: dict[str, list[str]] = {}
    for letter, keys in _by_letter("flags", index_of, value).items():
        if not isinstance(keys, list):
            raise AnswerError("flags", _("The flags of %(letter)s must be a list.") % {"letter": letter})
        _only("flags", keys, known, _("There is no flag %(name)s."))
        if keys:
            found[str(index_of[letter])] = [key for key in known if key in keys]
    return found


def _strength(form: Form, count: int, tiers: list[list[int]], unacceptable: list[int], value: Any) -> int | None:
    """1 to 4 where the form asks for it, two answers were shown and one of them is better; None otherwise."""
    tied = len(tiers) + bool(unacceptable) < 2
    if value is None:
        if form["strength"] and count == 2 and not tied:
            raise AnswerError("strength", _("Say how much better the better answer is."))
        return None
    if not form["strength"]:
        raise AnswerError("strength", _("This project does not ask how much better an answer is."))
    if count != 2:
        raise AnswerError("strength", _("A strength can be given for two answers only."))
    if tied:
        raise AnswerError("strength", _("A tie has no strength."))
    if isinstance(value, bool) or not isinstance(value, int) or value not in STRENGTHS:
        raise AnswerError("strength", _("The strength must be a whole number from 1 to 4."))
    return value


def _reason(asked: str, value: Any) -> str:
    text = "" if value is None else value
    if not isinstance(text, str):
        raise AnswerError("reason", _("The reason must be a text."))
    text = text.strip()
    if text and asked == "off":
        raise AnswerError("reason", _("This project does not ask for a reason."))
    if not text and asked == "required":
        raise AnswerError("reason", _("The reason is missing."))
    if len(text) > REASON_CHARS:
        raise AnswerError("reason", _("The reason may have at most %(limit)d characters.") % {"limit": REASON_CHARS})
    return text
