"""In which order the rows of several sources are read: a function of the weights, the seed and the step alone.

Weights over- and undersample: a source with a weight above its size comes round again sooner, one below it later. Each
source is read to its end before any of its rows comes again, in another order each time, and goes on in the next
epoch where it stopped. So a resumed run finds its place by the step alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def shares(rows: Sequence[int], weights: Sequence[float] | None) -> list[float]:
    """Each source's part of the rows read, all together 1; by its size where there are no weights.

    A source without rows has no part. Raises ValueError where nothing is left.
    """
    parts = [
        0.0 if not count else float(count) if weights is None else float(weights[number])
        for number, count in enumerate(rows)
    ]
    total = math.fsum(parts)
    if not total > 0:
        raise ValueError("no source with a weight has a row")
    return [part / total for part in parts]


def blend(parts: Sequence[float], count: int) -> list[int]:
    """The source of each of the first `count` rows: any beginning has each source's part, to within about a row.

    Row k of a source with part p is due at (k + 1/2) / p; the rows come in the order in which they are due.
    """
    import numpy

    due, source = [], []
    for number, part in enumerate(parts):
        if part > 0:
            # A few more than its part: the rows that are due last are cut off together.
            mine = (numpy.arange(math.ceil(part * count) + 1) + 0.5) / part
            due.append(mine)
            source.append(numpy.full(len(mine), number))
    found: list[int] = numpy.concatenate(source)[numpy.argsort(numpy.concatenate(due), kind="stable")[:count]].tolist()
    return found


def epoch_rows(rows: Sequence[int], parts: Sequence[float], *, seed: int, epoch: int) -> list[tuple[int, int]]:
    """The rows of one epoch (from 0) in order, as (source, row); an epoch has as many as all sources that count.

    `rows` are the sources' rows, `parts` what `shares` gave.
    """
    import numpy

    length = sum(count for count, part in zip(rows, parts, strict=True) if part > 0)
    sources = blend(parts, (epoch + 1) * length)
    given = [0] * len(rows)
    for source in sources[: epoch * length]:
        given[source] += 1
    orders: dict[tuple[int, int], list[int]] = {}
    found = []
    for source in sources[epoch * length :]:
        turn, at = divmod(given[source], rows[source])
        given[source] += 1
        if (source, turn) not in orders:
            random = numpy.random.default_rng([seed, source, turn])
            orders[source, turn] = random.permutation(rows[source]).tolist()
        found.append((source, orders[source, turn][at]))
    return found
