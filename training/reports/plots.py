"""Plots as numbers for `training/_plot.html`, which draws them as SVG.

Along, a place is a share of the width in percent, and downwards in pixels: so text stays as large as the page's on a
phone, and no style is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.utils.formats import number_format
from django.utils.translation import gettext as _

from training.reports.files import Unreadable
from training.reports.shapes import Measure, number, rounded

_LEFT, _RIGHT = 11.0, 96.0  # percent
_TOP, _HEIGHT = 14.0, 220.0  # pixels
_ROW = 46.0  # of a plot with one row a name
_MOST_ROWS = 30
_FAR = 1e9  # no reward or distance that could be drawn


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Ticks, lines, dots and words, each with its places; `label` says in words what is seen."""

    label: str
    across: str
    upwards: str = ""
    left: str = f"{_LEFT:.2f}%"
    right: str = f"{_RIGHT:.2f}%"
    bottom: float = _TOP + _HEIGHT
    x_ticks: list[dict[str, Any]] = field(default_factory=list)
    y_ticks: list[dict[str, Any]] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)
    dots: list[dict[str, Any]] = field(default_factory=list)
    words: list[dict[str, Any]] = field(default_factory=list)

    @property
    def height(self) -> float:
        """Of the whole drawing: below the plot stand the ticks' numbers."""
        return self.bottom + 24

    @property
    def ticks_at(self) -> float:
        """Where the numbers below the plot stand."""
        return self.bottom + 18


def reliability(bins: Sequence[dict[str, Any]]) -> Plot:
    """How often the model is right (upwards) where it is so sure (across); on the diagonal it is as right as sure."""
    lowest = min(0.5, *(math.floor(row["right"] * 10) / 10 for row in bins))
    x, y = _along(0.5, 1.0), _upwards(lowest, 1.0)
    largest = max(row["n"] for row in bins)
    lines = [_line(x, y, (0.5, 0.5), (1.0, 1.0), kind="ideal")]
    lines += [
        _line(x, y, (row["confidence"], row["confidence"]), (row["confidence"], row["right"]), kind="gap")
        for row in bins
    ]
    worst = max(bins, key=lambda row: row["n"] * abs(row["right"] - row["confidence"]))
    return Plot(
        label=_("Reliability: of the %(n)d pairs in its bin the model is %(sure)s sure and right in %(right)s of them.")
        % {"n": worst["n"], "sure": _percent(worst["confidence"]), "right": _percent(worst["right"])},
        across=_("how sure the model is"),
        upwards=_("how often it is right"),
        x_ticks=[{"at": x(tick), "text": _percent(tick)} for tick in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)],
        y_ticks=[{"at": y(tick), "text": _percent(tick)} for tick, _told in _ticks(lowest, 1.0)],
        lines=lines,
        dots=[
            _dot(x, y, (row["confidence"], row["right"]), size=3 + 6 * math.sqrt(row["n"] / largest)) for row in bins
        ],
    )


