"""Who gets which slot, and for how long."""

import threading
import time
import uuid
from datetime import timedelta

import pytest
from django.db import connections, transaction
from django.db.models.functions import Now
from django.utils import timezone

from hone.accounts.models import Project, User
from labeling import assignment, responses, waiting
from labeling.models import Draft, Slot
from tests import factories


def expire(slot: Slot) -> None:
    Slot.objects.filter(pk=slot.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))


@pytest.mark.django_db
class TestNextSlot:
    def test_the_open_page_gets_its_own_slot_again(self, project: Project, contractor: User) -> None:
        factories.make_batch(project, items=3)
        first = assignment.next_slot(project=project, user=contractor, kind="rank")
        again = assignment.next_slot(project=project, user=contractor, kind="rank")
        assert first is not None and again is not None and first.pk == again.pk
        assert Slot.objects.filter(state="leased").count() == 1

    def test_nothing_to_do_is_none(self, project: Project, contractor: User) -> None:
        assert assignment.next_slot(project=project, user=contractor, kind="rank") is None

    def test_an_item_with_two_slots_goes_to_two_people_and_never_twice_to_one(
        self, project: Project, contractor: User, reviewer: User
    ) -> None:
        factories.make_batch(project, items=1, slots=2)
        mine = assignment.next_slot(project=project, user=contractor, kind="rank")
        assert mine is not None and mine.lease_token is not None
        responses.submit(
            slot_id=mine.pk,
            user=contractor,
            lease_token=mine.lease_token,
            client_key=uuid.uuid4(),
            answer=factories.rank_answer(mine, [[0], [1], [2], [3]]),
        )
        assert assignment.next_slot(project=project, user=contractor, kind="rank") is None
        assert assignment.next_slot(project=project, user=reviewer, kind="rank") is not None

    def test_an_expired_lease_goes_to_the_next_annotator(
        self, project: Project, contractor: User, reviewer: User
    ) -> None:
        factories.make_batch(project)
        slot = assignment.next_slot(project=project, user=contractor, kind="rank")
        assert slot is not None
        assert assignment.next_slot(project=project, user=reviewer, kind="rank") is None
        expire(slot)
        taken = assignment.next_slot(project=project, user=reviewer, kind="rank")
        assert taken is not None and taken.pk == slot.pk and taken.holder == reviewer

    def test_higher_priority_comes_first(self, project: Project, contractor: User) -> None:
        factories.make_batch(project, items=5)
        urgent = factories.make_batch(project, items=1)
        Slot.objects.filter(item__batch=urgent).update(priority=5)
        slot = assignment.next_slot(project=project, user=contractor, kind="rank")
        assert slot is not None and slot.item.batch_id == urgent.pk

    def test_nobody_ranks_answers_to_a_prompt_that_they_demonstrated(
        self, project: Project, contractor: User, reviewer: User
    ) -> None:
        batch = factories.make_batch(project)
        prompt = batch.items.get().prompt
        assert prompt is not None
        prompt.demonstrations.create(
            project=project, author=contractor, messages=[*prompt.messages, {"role": "assistant", "content": "x"}]
        )
        assert assignment.next_slot(project=project, user=contractor, kind="rank") is None
        assert assignment.next_slot(project=project, user=reviewer, kind="rank") is not None

    def test_a_skipped_item_never_comes_back_to_the_same_person(
        self, project: Project, contractor: User, reviewer: User
    ) -> None:
        factories.make_batch(project)
        slot = assignment.next_slot(project=project, user=contractor, kind="rank")
        assert slot is not None and slot.lease_token is not None
        responses.skip(slot_id=slot.pk, user=contractor, lease_token=slot.lease_token, reason="unclear", note="")
        assert assignment.next_slot(project=project, user=contractor, kind="rank") is None
        assert assignment.next_slot(project=project, user=reviewer, kind="rank") is not None

    def test_the_order_shown_differs_between_people_and_is_stable_for_one(
        self, project: Project, contractor: User
    ) -> None:
        factories.make_batch(project, answers=9, slots=5)
        orders = []
        for number in range(5):
            user = factories.make_member(project, username=f"rater{number}")
            slot = assignment.next_slot(project=project, user=user, kind="rank")
            assert slot is not None and slot.order_shown is not None
            assert sorted(slot.order_shown) == list(range(9))
            orders.append(slot.order_shown)
            expire(slot)
            again = assignment.next_slot(project=project, user=user, kind="rank")
            assert again is not None and again.order_shown == orders[-1]
        assert len({tuple(order) for order in orders}) == 5

    def test_counts_only_what_the_person_may_take(self, project: Project, contractor: User) -> None:
        factories.make_batch(project, items=3, slots=2)
        assert waiting.count(project=project, user=contractor, kind="rank") == 3
        assignment.next_slot(project=project, user=contractor, kind="rank")
        assert waiting.count(project=project, user=contractor, kind="rank") == 3
        assert waiting.is_any(project=project, user=contractor, kind="rank")
        assert not waiting.is_any(project=project, user=contractor, kind="write")
        assert waiting.count(project=project, user=contractor, kind="write") == 0

    def test_a_count_ends_where_a_page_no_longer_shows_it(self, project: Project, contractor: User) -> None:
        factories.make_batch(project, items=100, slots=2)
        assert waiting.count(project=project, user=contractor, kind="rank") == 100
        factories.make_batch(project, items=1)
        assert waiting.count(project=project, user=contractor, kind="rank") == "100+"

    def test_a_lease_on_answers_that_the_holder_may_not_rank_any_more_is_given_back(
        self, project: Project, contractor: User, reviewer: User
    ) -> None:
        factories.make_batch(project, items=1)
        slot = assignment.next_slot(project=project, user=contractor, kind="rank")
        assert slot is not None and slot.item.prompt is not None
        Draft.objects.create(item=slot.item, author=contractor, content={"note": "n"})
        slot.item.prompt.demonstrations.create(project=project, author=contractor, messages=[])
        assert assignment.next_slot(project=project, user=contractor, kind="rank") is None
        assert Draft.objects.exists()
        taken = assignment.next_slot(project=project, user=reviewer, kind="rank")
        assert taken is not None and taken.pk == slot.pk


