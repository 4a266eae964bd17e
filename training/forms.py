"""The launch form: a round's recipe, with every trainer field taken from where the trainer defines it."""

from collections.abc import Iterable, Mapping
from typing import Any

from django import forms
from django.conf import settings
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from hone.accounts.models import Project
from labeling.models import Prompt
from training import corpora
from training.form_fields import stage_fields, trainer_field
from training.models import Checkpoint, Run, Stage
from training.rounds import ORDER, Recipe, check_order
from training.stage_data import POLICIES, prompts_to_reinforce, prompts_to_write, reward_models
from training.trainers.config import OptimizingConfig, fields_of, fields_that_may_change, validate

# The ranking page has letters and digits for this many (InstructGPT ranked 4 to 9).
MAX_RANKED = 9
TRAINERS = [kind for kind in ORDER if kind not in (Stage.Kind.WRITE, Stage.Kind.RANK)]
# What a first round does without being asked; the rest is for leads who know why they want it.
USUAL = {Stage.Kind.WRITE, Stage.Kind.SFT, Stage.Kind.SAMPLE, Stage.Kind.RANK, Stage.Kind.REWARD, Stage.Kind.DPO}


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
        choices = Checkpoint.objects.filter(kind__in=POLICIES)
        policies = choices.filter(project=project) | choices.filter(project=None)
        self.fields["start"].queryset = policies  # type: ignore[attr-defined]
        for kind in ORDER:
            self.fields[f"use-{kind}"] = forms.BooleanField(label=kind.label, required=False, initial=kind in USUAL)
            for name, field in stage_fields(kind, project=project, policies=policies).items():
                self.fields[f"{kind}-{name}"] = field

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        chosen = [str(kind) for kind in ORDER if values.get(f"use-{kind}")]
        problem = check_order(chosen, has_reward_model=reward_models(self.project).exists())
        if problem:
            self.add_error(None, problem)
        for name in [name for name in self.errors if name.partition("-")[0] in set(map(str, ORDER)) - set(chosen)]:
            del self.errors[name]  # a stage that is left out may hold anything
        if Stage.Kind.RANK in chosen and not 2 <= (values.get("sample-k") or 2) <= MAX_RANKED:
            self.add_error("sample-k", _("A person ranks 2 to %(most)d answers at once.") % {"most": MAX_RANKED})
        if Stage.Kind.PRETRAIN in chosen and "pretrain-corpora" not in self.errors:
            self._check_corpora("pretrain-corpora", values)
        if values.get("sample-engine") == "endpoint" and Stage.Kind.SAMPLE in chosen and not settings.SAMPLER_ENDPOINT:
            self.add_error("sample-engine", _("No endpoint is set up: SAMPLER_ENDPOINT names it."))
        for kind in TRAINERS:
            if str(kind) in chosen:
                for name, sentence in validate(str(kind), self.trainer_values(kind, values)).items():
                    self.add_error(f"{kind}-{name}", sentence)
        if Stage.Kind.PPO in chosen:  # last: a field with an error has no value any more
            self._check_ppo(values)
        return values

    def _check_ppo(self, values: dict[str, Any]) -> None:
        """What PPO asks of the project: enough prompts for an update, and corpora where it mixes them in."""
        an_update = values.get("ppo-rollout_prompts")
        if an_update and values.get("ppo-prompts"):
            there = to_reinforce(self.project, values).count()
            if there < an_update:
                words = (
                    _("There are %(there)d prompts for an update of %(asked)d: ask for fewer, or import more.")
                    if values.get("ppo-allow_sft_prompts")
                    else _(
                        "There are %(there)d prompts that SFT has no answer to, nor gets one in this round, for an "
                        "update of %(asked)d: ask for fewer, import more, or allow those of SFT."
                    )
                )
                self.add_error("ppo-rollout_prompts", words % {"there": there, "asked": an_update})
        if values.get("ppo-ptx_coefficient") and "ppo-corpora" not in self.errors:
            self._check_corpora("ppo-corpora", values)

    def _check_corpora(self, name: str, values: Mapping[str, Any]) -> None:
        try:
            corpora.parse(str(values.get(name) or ""))
        except ValueError as error:
            self.add_error(name, str(error))

    def trainer_values(self, kind: str, values: dict[str, Any]) -> dict[str, Any]:
        """The stage's trainer fields that were filled in."""
        names = [spec.name for spec in fields_of(str(kind))]
        found = {name: values.get(f"{kind}-{name}") for name in names}
        return {name: value for name, value in found.items() if value is not None}

    def stage_values(self, kind: str) -> dict[str, Any]:
        """All of the stage's parameters, as the stage keeps them."""
        prefix = f"{kind}-"
        return {
            name.removeprefix(prefix): value.pk if isinstance(value, Checkpoint) else value
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
        expert.add("ppo-corpora")  # beside the coefficient of what is mixed in
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


class ResumeForm(forms.Form):
    """What may be another when this run goes on, such as the guard that stopped it.

    What one has not touched stays as it is, also where somebody else has changed it since the form was shown.
    """

    prefix = "resume"

    def __init__(self, *args: Any, run: Run, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.run = run
        for spec in fields_that_may_change(run.kind):
            self.fields[spec.name] = field = trainer_field(spec)
            field.initial = run.params.get(spec.name, spec.default)
            field.show_hidden_initial = True

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        for name, sentence in validate(self.run.kind, {**self.run.params, **values}).items():
            self.add_error(name if name in self.fields else None, sentence)
        return values

    @property
    def changes(self) -> dict[str, Any]:
        """What is another than it was shown, by name."""
        return {name: self.cleaned_data[name] for name in self.changed_data}

    @property
    def has_limits(self) -> bool:
        """Whether the run may have been stopped by a limit of its recipe, which is then what people look for."""
        return any(name not in OptimizingConfig.MAY_CHANGE for name in self.fields)

    @property
    def sentences(self) -> list[str]:
        """What is wrong, with the field's label where it is a field's."""
        return [
            f"{self[name].label}: {sentence}" if name in self.fields else str(sentence)
            for name, found in self.errors.items()
            for sentence in found
        ]


def to_reinforce(project: Project, values: Mapping[str, Any]) -> QuerySet[Prompt]:
    """The prompts that PPO would be given, as these values of a form stand and the project does."""
    written: Iterable[Prompt] = ()
    if values.get("use-write"):
        written = prompts_to_write(project, wanted=int(values.get("write-prompts") or 0))
    return prompts_to_reinforce(
        project,
        heldout_percent=values.get("heldout_percent") or 0,
        wanted=int(values.get("ppo-prompts") or 0),
        of_sft=bool(values.get("ppo-allow_sft_prompts")),
        to_come=written,
    )
