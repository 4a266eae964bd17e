"""What people could not judge: for leads, who withdraw such items and restore them."""

from itertools import chain

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST

from hone.accounts import access
from labeling import verdicts, withdrawal
from labeling.models import Item, Slot
from labeling.review import blind
from labeling.views import signed_in

ITEMS_A_PAGE = 20


@login_required
def unjudged(request: HttpRequest, slug: str) -> HttpResponse:
    """Items that two people could not judge, or with ?least=1 one, and those that are withdrawn."""
    user = signed_in(request)
    project = access.project_for(user, slug, roles=access.LEADS)
    least = 1 if request.GET.get("least") == "1" else verdicts.ENOUGH
    page = Paginator(verdicts.items(project, least=least), ITEMS_A_PAGE).get_page(request.GET.get("page"))
    withdrawn = (
        Item.objects.filter(project=project, withdrawn_at__isnull=False)
        .select_related("prompt", "withdrawn_by")
        .annotate(closed=Count("slots", filter=Q(slots__state=Slot.State.WITHDRAWN, slots__hidden="")))
        .order_by("-withdrawn_at", "-pk")
    )
    gone = Paginator(withdrawn, ITEMS_A_PAGE).get_page(request.GET.get("withdrawn"))
    said = verdicts.said_of([*page, *gone])
    if blind.hides_names(project, role=access.role_in(user, project)):
        for answer in chain.from_iterable(said.values()):
            blind.rename(answer["author"], project=project)
    context = {
        "project": project,
        "can_manage": access.role_in(user, project) == access.MANAGER,
        "can_read_data": True,
        "overview": verdicts.overview(project),
        "least": least,
        "page_obj": page,
        "rows": [{"item": item, "said": said.get(item.pk, [])} for item in page],
        "withdrawn_page": gone,
        "withdrawn": [{"item": item, "said": said.get(item.pk, [])} for item in gone],
    }
    return render(request, "labeling/unjudged.html", context)


@login_required
@require_POST
def withdraw(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """Hands the item out no more. Managers."""
    user = signed_in(request)
    project = access.project_for(user, slug, roles=access.MANAGERS)
    item = get_object_or_404(Item, pk=pk, project=project)
    try:
        closed = withdrawal.withdraw(item=item, actor=user)
    except withdrawal.NotPossible:
        messages.error(request, _("This item was withdrawn already."))
    else:
        done = ngettext(
            "The item is withdrawn; %(n)d open place is closed.",
            "The item is withdrawn; %(n)d open places are closed.",
            closed,
        )
        messages.success(request, done % {"n": closed})
    return redirect("labeling:unjudged", slug=slug)


@login_required
@require_POST
def restore(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """Hands the item out again. Managers."""
    user = signed_in(request)
    project = access.project_for(user, slug, roles=access.MANAGERS)
    item = get_object_or_404(Item, pk=pk, project=project)
    try:
        opened = withdrawal.restore(item=item, actor=user)
    except withdrawal.NotPossible:
        messages.error(request, _("This item was restored already."))
    else:
        done = ngettext(
            "The item is restored; %(n)d place is open again.",
            "The item is restored; %(n)d places are open again.",
            opened,
        )
        messages.success(request, done % {"n": opened})
    return redirect("labeling:unjudged", slug=slug)
