"""Habits of people who are made to have them, and of people who have none."""

import random

import pytest

from labeling.quality.bias import Shown, habits


def rankings(kind: str, count: int = 200, k: int = 4) -> list[Shown]:
    rng = random.Random(kind)
    made = []
    for item in range(count):
        order = rng.sample(range(k), k)
        lengths = {answer: rng.randint(50, 900) for answer in range(k)}
        value = {answer: rng.random() for answer in range(k)}
        if kind == "first":
            value = {answer: value[answer] - 0.2 * order.index(answer) for answer in range(k)}
        elif kind == "long":
            value = dict(lengths)
        best = order if kind == "stamp" and rng.random() < 0.6 else sorted(value, key=lambda a: -value[a])
        ranks = dict.fromkeys(range(k), 0) if kind == "tie" else {answer: rank for rank, answer in enumerate(best)}
        seconds = rng.uniform(5, 90)
        made.append(
            Shown(item, order, ranks, lengths, seconds, agreed=seconds / 90 if kind == "haste" else rng.random())
        )
    return made


@pytest.mark.parametrize(
    ("kind", "warned"),
    [
        ("fair", []),
        ("first", ["position"]),
        ("long", ["length"]),
        ("stamp", ["position", "unmoved"]),
        ("tie", ["tied"]),
        ("haste", ["haste"]),
    ],
)
def test_each_habit_is_found_and_no_other(kind: str, warned: list[str]) -> None:
    assert habits(rankings(kind)).warnings == warned


def test_the_shares_of_a_fair_judge_hold_a_half() -> None:
    found = habits(rankings("fair"))
    assert found.earlier and found.longer and found.unmoved
    assert abs(found.earlier.value - 0.5) < 0.06 and abs(found.longer.value - 0.5) < 0.06  # three standard errors
    assert found.earlier.n == 200 * 6
    assert found.unmoved_by_chance == pytest.approx(1 / 24) and found.unmoved.value < 3 / 24


def test_quick_work_that_others_do_not_share_is_seen() -> None:
    assert habits(rankings("haste")).haste == pytest.approx(1)
    assert abs(habits(rankings("fair")).haste or 0) < 0.2
    assert habits(rankings("fair", count=9)).haste is None


def test_a_correlation_with_ties_is_that_of_the_middle_places() -> None:
    # The two threes share place 3.5; by hand: Sxy = Sxx = 82, Syy = 82.5.
    seconds, agreed = [1, 2, 3, 3, 5, 6, 7, 8, 9, 10], [n / 10 for n in range(10)]
    shown = [
        Shown(n, [0, 1], {0: 0, 1: 1}, {0: 1, 1: 2}, s, a) for n, (s, a) in enumerate(zip(seconds, agreed, strict=True))
    ]
    assert habits(shown).haste == pytest.approx(82 / (82.5 * 82) ** 0.5)


def test_time_that_nobody_measured_is_left_out() -> None:
    shown = [Shown(n, [0, 1], {0: 0, 1: 1}, {0: 1, 1: 2}, s) for n, s in enumerate([0, 0, 0, 10, 30])]
    assert habits(shown).seconds == 20
    assert habits(shown[:3]).seconds is None


def test_ties_and_equal_lengths_say_nothing() -> None:
    found = habits([Shown(1, [0, 1], {0: 0, 1: 0}, {0: 5, 1: 5}, 10)])
    assert found.earlier is None and found.longer is None
    with pytest.raises(ValueError, match="no ranking"):
        habits([])


@pytest.mark.slow
@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("count", [1, 2, 5, 19])
def test_a_newcomer_without_a_habit_is_never_warned_about(count: int, k: int) -> None:
    """By chance alone one ranking is all "first", "long" or "unmoved"; resampling it gives an interval of no width."""
    fair = rankings("fair", count=200 * count, k=k)
    assert [habits(fair[at : at + count]).warnings for at in range(0, len(fair), count)] == [[]] * 200


@pytest.mark.parametrize("k", [2, 4])
def test_few_of_the_fair_are_warned_about_once_there_are_enough_rankings(k: int) -> None:
    fair = rankings("fair", count=200 * 20, k=k)
    warned = sum(bool(habits(fair[at : at + 20]).warnings) for at in range(0, len(fair), 20))
    assert warned <= 10  # 5 %


def test_a_ranking_without_an_acceptable_answer_is_no_tie() -> None:
    order, lengths = [0, 1], {0: 5, 1: 5}
    refused = [Shown(n, order, {0: 0, 1: 0}, lengths, 10, refused=True) for n in range(30)]
    assert habits(refused).tied is None and habits(refused).warnings == []
    found = habits([*refused, Shown(30, order, {0: 0, 1: 0}, lengths, 10), Shown(31, order, {0: 0, 1: 1}, lengths, 10)])
    assert found.tied and (found.tied.value, found.tied.n, found.tied.items) == (1 / 2, 2, 2)
