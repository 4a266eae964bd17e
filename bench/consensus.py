"""What the consensus makes of people whose reliability is known, and how many answers they rank at a time.

    python -m bench.consensus [--items 400] [--draws 8]

Six people turn a whole Plackett-Luce ranking round with one less their reliability. `held`: how many of the 95 %
intervals contain it. `alone`: the reliability and interval of somebody faithful who shares no item with anybody.
"""

import argparse

import numpy as np

from labeling.quality.consensus import WIDTH, Votes, fit

PEOPLE = np.array([0.95, 0.95, 0.9, 0.8, 0.6, 0.4])


def rankings(*, seed: int, items: int, people: np.ndarray, each: int, answers: int) -> Votes:
    """Whole rankings as pairwise votes, each weighing 2 / K."""
    random = np.random.default_rng(seed)
    rows = []
    for item in range(items):
        scores = random.normal(0, WIDTH, answers)
        for person in random.choice(len(people), each, replace=False):
            noisy = (scores + random.gumbel(size=answers)) * (1 if random.random() < people[person] else -1)
            rows += [(item, person, a, b) for a in range(answers) for b in range(answers) if noisy[a] > noisy[b]]
    item, person, above, below = np.array(rows).T
    return Votes(item, person, above, below, np.full(len(rows), 2 / answers), items, len(people), answers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=400)
    parser.add_argument("--draws", type=int, default=8)
    given = parser.parse_args()
    for answers in (2, 4, 9):
        alone = fit(rankings(seed=1, items=given.items, people=np.ones(1), each=1, answers=answers))
        print(f"K={answers} alone {alone.reliability[0]:.3f} [{alone.low[0]:.3f}, {alone.high[0]:.3f}]")
        for each in (2, 3):
            drawn = (
                fit(rankings(seed=seed, items=given.items, people=PEOPLE, each=each, answers=answers))
                for seed in range(given.draws)
            )
            found = [(one.reliability, (one.low <= PEOPLE) & (one.high >= PEOPLE)) for one in drawn]
            means = np.mean([mean for mean, _held in found], axis=0)
            held = np.mean([held for _mean, held in found])
            print(f"K={answers} {each} people an item: held {held:.2f}, mean {' '.join(f'{eta:.2f}' for eta in means)}")


if __name__ == "__main__":
    main()
