"""A project's settings: sections that each check and keep one thing."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from hone.accounts import access
from labeling.forms_names import ModelNamesSection
from labeling.forms_settings import RankingSection, Section
from labeling.forms_work import WorkSection
from labeling.views import signed_in

# (title, form class), in the order of the page.
SECTIONS: list[tuple[str | Promise, type[Section]]] = [
    (_("Ranking form"), RankingSection),
    (_("Handing out"), WorkSection),
    (_("Model names in answers"), ModelNamesSection),
]


@login_required
def settings(request: HttpRequest, slug: str) -> HttpResponse:
    """Every section with its own form; `section` names the one that was sent. Managers."""
    user = signed_in(request)
    project = access.project_for(user, slug, roles=access.MANAGERS)
    sections = []
    for title, form_class in SECTIONS:
        sent = request.method == "POST" and request.POST.get("section") == form_class.name
        form = form_class(request.POST if sent else None, project=project)
        if sent and form.is_valid() and (done := form.save(actor=user)):
            messages.success(request, done)
            return redirect(reverse("labeling:settings", args=[slug]))
        sections.append({"title": title, "form": form})
    return render(request, "labeling/settings.html", {"project": project, "sections": sections})
