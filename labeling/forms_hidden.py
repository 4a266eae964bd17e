"""The forms of hidden checks: a project's rates, and a gold item's reference."""

from typing import Any

from django import forms
from django.db import transaction
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from hone.accounts.models import Project, User
from hone.audit.models import record
from labeling import hidden
from labeling.models import GoldItem, HiddenChecks, Item
from labeling.responses import LETTERS

UNACCEPTABLE = "x"


class HiddenChecksForm(forms.ModelForm):
    class Meta:
        model = HiddenChecks
        fields = ["gold_percent", "repeat_percent", "repeat_distance"]

    def __init__(self, data: Any = None, *, project: Project) -> None:
        super().__init__(data, instance=hidden.rates_of(project))
        self.project = project

    @transaction.atomic
    def save_for(self, actor: User) -> HiddenChecks:
        """Writes the rates; the audit trail keeps them."""
        rates = self.save()
        values = {field: self.cleaned_data[field] for field in self.Meta.fields}
        record("hidden_checks.changed", rates, actor=actor, project=self.project.slug, **values)
        return rates


class GoldForm(forms.Form):
    """A tier for each answer of an item, by the letters of its own order; the page shows no order of a person."""

    def __init__(self, data: Any = None, *, item: Item, start: dict[int, int | str]) -> None:
        super().__init__(data)
        self.item = item
        self.answers = list(item.completions.all())
        tiers = [(str(n), str(n)) for n in range(1, len(self.answers) + 1)]
        for letter, answer in zip(LETTERS, self.answers, strict=False):
            self.fields[f"tier-{answer.index}"] = forms.ChoiceField(
                label=_t("Tier of answer %(letter)s") % {"letter": letter},
                choices=[("", "–"), *tiers, (UNACCEPTABLE, _("unacceptable"))],
                initial=str(start.get(answer.index, "")),
                error_messages={"required": _t("Choose a tier for this answer.")},
            )

    def rows(self) -> list[dict[str, Any]]:
        """For the page: each answer with its letter and its field."""
        return [
            {"letter": letter, "answer": answer, "field": self[f"tier-{answer.index}"]}
            for letter, answer in zip(LETTERS, self.answers, strict=False)
        ]

    def save_for(self, actor: User, *, source: str) -> GoldItem | None:
        """Keeps the reference; None, with a sentence at the form, where it ties everything."""
        chosen = {answer.index: self.cleaned_data[f"tier-{answer.index}"] for answer in self.answers}
        numbers = sorted({tier for tier in chosen.values() if tier != UNACCEPTABLE}, key=int)
        tiers = [[index for index, tier in chosen.items() if tier == number] for number in numbers]
        below = [index for index, tier in chosen.items() if tier == UNACCEPTABLE]
        try:
            return hidden.set_gold(item=self.item, tiers=tiers, unacceptable=below, source=source, actor=actor)
        except hidden.NotGold:
            self.add_error(None, _t("Put at least one answer above another: no answer could be wrong otherwise."))
            return None


def start_of(tiers: list[list[int]], unacceptable: list[int]) -> dict[int, int | str]:
    """A weak order as the form's values."""
    found: dict[int, int | str] = {index: n for n, tier in enumerate(tiers, start=1) for index in tier}
    return {**found, **dict.fromkeys(unacceptable, UNACCEPTABLE)}
