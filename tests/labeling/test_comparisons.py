"""Property: a ranking implies exactly the pairs that its order implies, for every weak order of up to nine."""

from hypothesis import given
from hypothesis import strategies as st

from labeling.comparisons import from_ranking, ranks


@st.composite
def weak_orders(draw: st.DrawFn) -> tuple[list[list[int]], list[int]]:
    """Up to nine completions, each in a tier or unacceptable; empty tiers left out."""
    count = draw(st.integers(1, 9))
    tier_of = draw(st.lists(st.integers(-1, count - 1), min_size=count, max_size=count))
    tiers = [[i for i, tier in enumerate(tier_of) if tier == number] for number in range(count)]
    return [tier for tier in tiers if tier], [i for i, tier in enumerate(tier_of) if tier == -1]


@given(weak_orders())
def test_pairs_are_those_of_different_tiers(order: tuple[list[list[int]], list[int]]) -> None:
    tiers, unacceptable = order
    position = ranks(tiers, unacceptable)
    pairs = {(p.chosen, p.rejected): p for p in from_ranking(tiers, unacceptable)}
    expected = {(a, b) for a in position for b in position if position[a] < position[b]}
    assert set(pairs) == expected
    for (a, b), preference in pairs.items():
        assert preference.margin == position[b] - position[a] >= 1
        assert preference.chosen_acceptable == (a not in unacceptable)
        assert preference.rejected_acceptable == (b not in unacceptable)


@given(weak_orders())
def test_the_order_can_be_read_back_from_the_pairs(order: tuple[list[list[int]], list[int]]) -> None:
    """The number of answers set above one orders the tiers, so the pairs lose nothing but the empty line."""
    tiers, unacceptable = order
    everything = [*tiers, unacceptable] if unacceptable else tiers
    losses = {index: 0 for tier in everything for index in tier}
    for preference in from_ranking(tiers, unacceptable):
        losses[preference.rejected] += 1
    rebuilt: dict[int, list[int]] = {}
    for index, count in losses.items():
        rebuilt.setdefault(count, []).append(index)
    assert [sorted(rebuilt[count]) for count in sorted(rebuilt)] == [sorted(tier) for tier in everything]


@given(weak_orders())
def test_turning_the_order_round_turns_every_pair_round(order: tuple[list[list[int]], list[int]]) -> None:
    tiers, _ = order
    forward = {(p.chosen, p.rejected) for p in from_ranking(tiers, [])}
    backward = {(p.rejected, p.chosen) for p in from_ranking(tiers[::-1], [])}
    assert forward == backward


def test_four_without_ties_give_six() -> None:
    assert len(from_ranking([[3], [1], [0], [2]], [])) == 6
