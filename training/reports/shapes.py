"""Takes the parts of a report's JSON by name. Absent or null is None; another type raises Unreadable."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from django.utils.formats import number_format
from django.utils.translation import gettext as _

from labeling.quality.showing import bar
from training.reports.files import Unreadable


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A number with its 95 % interval where it has one, and how many comparisons (`n`) and prompts it rests on."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    prompts: int | None = None

    @property
    def has_interval(self) -> bool:
        """Whether both ends are known."""
        return self.low is not None and self.high is not None

    @property
    def text(self) -> str:
        """The number, with as many digits as its interval gives a meaning to."""
        return self._rounded(self.value)

    @property
    def low_text(self) -> str:
        """The interval's lower end, with the digits of the number."""
        return "" if self.low is None else self._rounded(self.low)

    @property
    def high_text(self) -> str:
        """The interval's upper end, with the digits of the number."""
        return "" if self.high is None else self._rounded(self.high)

    @property
    def share(self) -> dict[str, Any]:
        """In percent, as labeling's tables and bars of intervals take it."""
        low, high = (self.value if end is None else end for end in (self.low, self.high))
        return bar({"value": self.value, "low": low, "high": high, "n": self.n}) or {}

    def _rounded(self, value: float) -> str:
        width = (self.high - self.low) if self.low is not None and self.high is not None else 0.0
        return rounded(value, grain=width or None)


def rounded(value: float, *, grain: float | None = None) -> str:
    """With two digits of the `grain` (an interval's width), or three of its own; 1e4 and more as whole numbers."""
    size = grain if grain and math.isfinite(grain) else abs(value)
    if abs(value) >= 1e7:
        digits, power = f"{value:.2e}".split("e")
        return f"{number_format(digits)}e{int(power)}"
    figures = 1 if grain else 2
    decimals = min(6, max(0, figures - math.floor(math.log10(size)))) if size > 0 else 0
    if decimals == 6 and abs(value) >= 0.1:
        decimals = 4
    text = f"{value:.{decimals}f}"
    return str(number_format("0" if float(text) == 0 else text, use_l10n=True, force_grouping=abs(value) >= 10_000))


def number(of: dict[str, Any], key: str) -> float | None:
    """The number under this name."""
    value = of.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unreadable(_("its field %(field)s is not a number.") % {"field": key})
    return float(value)


def count(of: dict[str, Any], key: str) -> int:
    """The whole number under this name, 0 where there is none."""
    return int(number(of, key) or 0)


def text(of: dict[str, Any], key: str) -> str:
    """The text under this name, empty where there is none."""
    value = of.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Unreadable(_("its field %(field)s is not a text.") % {"field": key})
    return value


def part(of: dict[str, Any], key: str) -> dict[str, Any]:
    """The object under this name, empty where there is none."""
    value = of.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Unreadable(_("its field %(field)s is not an object.") % {"field": key})
    return value


def rows(of: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The objects in the list under this name, none where there is no list."""
    value = of.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise Unreadable(_("its field %(field)s is not a list of objects.") % {"field": key})
    return value


def measure(of: dict[str, Any], key: str) -> Measure | None:
    """The number under this name: with an interval where it is an object of `value` or `mean`, `low` and `high`."""
    value = of.get(key)
    if not isinstance(value, dict):
        plain = number(of, key)
        return None if plain is None else Measure(value=plain)
    middle = number(value, "value" if "value" in value else "mean")
    if middle is None:
        return None
    ends = {end: number(value, end) for end in ("low", "high")}
    over = {name: int(found) for name in ("comparisons", "prompts") if (found := number(value, name)) is not None}
    return Measure(value=middle, **ends, n=over.get("comparisons"), prompts=over.get("prompts"))


def share(of: dict[str, Any], key: str) -> Measure | None:
    """The same of a share, whose number and interval lie between 0 and 1."""
    found = measure(of, key)
    if found is not None and not is_share(found):
        raise Unreadable(_("its field %(field)s is no share.") % {"field": key})
    return found


def is_share(of: Measure) -> bool:
    """Whether the number and its interval lie between 0 and 1, so that a bar can be drawn."""
    return all(0 <= end <= 1 for end in (of.value, of.low, of.high) if end is not None)


def flat(of: dict[str, Any], key: str) -> Measure | None:
    """The same from a run's metrics, where an interval lies beside its number: `key`, `key_low`, `key_high`.

    Metrics are judged leniently: what is no finite number is left out.
    """
    value, low, high = (
        float(found)
        if isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found)
        else None
        for found in (of.get(f"{key}{end}") for end in ("", "_low", "_high"))
    )
    return None if value is None else Measure(value=value, low=low, high=high)


def metrics_of(result: Any) -> dict[str, Any]:
    """The metrics of a run's result, empty where it has none."""
    found = result.get("metrics") if isinstance(result, dict) else None
    return found if isinstance(found, dict) else {}
