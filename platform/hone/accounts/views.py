"""Log-in's lock-out page and one's own account: the API tokens."""

from django import forms
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from hone.accounts.models import ApiToken
from hone.audit.models import record


class TokenForm(forms.Form):
    name = forms.CharField(
        label=_("Name"), max_length=60, help_text=_("What will use it, for example “nightly export”.")
    )


@login_required
def account(request: HttpRequest) -> HttpResponse:
    """Lists the user's tokens; a POST makes one and shows it this once."""
    form = TokenForm(request.POST or None)
    new_token = None
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            token, new_token = ApiToken.objects.create(user=request.user, name=form.cleaned_data["name"])
            record("token.created", token.user, actor=request.user, name=token.name)
        form = TokenForm()
    tokens = ApiToken.objects.filter(user=request.user)
    return render(request, "hone/account.html", {"tokens": tokens, "new_token": new_token, "form": form})


@login_required
@require_POST
@transaction.atomic
def delete_token(request: HttpRequest, token_key: str) -> HttpResponse:
    token = get_object_or_404(ApiToken, user=request.user, token_key=token_key)
    record("token.deleted", token.user, actor=request.user, name=token.name)
    token.delete()
    return redirect("hone:account")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form that was open too long, or a request from another site."""
    return render(request, "hone/403_csrf.html", status=403)


def locked_out(request: HttpRequest, credentials: object = None, *args: object) -> HttpResponse:
    """Shown by django-axes after too many wrong passwords."""
    return render(request, "hone/locked_out.html", status=429)
