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


def whole_rankings(*, seed: int, items: int, people: list[float], each: int) -> tuple[np.ndarray, Votes]:
    """Plackett-Luce rankings of four answers; person k turns the whole order round with 1 - people[k]."""
    random = np.random.default_rng(seed)
    scores = random.normal(0, consensus.WIDTH, (items, 4))
    rows = []
    for item in range(items):
        for person in random.choice(len(people), each, replace=False):
            noisy = (scores[item] + random.gumbel(size=4)) * (1 if random.random() < people[person] else -1)
            rows += [(item, person, a, b) for a in range(4) for b in range(4) if noisy[a] > noisy[b]]
    item, person, above, below = np.array(rows).T
    return scores, Votes(item, person, above, below, np.full(len(rows), 0.5), items, len(people), 4)


def votes(*rows: tuple[int, int, int, int], people: int = 2) -> Votes:
    item, person, above, below = np.array(rows).T
    return Votes(item, person, above, below, np.ones(len(rows)), int(item.max()) + 1, people, 2)


def test_the_gradient_is_the_slope_of_the_log_posterior() -> None:
    _scores, drawn = drawn_by_the_model(seed=1, items=5, people=[*GOOD, 0.2], each=3)
    random = np.random.default_rng(2)
    at = random.normal(0, 1, (5, 4))
    reliability = random.uniform(0.1, 0.95, 6)
    gradient, _precision = consensus._slope(drawn, at, reliability)
    for item, answer in np.ndindex(at.shape):
        step = np.zeros_like(at)
        step[item, answer] = 1e-5
        up, down = (consensus.log_posterior(drawn, at + sign * step, reliability) for sign in (1, -1))
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
