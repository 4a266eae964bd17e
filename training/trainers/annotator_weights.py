"""How much each annotator's rankings count, by how often the consensus of all people agrees with them."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Sequence

from training.records import RankingRow, RecordError
from training.trainers.program import Job


def reliabilities(rows: Sequence[RankingRow]) -> dict[str, float]:
    """Each annotator's mean posterior over their comparisons: how probable it is that one of them is right.

    Every ranking counts alike, however many comparisons it gives. Who has no posteriors is not in it.
    """
    means: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row.posteriors:
            means[row.annotator].append(math.fsum(row.posteriors) / len(row.posteriors))
    return {name: math.fsum(values) / len(values) for name, values in means.items()}


def weigh(job: Job, rows: Sequence[RankingRow]) -> tuple[list[RankingRow], dict[str, float]]:
    """Training rankings with their weight multiplied by their annotator's factor, and the factors.

    The factor of a reliability q is 2q - 1, nothing for somebody who is right as often as a coin, over the mean of
    all rankings', so that the learning rate keeps its meaning. Who has no posteriors counts as the mean does.
    Rankings that count for nothing are left out. Raises RecordError where none is left or there are no posteriors.
    """
    leans = {name: max(0.0, 2 * q - 1) for name, q in reliabilities(rows).items()}
    if not leans:
        raise RecordError(
            f"The data file {job.data} has no posterior probabilities, which annotator_weight = reliability needs; "
            "train on a newer snapshot, or with annotator_weight = as_given."
        )
    known = [leans[row.annotator] for row in rows if row.annotator in leans]
    mean = math.fsum(known) / len(known)
    if mean == 0:
        raise RecordError(
            f"In the data file {job.data} the consensus agrees with no annotator more often than a coin would, so that "
            "annotator_weight = reliability leaves nothing to train on."
        )
    factors = {name: lean / mean for name, lean in leans.items()}
    weighed = [dataclasses.replace(row, weight=row.weight * factors.get(row.annotator, 1.0)) for row in rows]
    kept = [row for row in weighed if row.weight > 0]
    if len(kept) < len(rows):
        job.events.status(
            f"{len(rows) - len(kept)} of {len(rows)} rankings are left out: the consensus agrees with their "
            "annotators no more often than a coin would."
        )
    return kept, factors
