"""Where two features meet: fetching ahead, hidden checks, taking back, review, pay and withdrawn items."""

import random
import uuid

import pytest
from django.db.models.functions import Now
from django.test import Client

from hone.accounts.models import Project, User
from labeling import ahead, assignment, booking, hidden, pay, responses, settling, withdrawal
from labeling.models import HiddenChecks, Item, LedgerEntry, Ranking, Review, ReviewRules, Slot
from labeling.review import queue
from labeling.take_back import NotTakenBack, take_back
from tests import factories
from tests.labeling.test_hidden import make_gold

pytestmark = pytest.mark.django_db


def take(project: Project, user: User) -> Slot:
    slot = assignment.next_slot(project=project, user=user, kind="rank")
    assert slot is not None
    return slot


def fetch(slot: Slot, user: User) -> Slot | None:
    assert slot.lease_token is not None
    return ahead.fetch(slot_id=slot.pk, user=user, lease_token=slot.lease_token, project=slot.project)


def submit(slot: Slot, user: User, *, key: uuid.UUID | None = None) -> Ranking:
    """In the order shown, as a page does it: its author may take it back."""
    assert slot.lease_token is not None and slot.order_shown is not None
    done = responses.submit(
        slot_id=slot.pk,
        user=user,
        lease_token=slot.lease_token,
        client_key=key or uuid.uuid4(),
        answer=factories.rank_answer(slot, [[index] for index in slot.order_shown]),
        open_for=settling.OPEN_SECONDS,
    )
    assert isinstance(done.label, Ranking)
    return done.label


def window_ends() -> None:
    Slot.objects.filter(final_at__isnull=False).update(final_at=Now())


def test_checks_come_as_often_to_whoever_fetches_ahead(project: Project, manager: User, contractor: User) -> None:
    """What is fetched behind an item is what would have come after its submit: the same draw decides."""
    HiddenChecks.objects.create(project=project, gold_percent=30, repeat_percent=0, repeat_distance=1)
    make_gold(project, manager, items=20)
    factories.make_batch(project, items=40)
    handed: list[bool] = []
    slot = take(project, contractor)
    for _ in range(30):
        following = fetch(slot, contractor)
        assert following is not None and following.is_ahead
        handed.append(bool(following.hidden))
        submit(slot, contractor)
        slot = take(project, contractor)
        assert slot.pk == following.pk, "what was fetched is in hand now"
    assert 3 <= sum(handed) <= 18, handed  # 9 of 30 on average


