"""The sections of a project's settings page. A section is made as `Section(data or None, project=…)`."""

from typing import Any, ClassVar, Protocol

from django import forms
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from hone.accounts.models import Project, User
from labeling import ranking_forms
from labeling.models.ranking_form import Reason
from labeling.ranking_forms import FormError


class Section(Protocol):
    """One part of the page: a Django form will do, once it has a `name` for its address and a `template`."""

    name: ClassVar[str]
    template: ClassVar[str]

    def __init__(self, data: Any = None, *, project: Project) -> None: ...

    def is_valid(self) -> bool: ...

    def save(self, *, actor: User) -> Any: ...


class _Row(forms.Form):
    """A row of the editor. What a form may hold, ranking_forms.parse says; only numbers are read here."""

    label = forms.CharField(label=_("Name"), required=False)

    widths: ClassVar[dict[str, str]] = {}
    new: ClassVar[dict[str, Any]] = {}

    def fields_in_order(self) -> list[tuple[str, forms.BoundField]]:
        """(CSS class, field) as the editor shows them."""
        return [(self.widths.get(name, ""), self[name]) for name in self.fields]


class ScaleRow(_Row):
    low = forms.IntegerField(label=_("Lowest"), required=False)
    high = forms.IntegerField(label=_("Highest"), required=False)
    key = forms.CharField(label=_("Name in the data"), required=False)
    low_label = forms.CharField(label=_("Lowest means"), required=False)
    high_label = forms.CharField(label=_("Highest means"), required=False)
    optional = forms.BooleanField(label=_("May be left out"), required=False)

    widths = {
        "label": "is-third",
        "low": "is-number",
        "high": "is-number",
        "key": "is-third",
        "low_label": "is-third",
        "high_label": "is-third",
        "optional": "is-third",
    }
    new = {"low": 1, "high": 7}


class FlagRow(_Row):
    help = forms.CharField(label=_("What it means"), required=False)
    key = forms.CharField(label=_("Name in the data"), required=False)

    widths = {"label": "is-third", "help": "is-wide"}


class _Choices(forms.Form):
    strength = forms.BooleanField(
        label=_("Ask how much better, where there are two answers"),
        help_text=_("Four strengths on either side take the place of tiers and of the unacceptable line."),
        required=False,
    )
    ties = forms.BooleanField(label=_("Two answers may share a tier"), required=False)
    reason = forms.ChoiceField(label=_("A reason for the order"), choices=Reason.choices)


