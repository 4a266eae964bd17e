"""The managers' page of a project's invitations. The link of one is shown once, when it is made."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from hone.accounts import access
from hone.accounts import invitations as workflow
from hone.accounts.models import Invitation, Membership
from labeling.views import signed_in

INVITATIONS_A_PAGE = 50


class InvitationForm(forms.Form):
    role = forms.ChoiceField(label=_("Role"), choices=Membership.Role.choices, initial=Membership.Role.CONTRACTOR)
    max_uses = forms.IntegerField(
        label=_("For how many people"), min_value=1, max_value=1000, initial=1, help_text=_("1 to 1000.")
    )
    days = forms.IntegerField(label=_("Valid for, days"), min_value=1, max_value=90, initial=7, help_text=_("1 to 90."))
    note = forms.CharField(
        label=_("Note"), max_length=200, required=False, help_text=_("For managers, such as whom it is for.")
    )


@login_required
@never_cache
def invitations(request: HttpRequest, slug: str) -> HttpResponse:
    """All invitations with their state, and a form; a POST makes one and shows its link this once."""
    user = signed_in(request)
    project = access.project_for(user, slug, roles=access.MANAGERS)
    form = InvitationForm(request.POST if request.method == "POST" else None)
    link = None
    if request.method == "POST" and form.is_valid():
        values = form.cleaned_data
        _made, token = workflow.invite(
            project=project,
            role=values["role"],
            note=values["note"],
            max_uses=values["max_uses"],
            expires_at=timezone.now() + timedelta(days=values["days"]),
            actor=user,
        )
        # Behind "#" the token stays in the browser: no server's log and no Referer header has it.
        link = f"{request.build_absolute_uri(reverse('hone:join'))}#{token}"
        form = InvitationForm()
    rows = project.invitations.select_related("made_by").prefetch_related("joined__user")
    page = Paginator(rows, INVITATIONS_A_PAGE).get_page(request.GET.get("page"))
    able = workflow.who_may_invite(project, {row.made_by_id for row in page})
    shown: list[dict[str, Any]] = [
        {"invitation": row, "closed": workflow.why_closed(row, may_invite=able)} for row in page
    ]
    context = {"project": project, "form": form, "link": link, "rows": shown, "page_obj": page}
    return render(request, "labeling/invitations.html", context)


@login_required
@require_POST
def revoke(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    user = signed_in(request)
    project = access.project_for(user, slug, roles=access.MANAGERS)
    workflow.revoke(invitation=get_object_or_404(Invitation, pk=pk, project=project), actor=user)
    return redirect("labeling:invitations", slug=slug)
