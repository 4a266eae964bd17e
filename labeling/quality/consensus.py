"""What all people together say: a score for each answer, a reliability for each person, a probability for each pair.

Crowd-BT (Chen, Bennett, Collins-Thompson & Horvitz 2013, "Pairwise ranking aggregation in a crowdsourced setting",
WSDM): person k prefers i to j with probability eta_k s(x_i - x_j) + (1 - eta_k) s(x_j - x_i), s the logistic function.
eta is 1 for somebody who judges as the scores say, 0.5 for one who throws a coin, below that for one who reverses.
One joint fit: scores belong to an item's answers, reliabilities are shared by all items, so that what a person does
where others judged too says how far to believe them where nobody else did.

Scores have a normal prior, reliabilities a Beta prior. In turn: Fisher scoring for the scores, an item's block at a
time, and for each reliability a step by what the *others* said of the same items. A person's own votes would prove them
right, since an item's scores follow the few who judged it; an item that one person judged says nothing of them.

Around the mode a Laplace approximation with the expected information gives the variance v of a difference d, and the
probability that a faithful judge prefers i is s(d / sqrt(1 + pi v / 8)) (MacKay 1992, "The evidence framework applied
to classification networks"), so that a single vote stays uncertain. Columns throughout; no database, no torch.
"""

from dataclasses import dataclass

import numpy as np

# The prior of a reliability: Beta with the mean 0.85, as if from ten judgements. People are mostly careful, and
# somebody whose judgements nobody shares is believed so far.
PRIOR_GOOD, PRIOR_BAD = 8.5, 1.5
# The prior's standard deviation of a score: two faithful judges then agree on 71 % of pairs, as InstructGPT's labelers
# did (72.6 %). Taken from the data by EM it comes out too small, which simulations showed as too little confidence.
WIDTH = 1.5
_STEPS = 200
_CLOSE = 2e-3  # the largest change of a score or a logit in a step that ends the fit
_DAMPED = 0.5  # two people who are judged by each other would swing, each at a whole step of their own
_FOLDS = 5  # into which an item's people are dealt to be judged by the others
_GRID = np.linspace(-8, 8, 321)  # logits of a reliability, on which its interval is drawn


@dataclass(frozen=True)
class Votes:
    """n pairwise judgements as columns: `person` preferred answer `above` to `below` of `item`.

    item, person: [n] row numbers from 0. above, below: [n] answers, 0 to `width` - 1. weight: [n], 1 for a
    preference; a tie is two rows of 0.5, one for either side.
    """

    item: np.ndarray
    person: np.ndarray
    above: np.ndarray
    below: np.ndarray
    weight: np.ndarray
    items: int
    people: int
    width: int


@dataclass(frozen=True)
class Consensus:
    """scores: [items, width], 0 where an answer was not judged. covariance: [items, width, width] of the scores.

    reliability, low, high: [people] eta with its 95 % interval.
    """

    scores: np.ndarray
    covariance: np.ndarray
    reliability: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def posterior(self, item: np.ndarray, above: np.ndarray, below: np.ndarray) -> np.ndarray:
        """[n] how probable it is that `above` is better than `below`, by all that was said."""
        gap = self.scores[item, above] - self.scores[item, below]
        return _softened(gap, _variance(self.covariance, item, above, below))


def fit(votes: Votes) -> Consensus:
    """Scores and reliabilities by all the votes, with their uncertainty."""
    shared = _shared(votes)
    scores = np.zeros((votes.items, votes.width))
    without = np.zeros((shared.others.items, votes.width))
    trust = np.full(votes.people, _logit(np.array(PRIOR_GOOD / (PRIOR_GOOD + PRIOR_BAD))))
    for _step in range(_STEPS):
        eta = _logistic(trust)
        move, _covariance = _toward_mode(votes, scores, eta)
        aside, covariance = _toward_mode(shared.others, without, eta)
        scores, without = scores + move, without + aside
        pull, information, _times = _evidence(shared, _foretold(shared, without, covariance), eta)
        change = np.clip(_DAMPED * pull / information, -_DAMPED, _DAMPED)
        trust = trust + change
        if max(np.abs(part).max(initial=0) for part in (move, aside, change)) < _CLOSE:
            break
    eta = _logistic(trust)
    foretold = _foretold(shared, without, _toward_mode(shared.others, without, eta)[1])
    return Consensus(scores, _toward_mode(votes, scores, eta)[1], eta, *_interval(shared, foretold, eta))