class RankingSection:
    """What is asked about ranked answers. Every button sends the whole editor; `action` says which it was.

    "save" checks and keeps the form. "add:scales", "remove:flags:3", "preset:llama2" and "preview" change the editor
    alone, so that it works without scripts; nothing is kept by them.
    """

    name: ClassVar[str] = "ranking"
    template: ClassVar[str] = "labeling/_settings_ranking.html"
    rows_of: ClassVar[dict[str, type[_Row]]] = {"scales": ScaleRow, "flags": FlagRow}
    limits: ClassVar[dict[str, int]] = {"scales": ranking_forms.SCALES, "flags": ranking_forms.FLAGS}

    def __init__(self, data: Any = None, *, project: Project) -> None:
        self.project = project
        self.kept = ranking_forms.of(project) or ranking_forms.plain()
        self.theirs: ranking_forms.Form | None = None
        sent = data.get("based_on") if data is not None else None
        self.based_on = ranking_forms.stamp(self.kept) if sent is None else sent
        self.is_edited = data is not None
        self.action = data.get("action", "save") if data is not None else ""
        self.is_refused = False
        self.faults: list[ranking_forms.Fault] = []
        if data is None:
            self._show(self.kept)
        else:
            self._read(data)
        self.presets = [(name, title, self.edited() == form) for name, title, form in ranking_forms.presets()]

    def _read(self, data: Any) -> None:
        verb, _colon, rest = self.action.partition(":")
        if verb == "preset":
            chosen = next((form for name, _title, form in ranking_forms.presets() if name == rest), self.kept)
            self._show(chosen)
            return
        raw = {part: self._raw_rows(data, part) for part in self.rows_of}
        part, _colon, number = rest.partition(":")
        if part in raw and verb == "add" and len(raw[part]) < self.limits[part]:
            raw[part].append(dict(self.rows_of[part].new))
        elif part in raw and verb == "remove" and number.isdecimal() and int(number) < len(raw[part]):
            del raw[part][int(number)]
        self._fill(raw, {name: data.get(name, "") for name in _Choices.base_fields})

    def _raw_rows(self, data: Any, part: str) -> list[dict[str, Any]]:
        count = data.get(f"{part}-count", "")
        # One more than a form may have, so that parse can say so.
        number = min(int(count), self.limits[part] + 1) if count.isdecimal() and len(count) < 4 else 0
        fields = self.rows_of[part].base_fields
        return [{field: data.get(f"{part}-{at}-{field}", "") for field in fields} for at in range(number)]

    def _show(self, form: ranking_forms.Form) -> None:
        self._fill(
            {part: form[part] for part in self.rows_of},
            {"strength": form["strength"], "ties": form["ties"], "reason": form["reason"]},
        )

    def _fill(self, raw: dict[str, list[dict[str, Any]]], choices: dict[str, Any]) -> None:
        self.rows = {
            part: [
                row_class({f"{part}-{at}-{field}": value for field, value in row.items()}, prefix=f"{part}-{at}")
                for at, row in enumerate(raw[part])
            ]
            for part, row_class in self.rows_of.items()
        }
        self.choices = _Choices(choices)
        for form in [self.choices, *self.rows["scales"], *self.rows["flags"]]:
            form.full_clean()

    def edited(self) -> ranking_forms.Form:
        """The editor's content, as yet unchecked; rows without a name in the data get one."""
        found: dict[str, Any] = {**ranking_forms.plain(), **self.choices.cleaned_data}
        for part, rows in self.rows.items():
            values = [dict(row.cleaned_data) for row in rows]
            taken = {row.get("key", "") for row in values}
            for row in values:
                if not row.get("key") and row.get("label"):
                    row["key"] = ranking_forms.key_from(row["label"], taken)
                    taken.add(row["key"])
            found[part] = values
        return found

    def preview(self) -> ranking_forms.Form | None:
        """The editor's content where it is a usable form."""
        try:
            return ranking_forms.parse(self.edited())
        except FormError:
            return None

    @property
    def differs(self) -> bool:
        return self.is_edited and self.edited() != self.kept

    def is_valid(self) -> bool:
        """Whether this was a save, and of a form that can be used; faults are put at their fields."""
        if self.action != "save":
            return False
        unread = [row for rows in self.rows.values() for row in rows if row.errors]
        try:
            ranking_forms.parse(self.edited())
        except FormError as error:
            for fault in error.faults:
                self._put(fault)
            self.is_refused = True
        else:
            self.is_refused = bool(unread) or not self.choices.is_valid()
        return not self.is_refused

    def _put(self, fault: ranking_forms.Fault) -> None:
        rows = self.rows.get(fault.part, [])
        if fault.row is None or fault.row >= len(rows) or fault.field not in rows[fault.row].fields:
            self.faults.append(fault)
            return
        row = rows[fault.row]
        # Where the name is missing too, the key will be made from it.
        made_later = fault.field == "key" and not row["key"].value() and row.has_error("label")
        if not made_later and not row.has_error(fault.field):
            row.add_error(fault.field, fault.sentence)

    def save(self, *, actor: User) -> str:
        """Keeps the form; answers with the sentence for the page, none where somebody else was faster."""
        try:
            ranking_forms.change(project=self.project, form=self.edited(), actor=actor, based_on=self.based_on)
        except ranking_forms.Changed as error:
            self.faults.append(ranking_forms.Fault("form", str(error)))
            self.is_refused = True
            # What was typed stays and now stands on the newest form: who saves again has seen what that replaces.
            self.theirs = self.kept = ranking_forms.of(self.project) or ranking_forms.plain()
            self.based_on = ranking_forms.stamp(self.kept)
            return ""
        return _t("The ranking form is saved. Items handed out from now on ask by it.")