def curve_of(points: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The best of n = 1, 2, 4 ... as rows of `n`, `kl` and `reward`, with their plot; None without a point."""
    found = [row for row in map(_point, points) if row is not None]
    if not found:
        return None
    first, last = found[0], found[-1]
    gain = Measure(value=last["reward"].value - first["reward"].value)
    return {
        "points": found,
        "first": first,
        "last": last,
        "gain": gain,
        "plot": _curve(found) if last["kl"] > 0 else None,
    }


def _point(row: dict[str, Any]) -> dict[str, Any] | None:
    n, kl, mean, low, high = (number(row, key) for key in ("n", "kl", "reward_mean", "reward_low", "reward_high"))
    if n is None or kl is None or mean is None:
        return None
    if n < 1 or not 0 <= kl <= _FAR or any(abs(value or 0) > _FAR for value in (n, mean, low, high)):
        raise Unreadable(_("a point of its best-of-n curve lies outside the plot."))
    return {"n": int(n), "kl": kl, "kl_text": rounded(kl), "reward": Measure(value=mean, low=low, high=high)}


def _curve(found: Sequence[dict[str, Any]]) -> Plot:
    """Mean reward (upwards) by KL (across), each point with its interval and its n."""
    ends = [
        end for row in found for end in (row["reward"].value, row["reward"].low, row["reward"].high) if end is not None
    ]
    low, high = min(ends), max(ends)
    room = (high - low) * 0.08 or max(abs(high) * 0.1, 0.1)
    furthest = found[-1]["kl"]
    x, y = _along(-0.04 * furthest, furthest), _upwards(low - room, high + room)
    places = [(row["kl"], row["reward"].value) for row in found]
    lines = [_line(x, y, start, end, kind="curve") for start, end in zip(places, places[1:], strict=False)]
    lines += [
        _line(x, y, (row["kl"], row["reward"].low), (row["kl"], row["reward"].high), kind="range")
        for row in found
        if row["reward"].has_interval
    ]
    first, last = found[0], found[-1]
    return Plot(
        label=_("Mean reward: %(first)s for one answer, %(last)s for the best of %(n)d, at a KL of %(kl)s nats.")
        % {"first": first["reward"].text, "last": last["reward"].text, "n": last["n"], "kl": last["kl_text"]},
        across=_("KL to the model, nats: log n − (n − 1) / n"),
        upwards=_("mean reward of the best of n; n stands at each point"),
        x_ticks=[{"at": x(tick), "text": told} for tick, told in _ticks(0.0, furthest)],
        y_ticks=[{"at": y(tick), "text": told} for tick, told in _ticks(low - room, high + room)],
        lines=lines,
        dots=[_dot(x, y, place, size=4) for place in places],
        words=[
            {"x": x(row["kl"]), "y": y(max(row["reward"].value, row["reward"].high or -math.inf)) - 8, "text": row["n"]}
            for row in found
        ],
    )


def before_and_after(rows: Sequence[dict[str, Any]]) -> Plot | None:
    """Two dots a name on one logarithmic scale; None where nothing was measured."""
    shown = [row for row in rows if row["before"] > 0 and row["after"] > 0][:_MOST_ROWS]
    if not shown:
        return None
    values = [row[key] for row in shown for key in ("before", "after")]
    low, high = math.log10(min(values)), math.log10(max(values))
    room = (high - low) * 0.05 or 0.1
    x = _along(low - room, high + room, left=4.0)
    height = _ROW * len(shown)
    lines, dots, words = [], [], []
    for at, row in enumerate(shown):
        y = _TOP + _ROW * at + 30
        words.append({"x": "0%", "y": y - 16, "text": row["name"], "is_name": True})
        before, after = (math.log10(row[key]) for key in ("before", "after"))
        lines.append({"x1": x(before), "x2": x(after), "y1": y, "y2": y, "kind": "change"})
        dots += [
            {"x": x(before), "y": y, "size": 5, "kind": "before"},
            {"x": x(after), "y": y, "size": 5, "kind": "after"},
        ]
    better = sum(row["after"] < row["before"] for row in shown)
    return Plot(
        label=_("Perplexity before and after: it fell for %(n)d of %(all)d sources.")
        % {"n": better, "all": len(shown)},
        across=_("perplexity of held-out text, on a logarithmic scale"),
        left="0%",
        right="100%",
        bottom=_TOP + height,
        x_ticks=[
            {"at": x(math.log10(tick)), "text": _round(tick), "is_line": True}
            for tick in _log_ticks(low - room, high + room)
        ],
        lines=lines,
        dots=dots,
        words=words,
    )


_Scale = Callable[[float], Any]


def _along(low: float, high: float, *, left: float = _LEFT) -> _Scale:
    return lambda value: f"{left + (_RIGHT - left) * (value - low) / (high - low):.2f}%"


def _upwards(low: float, high: float) -> _Scale:
    return lambda value: round(_TOP + _HEIGHT * (high - value) / (high - low), 1)


def _line(x: _Scale, y: _Scale, start: tuple[float, float], end: tuple[float, float], *, kind: str) -> dict[str, Any]:
    return {"x1": x(start[0]), "y1": y(start[1]), "x2": x(end[0]), "y2": y(end[1]), "kind": kind}


def _dot(x: _Scale, y: _Scale, place: tuple[float, float], *, size: float) -> dict[str, Any]:
    return {"x": x(place[0]), "y": y(place[1]), "size": round(size, 1), "kind": "after"}


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Round numbers from low to high, about six, each with its text of as many decimals as the step has."""
    wanted = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(wanted))
    step = next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= wanted * 0.999)
    decimals = next((count for count in range(10) if math.isclose(round(step, count), step)), 10)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [(at * step, str(number_format(f"{at * step:.{decimals}f}"))) for at in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10 ... where they lie between the two powers of ten; only tens, or every so many, where it is far."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    nice = (1, 2, 5) if high - low < 2.5 else (1,)
    every = max(1, len(powers) // 6)
    found = [one * 10.0**power for power in powers[::every] for one in nice]
    inside = [tick for tick in found if low <= math.log10(tick) <= high]
    return inside if len(inside) > 1 else [10**low, 10**high]


def _round(tick: float) -> str:
    return rounded(tick) if tick >= 1000 else str(number_format(f"{tick:.3g}"))


def _percent(share: float) -> str:
    return f"{rounded(100 * share, grain=10)} %"
