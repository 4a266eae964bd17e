"""The launch form's fields of one stage: the trainer's own, as it defines them, and what only the platform knows."""

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from hone.accounts.models import Project
from training import corpora
from training.models import Checkpoint, Stage
from training.stage_data import TRUNK, reward_models
from training.trainers.config import FieldSpec, fields_of


def stage_fields(kind: Stage.Kind, *, project: Project, policies: QuerySet[Checkpoint]) -> dict[str, forms.Field]:
    """The fields by their parameters' names; `policies` are the models that write."""
    if kind in (Stage.Kind.WRITE, Stage.Kind.RANK):
        return _people_fields(kind)
    own: dict[str, forms.Field] = {}
    if kind == Stage.Kind.PRETRAIN:
        own["corpora"] = _corpora()
    elif kind == Stage.Kind.SAMPLE:
        own["prompts"] = _prompts(24, _("How many prompts are answered; those that were ranked least come first."))
        own["slots_per_item"] = forms.IntegerField(
            label=_("People per item"),
            min_value=1,
            max_value=20,
            initial=1,
            help_text=_("How many people rank the answers to each prompt."),
        )
        own["examples"] = forms.IntegerField(
            label=_("Worked examples"),
            min_value=0,
            max_value=32,
            initial=0,
            help_text=_("So many demonstrations stand before each prompt; for a base model without a chat template."),
        )
    elif kind == Stage.Kind.REWARD:
        own[TRUNK] = forms.ModelChoiceField(
            label=_("Made from"),
            queryset=policies,
            required=False,
            empty_label=_("the newest model of the round"),
            help_text=_("A reward model may be smaller or larger than the policy, and of another tokenizer."),
        )
    elif kind == Stage.Kind.PPO:
        own["prompts"] = _prompts(
            512, _("How many prompts it goes round at most; those that were ranked least come first.")
        )
        own["reward_model"] = _reward_model(project)
        own["corpora"] = forms.CharField(
            label=_("Corpora"),
            max_length=2000,
            required=False,
            help_text=_("What is mixed in where the mix of pretraining is above 0, as wiki=3, books=1."),
        )
    elif kind == Stage.Kind.BEST_OF_N:
        own["prompts"] = _prompts(64, _("How many prompts are answered; those that were ranked least come first."))
        own["reward_model"] = _reward_model(project)
    elif kind == Stage.Kind.EVALUATE:
        own["prompts"] = _prompts(50, _("How many held-out prompts are answered: the same ones in every round."))
        own["reward_model"] = _reward_model(project)
        own["reference"] = forms.ModelChoiceField(
            label=_("Compare with"),
            queryset=policies,
            required=False,
            empty_label=_("the model that the round starts from"),
            help_text=_("Both models answer the same prompts, and their rewards and distance are measured."),
        )
    return {**own, **{spec.name: trainer_field(spec) for spec in fields_of(str(kind))}}


def _corpora() -> forms.Field:
    there = ", ".join(corpora.names())
    return forms.CharField(
        label=_("Corpora"),
        max_length=2000,
        initial=there,
        error_messages={"required": _("Name at least one corpus.")},
        help_text=_("What is read, with its part of the tokens where parts are given: wiki=3, books=1."),
    )


def _prompts(initial: int, help_text: Any) -> forms.Field:
    return forms.IntegerField(
        label=_("Prompts"), min_value=1, max_value=1_000_000, initial=initial, help_text=help_text
    )


def _reward_model(project: Project) -> forms.Field:
    return forms.ModelChoiceField(
        label=_("Reward model"),
        queryset=reward_models(project),
        required=False,
        empty_label=_("the newest one"),
        help_text=_("Whose scores count; the newest one is the round's own where it trains one."),
    )


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


def trainer_field(spec: FieldSpec) -> forms.Field:
    """The form's field of a trainer's."""
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
