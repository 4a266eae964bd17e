"""The console's numbers as people say them: durations, bytes, big and small numbers, states."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django import template
from django.forms.boundfield import BoundField
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from hone.lists import in_a_row
from labeling.models import Category
from training import metrics as numbers
from training.models import Checkpoint, Round, Run, Stage
from training.stage_data import TRUNK
from training.trainers import inputs
from training.trainers.config import fields_of

register = template.Library()

# A state of a round, stage or run -> the badge that the design system draws for it.
_SHAPES = {"pending": "draft", "queued": "draft", "ready": "waiting", "succeeded": "done"}


@register.filter
def shape(state: str) -> str:
    """The badge's data-state: `succeeded` is drawn as done, `ready` as waiting, `queued` as draft."""
    return _SHAPES.get(str(state), str(state))


@register.filter
def kind_label(kind: str) -> str:
    """`reward` -> "Reward model"; a kind that is unknown stays as it is."""
    return str(Stage.Kind(kind).label) if kind in Stage.Kind.values else kind


@register.filter
def at_key(values: dict[int, int], key: int) -> int:
    """A dictionary's value, 0 where it has none."""
    return values.get(key, 0)


@register.filter
def duration(seconds: float | None) -> str:
    """The two largest units: 200 -> "3 min 20 s", 7500 -> "2 h 5 min"; an empty string for None."""
    if seconds is None:
        return ""
    whole = max(0, round(seconds))
    units = ((86_400, _("d")), (3_600, _("h")), (60, _("min")), (1, _("s")))
    parts: list[tuple[int, str]] = []
    for size, unit in units:
        count, whole = divmod(whole, size)
        if count or parts or size == 1:
            parts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count or len(parts) == 1)


@register.filter
def rough(seconds: float | None) -> float | None:
    """An estimate without false precision: to 10 s above a minute, to a minute above ten, to ten above 3 h."""
    if seconds is None:
        return None
    grain = next((grain for limit, grain in ((10_800, 600), (600, 60), (60, 10)) if seconds > limit), 1)
    return round(seconds / grain) * grain


@register.filter
def ends_at(seconds: float | None) -> datetime | None:
    """The moment that is so many seconds away."""
    return None if seconds is None else timezone.now() + timedelta(seconds=seconds)


@register.filter
def took(run: Run) -> float | None:
    """Seconds from the run's first start to its end, or until now; None before it starts."""
    if run.started_at is None:
        return None
    return ((run.ended_at or timezone.now()) - run.started_at).total_seconds()


@register.filter
def gibibytes(count: float | None) -> str:
    """Bytes in the unit that suits: 1288490189 -> "1.2 GiB", 5242880 -> "5 MiB"; an empty string for None."""
    if count is None:
        return ""
    value, unit = float(count), "B"
    for bigger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, bigger
    return f"{_short(value, 1 if value < 100 and unit != 'B' else 0)} {unit}"


@register.filter
def scientific(value: float | None) -> str:
    """Two digits and a power: 4123000000000 -> "4.1e12"; small numbers as they are."""
    if value is None:
        return ""
    if abs(value) < 1000:
        return _short(float(value), 1)
    digits, power = f"{value:.1e}".split("e")
    return f"{number_format(digits)}e{int(power)}"


@register.filter
def approximately(value: float | None) -> str:
    """Counts with a letter for the thousands: 950 -> "950", 12300 -> "12.3 k", 4500000 -> "4.5 M"."""
    if value is None:
        return ""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9995:
            return f"{_short(value / size, 1)} {unit}"
    return _short(float(value), 0)


@register.filter
def percent(part: float | None, whole: float | None = 1) -> str:
    """`part` of `whole` in whole percents: 12 of 24 -> "50 %"; an empty string without a whole."""
    if part is None or not whole:
        return ""
    return f"{_short(100 * part / whole, 0)} %"


