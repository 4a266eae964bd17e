"""Agreement against published worked examples and hand-counted cases."""

from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.quality import agreement
from labeling.quality.agreement import (
    Agreement,
    Columns,
    Judgement,
    Pairs,
    Share,
    bootstrap_share,
    by_two,
    pair_up,
    shared,
    summary,
    tau_b,
)
from labeling.quality.intervals import wilson

NAN = float("nan")
# Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", section C: four observers, twelve units.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
    [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
]


def measure(judgements: Iterable[Judgement]) -> Agreement:
    return summary(pair_up(Columns.of(judgements)))


def alpha(matrix: Sequence[Sequence[float]]) -> float | None:
    """Of a people x units matrix of ordinal values with NaN where somebody did not judge."""
    data = np.asarray(matrix, dtype=float).T
    values = np.unique(data[~np.isnan(data)])
    observed, expected = agreement._disagreement((data[:, :, None] == values).sum(axis=1))
    return 1 - observed / expected if expected else None


def test_alpha_is_the_published_one() -> None:
    assert alpha(OBSERVERS) == pytest.approx(0.815, abs=5e-4)


def test_alpha_is_not_defined_without_two_values_or_two_people() -> None:
    assert alpha([[1, 1], [1, 1]]) is None
    assert alpha([[1, 2, NAN], [NAN, NAN, 3]]) is None


def test_tau_b_of_a_worked_example_with_ties() -> None:
    # Orders 1 2 2 3 and 1 2 3 3: of six pairs four agree, none disagrees, one is tied in each: 4 / sqrt(5 * 5).
    assert tau_b({0: 1, 1: 2, 2: 2, 3: 3}, {0: 1, 1: 2, 2: 3, 3: 3}) == pytest.approx(4 / 5)
    assert tau_b({0: 0, 1: 0}, {0: 0, 1: 1}) is None


def test_shares_counted_by_hand() -> None:
    judgements = [
        Judgement(item=1, annotator=7, ranks={0: 0, 1: 1, 2: 2}),
        Judgement(item=1, annotator=8, ranks={0: 0, 1: 2, 2: 1}),  # two of three the same
        Judgement(item=2, annotator=7, ranks={0: 0, 1: 0}),
        Judgement(item=2, annotator=8, ranks={0: 0, 1: 1}),  # a tie against a preference
        Judgement(item=3, annotator=7, ranks={0: 0, 1: 1}),  # nobody else judged it
    ]
    found = measure(judgements)
    assert found.with_ties and found.without_ties
    assert (found.with_ties.value, found.with_ties.n, found.with_ties.items) == (2 / 4, 4, 2)
    assert (found.without_ties.value, found.without_ties.n, found.without_ties.items) == (2 / 3, 3, 1)
    assert (found.items, found.people) == (2, 2)
    assert by_two(pair_up(Columns.of(judgements)))[7, 8].value == 2 / 3


def test_nothing_shared_is_said_by_none() -> None:
    found = measure([Judgement(item=1, annotator=1, ranks={0: 0, 1: 1})])
    assert (found.with_ties, found.without_ties, found.alpha, found.tau_b) == (None, None, None, None)
    assert bootstrap_share([0], [0]) is None


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """300 draws of 60 items with four comparisons each at 72.6 %: near 95 % of the intervals hold it."""
    rng = np.random.default_rng(5)
    held = 0
    for draw in range(300):
        share = bootstrap_share(rng.binomial(4, 0.726, size=60), [4] * 60, seed=draw)
        assert share is not None
        held += share.low <= 0.726 <= share.high
    assert 0.90 <= held / 300 <= 0.98


@pytest.mark.parametrize("items", [1, 3, 8])
def test_few_items_have_an_interval_all_the_same(items: int) -> None:
    alike = bootstrap_share([3] * items, [3] * items)
    assert alike is not None and alike.value == alike.high == 1 and alike.low == pytest.approx(wilson(1.0, items)[0])
    rng = np.random.default_rng(6)
    held = 0
    for draw in range(200):
        share = bootstrap_share(rng.binomial(2, 0.8, size=items), [2] * items, seed=draw)
        assert share is not None
        held += share.low <= 0.8 <= share.high
    assert held / 200 >= 0.9


orders = st.lists(st.integers(0, 3), min_size=2, max_size=6)


@given(order=orders, people=st.integers(2, 4))
def test_the_same_order_agrees_wholly(order: list[int], people: int) -> None:
    found = measure([Judgement(1, person, dict(enumerate(order))) for person in range(people)])
    assert found.with_ties and found.with_ties.value == 1
    if len(set(order)) > 1:
        assert found.tau_b == pytest.approx(1) and found.alpha == pytest.approx(1)


@given(data=st.data())
def test_the_names_of_people_and_answers_do_not_matter(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 5))
    ranks = [data.draw(st.lists(st.integers(0, 3), min_size=size, max_size=size)) for _ in range(3)]
    names = data.draw(st.permutations(range(size)))
    plain = measure([Judgement(1, person, dict(enumerate(order))) for person, order in enumerate(ranks)])
    renamed = measure(
        [
            Judgement(1, 9 - person, {names[i]: rank for i, rank in enumerate(order)})
            for person, order in enumerate(ranks)
        ]
    )
    assert plain.with_ties == renamed.with_ties and plain.without_ties == renamed.without_ties
    assert plain.alpha == pytest.approx(renamed.alpha) and plain.tau_b == pytest.approx(renamed.tau_b)


