"""The managers' forms."""

from typing import Any

from django import forms
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from hone.accounts.models import Membership, Project, User
from labeling.models import Guideline


class GuidelineForm(forms.ModelForm):
    class Meta:
        model = Guideline
        fields = ["title", "body"]
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
            raise forms.ValidationError(_t("There is no user of this name; staff add users in the admin."))
        return name

    def save(self) -> Membership:
        """Adds the member, or changes the role of one who is there."""
        user = User.objects.get(username=self.cleaned_data["username"])
        member, _created = Membership.objects.update_or_create(
            user=user, project=self.project, defaults={"role": self.cleaned_data["role"], "is_active": True}
        )
        return member
