"""Scores of hidden checks, by hand and by their properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.quality.hidden_scores import (
    GoldAnswer,
    Repeat,
    consistency_by_person,
    gold_by_item,
    gold_by_person,
    gold_score,
    repeat_score,
    share,
)
from labeling.quality.intervals import wilson

weak_orders = st.lists(st.integers(0, 3), min_size=2, max_size=6).map(lambda tiers: dict(enumerate(tiers)))
two_orders = st.integers(2, 6).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 3), min_size=n, max_size=n).map(lambda t: dict(enumerate(t)))] * 2)
)


def test_gold_by_hand() -> None:
    """Reference 0 > 1 > 2 = 3: five strict pairs (2 = 3 is left out). The answer 0 = 1 > 3 > 2 has the pairs
    01 tied (0.5), 02 03 12 13 right: 4.5 of 5."""
    assert gold_score({0: 0, 1: 1, 2: 2, 3: 2}, {0: 0, 1: 0, 2: 2, 3: 1}) == (4.5, 5)


def test_a_repeat_by_hand() -> None:
    """First 0 > 1 = 2, then 1 > 0 > 2: 01 reversed (0), 02 the same (1), 12 tied once (0.5)."""
    assert repeat_score({0: 0, 1: 1, 2: 1}, {0: 1, 1: 0, 2: 2}) == (1.5, 3)
    assert repeat_score({0: 0, 1: 0}, {0: 0, 1: 0}) == (1, 1)


@given(two_orders)
def test_a_score_is_a_share_and_the_reversed_answer_has_the_rest(orders: tuple[dict[int, int], dict[int, int]]) -> None:
    reference, answer = orders
    points, pairs = gold_score(reference, answer)
    assert 0 <= points <= pairs
    reversed_, _pairs = gold_score(reference, {index: -tier for index, tier in answer.items()})
    assert points + reversed_ == pairs
    assert repeat_score(reference, answer) == repeat_score(answer, reference)


@given(weak_orders)
def test_the_reference_itself_is_all_right(order: dict[int, int]) -> None:
    points, pairs = gold_score(order, order)
    assert points == pairs
    again, both = repeat_score(order, order)
    assert again == both


def test_wilsons_interval_is_the_published_one() -> None:
    """Newcombe 1998, table I, method 3: 81 of 263 gives 0.2553 to 0.3662; 0 of 20 gives 0 to 0.1611."""
    assert wilson(81 / 263, 263) == (pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5))
    assert wilson(0.0, 20) == (0, pytest.approx(0.1611, abs=5e-5))


def test_the_interval_counts_rankings_not_their_pairs() -> None:
    found = share([(6, 6), (6, 6), (6, 6)])
    assert found is not None and (found.value, found.n, found.items) == (1, 18, 3)
    assert found.low == pytest.approx(wilson(1.0, 3)[0]) and found.low < 0.5
    assert share([(0, 0)]) is None


def test_people_and_their_consistency() -> None:
    strict, back = {0: 0, 1: 1, 2: 2}, {0: 2, 1: 1, 2: 0}
    gold = gold_by_person([GoldAnswer(1, 7, strict, strict), GoldAnswer(1, 8, strict, back)])
    assert gold[1].value == 0.5 and gold[1].n == 6
    found = consistency_by_person(
        [Repeat(1, strict, strict), Repeat(2, strict, back), Repeat(3, {0: 0, 1: 0}, {0: 0, 1: 0})]
    )
    assert (found[1].pairs.value, found[1].tau_b) == (1, pytest.approx(1))
    assert (found[2].pairs.value, found[2].tau_b) == (0, pytest.approx(-1))
    assert (found[3].pairs.value, found[3].tau_b) == (1, None)  # tau-b is not defined where all is tied


def test_an_item_that_only_the_good_ones_get_wrong_is_suspect() -> None:
    right, wrong = {0: 0, 1: 1}, {0: 1, 1: 0}
    answers = [
        GoldAnswer(person, item, right, right if (person <= 3) != (item == 9) else wrong)
        for person in range(1, 7)
        for item in (7, 8, 9)
    ]
    rows = gold_by_item(answers)
    assert [row.item for row in rows] == [9, 7, 8]
    assert rows[0].is_suspect and rows[0].discrimination == pytest.approx(-1) and rows[0].wrong == 3
    assert not rows[1].is_suspect
    # Too few people say nothing about an item.
    assert [row.discrimination for row in gold_by_item([row for row in answers if row.person in {1, 4}])] == [None] * 3