@register.filter
def figure(value: Any) -> str:
    """A metric with four significant digits: 0.693147 -> "0.6931", 0.00002 -> "2e-05"; others as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if not math.isfinite(value):
        return str(value)
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e6):
        return number_format(int(value), use_l10n=True, force_grouping=abs(value) >= 10_000)
    return number_format(f"{value:.4g}") if "e" not in f"{value:.4g}" else f"{value:.4g}"


@register.filter
def words(name: str) -> str:
    """`guideline_versions` -> "guideline versions", `open_qa` -> "Open QA"; other names with spaces."""
    known = {
        "schema_version": _("schema version"),
        "project": _("project"),
        "kind": _("kind"),
        "filters": _("filters"),
        "include_simulated": _("simulated labels too"),
        "heldout_percent": _("held-out share, percent"),
        "splits": _("splits"),
        "train": _("training"),
        "heldout": _("held out"),
        "categories": _("categories"),
        "languages": _("languages"),
        "comparisons": _("comparisons"),
        "annotators": _("annotators"),
        "guideline_versions": _("guideline versions"),
        "bytes": _("bytes"),
        "weights": _("parts of the tokens"),
        "evaluation_prompts": _("evaluation prompts"),
        "rows": _("rows"),
        "labels": _("labels"),
        "reward_model": _("reward model"),
        "length": _("length"),
        "repetition": _("repetition"),
        "ends": _("own end"),
        **dict(Category.choices),
    }
    return str(known.get(name, str(name).replace("_", " ").replace("/", " ")))


@register.filter
def metric(name: str) -> str:
    """`heldout_loss` -> "held-out loss", `rewards/accuracies` -> "accuracy"."""
    return numbers.label(str(name))


@register.filter
def measured(found: dict[str, Any]) -> tuple[str, Any] | None:
    """The name and the value of the one number by which one judges a model, held-out ones first."""
    return next(((numbers.label(name), found[name]) for name in numbers.JUDGED_BY if name in found), None)


@register.filter
def settings_of(stage: Stage) -> list[tuple[str, Any]]:
    """The stage's parameters for a definition list, in the order and the words of its trainer's form."""
    labels = {} if stage.is_human else {spec.name: _(spec.label) for spec in fields_of(stage.kind)}
    own = {
        "corpora": _("Corpora"),
        "prompts": _("Prompts"),
        "slots_per_item": _("People per item"),
        "examples": _("Worked examples"),
    }
    shown = own | labels
    found = [(shown[name], stage.params[name]) for name in shown if name in stage.params]
    for name in (TRUNK, inputs.REWARD_MODEL, inputs.REFERENCE):
        wanted = stage.params.get(name)
        if wanted and (chosen := Checkpoint.objects.filter(pk=wanted).first()):
            found.append((input_label(name), chosen.name))
    return found


@register.filter
def setting_label(name: str, kind: str) -> str:
    """A parameter of a stage in the words of its trainer's form."""
    return next((_(spec.label) for spec in fields_of(kind) if spec.name == name), name)


@register.filter
def input_label(name: str) -> str:
    """What a run reads beside its model and its data: "reward_model" -> "Reward model"."""
    known = {
        inputs.DEMONSTRATIONS: _("Demonstrations"),
        inputs.REFERENCE: _("Compared with"),
        inputs.REWARD_MODEL: _("Reward model"),
        inputs.FEW_SHOT: _("Worked examples"),
        TRUNK: _("Made from"),
    }
    return known.get(name, name)


@register.filter
def current(stages: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The card of the stage that the round is at: the first one that is not done."""
    return next((card for card in stages if card["stage"].state != Stage.State.DONE), None)


@register.filter
def segments(memory: dict[str, int], whole: int) -> list[dict[str, Any]]:
    """Memory by part for a stacked bar on a scale of `whole` bytes: start and width in percent."""
    found, start = [], 0.0
    for name, count in memory.items():
        width = 100 * count / whole if whole else 0.0
        if count:
            found.append({"name": name, "label": _part(name), "bytes": count, "start": start, "width": width})
        start += width
    return found


@register.filter
def has_errors(fields: Sequence[BoundField]) -> bool:
    """Whether one of the fields has an error."""
    return any(bound.errors for bound in fields)


@register.filter
def bounded(bound: BoundField) -> BoundField:
    """The field with its bounds at the end of its help, so that nobody learns them from an error."""
    lowest, highest = (getattr(bound.field, name, None) for name in ("min_value", "max_value"))
    if lowest is not None and highest is not None and highest < 1_000_000:
        text = _("%(lowest)s to %(highest)s.") % {"lowest": figure(lowest), "highest": figure(highest)}
    elif lowest is not None:
        text = _("At least %(lowest)s.") % {"lowest": figure(lowest)}
    else:
        return bound
    # From the form's field, which stays as it is: asked twice, the bounds are there once.
    bound.help_text = in_a_row(bound.field.help_text, text)
    return bound


@register.filter
def ended(cards: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cards of the rounds that are done or cancelled."""
    return [card for card in cards if card["round"].state in (Round.State.DONE, Round.State.CANCELLED)]


def _part(name: str) -> str:
    names = {
        "weights": _("weights"),
        "gradients": _("gradients"),
        "optimizer": _("optimizer"),
        "activations": _("activations"),
        "reference": _("reference"),
    }
    return names.get(name, words(name))


def _short(value: float, digits: int) -> str:
    """Rounded, without zeros at the end, with the language's decimal mark."""
    text = f"{value:.{digits}f}"
    return str(number_format(text.rstrip("0").rstrip(".") if "." in text else text))
