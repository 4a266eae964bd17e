"""The settings section for answers that name a model."""

from typing import Any, ClassVar

from django import forms
from django.db import transaction
from django.utils.translation import gettext as _t

from hone.accounts.models import Project, User
from hone.audit.models import record
from labeling.models import ModelNames
from labeling.models.model_names import Handling, default_names

MOST_NAMES = 300


class ModelNamesSection(forms.ModelForm):
    """Whether raters see the names of models, and which. "defaults" puts the platform's list into the editor."""

    name: ClassVar[str] = "names"
    template: ClassVar[str] = "labeling/_settings_names.html"
    instance: ModelNames

    class Meta:
        model = ModelNames
        fields = ["handling", "where", "names"]
        widgets = {
            "handling": forms.RadioSelect,
            "where": forms.RadioSelect,
            "names": forms.Textarea(attrs={"rows": 10, "spellcheck": "false", "dir": "auto"}),
        }

    def __init__(self, data: Any = None, *, project: Project) -> None:
        if data is not None and data.get("action") == "defaults":
            data = data.copy()
            data["names-names"] = default_names()
            self.is_saving = False
        else:
            self.is_saving = True
        super().__init__(data, instance=ModelNames.objects.for_project(project), prefix="names")
        self.project = project

    def is_valid(self) -> bool:
        return super().is_valid() and self.is_saving

    def clean_names(self) -> str:
        lines = [" ".join(line.split()) for line in self.cleaned_data["names"].splitlines() if line.strip()]
        names = list(dict.fromkeys(lines))
        if len(names) > MOST_NAMES:
            raise forms.ValidationError(_t("At most %(n)d names.") % {"n": MOST_NAMES})
        if short := next((name for name in names if len(name) < 2), None):
            raise forms.ValidationError(_t("“%(name)s” is too short: it would be found everywhere.") % {"name": short})
        return "\n".join(names)

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        if (
            values.get("handling") not in {None, Handling.OFF}
            and not values.get("names")
            and "names" not in self.errors
        ):
            self.add_error("names", _t("Write at least one name, or show answers as they are."))
        return values

    @transaction.atomic
    def save(self, *, actor: User) -> str:  # type: ignore[override]
        """Keeps the choice; answers with the sentence for the page."""
        changed = sorted(self.changed_data)
        row = super().save()
        if changed:
            record(
                "model_names.changed",
                row,
                actor=actor,
                project=self.project.slug,
                fields=changed,
                handling=row.handling,
            )
        return _t("The choice about model names is saved.")
