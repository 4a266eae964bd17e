"""The pages and endpoints of pay: who reaches them, what a form refuses, what one sees of one's own."""

import csv
import io
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from hone.accounts.models import Project, User
from hone.audit.models import Event
from labeling import booking, pay, payouts
from labeling.models import LedgerEntry, PayRate, Retraction
from tests import factories
from tests.labeling.test_pay import piece, ranked

pytestmark = pytest.mark.django_db
RATES, PAY = "/p/alpha/settings/pay/", "/p/alpha/pay/"
GOOD = {"basis": "piece", "currency": "eur", "per_demonstration": "2.50", "per_ranking": "0.4"}


@pytest.fixture
def earned(project: Project, manager: User, contractor: User) -> LedgerEntry:
    """One ranking that was paid."""
    piece(project, manager)
    ranked(contractor, project)
    booking.book_all()
    return LedgerEntry.objects.get()


def see(client: Client, user: User, path: str) -> Any:
    client.force_login(user)
    return client.get(path)


@pytest.mark.parametrize(
    ("who", "status"), [("manager", 200), ("reviewer", 403), ("contractor", 403), ("outsider", 404)]
)
def test_only_managers_see_and_change_pay(
    request: pytest.FixtureRequest,
    client: Client,
    api: APIClient,
    earned: LedgerEntry,
    contractor: User,
    who: str,
    status: int,
) -> None:
    user = request.getfixturevalue(who)
    person = f"{PAY}{contractor.pk}/"
    for path in (RATES, PAY, person, f"{PAY}ledger.csv"):
        assert see(client, user, path).status_code == status
    posts: list[tuple[str, dict[str, str]]] = [
        (RATES, GOOD),
        (PAY, {}),
        (person, {"action": "bonus", "amount": "1", "currency": "EUR", "reason": "Thanks"}),
        (f"{RATES}{earned.rate_id}/withdraw/", {}),
    ]
    for path, body in posts:
        assert client.post(path, body).status_code == (302 if status == 200 else status)
    assert LedgerEntry.objects.exclude(kind="earned").exists() is (status == 200)
    assert PayRate.objects.count() == (2 if status == 200 else 1)
    api.force_authenticate(user)
    assert api.get("/api/v1/projects/alpha/ledger/").status_code == status


class TestRates:
    def test_saving_writes_a_rate_and_an_event(self, client: Client, project: Project, manager: User) -> None:
        client.force_login(manager)
        answer = client.post(RATES, {**GOOD, "per_hour": "99"}, follow=True)
        assert "The rate is saved." in answer.content.decode()
        rate = PayRate.objects.get()
        assert (rate.currency, rate.per_demonstration, rate.per_ranking, rate.per_hour) == (
            "EUR", Decimal("2.5"), Decimal("0.4"), None
        )  # fmt: skip
        assert Event.objects.get(verb="pay.rate_set").actor == manager

    def test_a_person_and_a_moment(self, client: Client, project: Project, manager: User, contractor: User) -> None:
        client.force_login(manager)
        sent = {"basis": "hourly", "currency": "USD", "per_hour": "20", "seconds_cap": "600", "user": contractor.pk}
        client.post(RATES, {**sent, "effective_from": "2026-01-02T03:04"})
        rate = PayRate.objects.get()
        assert (rate.user, rate.per_hour, rate.seconds_cap) == (contractor, Decimal(20), 600)
        assert rate.effective_from.isoformat() == "2026-01-02T03:04:00+00:00"

    @pytest.mark.parametrize(
        ("wrong", "sentence"),
        [
            ({"currency": "EURO"}, "at most 3"),
            ({"currency": "XYZ"}, "XYZ is no currency"),
            ({"currency": ""}, "Say in which currency."),
            ({"per_ranking": "", "per_demonstration": ""}, "Say what a demonstration or a ranking is paid."),
            ({"per_ranking": "-1"}, "greater than or equal to 0"),
            ({"per_ranking": "0.00001"}, "no more than 4 decimal places"),
            ({"per_ranking": "NaN"}, "Enter a number."),
            ({"basis": "hourly"}, "Say what an hour is paid."),
            ({"basis": "project"}, "Choose the person"),
            ({"basis": "salary"}, "Select a valid choice"),
            ({"effective_from": "soon"}, "Enter a valid date/time."),
            ({"user": "999999"}, "Select a valid choice"),
        ],
    )
    def test_a_fault_is_said_and_what_was_typed_stays(
        self, client: Client, project: Project, manager: User, wrong: dict[str, str], sentence: str
    ) -> None:
        client.force_login(manager)
        page = client.post(RATES, {**GOOD, **wrong}).content.decode()
        assert sentence in page and 'value="2.50"' in page or "per_demonstration" in wrong
        assert sentence in page and not PayRate.objects.exists()

    def test_withdrawing(self, client: Client, earned: LedgerEntry, project: Project, manager: User) -> None:
        planned = piece(project, manager, effective_from=timezone.now() + timedelta(days=1))
        client.force_login(manager)
        assert "in the ledger" in client.get(RATES).content.decode()
        for rate, said in ((planned, "The rate is withdrawn."), (earned.rate, "so it stays")):
            assert rate is not None
            assert said in client.post(f"{RATES}{rate.pk}/withdraw/", follow=True).content.decode()
        assert PayRate.objects.get() == earned.rate


