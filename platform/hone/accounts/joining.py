"""The page of an invitation's link: join as who you are, or with a new account.

The link carries its token behind `#`, where no server, log or Referer header sees it; the page's script sends it in
the body of a POST, and from then on the session remembers which invitation was shown.
"""

from typing import Any

from axes.handlers.proxy import AxesProxyHandler
from django import forms
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.forms import BaseUserCreationForm
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from hone.accounts import invitations
from hone.accounts.models import Invitation, Membership, User
from hone.audit.models import record

_SESSION_KEY = "invitation"
_BACKEND = "hone.accounts.backends.Backend"


class NewAccountForm(BaseUserCreationForm):
    """User name, the name that others see, and a password by the site's rules."""

    class Meta:
        model = User
        fields = ["username", "display_name"]
        error_messages = {"username": {"unique": _("This name is taken; choose another one.")}}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.is_taken = False
        self.fields["username"].widget.attrs.pop("autofocus", None)
        self.fields["username"].help_text = _("For logging in: letters, digits and @ . + - _")
        self.fields["display_name"].help_text = _("How managers see you. Empty: your user name.")
        self.fields["display_name"].widget.attrs["autocomplete"] = "name"

    def clean_username(self) -> str:
        """Names that differ in their case alone would be taken for each other."""
        name: str = self.cleaned_data["username"]
        if User.objects.filter(username__iexact=name).exists():
            self.is_taken = True
            raise forms.ValidationError(_t("This name is taken; choose another one."))
        return name


@never_cache
@sensitive_post_parameters("code", "password1", "password2")
def join(request: HttpRequest) -> HttpResponse:
    """Without an invitation in the session it asks for the code; with one it says what it is and takes people in."""
    if "code" in request.POST:
        found = invitations.find(request.POST["code"].strip())
        if found is None:
            return _page(
                request, sentence=_t("There is no such invitation. Copy the whole link once more."), status=404
            )
        request.session[_SESSION_KEY] = found.pk
        return redirect("hone:join")
    invitation = _shown(request)
    if invitation is None:
        return _page(request)
    if request.method == "POST":
        return _as_oneself(request, invitation) if request.user.is_authenticated else _as_new(request, invitation)
    if sentence := _hindrance(request, invitation):
        return _page(request, sentence=sentence, status=410)
    return _page(request, invitation=invitation, form=NewAccountForm())


def _shown(request: HttpRequest) -> Invitation | None:
    shown: int = request.session.get(_SESSION_KEY) or 0
    return Invitation.objects.select_related("project").filter(pk=shown).first()


def _hindrance(request: HttpRequest, invitation: Invitation) -> str:
    """Why it is of no use to this person. Members read that they are members, whatever became of the invitation."""
    if isinstance(request.user, User):
        member = Membership.objects.filter(user=request.user, project=invitation.project).first()
        if member is not None:
            return "" if member.is_active else _must_ask()
    return invitations.why_closed(invitation)


def _must_ask() -> str:
    return _t("You were taken out of this project. Ask its manager to let you in again; this link cannot.")


def _as_oneself(request: HttpRequest, invitation: Invitation) -> HttpResponse:
    assert isinstance(request.user, User)
    try:
        project = invitations.join(invitation_id=invitation.pk, user=request.user)
    except invitations.MustAsk:
        return _page(request, sentence=_must_ask(), status=403)
    except invitations.Closed as error:
        return _page(request, sentence=str(error), status=410)
    except invitations.AlreadyThere:
        project = invitation.project
        messages.info(request, _t("You are a member of this project already."))
    else:
        messages.success(request, _t("Welcome: you are a member of this project now."))
    request.session.pop(_SESSION_KEY, None)
    return redirect("labeling:project", slug=project.slug)


def _as_new(request: HttpRequest, invitation: Invitation) -> HttpResponse:
    """The account and the membership come together or not at all.

    Whoever has a link could try which names exist: five taken ones close it for a while, as wrong passwords do.
    """
    trying = {"username": f"invitation {invitation.pk}"}
    if not AxesProxyHandler.is_allowed(request, trying):
        return _page(request, sentence=_t("Too many names were tried. Wait a quarter of an hour."), status=429)
    form = NewAccountForm(request.POST)
    if sentence := invitations.why_closed(invitation):
        return _page(request, sentence=sentence, status=410)
    if form.is_valid():
        try:
            with transaction.atomic():
                user = form.save()
                record("account.created", user, actor=user, invitation=invitation.pk)
                project = invitations.join(invitation_id=invitation.pk, user=user)
        except invitations.Closed as error:
            return _page(request, sentence=str(error), status=410)
        except IntegrityError:  # somebody else took the name a moment ago
            form.is_taken = True
            form.add_error("username", _t("This name is taken; choose another one."))
        else:
            login(request, user, backend=_BACKEND)
            request.session.pop(_SESSION_KEY, None)
            messages.success(request, _t("Welcome: you are a member of this project now."))
            return redirect("labeling:project", slug=project.slug)
    if form.is_taken:
        AxesProxyHandler.user_login_failed(sender=join, credentials=trying, request=request)
        request.axes_locked_out = False  # type: ignore[attr-defined]  # its page would speak of passwords
    return _page(request, invitation=invitation, form=form, status=400)


def _page(request: HttpRequest, *, status: int = 200, **context: Any) -> HttpResponse:
    return render(request, "hone/join.html", context, status=status)
