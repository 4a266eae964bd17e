"""The launch form: a round's recipe, with every trainer field taken from where the trainer defines it."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from hone.accounts.models import Project
from training.models import Checkpoint, Stage
from training.rounds import ORDER, Recipe, check_order
from training.trainers.config import FieldSpec, fields_of, validate

# The ranking page has letters and digits for this many (InstructGPT ranked 4 to 9).
MAX_RANKED = 9
TRAINERS = [Stage.Kind.SFT, Stage.Kind.SAMPLE, Stage.Kind.REWARD, Stage.Kind.DPO]


class RoundForm(forms.Form):
    """Fields named `<stage>-<parameter>`; a stage is in the round when its own checkbox is ticked."""

    name = forms.CharField(label=_("Name"), max_length=120, required=False, help_text=_("Round and number if empty."))
    start = forms.ModelChoiceField(
        label=pgettext_lazy("a model", "Start from"),
        queryset=Checkpoint.objects.none(),
        help_text=_("The model that is trained or sampled first."),
    )
    include_simulated = forms.BooleanField(
        label=_("Train on simulated labels too"),
        required=False,
        help_text=_("Labels by scripted contractors, as the demo makes them."),
    )
    heldout_percent = forms.IntegerField(
        label=_("Held-out share, percent"),
        min_value=0,
        max_value=90,
        initial=10,
        help_text=_("Prompts kept for evaluation, by their hash: the same ones in every round."),
    )

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.project = project
        choices = Checkpoint.objects.filter(kind__in=["base", "sft", "policy"])
        self.fields["start"].queryset = choices.filter(project__in=[project]) | choices.filter(project=None)  # type: ignore[attr-defined]
        for kind in ORDER:
            self.fields[f"use-{kind}"] = forms.BooleanField(label=kind.label, required=False, initial=True)
            for name, field in _stage_fields(kind).items():
                self.fields[f"{kind}-{name}"] = field

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        chosen = [str(kind) for kind in ORDER if values.get(f"use-{kind}")]
        problem = check_order(chosen)
        if problem:
            self.add_error(None, problem)
        for name in [name for name in self.errors if name.partition("-")[0] in set(map(str, ORDER)) - set(chosen)]:
            del self.errors[name]  # a stage that is left out may hold anything
        if Stage.Kind.RANK in chosen and not 2 <= (values.get("sample-k") or 2) <= MAX_RANKED:
            self.add_error("sample-k", _("A person ranks 2 to %(most)d answers at once.") % {"most": MAX_RANKED})
        for kind in TRAINERS:
            if str(kind) in chosen:
                for name, sentence in validate(str(kind), self.trainer_values(kind, values)).items():
                    self.add_error(f"{kind}-{name}", sentence)
        return values

    def trainer_values(self, kind: str, values: dict[str, Any]) -> dict[str, Any]:
        """The stage's trainer fields that were filled in."""
        names = [spec.name for spec in fields_of(str(kind))]
        found = {name: values.get(f"{kind}-{name}") for name in names}
        return {name: value for name, value in found.items() if value is not None}

    def stage_values(self, kind: str) -> dict[str, Any]:
        """All of the stage's parameters, as the stage keeps them."""
        prefix = f"{kind}-"
        return {
            name.removeprefix(prefix): value
            for name, value in self.cleaned_data.items()
            if name.startswith(prefix) and value is not None
        }

    def recipe(self) -> Recipe:
        values = self.cleaned_data
        return Recipe(
            name=values["name"],
            start=values["start"],
            stages={str(kind): self.stage_values(kind) for kind in ORDER if values.get(f"use-{kind}")},
            include_simulated=values["include_simulated"],
            heldout_percent=values["heldout_percent"],
        )

    @property
    def sections(self) -> list[dict[str, Any]]:
        """For the template: each stage with its switch, its everyday fields and its expert fields."""
        expert = {f"{kind}-{spec.name}" for kind in TRAINERS for spec in fields_of(str(kind)) if spec.expert}
        return [
            {
                "kind": str(kind),
                "label": kind.label,
                "switch": self[f"use-{kind}"],
                "fields": [f for f in self if f.name.startswith(f"{kind}-") and f.name not in expert],
                "expert": [f for f in self if f.name.startswith(f"{kind}-") and f.name in expert],
                "has_errors": any(f.errors for f in self if f.name.startswith(f"{kind}-")),
            }
            for kind in ORDER
        ]


def _stage_fields(kind: Stage.Kind) -> dict[str, forms.Field]:
    if kind in (Stage.Kind.WRITE, Stage.Kind.RANK):
        return _people_fields(kind)
    fields = {spec.name: _field(spec) for spec in fields_of(str(kind))}
    if kind == Stage.Kind.SAMPLE:
        fields = {
            "prompts": forms.IntegerField(
                label=_("Prompts"),
                min_value=1,
                max_value=1_000_000,
                initial=24,
                help_text=_("How many prompts are answered; those that were ranked least come first."),
            ),
            "slots_per_item": forms.IntegerField(
                label=_("People per item"),
                min_value=1,
                max_value=20,
                initial=1,
                help_text=_("How many people rank the answers to each prompt."),
            ),
            **fields,
        }
    return fields


def _people_fields(kind: Stage.Kind) -> dict[str, forms.Field]:
    fields: dict[str, forms.Field] = {}
    if kind == Stage.Kind.WRITE:
        fields["prompts"] = forms.IntegerField(
            label=_("Prompts"),
            min_value=0,
            max_value=1_000_000,
            initial=24,
            help_text=_("How many prompts without a demonstration are opened; 0 opens all of them."),
        )
    fields["min_labels"] = forms.IntegerField(
        label=_("Labels to wait for"),
        min_value=0,
        max_value=10_000_000,
        initial=0,
        help_text=_("The round goes on after this many; 0 waits for every slot."),
    )
    fields["auto"] = forms.BooleanField(
        label=_("Go on without me"),
        required=False,
        initial=True,
        help_text=_("Otherwise the round waits for your click when the labels are there."),
    )
    return fields


def _field(spec: FieldSpec) -> forms.Field:
    common: dict[str, Any] = {
        # The form is made for each request, so these are in its language.
        "label": _("%(name)s, %(unit)s") % {"name": _(spec.label), "unit": _(spec.unit)}
        if spec.unit
        else _(spec.label),
        "help_text": _(spec.help),
        "initial": spec.default,
        "required": True,
    }
    if spec.type == "bool":
        return forms.BooleanField(**{**common, "required": False})
    if spec.type == "choice":
        return forms.ChoiceField(**common, choices=[(choice, choice) for choice in spec.choices])
    if spec.type == "int":
        return forms.IntegerField(**common, min_value=_int(spec.minimum), max_value=_int(spec.maximum))
    if spec.type == "float":
        widget = forms.NumberInput(attrs={"step": "any", "inputmode": "decimal"})
        return forms.FloatField(**common, min_value=spec.minimum, max_value=spec.maximum, widget=widget)
    return forms.CharField(**{**common, "required": False})


def _int(value: float | None) -> int | None:
    return None if value is None else int(value)
