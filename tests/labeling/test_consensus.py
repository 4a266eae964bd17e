"""The consensus: gradients, agreement with choix, what it recovers from simulated labels, and how sure it is."""

import time
from typing import Any

import choix
import numpy as np
import pytest

from labeling.quality import consensus
from labeling.quality.consensus import Votes, fit

GOOD = [0.95, 0.92, 0.9, 0.88, 0.85]


def drawn_by_the_model(
    *, seed: int, items: int, people: list[float], each: int, answers: int = 4
) -> tuple[np.ndarray, Votes]:
    """Answers with normal scores, and every pair judged by `each` people as the model says, one by one."""
    random = np.random.default_rng(seed)
    scores = random.normal(0, consensus.WIDTH, (items, answers))
    rows = []
    for item in range(items):
        for person in random.choice(len(people), each, replace=False):
            for a in range(answers):
                for b in range(a + 1, answers):
                    better = 1 / (1 + np.exp(scores[item, b] - scores[item, a]))
                    first = (random.random() < better) == (random.random() < people[person])
                    rows.append((item, person, *((a, b) if first else (b, a))))
    item, person, above, below = np.array(rows).T
    return scores, Votes(item, person, above, below, np.ones(len(rows)), items, len(people), answers)


def whole_rankings(
    *, seed: int, items: int, people: list[float], each: int, answers: int = 4
) -> tuple[np.ndarray, Votes]:
    """Plackett-Luce rankings; person k turns the whole order round with 1 - people[k]."""
    random = np.random.default_rng(seed)
    scores = random.normal(0, consensus.WIDTH, (items, answers))
    rows = []
    for item in range(items):
        for person in random.choice(len(people), each, replace=False):
            noisy = (scores[item] + random.gumbel(size=answers)) * (1 if random.random() < people[person] else -1)
            rows += [(item, person, a, b) for a in range(answers) for b in range(answers) if noisy[a] > noisy[b]]
    item, person, above, below = np.array(rows).T
    return scores, Votes(item, person, above, below, np.full(len(rows), 2 / answers), items, len(people), answers)


def votes(*rows: tuple[int, int, int, int], people: int = 2) -> Votes:
    item, person, above, below = np.array(rows).T
    return Votes(item, person, above, below, np.ones(len(rows)), int(item.max()) + 1, people, 2)


def log_posterior(drawn: Votes, scores: np.ndarray, reliability: np.ndarray) -> float:
    """Of the scores, given the reliabilities, without its constant, by the formula of Chen et al."""
    win = 1 / (1 + np.exp(scores[drawn.item, drawn.below] - scores[drawn.item, drawn.above]))
    eta = reliability[drawn.person]
    likelihood = eta * win + (1 - eta) * (1 - win)
    return float((drawn.weight * np.log(likelihood)).sum() - (scores**2).sum() / (2 * consensus.WIDTH**2))


def test_the_gradient_is_the_slope_of_the_log_posterior() -> None:
    _scores, drawn = drawn_by_the_model(seed=1, items=5, people=[*GOOD, 0.2], each=3)
    random = np.random.default_rng(2)
    at = random.normal(0, 1, (5, 4))
    reliability = random.uniform(0.1, 0.95, 6)
    gradient, _precision = consensus._slope(drawn, at, reliability)
    for item, answer in np.ndindex(at.shape):
        step = np.zeros_like(at)
        step[item, answer] = 1e-5
        up, down = (log_posterior(drawn, at + sign * step, reliability) for sign in (1, -1))
        assert gradient[item, answer] == pytest.approx((up - down) / 2e-5, abs=1e-5)


def test_the_fit_is_a_mode_of_the_scores() -> None:
    _scores, drawn = drawn_by_the_model(seed=3, items=30, people=GOOD, each=3)
    found = fit(drawn)
    gradient, _precision = consensus._slope(drawn, found.scores, found.reliability)
    assert np.abs(gradient).max() < 0.05


def test_faithful_judges_give_choixs_bradley_terry_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """With everybody's eta held at 1 the model is Bradley-Terry with a normal prior, which is choix's `opt_pairwise`
    with alpha = 1 / (2 * width^2), as that adds alpha * |scores|^2."""
    _scores, drawn = drawn_by_the_model(seed=4, items=1, people=[0.999] * 40, each=40, answers=5)
    monkeypatch.setattr(consensus, "PRIOR_GOOD", 1e9)
    monkeypatch.setattr(consensus, "PRIOR_BAD", 1e-3)
    one = Votes(**{**vars(drawn), "weight": np.ones(len(drawn.item))})
    pairs = list(zip(one.above.tolist(), one.below.tolist(), strict=True))
    theirs = choix.opt_pairwise(5, pairs, alpha=1 / (2 * consensus.WIDTH**2))
    assert fit(one).scores[0] == pytest.approx(theirs - theirs.mean(), abs=5e-3)


