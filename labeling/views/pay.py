"""The managers' pages about pay: rates, balances and closing a period, one person's ledger, the ledger as CSV."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST

from hone.accounts import access
from hone.accounts.models import Project, User
from hone.audit.models import record
from labeling import earnings, pay, payouts
from labeling.forms_pay import BonusForm, CloseForm, CorrectForm, PayRateForm
from labeling.models import LedgerEntry, PayRate
from labeling.views import signed_in

ENTRIES_A_PAGE = 50


def _managed(request: HttpRequest, slug: str) -> tuple[User, Project]:
    user = signed_in(request)
    return user, access.project_for(user, slug, roles=access.MANAGERS)


@login_required
def rates(request: HttpRequest, slug: str) -> HttpResponse:
    """What the project pays: all rates, newest first, and a form for the next one."""
    user, project = _managed(request, slug)
    form = PayRateForm(request.POST if request.method == "POST" else None, project=project)
    if request.method == "POST" and form.is_valid():
        form.save(actor=user)
        messages.success(request, _("The rate is saved."))
        return redirect("labeling:pay_rates", slug=slug)
    found = PayRate.objects.filter(project=project).select_related("user", "made_by")
    used = set(LedgerEntry.objects.filter(project=project).order_by().values_list("rate", flat=True).distinct())
    rows = [{"rate": rate, "is_used": rate.pk in used} for rate in found]
    current = pay.rate_of(project, user)
    context = {"project": project, "form": form, "rows": rows, "current": current}
    return render(request, "labeling/pay_rates.html", context)


@login_required
@require_POST
def withdraw(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """Removes a rate by which nobody was paid."""
    user, project = _managed(request, slug)
    try:
        pay.withdraw_rate(rate=get_object_or_404(PayRate, pk=pk, project=project), actor=user)
    except pay.RateUsed:
        messages.error(request, _("People were paid by this rate meanwhile, so it stays. Add another one instead."))
    else:
        messages.success(request, _("The rate is withdrawn."))
    return redirect("labeling:pay_rates", slug=slug)


@login_required
def balances(request: HttpRequest, slug: str) -> HttpResponse:
    """What everybody has earned and is owed; a POST closes a period."""
    user, project = _managed(request, slug)
    rows = payouts.balances(LedgerEntry.objects.filter(project=project))
    people = User.objects.in_bulk({row["user"] for row in rows})
    form = CloseForm(request.POST if request.method == "POST" else None, project=project, people=list(people))
    if request.method == "POST" and form.is_valid():
        values = form.cleaned_data
        made = payouts.close(
            project=project, actor=user, user=values["user"], up_to=values["until"], reason=values["reason"]
        )
        if made:
            said = ngettext("%(n)d payout is written.", "%(n)d payouts are written.", len(made)) % {"n": len(made)}
            messages.success(request, said)
        else:
            messages.info(request, _("There was nothing left to pay."))
        return redirect("labeling:pay", slug=slug)
    context = {
        "project": project,
        "form": form,
        "rows": [{**row, "person": people[row["user"]]} for row in rows],
        "is_paid": earnings.is_paid(project),
        "payouts": earnings.entries_of(project).filter(kind=LedgerEntry.Kind.PAYOUT)[:10],
    }
    return render(request, "labeling/pay.html", context)


@login_required
def person(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """One person's ledger; a POST adds a bonus, or corrects an entry by a new row."""
    user, project = _managed(request, slug)
    author = _person(project, pk)
    action = request.POST.get("action")
    paid_by = pay.rate_of(project, author)
    start = {"currency": paid_by.currency} if paid_by else None
    bonus = BonusForm(request.POST if action == "bonus" else None, initial=start)
    correct = CorrectForm(request.POST if action == "correct" else None)
    if action == "bonus" and bonus.is_valid():
        pay.bonus(project=project, user=author, actor=user, **bonus.cleaned_data)
        messages.success(request, _("The bonus is written."))
        return redirect("labeling:pay_person", slug=slug, pk=pk)
    corrected = _entry(project, author, request.POST.get("entry") or request.GET.get("correct"))
    if action == "correct" and correct.is_valid():
        if corrected is None:
            raise Http404(_("There is no such entry."))
        values = correct.cleaned_data
        pay.correct(entry=corrected, amount=values["amount"], reason=values["reason"], actor=user)
        messages.success(request, _("The correction is written."))
        return redirect("labeling:pay_person", slug=slug, pk=pk)
    context = {
        "project": project,
        "author": author,
        "bonus": bonus,
        "correct": correct,
        "corrected": corrected,
        "rate": paid_by,
        "money": earnings.of_person(project, author),
        "page_obj": Paginator(earnings.entries_of(project, author), ENTRIES_A_PAGE).get_page(request.GET.get("page")),
    }
    refused = bool(bonus.errors or correct.errors)
    return render(request, "labeling/pay_person.html", context, status=400 if refused else 200)


@login_required
def ledger_csv(request: HttpRequest, slug: str) -> StreamingHttpResponse:
    """The ledger, all of it or a person's or the payouts alone, oldest first."""
    user, project = _managed(request, slug)
    entries: Any = LedgerEntry.objects.filter(project=project)
    if asked := request.GET.get("person"):
        entries = entries.filter(user=_person(project, _number(asked) or 0))
    if request.GET.get("kind") in LedgerEntry.Kind.values:
        entries = entries.filter(kind=request.GET["kind"])
    record("ledger.exported", project, actor=user, query=request.GET.dict())
    lines = payouts.csv_lines(entries, bom=request.GET.get("bom") == "1")
    answer = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{project.slug}-ledger.csv"'
    return answer


def _person(project: Project, pk: int) -> User:
    """Somebody who is or was a member, or stands in the ledger. Raises Http404."""
    found = User.objects.filter(pk=pk).first() if pk < 2**63 else None
    if found is None or not (
        project.memberships.filter(user=found).exists()
        or LedgerEntry.objects.filter(project=project, user=found).exists()
    ):
        raise Http404(_("There is no such person in this project."))
    return found


def _entry(project: Project, author: User, text: str | None) -> LedgerEntry | None:
    number = _number(text)
    return None if number is None else earnings.entries_of(project, author).filter(pk=number).first()


def _number(text: str | None) -> int | None:
    """What may be a row's id. The length comes first: Python refuses to read thousands of digits."""
    if not text or len(text) > 18 or not text.isascii() or not text.isdecimal():
        return None
    return int(text)
