"""Ranking to comparisons and back: every weak order of up to five answers, and generated ones of six to nine.

An order is a tier for each answer, from 0, and perhaps the line under which answers are unacceptable.
"""

import itertools
import json
import random
from collections.abc import Iterator
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.comparisons import Preference, from_ranking, ranks
from labeling.responses import LETTERS, _placed, draft_of
from training.records import comparisons as trained_comparisons

Order = tuple[list[list[int]], list[int]]  # tiers, unacceptable
FUBINI = {1: 1, 2: 3, 3: 13, 4: 75, 5: 541}


def weak_orders(count: int) -> Iterator[list[list[int]]]:
    """Every way to put `count` answers into tiers without an empty one."""
    for tier_of in itertools.product(range(count), repeat=count):
        used = sorted(set(tier_of))
        if used == list(range(len(used))):
            yield [[answer for answer, tier in enumerate(tier_of) if tier == number] for number in used]


def with_line(tiers: list[list[int]]) -> Iterator[Order]:
    """The order without a line, and with its last tier below the line."""
    yield tiers, []
    yield tiers[:-1], tiers[-1]


@st.composite
def large_orders(draw: st.DrawFn) -> Order:
    """Six to nine answers, some of them below the line, perhaps all."""
    count = draw(st.integers(6, 9))
    tier_of = draw(st.lists(st.integers(-1, count - 1), min_size=count, max_size=count))
    tiers = [[answer for answer, tier in enumerate(tier_of) if tier == number] for number in range(count)]
    return [tier for tier in tiers if tier], [answer for answer, tier in enumerate(tier_of) if tier == -1]


def check(order: Order) -> None:
    """All that holds of the comparisons of one order."""
    tiers, unacceptable = order
    rank = ranks(tiers, unacceptable)
    found = from_ranking(tiers, unacceptable)
    better = {(one.chosen, one.rejected): one for one in found}
    count = sum(map(len, tiers)) + len(unacceptable)
    everything = [*tiers, unacceptable] if unacceptable else tiers

    # K(K-1)/2 pairs but for those inside a tier.
    assert len(better) == len(found) == comb(count, 2) - sum(comb(len(tier), 2) for tier in everything)
    for (a, b), one in better.items():
        assert (b, a) not in better, "antisymmetric"
        assert one.margin == rank[b] - rank[a] >= 1
        assert (one.chosen_acceptable, one.rejected_acceptable) == (True, b not in unacceptable)
        for c in rank:
            if (b, c) in better:
                assert (a, c) in better, "transitive"
                assert better[a, c].margin == one.margin + better[b, c].margin, "margins add up"
    assert rebuilt(list(rank), found) == [sorted(tier) for tier in everything]
    # The trainers count the same pairs from a snapshot's ranks.
    indexes = sorted(rank)
    theirs = {(indexes[a], indexes[b]) for a, b in trained_comparisons([rank[index] for index in indexes])}
    assert theirs == set(better)


def rebuilt(answers: list[int], preferences: list[Preference]) -> list[list[int]]:
    """The tiers again, from the pairs alone: who is above nobody's choice comes first, and so on."""
    left, tiers = set(answers), []
    while left:
        beaten = {one.rejected for one in preferences if one.chosen in left and one.rejected in left}
        tiers.append(sorted(left - beaten))
        left &= beaten
    return tiers


@pytest.mark.parametrize("count", FUBINI)
def test_every_weak_order_of_up_to_five(count: int) -> None:
    orders = list(weak_orders(count))
    assert len(orders) == FUBINI[count]
    for tiers in orders:
        for order in with_line(tiers):
            check(order)


@given(large_orders())
def test_weak_orders_of_six_to_nine(order: Order) -> None:
    check(order)


@given(large_orders(), st.randoms(use_true_random=False))
def test_other_numbers_for_the_answers_change_nothing_else(order: Order, chance: random.Random) -> None:
    tiers, unacceptable = order
    count = sum(map(len, tiers)) + len(unacceptable)
    name = chance.sample(range(count), count)
    renamed = from_ranking([[name[a] for a in tier] for tier in tiers], [name[a] for a in unacceptable])
    expected = {(name[p.chosen], name[p.rejected], p.margin, p.rejected_acceptable) for p in from_ranking(*order)}
    assert {(p.chosen, p.rejected, p.margin, p.rejected_acceptable) for p in renamed} == expected


@given(large_orders(), st.randoms(use_true_random=False), st.data())
def test_letters_and_drafts_lead_back_to_the_same_order(
    order: Order, chance: random.Random, data: st.DataObject
) -> None:
    """What the page sends and saves: letters in the order shown, empty tiers left standing, ties in any sequence."""
    tiers, unacceptable = order
    count = sum(map(len, tiers)) + len(unacceptable)
    shown = chance.sample(range(count), count)
    letter = {index: LETTERS[place] for place, index in enumerate(shown)}
    sent = [chance.sample([letter[a] for a in tier], len(tier)) for tier in tiers]
    for _ in range(data.draw(st.integers(0, 3))):
        sent.insert(data.draw(st.integers(0, len(sent))), [])
    answer = json.loads(json.dumps({"tiers": sent, "unacceptable": [letter[a] for a in unacceptable]}))
    assert _placed(shown=shown, answer=answer) == order
    assert _placed(shown=shown, answer=draft_of("rank", {**answer, "lease_token": "x"})) == order