def test_a_check_that_waited_opens_no_place(
    project: Project, manager: User, contractor: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    HiddenChecks.objects.create(project=project, gold_percent=30, repeat_percent=0, repeat_distance=1)
    make_gold(project, manager)
    factories.make_batch(project, items=2)
    monkeypatch.setattr(random.Random, "random", lambda self: 0.99)
    slot = take(project, contractor)
    monkeypatch.setattr(random.Random, "random", lambda self: 0.0)
    waits = fetch(slot, contractor)
    assert waits is not None and waits.hidden == "gold" and waits.lease_token is not None
    open_before = Slot.objects.filter(state="open").count()
    assert ahead.give_back(slot_id=waits.pk, user=contractor, lease_token=waits.lease_token)
    waits.refresh_from_db()
    assert (waits.state, waits.holder, waits.is_ahead) == ("withdrawn", None, False)
    assert Slot.objects.filter(state="open").count() == open_before


class TestReview:
    @pytest.fixture(autouse=True)
    def reviewed(self, project: Project) -> None:
        ReviewRules.objects.create(project=project, rankings_percent=100)

    def test_a_label_is_not_reviewed_while_it_may_be_taken_back(
        self, project: Project, contractor: User, reviewer: User
    ) -> None:
        factories.make_batch(project)
        label = submit(take(project, contractor), contractor)
        assert Review.objects.get().ranking == label
        assert queue.next_review(project=project, user=reviewer) is None
        window_ends()
        assert queue.next_review(project=project, user=reviewer) is not None

    def test_what_is_taken_back_leaves_the_queue(self, project: Project, contractor: User) -> None:
        factories.make_batch(project)
        slot, key = take(project, contractor), uuid.uuid4()
        submit(slot, contractor, key=key)
        take_back(slot_id=slot.pk, user=contractor, client_key=key, project=project)
        assert not Review.objects.exists() and not Ranking.objects.exists()
        submit(take(project, contractor), contractor)
        assert Review.objects.count() == 1

    def test_a_correction_stays_submitted(self, project: Project, contractor: User, reviewer: User) -> None:
        factories.make_batch(project)
        submit(take(project, contractor), contractor)
        window_ends()
        review = queue.next_review(project=project, user=reviewer)
        assert review is not None
        factories.give_verdict(review, reviewer, "return")
        slot, key = take(project, contractor), uuid.uuid4()
        assert slot.review_id == review.pk
        corrected = submit(slot, contractor, key=key)
        with pytest.raises(NotTakenBack) as refused:
            take_back(slot_id=slot.pk, user=contractor, client_key=key, project=project)
        assert refused.value.code == "in_use" and Ranking.objects.filter(pk=corrected.pk, retraction=None).exists()

    def test_returned_work_comes_before_anything_is_fetched_ahead(
        self, project: Project, contractor: User, reviewer: User
    ) -> None:
        factories.make_batch(project, items=3)
        submit(take(project, contractor), contractor)
        window_ends()
        current = take(project, contractor)
        review = queue.next_review(project=project, user=reviewer)
        assert review is not None
        factories.give_verdict(review, reviewer, "return")
        assert fetch(current, contractor) is None
        submit(current, contractor)
        assert take(project, contractor).review_id == review.pk

    def test_a_hidden_check_is_never_reviewed(
        self, project: Project, manager: User, contractor: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        HiddenChecks.objects.create(project=project, gold_percent=30, repeat_percent=0, repeat_distance=1)
        make_gold(project, manager)
        factories.make_batch(project)
        monkeypatch.setattr(random.Random, "random", lambda self: 0.0)
        slot = take(project, contractor)
        assert slot.hidden == "gold"
        submit(slot, contractor)
        assert not Review.objects.exists()

    def test_a_verdict_is_shown_with_its_reason_and_no_order(
        self, client: Client, project: Project, contractor: User, reviewer: User
    ) -> None:
        factories.make_batch(project)
        slot = take(project, contractor)
        held = {"slot_id": slot.pk, "user": contractor, "lease_token": slot.lease_token or uuid.uuid4()}
        responses.submit(**held, client_key=uuid.uuid4(), answer={"verdict": "knowledge", "note": "A chemist could"})
        client.force_login(reviewer)
        page = client.get("/p/alpha/review/").content.decode()
        assert "It needs knowledge that nobody here has" in page and "A chemist could" in page

    def test_somebody_taken_off_the_project_keeps_what_was_returned(
        self, project: Project, contractor: User, reviewer: User
    ) -> None:
        factories.make_batch(project)
        submit(take(project, contractor), contractor)
        window_ends()
        review = queue.next_review(project=project, user=reviewer)
        assert review is not None
        factories.give_verdict(review, reviewer, "return")
        slot = take(project, contractor)
        assert assignment.free_of(project=project, user=contractor) == 1
        slot.refresh_from_db()
        assert (slot.state, slot.holder, slot.lease_token) == ("returned", contractor, None)


def test_nothing_is_earned_by_what_may_still_be_taken_back(project: Project, manager: User, contractor: User) -> None:
    pay.set_rate(project=project, actor=manager, basis="piece", currency="EUR", per_demonstration=1, per_ranking=1)
    factories.make_batch(project)
    label = submit(take(project, contractor), contractor)
    assert booking.book_all() == 0
    assert booking.book_all() == 0, "nor is its place passed over"
    window_ends()
    assert booking.book_all() == 1 and LedgerEntry.objects.get().ranking == label


def test_a_withdrawn_item_takes_back_what_waits_as_well(project: Project, manager: User, contractor: User) -> None:
    factories.make_batch(project, items=2)
    slot = take(project, contractor)
    waits = fetch(slot, contractor)
    assert waits is not None and waits.lease_token is not None
    withdrawal.withdraw(item=Item.objects.get(pk=waits.item_id), actor=manager)
    assert ahead.give_back(slot_id=waits.pk, user=contractor, lease_token=waits.lease_token)
    assert Slot.objects.get(pk=waits.pk).state == "withdrawn"


def test_a_check_is_restored_with_no_item(
    project: Project, manager: User, contractor: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check that its holder passed on has the state of a withdrawn place, and is none."""
    HiddenChecks.objects.create(project=project, gold_percent=30, repeat_percent=0, repeat_distance=1)
    [gold] = make_gold(project, manager)
    factories.make_batch(project)
    monkeypatch.setattr(random.Random, "random", lambda self: 0.0)
    slot = take(project, contractor)
    assert slot.hidden and slot.lease_token is not None
    responses.skip(slot_id=slot.pk, user=contractor, lease_token=slot.lease_token, reason="other", note="")
    withdrawal.withdraw(item=gold.item, actor=manager)
    withdrawal.restore(item=gold.item, actor=manager)
    assert Slot.objects.get(pk=slot.pk).state == "withdrawn"
    assert hidden.rates_of(project).gold_percent == 30
