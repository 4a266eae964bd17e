"""Numbers with their digits, plots with their ticks."""

import pytest

from training.reports import plots, samples, shapes
from training.reports.shapes import Measure


@pytest.mark.parametrize(
    ("measure", "text"),
    [
        (Measure(value=1.23456, low=1.1, high=1.36), "1.23"),
        (Measure(value=12.3456, low=10.0, high=15.0), "12.3"),
        (Measure(value=1234.5, low=1000.0, high=1500.0), "1234"),
        (Measure(value=0.0, low=0.0, high=0.0), "0"),
        (Measure(value=-0.00004, low=-0.3, high=0.3), "0"),
        (Measure(value=0.0123), "0.0123"),
        (Measure(value=31.5), "31.5"),
        (Measure(value=1e304), "1.00e304"),
        (Measure(value=0.5, low=0.5, high=0.5 + 1e-12), "0.5000"),
    ],
)
def test_a_number_has_the_digits_that_its_interval_gives_a_meaning(measure: Measure, text: str) -> None:
    assert measure.text == text


def test_ticks_are_round() -> None:
    assert [text for _, text in plots._ticks(-0.03, 1.9)] == ["0.0", "0.5", "1.0", "1.5"]
    assert [text for _, text in plots._ticks(0, 0.5)] == ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5"]
    assert plots._log_ticks(1.4, 2.75) == [50, 100, 200, 500]
    assert len(plots._log_ticks(1, 300)) < 10 and len(plots._log_ticks(1.501, 1.502)) == 2


def test_metrics_of_any_shape_are_judged_leniently() -> None:
    assert shapes.metrics_of([]) == {} == shapes.metrics_of({"metrics": 3})
    assert shapes.flat({"a": True}, "a") is None and shapes.flat({"a": float("nan")}, "a") is None
    assert shapes.flat({"a": 1, "a_low": "x", "a_high": 2}, "a") == Measure(value=1.0, low=None, high=2.0)


def test_a_text_is_folded_by_its_length_or_its_lines() -> None:
    assert not samples.Text(content="short").is_long
    assert samples.Text(content="x" * 701).is_long and samples.Text(content="a\n" * 12).is_long