def test_it_recovers_scores_and_reliabilities() -> None:
    people = [*GOOD, 0.5, 0.12]
    scores, drawn = drawn_by_the_model(seed=5, items=400, people=people, each=3)
    found = fit(drawn)
    centred = scores - scores.mean(axis=1, keepdims=True)
    ours = found.scores - found.scores.mean(axis=1, keepdims=True)
    assert np.corrcoef(centred.ravel(), ours.ravel())[0, 1] > 0.75
    assert np.corrcoef(found.reliability, people)[0, 1] > 0.97
    assert found.reliability[:5].min() > 0.8 and 0.35 < found.reliability[5] < 0.65 and found.reliability[6] < 0.25
    assert found.high[6] < 0.5 < found.low[:5].min()  # reversed, and told apart from the others
    assert (found.low < found.reliability).all() and (found.reliability < found.high).all()


@pytest.mark.parametrize("seed", [6, 7, 8])
def test_its_probabilities_beat_the_majority_where_somebody_is_bad(seed: int) -> None:
    """Brier scores against the true order. The majority's probability is its share of an item's votes on the pair,
    one vote smoothed for either side."""
    people = [*GOOD, 0.1, 0.1]
    scores, drawn = drawn_by_the_model(seed=seed, items=300, people=people, each=3)
    truth = scores[drawn.item, drawn.above] > scores[drawn.item, drawn.below]
    ours = fit(drawn).posterior(drawn.item, drawn.above, drawn.below)
    for_ = np.zeros((300, 4, 4))
    np.add.at(for_, (drawn.item, drawn.above, drawn.below), 1)
    votes_for = for_[drawn.item, drawn.above, drawn.below]
    votes_against = for_[drawn.item, drawn.below, drawn.above]
    majority = (votes_for + 1) / (votes_for + votes_against + 2)
    brier = {name: np.mean((p - truth) ** 2) for name, p in (("ours", ours), ("majority", majority))}
    assert brier["ours"] < brier["majority"] - 0.02, brier


@pytest.mark.parametrize("draw", [drawn_by_the_model, whole_rankings])
def test_its_probabilities_are_calibrated(draw: Any) -> None:
    """A faithful judge agrees in 60 to 70 % of the pairs to which it gives 60 to 70 %, and so on.

    Pairs of one ranking hang together, which the model does not know; by their weight of 2 / K it is less sure of them
    than it could be, but never surer.
    """
    scores, drawn = draw(seed=9, items=1500, people=[*GOOD, 0.4], each=2)
    ours = fit(drawn).posterior(drawn.item, drawn.above, drawn.below)
    true = 1 / (1 + np.exp(-(scores[drawn.item, drawn.above] - scores[drawn.item, drawn.below])))
    seen = 0
    for low in np.arange(0.3, 0.9, 0.1):
        inside = (ours >= low) & (ours < low + 0.1)
        if inside.sum() > 300:
            seen += 1
            truly = true[inside].mean()
            if draw is drawn_by_the_model:
                assert ours[inside].mean() == pytest.approx(truly, abs=0.05), low
            else:
                assert abs(ours[inside].mean() - 0.5) < abs(truly - 0.5) + 0.05, low
    assert seen >= 4


@pytest.mark.parametrize("answers", [2, 4, 9])
def test_who_judges_alone_is_known_by_the_prior_alone(answers: int) -> None:
    """Not by the scores, which follow their votes. The interval is that of the prior, a Beta of 8.5 and 1.5."""
    _scores, drawn = whole_rankings(seed=11, items=300, people=[1.0], each=1, answers=answers)
    found = fit(drawn)
    assert found.reliability == pytest.approx([0.85], abs=1e-6)
    assert found.low[0] == pytest.approx(0.59, abs=0.02) and found.high[0] == pytest.approx(0.99, abs=0.01)


