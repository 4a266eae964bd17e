"""The settings section about who is handed what, and what they read before."""

from typing import Any, ClassVar

from django import forms
from django.db import transaction
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from hone.accounts.models import Project, User
from hone.audit.models import record
from labeling import lanes


class WorkSection(forms.Form):
    """Two switches of the project's row."""

    name: ClassVar[str] = "work"
    template: ClassVar[str] = "labeling/_settings_work.html"

    confirm_guideline = forms.BooleanField(
        label=_("People read each new guideline version before their next item"),
        help_text=_(
            "They see what changed and confirm it; an item in hand is finished first. Minor changes need none."
        ),
        required=False,
    )
    match_languages = forms.BooleanField(
        label=_("Match languages"),
        help_text=_(
            "Items go to members who have the prompt's language, or name none. Skills that a prompt asks for are "
            "matched in any case."
        ),
        required=False,
    )

    def __init__(self, data: Any = None, *, project: Project) -> None:
        super().__init__(data, initial={name: getattr(project, name) for name in self.base_fields})
        self.project = project

    @transaction.atomic
    def save(self, *, actor: User) -> str:
        """Keeps both; answers with the sentence for the page."""
        values = self.cleaned_data
        project = lanes.lock(self.project)
        lanes.match_languages(project=project, on=values["match_languages"], actor=actor)
        if project.confirm_guideline != values["confirm_guideline"]:
            project.confirm_guideline = values["confirm_guideline"]
            project.save(update_fields=["confirm_guideline"])
            record("project.confirm_guideline_changed", project, actor=actor, on=project.confirm_guideline)
        return _t("The rules for handing out are saved. They hold from the next item on.")
