"""Two people's acts at one moment lock in one order (docs/architecture.md): neither waits for the other in turn."""

import threading
import time
from collections.abc import Callable

import pytest
from django.db import connection, connections, transaction
from django.db.models.functions import Now

from hone.accounts.models import Membership, Project, User
from labeling import ahead, assignment, lanes, members, responses, retraction, withdrawal
from labeling.models import Prompt, Slot
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)


class Other(threading.Thread):
    """Another connection that does `act`; what it raised is in `failure`."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__()
        self.act = act
        self.failure: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.act()
        except BaseException as error:
            self.failure = error
        finally:
            connections.close_all()

    def ends_well(self) -> bool:
        self.join(30)
        assert self.failure is None, self.failure
        return not self.is_alive()


def until_somebody_waits() -> None:
    """Another connection waits for a lock that this one holds."""
    with connection.cursor() as cursor:
        for _ in range(500):
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()")
            if cursor.fetchone()[0]:
                return
            time.sleep(0.01)
    raise AssertionError("nobody waited")


def test_taking_a_member_out_while_their_labels_are_retracted(
    project: Project, manager: User, contractor: User
) -> None:
    """The retraction holds the person and then wants the project, to open the items again."""
    factories.make_batch(project)
    factories.submit_next(project, contractor)
    member = Membership.objects.get(user=contractor, project=project)
    with transaction.atomic():
        assignment.lock_person(contractor)  # as a retraction that has begun
        other = Other(lambda: members.deactivate(member=member, actor=manager))
        until_somebody_waits()
        retraction.retract(project=project, author=contractor, since=None, reason="x", ask_again=True, actor=manager)
    assert other.ends_well()
    member.refresh_from_db()
    assert not member.is_active and Slot.objects.filter(state="open").count() == 1


class TestSwitchOfLanguages:
    """It moves what nobody holds and waits for nobody's item; a held one follows when it is freed."""

    @pytest.fixture
    def slots(self, project: Project) -> list[Slot]:
        """Two items in Chinese, in the lane without a requirement."""
        factories.make_batch(project, items=2)
        Prompt.objects.filter(project=project).update(language="zh")
        return list(Slot.objects.order_by("draw"))

    def take(self, project: Project, user: User) -> Slot:
        slot = assignment.next_slot(project=project, user=user, kind="rank")
        assert slot is not None
        return slot

    def lane_of(self, slot: Slot) -> str:
        return Slot.objects.get(pk=slot.pk).lane

    def test_it_waits_for_no_submit(self, project: Project, manager: User, contractor: User, slots: list[Slot]) -> None:
        held = self.take(project, contractor)
        assert held.lease_token is not None
        behind = ahead.fetch(slot_id=held.pk, user=contractor, lease_token=held.lease_token, project=project)
        assert behind is not None
        with transaction.atomic():
            # As a submit, which then wants what waits behind it.
            assignment.lock_held(slot_id=held.pk, user=contractor, lease_token=held.lease_token, project=project)
            switch = Other(lambda: lanes.match_languages(project=project, on=True, actor=manager))
            assert switch.ends_well()
            assignment.move_up(held)
        assert [self.lane_of(slot) for slot in slots] == ["", ""]
        with transaction.atomic():
            assignment.release(Slot.objects.select_for_update().get(pk=held.pk))
        Slot.objects.filter(pk=behind.pk).update(lease_expires_at=Now())
        assert assignment.free_expired() == 1
        assert [self.lane_of(slot) for slot in slots] == ["zh", "zh"]

    def test_what_waits_is_not_handed_to_who_does_not_read_it(
        self, project: Project, manager: User, contractor: User, reviewer: User, slots: list[Slot]
    ) -> None:
        held = self.take(project, contractor)
        assert held.lease_token is not None
        behind = ahead.fetch(slot_id=held.pk, user=contractor, lease_token=held.lease_token, project=project)
        assert behind is not None
        lanes.match_languages(project=project, on=True, actor=manager)
        member = project.memberships.filter(user=reviewer)
        member.update(languages=["en"])
        assert assignment.next_slot(project=project, user=reviewer, kind="rank") is None
        member.update(languages=["zh"])
        assert self.take(project, reviewer).pk == behind.pk

    def test_what_is_freed_before_it_commits_is_moved(
        self, project: Project, manager: User, contractor: User, slots: list[Slot]
    ) -> None:
        held = self.take(project, contractor)
        with transaction.atomic():
            assignment.release(Slot.objects.select_for_update().get(pk=held.pk))
            switch = Other(lambda: lanes.match_languages(project=project, on=True, actor=manager))
            until_somebody_waits()
        assert switch.ends_well()
        assert self.lane_of(held) == "zh"

    def test_what_is_freed_while_it_runs_waits_for_the_new_rule(
        self, project: Project, manager: User, contractor: User, slots: list[Slot]
    ) -> None:
        held = self.take(project, contractor)
        assert held.lease_token is not None
        skip = {"slot_id": held.pk, "user": contractor, "lease_token": held.lease_token, "note": ""}
        with transaction.atomic():
            lanes.match_languages(project=project, on=True, actor=manager)
            passing_on = Other(lambda: responses.skip(reason="unclear", **skip))
            until_somebody_waits()
        assert passing_on.ends_well()
        assert (self.lane_of(held), Slot.objects.get(pk=held.pk).state) == ("zh", "open")

    def test_an_open_one_that_is_locked_is_looked_at_again(
        self, project: Project, manager: User, slots: list[Slot]
    ) -> None:
        with transaction.atomic():
            Slot.objects.select_for_update().get(pk=slots[0].pk)  # as a hand-out that then refuses
            switch = Other(lambda: lanes.match_languages(project=project, on=True, actor=manager))
            switch.join(0.5)
            assert switch.is_alive()
        assert switch.ends_well()
        assert [self.lane_of(slot) for slot in slots] == ["zh", "zh"]

    def test_a_withdrawal_under_way_ends_first(self, project: Project, manager: User, slots: list[Slot]) -> None:
        item = slots[0].item
        with transaction.atomic():
            withdrawal.withdraw(item=item, actor=manager)
            switch = Other(lambda: lanes.match_languages(project=project, on=True, actor=manager))
            until_somebody_waits()
        assert switch.ends_well()
        withdrawal.restore(item=item, actor=manager)
        assert [self.lane_of(slot) for slot in slots] == ["zh", "zh"]
