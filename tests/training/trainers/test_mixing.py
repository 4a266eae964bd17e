"""Mixing sources: exact parts at every point, each source read whole before it comes again, epochs that go on."""

from __future__ import annotations

from collections import Counter

import pytest

from training.trainers.mixing import blend, epoch_rows, shares


def test_without_weights_every_row_is_read_once_an_epoch() -> None:
    rows = [5, 0, 12]
    parts = shares(rows, None)
    assert parts == [5 / 17, 0, 12 / 17]
    for epoch in range(3):
        found = epoch_rows(rows, parts, seed=1, epoch=epoch)
        assert sorted(found) == [(0, n) for n in range(5)] + [(2, n) for n in range(12)]
    assert epoch_rows(rows, parts, seed=1, epoch=0) != epoch_rows(rows, parts, seed=1, epoch=1)
    assert epoch_rows(rows, parts, seed=1, epoch=1) != epoch_rows(rows, parts, seed=2, epoch=1)
    assert epoch_rows(rows, parts, seed=1, epoch=1) == epoch_rows(rows, parts, seed=1, epoch=1)


@pytest.mark.parametrize("parts", [[0.5, 0.3, 0.2], [0.97, 0.0, 0.03], [1 / 3, 1 / 3, 1 / 3], [1e-4, 0.4, 0.5999]])
def test_every_beginning_has_each_part(parts: list[float]) -> None:
    found = blend(parts, 2000)
    counts = Counter[int]()
    for length, source in enumerate(found, start=1):
        counts[source] += 1
        for number, part in enumerate(parts):
            assert abs(counts[number] - part * length) <= 1.5, (length, number)
    assert blend(parts, 700) == found[:700]


def test_weights_over_and_undersample_and_go_on_where_they_stopped() -> None:
    """90 + 10 rows an epoch, half of each: the small source comes round five times, the large one 50 / 90."""
    rows, parts = [90, 10], shares([90, 10], [2.0, 2.0])
    whole = [row for epoch in range(9) for row in epoch_rows(rows, parts, seed=3, epoch=epoch)]
    large = [row for source, row in whole if source == 0]
    small = [row for source, row in whole if source == 1]
    assert (len(large), len(small)) == (450, 450)
    # Read to the end before any row comes again, across epochs, in another order each time.
    for turn in range(5):
        assert sorted(large[90 * turn : 90 * turn + 90]) == list(range(90))
    for turn in range(45):
        assert sorted(small[10 * turn : 10 * turn + 10]) == list(range(10))
    assert large[:90] != large[90:180]


def test_a_weight_of_zero_leaves_a_source_out() -> None:
    parts = shares([4, 6], [0, 1])
    assert sorted(epoch_rows([4, 6], parts, seed=0, epoch=0)) == [(1, n) for n in range(6)]
    with pytest.raises(ValueError, match="no source with a weight has a row"):
        shares([0, 6], [1, 0])