def _parts(votes: Votes, scores: np.ndarray, reliability: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[n] the probability that a faithful judge votes so, eta, and the probability that this person does."""
    win = _logistic(scores[votes.item, votes.above] - scores[votes.item, votes.below])
    eta = reliability[votes.person]
    return win, eta, eta * win + (1 - eta) * (1 - win)


def _slope(votes: Votes, scores: np.ndarray, reliability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The gradient of the scores' log posterior and its expected information, [items, K] and [items, K, K].

    The observed information of a mixture may be negative; the expected one never is.
    """
    win, eta, likelihood = _parts(votes, scores, reliability)
    slope = (2 * eta - 1) * win * (1 - win)
    pull = votes.weight * slope / likelihood
    information = votes.weight * slope**2 / (likelihood * (1 - likelihood))
    above, below = votes.item * votes.width + votes.above, votes.item * votes.width + votes.below
    size = scores.size
    gradient = np.bincount(above, pull, size) - np.bincount(below, pull, size)
    flat = np.zeros(size * votes.width)
    for row, column, sign in (
        (above, votes.above, 1),
        (below, votes.below, 1),
        (above, votes.below, -1),
        (below, votes.above, -1),
    ):
        flat += np.bincount(row * votes.width + column, sign * information, len(flat))
    precision = flat.reshape(votes.items, votes.width, votes.width) + np.eye(votes.width) / WIDTH**2
    return gradient.reshape(scores.shape) - scores / WIDTH**2, precision


def _toward_mode(votes: Votes, scores: np.ndarray, reliability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One step of Fisher scoring, an item's block at a time, and the scores' covariance before it."""
    gradient, precision = _slope(votes, scores, reliability)
    covariance = np.linalg.inv(precision)
    return np.clip(np.einsum("nab,nb->na", covariance, gradient), -1, 1), covariance


@dataclass(frozen=True)
class _Shared:
    """What is left of the votes for reliabilities: those on items that two people judged or more.

    votes: these alone. others: each row of it, called an item there, is an item without one fold of its people, with
    everybody else's votes. row: [n] the row without the vote's own person. both, both_person: [n] the vote's item and
    person in one number, and the person of each of these.
    """

    votes: Votes
    others: Votes
    row: np.ndarray
    both: np.ndarray
    both_person: np.ndarray


def _shared(votes: Votes) -> _Shared:
    """Up to _FOLDS people each is a fold of their own; of more, some are left out together, which bounds the work."""
    both = np.unique(votes.item.astype(np.int64) * votes.people + votes.person)
    people = np.bincount(both // votes.people, minlength=votes.items)
    both = both[people[both // votes.people] > 1]
    kept = np.flatnonzero(people[votes.item] > 1)
    of_both = np.searchsorted(both, votes.item[kept].astype(np.int64) * votes.people + votes.person[kept])
    item = both // votes.people
    folds = np.where(people > 1, np.minimum(people, _FOLDS), 0)
    start = np.concatenate([[0], np.cumsum(folds)[:-1]])
    place = np.arange(len(both)) - np.searchsorted(item, item)  # of the person among the item's
    own, most = (place % folds[item])[of_both], folds[item][of_both]
    chosen, rows = [kept[:0]], [kept[:0]]
    for shift in range(1, _FOLDS):
        there = np.flatnonzero(shift < most)
        chosen.append(kept[there])
        rows.append(start[votes.item[kept[there]]] + (own[there] + shift) % most[there])
    return _Shared(
        votes=_some(votes, kept, votes.item[kept], votes.items),
        others=_some(votes, np.concatenate(chosen), np.concatenate(rows), int(folds.sum())),
        row=start[votes.item[kept]] + own,
        both=of_both,
        both_person=both % votes.people,
    )


def _some(votes: Votes, chosen: np.ndarray, item: np.ndarray, items: int) -> Votes:
    return Votes(
        item=item,
        person=votes.person[chosen],
        above=votes.above[chosen],
        below=votes.below[chosen],
        weight=votes.weight[chosen],
        items=items,
        people=votes.people,
        width=votes.width,
    )


def _foretold(shared: _Shared, without: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """[n] how probable each shared vote is of a faithful judge, by what the others said."""
    votes = shared.votes
    gap = without[shared.row, votes.above] - without[shared.row, votes.below]
    return _softened(gap, _variance(covariance, shared.row, votes.above, votes.below))


def _evidence(
    shared: _Shared, foretold: np.ndarray, reliability: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[people] for the logit of eta: the gradient of its log posterior, the information, and by how many times a
    person's votes vary more from item to item than independent ones.

    The votes of a ranking hang together: of somebody who turns whole orders round a ranking says no more than one vote.
    So a person's votes count for less by that measure.
    """
    votes, people = shared.votes, len(reliability)
    eta = reliability[votes.person]
    likelihood = eta * foretold + (1 - eta) * (1 - foretold)
    slope = (2 * foretold - 1) * eta * (1 - eta)
    pull = np.bincount(shared.both, votes.weight * slope / likelihood, len(shared.both_person))
    expected = votes.weight * slope**2 / (likelihood * (1 - likelihood))
    information = np.bincount(votes.person, expected, people)
    found = np.bincount(shared.both_person, pull**2, people)
    prior = (PRIOR_GOOD + PRIOR_BAD) * reliability * (1 - reliability)
    times = np.maximum((found + prior) / (information + prior), 1)
    gradient = np.bincount(shared.both_person, pull, people) / times
    gradient += PRIOR_GOOD - (PRIOR_GOOD + PRIOR_BAD) * reliability
    return gradient, information / times + prior, times


def _interval(shared: _Shared, foretold: np.ndarray, reliability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % of each reliability's posterior, summed up over a grid of logits: near 1 it is far from normal."""
    votes, people = shared.votes, len(reliability)
    times = _evidence(shared, foretold, reliability)[2]
    grid = _logistic(_GRID)
    density = np.empty((people, len(grid)))
    for at, eta in enumerate(grid):
        said = votes.weight * np.log(eta * foretold + (1 - eta) * (1 - foretold))
        density[:, at] = np.bincount(votes.person, said, people) / times
    density += PRIOR_GOOD * np.log(grid) + PRIOR_BAD * np.log(1 - grid)
    mass = np.cumsum(np.exp(density - density.max(axis=1, keepdims=True)), axis=1)
    low, high = (grid[(mass < share * mass[:, -1:]).sum(axis=1)] for share in (0.025, 0.975))
    return low, high


def _softened(gap: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """The mean of the logistic function over a normal distribution, nearly."""
    return _logistic(gap / np.sqrt(1 + np.pi * variance / 8))


def _variance(covariance: np.ndarray, item: np.ndarray, above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """[n] of the difference of two scores."""
    own = covariance[item, above, above] + covariance[item, below, below]
    return np.maximum(own - 2 * covariance[item, above, below], 0.0)


def _logistic(x: np.ndarray) -> np.ndarray:
    """Between 1e-9 and 1 - 1e-9, so that no judgement is ever impossible."""
    return np.clip(1 / (1 + np.exp(-np.clip(x, -40, 40))), 1e-9, 1 - 1e-9)


def _logit(p: np.ndarray) -> np.ndarray:
    return np.log(p / (1 - p))
