"""The form of a project's writing rules."""

import hashlib
import json
from typing import Any

from django import forms
from django.db import transaction
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from hone.accounts.models import Project, User
from hone.audit.models import record
from labeling import lanes
from labeling.models import WritingRules

MOST_PHRASES = 500
LEAST_ALIKE = 80  # below, most prompts that are alike are not found: docs/decisions/0025-writing-checks.md
FIELDS = [
    "min_chars", "max_chars", "language", "words_action", "words", "personal", "phone_regions", "duplicates",
    "similarity",
]  # fmt: skip


class Changed(Exception):
    """The rules that the editor began with are no longer the newest; nothing was written."""


def stamp(rules: WritingRules) -> str:
    """Says which rules an editor began with."""
    values = [getattr(rules, name) for name in FIELDS]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


class WritingRulesForm(forms.ModelForm):
    instance: WritingRules

    class Meta:
        model = WritingRules
        fields = FIELDS
        help_texts = {
            "language": _(
                "Short texts, code and texts in two languages are not judged, nor an answer whose prompt asks for a"
                " translation or names the answer's language. If your tasks are mostly such, warn rather than refuse."
            ),
            "similarity": _("From 80 to 100. From 85 on nearly every such prompt is found, from 80 to 85 nine of ten."),
        }
        widgets = {
            "words": forms.Textarea(attrs={"rows": 6, "spellcheck": "false"}),
            "phone_regions": forms.TextInput(attrs={"autocapitalize": "characters", "autocomplete": "off"}),
        }

    def __init__(self, data: Any = None, *, project: Project) -> None:
        kept = WritingRules.objects.for_project(project)
        sent = data.get("based_on") if data is not None else None
        self.project, self.based_on = project, stamp(kept) if sent is None else sent
        super().__init__(data, instance=kept)
        # A lower one of an earlier time stays valid.
        self.least_alike = min(LEAST_ALIKE, self.instance.similarity)
        self.fields["similarity"].widget.attrs.update(min=self.least_alike, max=100)

    def clean_similarity(self) -> int:
        similarity: int = self.cleaned_data["similarity"]
        if similarity < self.least_alike:
            raise forms.ValidationError(_t("At least %(n)d.") % {"n": self.least_alike})
        return similarity

    def clean_words(self) -> str:
        lines = [" ".join(line.split()) for line in self.cleaned_data["words"].splitlines() if line.strip()]
        if len(lines) > MOST_PHRASES:
            raise forms.ValidationError(_t("At most %(n)d lines.") % {"n": MOST_PHRASES})
        return "\n".join(dict.fromkeys(lines))

    def clean_phone_regions(self) -> str:
        import phonenumbers

        regions = [part.strip().upper() for part in self.cleaned_data["phone_regions"].split(",") if part.strip()]
        for region in regions:
            if region not in phonenumbers.SUPPORTED_REGIONS:
                raise forms.ValidationError(_t("%(code)s is no country's code of two letters.") % {"code": region})
        return ", ".join(dict.fromkeys(regions))

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        shortest, longest = values.get("min_chars"), values.get("max_chars")
        if shortest and longest and shortest > longest:
            self.add_error("max_chars", _t("The longest may not be shorter than the shortest."))
        for field, limit in (("min_chars", shortest), ("max_chars", longest)):
            if limit and limit > self.project.max_chars:
                self.add_error(
                    field, _t("The project allows at most %(n)d characters.") % {"n": self.project.max_chars}
                )
        if values.get("words_action") not in {None, "off"} and not values.get("words") and "words" not in self.errors:
            self.add_error("words", _t("Write at least one word, or do not look for any."))
        return values

    @transaction.atomic
    def save_for(self, actor: User) -> WritingRules:
        """Writes the rules; the audit trail keeps which fields changed.

        Raises Changed, and writes nothing, when somebody else saved since this editor began.
        """
        # Two managers at once: the later one must see what the earlier one wrote, and of two first saves one makes it.
        lanes.lock(self.project)
        before = WritingRules.objects.for_project(self.project)
        if stamp(before) != self.based_on:
            raise Changed(_t("Somebody else changed the writing rules meanwhile; nothing of yours was saved yet."))
        values = {name: self.cleaned_data[name] for name in FIELDS}
        rules, _made = WritingRules.objects.update_or_create(project=self.project, defaults=values)
        changed = sorted(name for name, value in values.items() if getattr(before, name) != value)
        record("writing_rules.changed", rules, actor=actor, project=self.project.slug, fields=changed)
        return rules

    def begin_again(self) -> list[tuple[str, str]]:
        """What was typed stays, and now stands on the newest rules: (label, their value) of each that differs."""
        theirs = WritingRules.objects.for_project(self.project)
        self.based_on = stamp(theirs)
        found = []
        for name in FIELDS:
            value = getattr(theirs, name)
            if value != self.cleaned_data.get(name):
                choices = dict(getattr(self.fields[name], "choices", ()))
                found.append((str(self.fields[name].label), str(choices.get(value, "" if value is None else value))))
        return found
