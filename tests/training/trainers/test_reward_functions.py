"""Computed rewards: what is known, what an operator allows, and what a function may do wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.trainers import named_numbers, reward_functions
from training.trainers.config import ConfigError, build
from training.trainers.reward_functions import Answered, RewardFunctionError

ODD = "tests.training.trainers.odd_rewards"


def answered(ids: list[int], *, ended: bool = True) -> Answered:
    return Answered(prompt=[{"role": "user", "content": "a"}], text="eel", token_ids=ids, ended=ended)


def test_those_that_are_here_by_hand() -> None:
    """Of 1 2 3 4 1 2 3 4 the 4-grams are 1234, 2341, 3412, 4123, 1234: one of five was said before."""
    assert reward_functions.length(answered([7, 8, 9])) == 3.0
    assert reward_functions.repetition(answered([1, 2, 3, 4, 1, 2, 3, 4])) == pytest.approx(0.2)
    assert reward_functions.repetition(answered([1, 2, 3])) == 0.0
    assert [reward_functions.ends(answered([1], ended=ended)) for ended in (True, False)] == [1.0, 0.0]


def test_a_recipe_names_them_with_weights() -> None:
    found = reward_functions.load(" length=-0.01, repetition = -1 ")
    assert {name: weight for name, (weight, _) in found.items()} == {"length": -0.01, "repetition": -1.0}
    assert reward_functions.load("") == {}


def test_only_what_the_operator_allows_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(reward_functions.ALLOWED, raising=False)
    with pytest.raises(ConfigError, match="share_of_e is no reward function here; there are ends, length, repetition"):
        build("ppo", {"reward_functions": "share_of_e=1"})
    monkeypatch.setenv(reward_functions.ALLOWED, f"{ODD}:share_of_e, {ODD}:missing")
    assert reward_functions.names() == ["ends", "length", "missing", "repetition", "share_of_e"]
    [(weight, function)] = reward_functions.load("share_of_e=2").values()
    assert weight == 2.0 and reward_functions.call("share_of_e", function, answered([1])) == pytest.approx(2 / 3)
    with pytest.raises(RewardFunctionError, match=f"missing cannot be had from {ODD}:missing"):
        reward_functions.load("missing=1")


def test_the_list_may_lie_in_a_file_and_a_module_that_breaks_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(reward_functions.ALLOWED, raising=False)
    (tmp_path / "list").write_text(f"{ODD}:share_of_e,\nbroken_rewards:kind\n")
    monkeypatch.setenv(f"{reward_functions.ALLOWED}_FILE", str(tmp_path / "list"))
    assert {"share_of_e", "kind"} <= {*reward_functions.names()}
    (tmp_path / "broken_rewards.py").write_text("def kind(:")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RewardFunctionError, match="kind cannot be had from broken_rewards:kind: "):
        reward_functions.load("kind=1")


def test_a_place_is_no_name() -> None:
    """What a recipe holds is never imported, however it is written."""
    assert "is no reward function here" in str(reward_functions.fault("os:getpid=1"))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("raises", "raised ValueError: no number today"), ("not_a_number", "gave nan, which is not a finite number")],
)
def test_a_function_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, name: str, sentence: str) -> None:
    monkeypatch.setenv(reward_functions.ALLOWED, f"{ODD}:{name}")
    [(_, function)] = reward_functions.load(f"{name}=1").values()
    with pytest.raises(RewardFunctionError, match=f"The reward function {name} {sentence}"):
        reward_functions.call(name, function, answered([1]))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a", "'a' is not of the form name=number"),
        ("a=x", "'x' is no number"),
        ("a=9", "the weight of a is not from 0 to 5"),
        ("a=nan", "the weight of a is not from 0 to 5"),
        ("a=1, a=2", "a stands there twice"),
    ],
)
def test_numbers_by_name_say_what_is_wrong(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        named_numbers.parse(text, lowest=0, highest=5)
