"""The managers' forms."""

from typing import Any

from django import forms
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from hone.accounts.models import Membership, Project, User
from labeling import lanes, members, qualifying
from labeling.models import Category, Guideline


class GuidelineForm(forms.ModelForm):
    class Meta:
        model = Guideline
        fields = ["title", "body", "is_minor"]
        labels = {"is_minor": _("Minor change: no new reading")}
        help_texts = {"is_minor": _("People go on without confirming this version; labels name it all the same.")}
        widgets = {"body": forms.Textarea(attrs={"rows": 24, "spellcheck": "true"})}


class ImportForm(forms.Form):
    file = forms.FileField(
        label=_("File"),
        help_text=_("JSON Lines or a JSON list, plain or gzip: messages, conversations, Alpaca, MT-bench and more."),
    )
    kind = forms.ChoiceField(
        label=_("What it holds"),
        choices=[("prompts", _("Prompts")), ("demonstrations", _("Demonstrations (prompts with answers)"))],
    )


class MemberForm(forms.Form):
    username = forms.CharField(label=_("User name"), max_length=150)
    role = forms.ChoiceField(label=_("Role"), choices=Membership.Role.choices, initial=Membership.Role.CONTRACTOR)

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.project = project

    def clean_username(self) -> str:
        name = self.cleaned_data["username"]
        if not User.objects.filter(username=name, is_active=True).exists():
            raise forms.ValidationError(_t("There is no user of this name; invite them by a link."))
        return name

    def save(self, *, actor: User) -> Membership:
        """Raises members.LastManager."""
        user = User.objects.get(username=self.cleaned_data["username"])
        return members.add(project=self.project, user=user, role=self.cleaned_data["role"], actor=actor)


class MemberTagsForm(forms.Form):
    """What a member brings: languages (none named: any) and skills."""

    member = forms.ModelChoiceField(Membership.objects.none(), widget=forms.HiddenInput)
    languages = forms.CharField(label=_("Languages"), required=False, help_text=_("Such as en, zh. Empty: any."))
    skills = forms.CharField(label=_("Skills"), required=False, help_text=_("Such as law, python. Empty: none."))

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["member"].queryset = project.memberships.all()  # type: ignore[attr-defined]

    def clean_languages(self) -> list[str]:
        try:
            return lanes.parse_languages(self.cleaned_data["languages"])
        except lanes.BadTag as error:
            raise forms.ValidationError(str(error)) from error

    def clean_skills(self) -> list[str]:
        try:
            return lanes.parse_skills(lanes.split(self.cleaned_data["skills"]))
        except lanes.BadTag as error:
            raise forms.ValidationError(str(error)) from error

    def save(self, *, actor: User) -> None:
        lanes.set_tags(**self.cleaned_data, actor=actor)


class MemberSwitchForm(forms.Form):
    """The buttons beside a member: remove, let in again, qualify, one more attempt."""

    member = forms.ModelChoiceField(Membership.objects.none())
    action = forms.ChoiceField(
        choices=[
            ("deactivate", _("Remove")),
            ("activate", _("Let in again")),
            ("qualify", _("Qualify by hand")),
            ("give_attempt", _("One more attempt")),
        ]
    )

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["member"].queryset = project.memberships.all()  # type: ignore[attr-defined]

    def save(self, *, actor: User) -> None:
        """Raises members.LastManager."""
        change = {
            "deactivate": members.deactivate,
            "activate": members.activate,
            "qualify": qualifying.qualify,
            "give_attempt": qualifying.give_attempt,
        }[self.cleaned_data["action"]]
        change(member=self.cleaned_data["member"], actor=actor)


class PromptFilterForm(forms.Form):
    q = forms.CharField(required=False)
    category = forms.ChoiceField(required=False, choices=[("", ""), *Category.choices])
    language = forms.CharField(required=False)