@given(data=st.data())
def test_measures_do_not_depend_on_the_sequence_or_on_who_is_whom(data: st.DataObject) -> None:
    """Three people on three items: other names for people and items, and another sequence, measure the same."""
    size = data.draw(st.integers(2, 4))
    order = st.lists(st.integers(0, 2), min_size=size, max_size=size)
    judgements = [
        Judgement(item, person, dict(enumerate(data.draw(order)))) for item in range(3) for person in range(3)
    ]
    people, items = data.draw(st.permutations(range(3))), data.draw(st.permutations([10, 20, 30]))
    other = [
        Judgement(items[one.item], people[one.annotator], one.ranks) for one in data.draw(st.permutations(judgements))
    ]
    one, two = measure(judgements), measure(other)
    for name in ("with_ties", "without_ties"):
        a, b = getattr(one, name), getattr(two, name)
        assert (a and (a.value, a.n, a.items)) == (b and (b.value, b.n, b.items))
    assert one.alpha == pytest.approx(two.alpha) and one.tau_b == pytest.approx(two.tau_b)
    assert (one.items, one.people) == (two.items, two.people)


@given(data=st.data(), by=st.integers(2, 9))
def test_only_the_order_of_tiers_counts_not_their_numbers(data: st.DataObject, by: int) -> None:
    size = data.draw(st.integers(2, 5))
    order = st.lists(st.integers(0, 3), min_size=size, max_size=size)
    ranks = [data.draw(order) for _ in range(2)]
    plain = measure([Judgement(1, person, dict(enumerate(row))) for person, row in enumerate(ranks)])
    stretched = [{answer: by * rank + 1 for answer, rank in enumerate(row)} for row in ranks]
    assert plain == measure([Judgement(1, person, row) for person, row in enumerate(stretched)])


@given(data=st.data())
def test_turning_one_order_round_turns_tau_b_round(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 6))
    order = st.lists(st.integers(0, 4), min_size=size, max_size=size)
    a, b = (dict(enumerate(data.draw(order))) for _ in range(2))
    tau, turned = tau_b(a, b), tau_b(a, {answer: -rank + 4 for answer, rank in b.items()})
    assert tau == tau_b(b, a)
    assert (tau is None and turned is None) or tau == pytest.approx(-turned)
    assert tau is None or -1 - 1e-9 <= tau <= 1 + 1e-9


@pytest.mark.parametrize("sizes", [[4], [2, 4], [2, 9], [2, 4, 9]])
def test_alpha_is_0_for_random_orders_however_many_answers_the_items_have(sizes: list[int]) -> None:
    rng = np.random.default_rng(3)
    judgements = []
    for item in range(3000):
        k = int(rng.choice(sizes))
        for person in range(2):
            judgements.append(Judgement(item, person, dict(enumerate(rng.permutation(k).tolist()))))
    found = measure(judgements).alpha
    assert found == pytest.approx(0, abs=0.04)


def test_alpha_over_items_of_two_sizes_weighs_each_by_its_answers() -> None:
    """Items of four answers all agreed upon (24 judgements), of two all opposed (12).

    Distances are shares of the judgements between two values. Of two values half of the judgements each: 1/2 apart,
    observed 12 * 1/4, by chance half of that, times n / (n - 1). Of four values a quarter each: observed 0.
    """
    agreed = [Judgement(item, person, {0: 0, 1: 1, 2: 2, 3: 3}) for item in range(3) for person in range(2)]
    opposed = [Judgement(10 + item, person, {0: person, 1: 1 - person}) for item in range(3) for person in range(2)]
    middle = [(n + 0.5) / 4 for n in range(4)]
    four = 24 * sum((a - b) ** 2 for a in middle for b in middle) / 16 * 24 / 23
    two = 12 * (1 / 2 * 1 / 4) * 12 / 11
    assert measure([*agreed, *opposed]).alpha == pytest.approx(1 - 12 / 4 / (four + two))
    assert measure(agreed).alpha == 1


def test_of_each_two_people_it_is_that_of_their_meetings_alone() -> None:
    """As when all meetings are looked through for each two people."""
    random = np.random.default_rng(3)
    item, person = np.divmod(random.choice(40 * 12, 200, replace=False), 12)
    pairs = pair_up(Columns(item, 5 * person + 3, random.integers(0, 3, (200, 4)).astype(np.int16)))
    assert by_two(pairs) == _one_by_one(pairs) and len(by_two(pairs)) > 50


def _one_by_one(pairs: Pairs) -> dict[tuple[int, int], Share]:
    first, second = pairs.judged.person[pairs.first], pairs.judged.person[pairs.second]
    found = {
        (a, b): shared(pairs.where((first == a) & (second == b)))
        for a, b in sorted(set(zip(first.tolist(), second.tolist(), strict=True)))
    }
    return {couple: share for couple, share in found.items() if share is not None}