class TestLedger:
    def test_closing_writes_a_payout_and_says_when_nothing_is_left(
        self, client: Client, earned: LedgerEntry, manager: User, contractor: User
    ) -> None:
        client.force_login(manager)
        assert "1 payout is written." in client.post(PAY, {"reason": "T-1"}, follow=True).content.decode()
        assert "nothing left to pay" in client.post(PAY, {}, follow=True).content.decode()
        made = LedgerEntry.objects.get(kind="payout")
        assert (made.user, made.amount, made.reason, made.actor) == (contractor, Decimal("-0.5"), "T-1", manager)
        assert client.get(PAY).context["rows"][0]["balance"] == 0

    def test_a_day_to_come_cannot_be_closed(self, client: Client, earned: LedgerEntry, manager: User) -> None:
        client.force_login(manager)
        day = (timezone.localdate() + timedelta(days=1)).isoformat()
        assert "has not come yet" in client.post(PAY, {"until": day}).content.decode()
        assert LedgerEntry.objects.count() == 1
        client.post(PAY, {"until": (timezone.localdate() - timedelta(days=1)).isoformat()})
        assert LedgerEntry.objects.count() == 1  # nothing was earned by then
        client.post(PAY, {"until": timezone.localdate().isoformat()})
        assert LedgerEntry.objects.count() == 2

    @pytest.mark.parametrize(
        ("sent", "sentence"),
        [
            ({"action": "correct", "amount": "0", "reason": "x"}, "corrects nothing"),
            ({"action": "correct", "amount": "1", "reason": ""}, "required"),
            ({"action": "bonus", "amount": "-1", "currency": "EUR", "reason": "x"}, "greater than or equal"),
            ({"action": "bonus", "amount": "1", "currency": "ABC", "reason": "x"}, "no currency"),
        ],
    )
    def test_a_faulty_decision_writes_nothing(
        self, client: Client, earned: LedgerEntry, manager: User, contractor: User, sent: dict[str, str], sentence: str
    ) -> None:
        client.force_login(manager)
        answer = client.post(f"{PAY}{contractor.pk}/", {**sent, "entry": earned.pk})
        assert answer.status_code == 400 and sentence in answer.content.decode()
        assert LedgerEntry.objects.count() == 1

    def test_a_correction_points_at_the_entry_of_this_person_alone(
        self, client: Client, earned: LedgerEntry, manager: User, contractor: User, reviewer: User
    ) -> None:
        client.force_login(manager)
        sent = {"action": "correct", "amount": "-0.2", "reason": "Half done", "entry": earned.pk}
        assert client.post(f"{PAY}{reviewer.pk}/", sent).status_code == 404
        for none in ("9" * 30, "9" * 5000, "x"):  # Python reads no more than 4300 digits
            assert client.post(f"{PAY}{contractor.pk}/", {**sent, "entry": none}).status_code in {400, 404}
            assert client.get(f"{PAY}{contractor.pk}/?correct={none}").status_code == 200
            assert client.get(f"{PAY}ledger.csv?person={none}").status_code == 404
        assert client.post(f"{PAY}{contractor.pk}/", sent).status_code == 302
        made = LedgerEntry.objects.get(kind="correction")
        assert (made.amount, made.corrects, made.actor) == (Decimal("-0.2"), earned, manager)

    @pytest.mark.slow
    def test_as_csv_without_formulas(
        self, client: Client, earned: LedgerEntry, project: Project, manager: User, contractor: User
    ) -> None:
        User.objects.filter(pk=contractor.pk).update(display_name="=cmd()")
        pay.bonus(project=project, user=contractor, amount=Decimal(1), currency="EUR", reason="@sum", actor=manager)
        payouts.close(project=project, actor=manager)
        client.force_login(manager)
        text = b"".join(client.get(f"{PAY}ledger.csv?bom=1").streaming_content).decode()
        rows = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))
        assert text.startswith("\ufeff") and [row["kind"] for row in rows] == ["earned", "bonus", "payout"]
        assert rows[0]["name"] == "'=cmd()" and rows[1]["reason"] == "'@sum" and rows[2]["amount"] == "-1.5000"
        paid = b"".join(client.get(f"{PAY}ledger.csv?kind=payout").streaming_content).decode()
        assert len(list(csv.DictReader(io.StringIO(paid)))) == 1
        mine = b"".join(client.get(f"{PAY}ledger.csv?person={manager.pk}").streaming_content).decode()
        assert not list(csv.DictReader(io.StringIO(mine)))

    @pytest.mark.parametrize("path", [PAY, f"{PAY}{{pk}}/", "/p/alpha/me/", "/p/alpha/members/", "/me/", RATES])
    def test_the_same_queries_for_more(
        self, client: Client, earned: LedgerEntry, project: Project, manager: User, contractor: User, path: str
    ) -> None:
        numbers = []
        for _ in range(2):
            for _ in range(3):
                ranked(factories.make_member(project), project)
                ranked(contractor, project)
                other = factories.make_project()
                other.memberships.create(user=manager, role="contractor")
            booking.book_all()
            payouts.close(project=project, actor=manager)
            client.force_login(manager)
            client.get(path.format(pk=contractor.pk))
            with CaptureQueriesContext(connection) as caught:
                assert client.get(path.format(pk=contractor.pk)).status_code == 200
            numbers.append(len(caught))
        assert numbers[0] == numbers[1]


