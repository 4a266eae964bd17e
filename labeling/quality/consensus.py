"""What all people together say: a score for each answer, a reliability for each person, a probability for each pair.

Crowd-BT (Chen, Bennett, Collins-Thompson & Horvitz 2013, "Pairwise ranking aggregation in a crowdsourced setting",
WSDM): person k prefers i to j with probability eta_k s(x_i - x_j) + (1 - eta_k) s(x_j - x_i), s the logistic function.
eta is 1 for somebody who judges as the scores say, 0.5 for one who throws a coin, below that for one who reverses.
One joint fit: scores belong to an item's answers, reliabilities are shared by all items, so that what a person does
where others judged too says how far to believe them where nobody else did.

Scores have a normal prior, reliabilities a Beta prior, and the fit is EM: Fisher scoring for the scores, an item's
block at a time, then the reliabilities from the scores' whole posterior. The joint
mode instead of the last step would take everybody for faithful, since an item's scores follow the few who judged it.

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
_Z = 1.959964  # of a 95 % interval
_NODES, _SHARES = np.polynomial.hermite_e.hermegauss(9)
_SHARES = _SHARES / _SHARES.sum()


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
        return _logistic(gap / np.sqrt(1 + np.pi * _variance(self.covariance, item, above, below) / 8))


def fit(votes: Votes) -> Consensus:
    """Scores and reliabilities by all the votes, with their uncertainty."""
    scores = np.zeros((votes.items, votes.width))
    reliability = np.full(votes.people, PRIOR_GOOD / (PRIOR_GOOD + PRIOR_BAD))
    total = np.bincount(votes.person, weights=votes.weight, minlength=votes.people)
    for _step in range(_STEPS):
        gradient, precision = _slope(votes, scores, reliability)
        covariance = np.linalg.inv(precision)
        move = np.clip(np.einsum("nab,nb->na", covariance, gradient), -1, 1)
        scores = scores + move
        faithful = _faithful(votes, scores, covariance, reliability)
        counted = np.bincount(votes.person, weights=votes.weight * faithful, minlength=votes.people)
        before = reliability
        reliability = (counted + PRIOR_GOOD) / (total + PRIOR_GOOD + PRIOR_BAD)
        if max(np.abs(move).max(initial=0), np.abs(_logit(reliability) - _logit(before)).max(initial=0)) < _CLOSE:
            break
    covariance = np.linalg.inv(_slope(votes, scores, reliability)[1])
    low, high = _interval(votes, scores, covariance, reliability)
    return Consensus(scores, covariance, reliability, low, high)


def log_posterior(votes: Votes, scores: np.ndarray, reliability: np.ndarray) -> float:
    """Of the scores, given the reliabilities, without its constant: what Fisher scoring climbs."""
    likelihood = _parts(votes, scores, reliability)[2]
    return float((votes.weight * np.log(likelihood)).sum() - (scores**2).sum() / (2 * WIDTH**2))


def _parts(votes: Votes, scores: np.ndarray, reliability: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[n] the probability that a faithful judge votes so, eta, and the probability that this person does."""
    win = _logistic(scores[votes.item, votes.above] - scores[votes.item, votes.below])
    eta = reliability[votes.person]
    return win, eta, eta * win + (1 - eta) * (1 - win)


def _slope(votes: Votes, scores: np.ndarray, reliability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The gradient of `log_posterior` and its expected information, [items, K] and [items, K, K].

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


def _faithful(votes: Votes, scores: np.ndarray, covariance: np.ndarray, reliability: np.ndarray) -> np.ndarray:
    """[n] how probable it is that a vote was cast as the scores say, over the scores' posterior."""
    gap = scores[votes.item, votes.above] - scores[votes.item, votes.below]
    spread = np.sqrt(_variance(covariance, votes.item, votes.above, votes.below))
    eta = reliability[votes.person]
    found = np.zeros(len(gap))
    for node, part in zip(_NODES, _SHARES, strict=True):
        win = _logistic(gap + node * spread)
        found += part * eta * win / (eta * win + (1 - eta) * (1 - win))
    return found


def _variance(covariance: np.ndarray, item: np.ndarray, above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """[n] of the difference of two scores."""
    own = covariance[item, above, above] + covariance[item, below, below]
    return np.maximum(own - 2 * covariance[item, above, below], 0.0)


def _interval(
    votes: Votes, scores: np.ndarray, covariance: np.ndarray, reliability: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """95 % intervals of the reliabilities, drawn in the logit; wider where the scores themselves are uncertain."""
    win, eta, likelihood = _parts(votes, scores, reliability)
    of_gap, of_logit = (2 * eta - 1) * win * (1 - win), (2 * win - 1) * eta * (1 - eta)
    share = votes.weight / (likelihood * (1 - likelihood))
    information = np.bincount(votes.person, share * of_logit**2, votes.people)
    # What the scores' own uncertainty takes away: the diagonal of the Schur complement, an item and person at a time.
    both, which = np.unique(votes.item.astype(np.int64) * votes.people + votes.person, return_inverse=True)
    mixed = np.zeros((len(both), votes.width))
    np.add.at(mixed, (which, votes.above), share * of_gap * of_logit)
    np.add.at(mixed, (which, votes.below), -share * of_gap * of_logit)
    lost = np.einsum("na,nab,nb->n", mixed, covariance[both // votes.people], mixed)
    taken = np.bincount(both % votes.people, lost, votes.people)
    prior = (PRIOR_GOOD + PRIOR_BAD) * reliability * (1 - reliability)
    half = _Z / np.sqrt(np.maximum(information - taken, 0.0) + prior)
    return _logistic(_logit(reliability) - half), _logistic(_logit(reliability) + half)


def _logistic(x: np.ndarray) -> np.ndarray:
    """Between 1e-9 and 1 - 1e-9, so that no judgement is ever impossible."""
    return np.clip(1 / (1 + np.exp(-np.clip(x, -40, 40))), 1e-9, 1 - 1e-9)


def _logit(p: np.ndarray) -> np.ndarray:
    return np.log(p / (1 - p))
