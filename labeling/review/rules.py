"""The form of a project's review rules."""

from typing import Any

from django import forms
from django.db import transaction

from hone.accounts.models import Project, User
from hone.audit.models import record
from labeling import lanes
from labeling.models import ReviewRules

FIELDS = [
    "demonstrations_percent", "rankings_percent", "newcomer_labels", "on_note", "on_findings", "on_unmoved",
    "fast_seconds", "is_blind", "overdue_days", "only_reviewed",
]  # fmt: skip


class ReviewRulesForm(forms.ModelForm):
    instance: ReviewRules

    class Meta:
        model = ReviewRules
        fields = FIELDS

    def __init__(self, data: Any = None, *, project: Project) -> None:
        super().__init__(data, instance=ReviewRules.objects.for_project(project))
        self.project = project

    @transaction.atomic
    def save_for(self, actor: User) -> ReviewRules:
        """Writes the rules; the audit trail keeps what they are now."""
        lanes.lock(self.project)  # of two managers' first saves at once one makes the row, the other changes it
        values = {name: self.cleaned_data[name] for name in FIELDS}
        rules, _made = ReviewRules.objects.update_or_create(project=self.project, defaults=values)
        record("review_rules.changed", rules, actor=actor, project=self.project.slug, **values)
        return rules
