"""Rates, what labels earn by them, the ledger that never changes, and taking back and giving back."""

import threading
import uuid
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, connections, transaction
from django.utils import timezone, translation

from hone.accounts.models import Project, User
from hone.audit.models import Event
from labeling import assignment, booking, earnings, pay, payouts, responses, retraction, tasks
from labeling.models import Demonstration, Ledger, LedgerEntry, PayRate, Ranking, Slot
from labeling.review import queue
from tests import factories
from tests.labeling.test_retraction import demonstrate

pytestmark = pytest.mark.django_db


def piece(project: Project, actor: User, per_ranking: str = "0.5", **more: Any) -> PayRate:
    values = {"basis": "piece", "currency": "EUR", "per_demonstration": Decimal(2), "per_ranking": Decimal(per_ranking)}
    return pay.set_rate(project=project, actor=actor, **{**values, **more})


def hourly(project: Project, actor: User, **more: Any) -> PayRate:
    values = {"basis": "hourly", "currency": "EUR", "per_hour": Decimal(18), "seconds_cap": None}
    return pay.set_rate(project=project, actor=actor, **{**values, **more})


def ranked(user: User, project: Project, **values: Any) -> Ranking:
    label = factories.make_ranking(user, project, [[0], [1]])
    if values:
        Ranking.objects.filter(pk=label.pk).update(**values)
    return label


def rank_next(user: User, project: Project) -> Ranking:
    """As `ranked`, of an item that is open already."""
    slot = assignment.next_slot(project=project, user=user, kind="rank")
    assert slot is not None and slot.lease_token is not None
    answer = factories.rank_answer(slot, [[0], [1]])
    held = {"slot_id": slot.pk, "user": user, "lease_token": slot.lease_token}
    done = responses.submit(**held, client_key=uuid.uuid4(), answer=answer)
    assert isinstance(done.label, Ranking)
    return done.label


def amounts(**which: Any) -> list[Decimal]:
    return list(LedgerEntry.objects.filter(**which).order_by("id").values_list("amount", flat=True))