@pytest.mark.django_db
class TestLease:
    def test_renewing_moves_the_end(self, project: Project, contractor: User) -> None:
        factories.make_batch(project)
        slot = assignment.next_slot(project=project, user=contractor, kind="rank")
        assert slot is not None and slot.lease_token is not None
        Slot.objects.filter(pk=slot.pk).update(lease_expires_at=timezone.now() + timedelta(seconds=5))
        renewed = assignment.renew(slot_id=slot.pk, user=contractor, lease_token=slot.lease_token)
        assert renewed.lease_expires_at is not None
        assert renewed.lease_expires_at > timezone.now() + timedelta(seconds=200)

    def test_an_expired_lease_cannot_be_renewed(self, project: Project, contractor: User) -> None:
        factories.make_batch(project)
        slot = assignment.next_slot(project=project, user=contractor, kind="rank")
        assert slot is not None and slot.lease_token is not None
        expire(slot)
        with pytest.raises(assignment.LeaseLost):
            assignment.renew(slot_id=slot.pk, user=contractor, lease_token=slot.lease_token)

    def test_the_sweep_frees_expired_leases_and_leaves_live_ones(
        self, project: Project, contractor: User, reviewer: User
    ) -> None:
        factories.make_batch(project, items=2)
        old = assignment.next_slot(project=project, user=contractor, kind="rank")
        live = assignment.next_slot(project=project, user=reviewer, kind="rank")
        assert old is not None and live is not None
        expire(old)
        assert assignment.free_expired() == 1
        assert Slot.objects.get(pk=old.pk).state == "open"
        assert Slot.objects.get(pk=live.pk).state == "leased"


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_fifty_people_who_ask_at_once_never_share_a_slot(project: Project) -> None:
    """20 items with 2 slots each, 50 connections: 40 slots go to 40 people, 10 people get nothing."""
    factories.make_batch(project, items=20, slots=2)
    people = [factories.make_member(project, username=f"racer{n}") for n in range(50)]
    barrier = threading.Barrier(len(people))
    got: list[Slot | None] = []
    failures: list[BaseException] = []

    def take(user: User) -> None:
        try:
            barrier.wait(30)
            got.append(assignment.next_slot(project=project, user=user, kind="rank"))
        except BaseException as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=take, args=[user]) for user in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    taken = [slot.pk for slot in got if slot is not None]
    assert len(taken) == len(set(taken)) == 40
    assert Slot.objects.filter(state="leased").count() == 40
    per_item = Slot.objects.filter(state="leased").values_list("item", "holder")
    assert len(set(per_item)) == 40


@pytest.mark.django_db(transaction=True)
def test_two_tabs_of_one_person_get_the_same_slot(project: Project, contractor: User) -> None:
    factories.make_batch(project, items=5, slots=3)
    barrier = threading.Barrier(6)
    got: list[int] = []

    def take() -> None:
        try:
            barrier.wait(30)
            slot = assignment.next_slot(project=project, user=contractor, kind="rank")
            assert slot is not None
            got.append(slot.pk)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(got) == 6 and len(set(got)) == 1


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_submit_and_the_sweep_never_meet_on_one_slot(project: Project, contractor: User) -> None:
    """The sweep skips the row that a submit has locked, even when its lease runs out meanwhile."""
    factories.make_batch(project)
    slot = assignment.next_slot(project=project, user=contractor, kind="rank")
    assert slot is not None and slot.lease_token is not None
    # Committed, so that the sweep sees it: the lease ends while the submit is under way.
    Slot.objects.update(lease_expires_at=Now() + timedelta(seconds=1))
    freed: list[int] = []

    def sweep() -> None:
        freed.append(assignment.free_expired())
        connections.close_all()

    with transaction.atomic():
        assignment.lock_held(slot_id=slot.pk, user=contractor, lease_token=slot.lease_token)
        time.sleep(1.2)
        thread = threading.Thread(target=sweep)
        thread.start()
        thread.join(20)
        assert freed == [0]
    assert Slot.objects.get(pk=slot.pk).holder == contractor
    assert assignment.free_expired() == 1, "without the lock it would have been freed"
