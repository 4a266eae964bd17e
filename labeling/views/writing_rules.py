"""The managers' page of a project's writing rules."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from hone.accounts import access
from labeling.views import signed_in
from labeling.writing_rules import Changed, WritingRulesForm


@login_required
def writing_rules(request: HttpRequest, slug: str) -> HttpResponse:
    """Shows and changes what the project asks of texts; items that are open are checked by the new rules at once."""
    user = signed_in(request)
    project = access.project_for(user, slug, roles=access.MANAGERS)
    form = WritingRulesForm(request.POST or None, project=project)
    theirs: list[tuple[str, str]] = []
    if request.method == "POST" and form.is_valid():
        try:
            form.save_for(user)
        except Changed as error:
            form.add_error(None, str(error))
            theirs = form.begin_again()
        else:
            messages.success(request, _("The writing rules are saved."))
            return redirect("labeling:writing_rules", slug=slug)
    return render(request, "labeling/writing_rules.html", {"project": project, "form": form, "theirs": theirs})