class TestOnesOwn:
    def test_a_person_sees_their_own_money_and_nobody_elses(
        self, client: Client, api: APIClient, earned: LedgerEntry, project: Project, manager: User, contractor: User
    ) -> None:
        ranked(factories.make_member(project, username="rich"), project)
        pay.bonus(
            project=project,
            user=User.objects.get(username="rich"),
            amount=Decimal(777),
            currency="EUR",
            reason="x",
            actor=manager,
        )
        page = see(client, contractor, "/p/alpha/me/")
        [money] = page.context["money"]
        assert (money["today"], money["all"], money["paid"], money["balance"]) == (
            Decimal("0.5"), Decimal("0.5"), 0, Decimal("0.5")
        )  # fmt: skip
        assert "0.50 EUR" in page.content.decode() and "777" not in page.content.decode()
        api.force_authenticate(contractor)
        rows = api.get("/api/v1/projects/alpha/ledger/mine/").json()["results"]
        assert [(row["amount"], row["kind"], row["annotator"]) for row in rows] == [
            ("0.5000", "earned", f"a{contractor.pk}")
        ]

    def test_a_payout_lowers_the_balance_and_not_the_earnings(
        self, client: Client, earned: LedgerEntry, project: Project, manager: User, contractor: User
    ) -> None:
        payouts.close(project=project, actor=manager)
        [money] = see(client, contractor, "/p/alpha/me/").context["money"]
        assert (money["week"], money["paid"], money["balance"]) == (Decimal("0.5"), Decimal("0.5"), 0)

    def test_no_word_of_money_where_nothing_is_paid(self, client: Client, project: Project, contractor: User) -> None:
        assert "Earnings" not in see(client, contractor, "/p/alpha/me/").content.decode()

    def test_all_projects_also_those_that_were_left(
        self, client: Client, earned: LedgerEntry, project: Project, contractor: User
    ) -> None:
        project.memberships.filter(user=contractor).update(is_active=False)
        factories.make_project("beta").memberships.create(user=contractor)
        rows = {row["project"].slug: row for row in see(client, contractor, "/me/").context["rows"]}
        assert set(rows) == {"alpha", "beta"} and not rows["alpha"]["is_open"] and rows["beta"]["is_open"]
        assert rows["alpha"]["numbers"]["all"]["submitted"] == 1 and rows["alpha"]["money"][0]["balance"] == Decimal(
            "0.5"
        )
        assert client.get("/p/alpha/me/").status_code == 404


@pytest.mark.parametrize("take", [True, False])
def test_retracting_on_the_page_takes_pay_back_where_that_is_ticked(
    client: Client, earned: LedgerEntry, manager: User, contractor: User, take: bool
) -> None:
    client.force_login(manager)
    assert "also take back what was paid" in client.get(f"/p/alpha/people/{contractor.pk}/").content.decode()
    sent = {"reason": "No", **({"take_back_pay": "on"} if take else {})}
    asked = client.post(f"/p/alpha/people/{contractor.pk}/retract/", sent).content.decode()
    assert ("0.50 EUR</strong> that was earned" in asked) is take and ("stays in the ledger" in asked) is not take
    client.post(f"/p/alpha/people/{contractor.pk}/retract/", {**sent, "confirmed": "1"})
    assert LedgerEntry.objects.filter(kind="reversal").exists() is take
    client.post(f"/p/alpha/retractions/{Retraction.objects.get().pk}/restore/")
    assert sum(LedgerEntry.objects.values_list("amount", flat=True)) == Decimal("0.5")