class TestEarning:
    def test_each_label_is_paid_once_by_its_kind(self, project: Project, manager: User, contractor: User) -> None:
        rate = piece(project, manager)
        label, written = ranked(contractor, project), demonstrate(contractor, project)
        tasks.book_earnings()
        tasks.book_earnings()
        found = LedgerEntry.objects.order_by("amount")
        assert [(row.amount, row.currency, row.user, row.rate, row.at) for row in found] == [
            (Decimal("0.5"), "EUR", contractor, rate, Ranking.objects.get(pk=label.pk).created_at),
            (Decimal(2), "EUR", contractor, rate, Demonstration.objects.get(pk=written.pk).created_at),
        ]

    def test_without_a_rate_there_is_no_ledger(self, project: Project, contractor: User) -> None:
        ranked(contractor, project)
        assert booking.book_all() == 0 and not Ledger.objects.exists()

    def test_an_hour_is_counted_in_seconds_in_use_up_to_the_cap(
        self, project: Project, manager: User, contractor: User
    ) -> None:
        hourly(project, manager, seconds_cap=120)
        ranked(contractor, project, active_seconds=47)
        ranked(contractor, project, active_seconds=5000)
        booking.book_all()
        rows = list(LedgerEntry.objects.order_by("id").values_list("seconds", "amount"))
        assert rows == [(47, Decimal("0.2350")), (120, Decimal("0.6000"))]

    def test_a_label_is_paid_at_the_rate_of_its_submit(self, project: Project, manager: User, contractor: User) -> None:
        ago = timezone.now() - timedelta(days=2)
        piece(project, manager, "0.5", effective_from=ago)
        ranked(contractor, project, created_at=ago + timedelta(hours=1))
        piece(project, manager, "0.7", effective_from=timezone.now() + timedelta(days=1))
        piece(project, manager, "0.6")
        ranked(contractor, project)
        booking.book_all()
        assert amounts() == [Decimal("0.5"), Decimal("0.6")]

    def test_a_persons_own_rate_comes_first_until_they_are_paid_as_everybody(
        self, project: Project, manager: User, contractor: User, reviewer: User
    ) -> None:
        piece(project, manager, "0.5")
        piece(project, manager, "0.9", user=contractor)
        ranked(contractor, project)
        ranked(reviewer, project)
        booking.book_all()
        pay.set_rate(project=project, actor=manager, user=contractor, basis="project")
        ranked(contractor, project)
        booking.book_all()
        assert amounts(user=contractor) == [Decimal("0.9"), Decimal("0.5")] and amounts(user=reviewer) == [
            Decimal("0.5")
        ]
        found = pay.rate_of(project, contractor)
        assert found is not None and found.user is None

    def test_a_rate_that_reaches_back_pays_what_was_not_paid_and_changes_nothing_else(
        self, project: Project, manager: User, contractor: User
    ) -> None:
        old = ranked(contractor, project, created_at=timezone.now() - timedelta(days=3))
        piece(project, manager, "0.5")
        new = ranked(contractor, project)
        booking.book_all()
        assert amounts() == [Decimal("0.5")]
        piece(project, manager, "0.8", effective_from=timezone.now() - timedelta(days=7))
        booking.book_all()
        assert amounts(ranking=new) == [Decimal("0.5")] and amounts(ranking=old) == [Decimal("0.8")]

    def test_scripts_imports_and_unpaid_times_earn_nothing(self, project: Project, manager: User) -> None:
        piece(project, manager)
        pay.set_rate(project=project, actor=manager, basis="nothing")
        ranked(factories.make_member(project), project)
        piece(project, manager, "0.5")
        ranked(factories.make_member(project, is_simulated=True), project)
        prompt = factories.make_prompt(project)
        prompt.demonstrations.create(project=project, author=manager, messages=prompt.messages)
        assert booking.book_all() == 0

    def test_a_retraction_alone_takes_nothing_away(self, project: Project, manager: User, contractor: User) -> None:
        piece(project, manager)
        ranked(contractor, project)
        retraction.retract(project=project, author=contractor, since=None, reason="No", ask_again=False, actor=manager)
        booking.book_all()
        assert amounts() == [Decimal("0.5")]

    def test_amounts_are_exact(self, project: Project, manager: User, contractor: User) -> None:
        piece(project, manager, "0.1")
        for _ in range(3):
            ranked(contractor, project)
        booking.book_all()
        [row] = payouts.balances(LedgerEntry.objects.all())
        assert row["balance"] == Decimal("0.3")


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    def test_a_label_that_commits_after_later_ones_is_still_paid(
        self, project: Project, manager: User, contractor: User, reviewer: User
    ) -> None:
        piece(project, manager)
        factories.make_batch(project, items=2, answers=2)
        ready, go = threading.Event(), threading.Event()

        def slow() -> None:
            try:
                with transaction.atomic():
                    rank_next(contractor, project)  # its id is drawn, and nobody sees it yet
                    ready.set()
                    go.wait(10)
            finally:
                connections.close_all()

        thread = threading.Thread(target=slow)
        thread.start()
        assert ready.wait(10)
        later = rank_next(reviewer, project)
        for _ in range(3):
            booking.book_all()
        assert amounts(ranking=later) == [Decimal("0.5")] and LedgerEntry.objects.count() == 1
        go.set()
        thread.join(10)
        earlier = Ranking.objects.get(author=contractor)
        assert earlier.pk < later.pk
        assert booking.book_all() == 1 and amounts(ranking=earlier) == [Decimal("0.5")]

    def test_the_place_moves_on_so_that_old_labels_are_not_read_again(
        self, project: Project, manager: User, contractor: User
    ) -> None:
        piece(project, manager)
        label = ranked(contractor, project)
        # Transactions of other tests, in another database of the same server, may last: as if they had ended, twice.
        Ledger.objects.update(seen_xid=1)
        booking.book_all()
        noted = Ledger.objects.get()
        assert noted.rankings_through == 0 and noted.rankings_seen == label.pk
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_current_xact_id()::text::bigint")
            assert 1 < noted.seen_xid <= cursor.fetchone()[0]
        Ledger.objects.update(seen_xid=1)
        booking.book_all()
        assert Ledger.objects.get().rankings_through == label.pk

    def test_the_place_never_passes_a_label_that_may_still_be_taken_back(
        self, project: Project, manager: User, contractor: User, reviewer: User
    ) -> None:
        """It has the lower id, and committed after the place to go to was noted."""
        piece(project, manager)
        factories.make_batch(project, items=2, answers=2)
        slow, later = rank_next(contractor, project), rank_next(reviewer, project)
        Slot.objects.filter(pk=slow.slot_id).update(final_at=timezone.now() + timedelta(seconds=60))
        # As a run leaves it that saw the later label alone; a number below all transactions': they have ended.
        Ledger.objects.update(rankings_seen=later.pk, seen_xid=1)
        assert booking.book_all() == 1 and amounts(ranking=later) == [Decimal("0.5")]
        assert Ledger.objects.get().rankings_through < slow.pk
        Slot.objects.filter(pk=slow.slot_id).update(final_at=timezone.now())
        for _ in range(3):
            booking.book_all()
        assert amounts(ranking=slow) == [Decimal("0.5")]

    def test_two_workers_write_each_entry_once(self, project: Project, manager: User, contractor: User) -> None:
        piece(project, manager)
        for _ in range(5):
            ranked(contractor, project)

        def work() -> None:
            try:
                booking.book_all()
            finally:
                connections.close_all()

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        booking.book_all()
        assert amounts() == [Decimal("0.5")] * 5

    def test_two_who_close_a_period_make_one_payout(self, project: Project, manager: User, contractor: User) -> None:
        piece(project, manager)
        ranked(contractor, project)
        made: list[int] = []

        def close() -> None:
            try:
                made.append(len(payouts.close(project=project, actor=manager)))
            finally:
                connections.close_all()

        threads = [threading.Thread(target=close) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert sorted(made) == [0, 0, 1] and amounts(kind="payout") == [Decimal("-0.5")]


class TestNothingChanges:
    @pytest.mark.parametrize(
        "change", ["UPDATE labeling_ledgerentry SET amount = 1", "DELETE FROM labeling_ledgerentry"]
    )
    def test_the_database_refuses_to_change_an_entry(
        self, project: Project, manager: User, contractor: User, change: str
    ) -> None:
        piece(project, manager)
        ranked(contractor, project)
        booking.book_all()
        with pytest.raises(IntegrityError, match="never changed"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(change.format("labeling_ledgerentry"))
        assert amounts() == [Decimal("0.5")]

    def test_a_used_rate_stays_and_an_unused_one_goes(self, project: Project, manager: User, contractor: User) -> None:
        used, unused = piece(project, manager), piece(project, manager, effective_from=timezone.now() + timedelta(1))
        ranked(contractor, project)
        with pytest.raises(pay.RateUsed):  # also where the ledger does not say so yet
            pay.withdraw_rate(rate=used, actor=manager)
        booking.book_all()
        with pytest.raises(pay.RateUsed):
            pay.withdraw_rate(rate=used, actor=manager)
        with pytest.raises(IntegrityError), transaction.atomic():
            PayRate.objects.filter(pk=used.pk).update(per_ranking=9)
        pay.withdraw_rate(rate=unused, actor=manager)
        assert list(PayRate.objects.all()) == [used]

    @pytest.mark.parametrize(
        "values",
        [
            {"basis": "piece", "per_ranking": Decimal(-1)},
            {"basis": "piece", "currency": "eur"},
            {"basis": "hourly", "per_hour": None},
            {"basis": "project"},
        ],
    )
    def test_half_a_rate_is_refused(self, project: Project, manager: User, values: dict[str, Any]) -> None:
        start = {"currency": "EUR", "per_demonstration": Decimal(1), "per_ranking": Decimal(1)}
        with pytest.raises(IntegrityError), transaction.atomic():
            PayRate.objects.create(project=project, made_by=manager, **{**start, **values})


class TestTakingBack:
    def test_a_retraction_takes_pay_back_once_and_restoring_gives_it_back(
        self, project: Project, manager: User, contractor: User
    ) -> None:
        piece(project, manager)
        label = ranked(contractor, project)  # not in the ledger yet
        written = demonstrate(contractor, project)
        made = retraction.retract(
            project=project,
            author=contractor,
            since=None,
            reason="Machine text",
            ask_again=False,
            actor=manager,
            take_back_pay=True,
        )
        assert amounts(ranking=label) == [Decimal("0.5"), Decimal("-0.5")]
        assert amounts(demonstration=written) == [Decimal(2), Decimal(-2)]
        taken = LedgerEntry.objects.get(ranking=label, kind="reversal")
        assert taken.corrects == LedgerEntry.objects.get(ranking=label, kind="earned")
        assert (taken.reason, taken.actor) == ("Machine text", manager)
        assert Event.objects.get(verb="labels.retracted").detail["pay_taken_back"] == 2
        assert pay.reverse(labels=[label, written], reason="again", actor=manager) == 0
        retraction.undo(retraction=made, actor=manager)
        assert amounts(ranking=label) == [Decimal("0.5"), Decimal("-0.5"), Decimal("0.5")]
        assert LedgerEntry.objects.filter(ranking=label).last().corrects == taken  # type: ignore[union-attr]
        booking.book_all()
        assert LedgerEntry.objects.count() == 6

    def test_what_is_said_to_be_taken_back_is_what_is(self, project: Project, manager: User, contractor: User) -> None:
        """An answer to a hidden check stays paid: retracting leaves it."""
        piece(project, manager)
        label, check = ranked(contractor, project), ranked(contractor, project, hidden="gold")
        booking.book_all()
        assert amounts(ranking=check) == [Decimal("0.5")]
        said = earnings.of_standing_labels(project=project, author=contractor, since=None)
        assert said == [{"currency": "EUR", "amount": Decimal("0.5")}]
        why: dict[str, Any] = {"since": None, "reason": "x", "ask_again": False, "actor": manager}
        retraction.retract(project=project, author=contractor, take_back_pay=True, **why)
        assert [row.ranking for row in LedgerEntry.objects.filter(kind="reversal")] == [label]

    def test_restoring_gives_back_only_what_the_same_cause_took(
        self, project: Project, manager: User, contractor: User
    ) -> None:
        piece(project, manager)
        label = ranked(contractor, project)
        assert pay.reverse(labels=[label], reason="Rejected", actor=manager, cause="review:1") == 1
        assert pay.restore(labels=[label], reason="Sorry", actor=manager, cause="retraction:1") == 0
        assert pay.restore(labels=[label], reason="Sorry", actor=manager, cause="review:1") == 1
        assert pay.restore(labels=[label], reason="Sorry", actor=manager, cause="review:1") == 0
        assert pay.reverse(labels=[label], reason="After all", actor=manager, cause="review:1") == 1
        assert sum(amounts()) == 0 and pay.reverse(labels=[], reason="", actor=manager) == 0

    def test_what_was_corrected_is_taken_back_whole(self, project: Project, manager: User, contractor: User) -> None:
        piece(project, manager)
        label = ranked(contractor, project)
        booking.book_all()
        entry = LedgerEntry.objects.get()
        made = pay.correct(entry=entry, amount=Decimal("0.25"), reason="Long text", actor=manager)
        assert (made.ranking, made.corrects, made.kind) == (label, entry, "correction")
        pay.reverse(labels=[label], reason="No", actor=manager)
        assert amounts() == [Decimal("0.5"), Decimal("0.25"), Decimal("-0.75")]


class TestReturnedWork:
    @pytest.fixture
    def corrected(self, project: Project, contractor: User, reviewer: User) -> list[Demonstration]:
        """Returned twice, and corrected twice."""
        found = factories.make_review(contractor, project, reviewer)
        labels = [found.demonstration]
        for text in ("Better.", "Best."):
            factories.give_verdict(found, reviewer, "return")
            labels.append(factories.write_next(contractor, project, text))
            following = queue.next_review(project=project, user=reviewer)
            assert following is not None
            found = following
        return labels  # type: ignore[return-value]

    @pytest.mark.parametrize("booked", ["at once", "each"])
    def test_a_piece_is_paid_once_for_what_came_of_it(
        self, project: Project, manager: User, contractor: User, reviewer: User, booked: str
    ) -> None:
        piece(project, manager)
        found = factories.make_review(contractor, project, reviewer)
        assert booked == "at once" or booking.book_all() == 1
        factories.give_verdict(found, reviewer, "return")
        assert booked == "at once" or booking.book_all() == 0  # with its author it stays paid
        after = factories.write_next(contractor, project, "Better.")
        assert booking.book_all() == (3 if booked == "at once" else 2) and booking.book_all() == 0
        assert amounts(demonstration=found.demonstration) == [Decimal(2), Decimal(-2)]
        assert amounts(demonstration=after) == [Decimal(2)]
        taken = LedgerEntry.objects.get(kind="reversal")
        assert (taken.cause, taken.actor, taken.at) == (f"review:{found.pk}", reviewer, after.created_at)
        assert taken.corrects == LedgerEntry.objects.get(kind="earned", demonstration=found.demonstration)
        with translation.override("zh-hans"):
            assert taken.reason_shown == translation.gettext("Replaced by its correction")

    def test_so_it_is_after_several_returns_and_a_lead_may_still_add_to_it(
        self, project: Project, manager: User, corrected: list[Demonstration]
    ) -> None:
        piece(project, manager, effective_from=timezone.now() - timedelta(hours=1))
        booking.book_all()
        first, second, last = (amounts(demonstration=label) for label in corrected)
        assert first == second == [Decimal(2), Decimal(-2)] and last == [Decimal(2)]
        entry = LedgerEntry.objects.get(kind="earned", demonstration=corrected[0])
        pay.correct(entry=entry, amount=Decimal(1), reason="It was good work", actor=manager)
        Ledger.objects.update(demonstrations_through=0, demonstrations_seen=0, seen_xid=0)
        assert booking.book_all() == 0 and sum(amounts()) == 3

    @pytest.mark.parametrize("before", ["piece", "hourly"])
    def test_time_that_was_worked_stays_paid(
        self, project: Project, manager: User, contractor: User, reviewer: User, before: str
    ) -> None:
        (piece if before == "piece" else hourly)(project, manager)
        found = factories.make_review(contractor, project, reviewer)
        booking.book_all()
        hourly(project, manager)
        factories.give_verdict(found, reviewer, "return")
        factories.write_next(contractor, project, "Better.", active_seconds=60)
        booking.book_all()
        assert set(LedgerEntry.objects.values_list("kind", flat=True)) == {"earned"}
        assert LedgerEntry.objects.count() == 2

    def test_rejected_work_stays_paid_until_a_lead_decides(
        self, project: Project, manager: User, contractor: User, reviewer: User
    ) -> None:
        piece(project, manager)
        factories.give_verdict(factories.make_review(contractor, project, reviewer), reviewer, "reject")
        booking.book_all()
        assert amounts() == [Decimal(2)]


class TestPayouts:
    def test_a_balance_is_paid_in_whole_coins_and_the_rest_stays(
        self, project: Project, manager: User, contractor: User
    ) -> None:
        piece(project, manager, "0.3333")
        ranked(contractor, project)
        [made] = payouts.close(project=project, actor=manager, reason="Transfer 7")
        assert (made.amount, made.user, made.reason) == (Decimal("-0.33"), contractor, "Transfer 7")
        assert payouts.close(project=project, actor=manager) == []
        [row] = payouts.balances(LedgerEntry.objects.filter(user=contractor))
        assert (row["earned"], row["paid"], row["balance"]) == (Decimal("0.3333"), Decimal("0.33"), Decimal("0.0033"))

    def test_up_to_a_moment_of_one_person(
        self, project: Project, manager: User, contractor: User, reviewer: User
    ) -> None:
        ago = timezone.now() - timedelta(days=2)
        piece(project, manager, effective_from=ago)
        ranked(contractor, project, created_at=ago + timedelta(hours=1))
        ranked(contractor, project)
        ranked(reviewer, project)
        up_to = ago + timedelta(hours=2)
        [made] = payouts.close(project=project, actor=manager, user=contractor, up_to=up_to)
        assert (made.amount, made.up_to) == (Decimal("-0.5"), up_to)
        assert payouts.close(project=project, actor=manager, user=contractor, up_to=up_to) == []
        assert {(row.user, row.amount) for row in payouts.close(project=project, actor=manager)} == {
            (contractor, Decimal("-0.5")),
            (reviewer, Decimal("-0.5")),
        }

    def test_a_debt_is_worked_off_first(self, project: Project, manager: User, contractor: User) -> None:
        piece(project, manager)
        label = ranked(contractor, project)
        payouts.close(project=project, actor=manager)
        pay.reverse(labels=[label], reason="No", actor=manager)
        ranked(contractor, project)
        assert payouts.close(project=project, actor=manager) == []
        pay.bonus(project=project, user=contractor, amount=Decimal(1), currency="EUR", reason="Thanks", actor=manager)
        assert [row.amount for row in payouts.close(project=project, actor=manager)] == [Decimal("-1")]

    def test_a_correction_of_a_payouts_correction_is_not_owed_again(
        self, project: Project, manager: User, contractor: User
    ) -> None:
        ago = timezone.now() - timedelta(days=2)
        piece(project, manager, "100", effective_from=ago)
        ranked(contractor, project, created_at=ago + timedelta(hours=1))
        [payout] = payouts.close(project=project, actor=manager)
        back = pay.correct(entry=payout, amount=Decimal(100), reason="The bank sent it back", actor=manager)
        again = pay.correct(entry=back, amount=Decimal(-100), reason="It had arrived", actor=manager)
        assert (back.corrects, again.corrects) == (payout, payout)
        assert payouts.close(project=project, actor=manager, up_to=ago + timedelta(hours=2)) == []
        [row] = payouts.balances(LedgerEntry.objects.filter(user=contractor))
        assert (row["earned"], row["changed"], row["paid"], row["balance"]) == (100, 0, 100, 0)
        assert LedgerEntry.objects.filter(kind="payout").count() == 1

    @pytest.mark.parametrize("later", ["reversal", "correction"])
    def test_what_was_taken_back_since_the_moment_is_not_paid(
        self, project: Project, manager: User, contractor: User, later: str
    ) -> None:
        ago = timezone.now() - timedelta(days=2)
        piece(project, manager, effective_from=ago)
        label = ranked(contractor, project, created_at=ago + timedelta(hours=1))
        booking.book_all()
        if later == "reversal":
            pay.reverse(labels=[label], reason="No", actor=manager)
        else:
            entry = LedgerEntry.objects.get()
            pay.correct(entry=entry, amount=Decimal("-0.5"), reason="No", actor=manager)
        assert payouts.close(project=project, actor=manager, up_to=ago + timedelta(hours=2)) == []
        assert not LedgerEntry.objects.filter(kind="payout").exists()

    def test_coins_follow_the_currency(self, project: Project, manager: User, contractor: User) -> None:
        piece(project, manager, "10.7", currency="JPY")
        ranked(contractor, project)
        assert [row.amount for row in payouts.close(project=project, actor=manager)] == [Decimal(-10)]
