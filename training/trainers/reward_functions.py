"""Rewards that are computed and not learnt: a few that are here, and those that an operator allows by name.

A recipe names them with their weights, `length=-0.01, repetition=-1`; it cannot bring code of its own. An operator
allows functions by the environment variable HONE_REWARD_FUNCTIONS, as `package.module:function` separated by commas; a
recipe then names the function alone. Each is called with one `Answered` and gives a number. No torch.
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.records import Message
from training.trainers import evaluation, named_numbers

ALLOWED = "HONE_REWARD_FUNCTIONS"


@dataclass(frozen=True, kw_only=True)
class Answered:
    """An answer as a reward function sees it: to what, its text, its tokens (the end token among them), and whether
    it came to its own end."""

    prompt: Sequence[Message]
    text: str
    token_ids: Sequence[int]
    ended: bool


RewardFunction = Callable[[Answered], float]


class RewardFunctionError(Exception):
    """A function that cannot be had, that raised, or that gave no finite number; its text names it."""


def length(answer: Answered) -> float:
    """The number of the answer's tokens: with a weight below 0 what each of them costs."""
    return float(len(answer.token_ids))


def repetition(answer: Answered) -> float:
    """The share of the answer's 4-grams that it said before (Welleck et al. 2020); 0 where there is none."""
    return evaluation.repetition(answer.token_ids) or 0.0


def ends(answer: Answered) -> float:
    """1 for an answer that came to its own end."""
    return float(answer.ended)


_OURS: dict[str, RewardFunction] = {"length": length, "repetition": repetition, "ends": ends}


def names() -> list[str]:
    """What a recipe may name here."""
    return sorted({*_OURS, *_allowed()})


def parse(text: str) -> dict[str, float]:
    """The weight of each function that is named; raises ValueError with what is wrong, in words."""
    weights = named_numbers.parse(text, lowest=-1e6, highest=1e6)
    known = names()
    for name in weights:
        if name not in known:
            raise ValueError(f"{name} is no reward function here; there are {', '.join(known)}")
    return weights


def fault(text: str) -> str | None:
    """What is wrong with the text, or None."""
    try:
        parse(text)
    except ValueError as error:
        return str(error)
    return None


def load(text: str) -> dict[str, tuple[float, RewardFunction]]:
    """Weight and function by name; raises RewardFunctionError where an allowed one cannot be imported."""
    return {name: (weight, _function(name)) for name, weight in parse(text).items()}


def call(name: str, function: RewardFunction, answer: Answered) -> float:
    """The function's number for an answer; raises RewardFunctionError where there is none."""
    try:
        found = float(function(answer))
    except Exception as error:  # what somebody's function raises cannot be known
        said = (str(error).splitlines() or [""])[0]
        raise RewardFunctionError(
            f"The reward function {name} raised {type(error).__name__}: {said.rstrip('.')}."
        ) from error
    if not math.isfinite(found):
        raise RewardFunctionError(f"The reward function {name} gave {found}, which is not a finite number.")
    return found


def _allowed() -> dict[str, str]:
    given = os.environ.get(ALLOWED)
    if given is None and (file := os.environ.get(f"{ALLOWED}_FILE")):  # as the site's settings read it
        given = Path(file).read_text(encoding="utf-8")
    places = filter(None, (place.strip() for place in (given or "").split(",")))
    return {place.rpartition(":")[2]: place for place in places}


def _function(name: str) -> RewardFunction:
    place = _allowed().get(name)
    if place is None:
        return _OURS[name]
    module, _, attribute = place.rpartition(":")
    try:
        found: RewardFunction = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # what somebody's module raises cannot be known
        raise RewardFunctionError(f"The reward function {name} cannot be had from {place}: {error}.") from error
    return found