@pytest.mark.parametrize("answers", [2, 4, 9])
def test_who_works_alone_beside_people_who_overlap_is_not_made_the_least_reliable(answers: int) -> None:
    people = [0.95, 0.9, 0.5, 1.0]
    _scores, drawn = whole_rankings(seed=12, items=300, people=people[:3], each=2, answers=answers)
    _scores, alone = whole_rankings(seed=13, items=300, people=[1.0], each=1, answers=answers)
    names = ("above", "below", "weight")
    both = Votes(
        np.concatenate([drawn.item, alone.item + 300]),
        np.concatenate([drawn.person, alone.person + 3]),
        *(np.concatenate([getattr(drawn, name), getattr(alone, name)]) for name in names),
        600,
        4,
        answers,
    )
    found, without = fit(both), fit(drawn)
    assert found.reliability[3] == pytest.approx(0.85, abs=1e-6) and found.reliability[2] < 0.75
    assert found.reliability[:3] == pytest.approx(without.reliability, abs=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("each", [2, 3])
@pytest.mark.parametrize("answers", [2, 4, 9])
def test_reliabilities_of_whole_rankings_lie_in_their_intervals_for_any_number_of_answers(
    answers: int, each: int
) -> None:
    """Three draws of six people: four of five intervals hold the truth, and no mean is far from it."""
    people = np.array([0.95, 0.95, 0.9, 0.8, 0.6, 0.4])
    held, means = [], []
    for seed in range(3):
        _scores, drawn = whole_rankings(seed=seed, items=400, people=people.tolist(), each=each, answers=answers)
        found = fit(drawn)
        held.append((found.low <= people) & (people <= found.high))
        means.append(found.reliability)
        assert (found.low < found.reliability).all() and (found.reliability < found.high).all()
    assert np.mean(held) >= (0.6 if (answers, each) == (2, 2) else 0.75)
    # Two answers and two people an item say little: there the prior pulls the worst ones up.
    assert np.abs(np.mean(means, axis=0) - people).max() < (0.25 if answers == 2 else 0.12)


def test_faithful_people_at_nine_answers_are_not_excluded_from_being_so() -> None:
    _scores, drawn = whole_rankings(seed=14, items=200, people=[1.0] * 4, each=2, answers=9)
    found = fit(drawn)
    assert found.reliability.min() > 0.95 and found.high.min() > 0.99


def test_more_people_an_item_than_are_left_out_one_by_one_are_still_told_apart() -> None:
    people = [0.9] * 9 + [0.5, 0.1]
    _scores, drawn = drawn_by_the_model(seed=15, items=60, people=people, each=11)
    found = fit(drawn)
    assert found.reliability[:9] == pytest.approx(np.full(9, 0.9), abs=0.08)
    assert found.reliability[9:] == pytest.approx([0.5, 0.1], abs=0.1)


def test_a_single_vote_stays_uncertain_and_counts_for_more_from_a_reliable_person() -> None:
    """Persons 0, 1 and 2 agree on twenty items, person 3 contradicts them there; items 20 and 21 have one vote each."""
    rows = [(item, person, int(person == 3), int(person != 3)) for item in range(20) for person in range(4)]
    drawn = votes(*rows, (20, 0, 0, 1), (21, 3, 0, 1), people=4)
    found = fit(drawn)
    good, bad = found.posterior(np.array([20, 21]), np.array([0, 0]), np.array([1, 1]))
    sure = found.posterior(np.array([0]), np.array([0]), np.array([1]))[0]
    assert 0.55 < good < sure - 0.05 and sure < 0.95
    assert bad < 0.5  # who reverses everything, says by "0 above 1" that 1 is better


def test_ties_count_half_for_either_side_and_swapping_answers_swaps_everything() -> None:
    tie = Votes(np.array([0, 0]), np.array([0, 0]), np.array([0, 1]), np.array([1, 0]), np.array([0.5, 0.5]), 1, 1, 2)
    assert fit(tie).posterior(np.array([0]), np.array([0]), np.array([1])) == pytest.approx([0.5])
    one = fit(votes((0, 0, 0, 1), (0, 1, 0, 1)))
    other = fit(votes((0, 0, 1, 0), (0, 1, 1, 0)))
    at = (np.array([0]), np.array([0]), np.array([1]))
    assert one.posterior(*at) + other.posterior(*at) == pytest.approx([1])


@pytest.mark.slow
def test_a_hundred_thousand_comparisons_take_seconds() -> None:
    random = np.random.default_rng(10)
    items, people = 9000, 60
    item = np.repeat(np.arange(items), 12)
    person = random.integers(0, people, len(item))
    pair = np.tile(np.array([(a, b) for a in range(4) for b in range(a + 1, 4)] * 2), (items, 1))
    swap = random.random(len(item)) < 0.3
    above, below = np.where(swap, pair[:, 1], pair[:, 0]), np.where(swap, pair[:, 0], pair[:, 1])
    begun = time.process_time()
    found = fit(Votes(item, person, above, below, np.full(len(item), 0.5), items, people, 4))
    assert time.process_time() - begun < 30 and np.isfinite(found.scores).all()
