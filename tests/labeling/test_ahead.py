"""The item that follows: fetched while another is in hand, moved up by its submit, and never kept from anybody."""

import threading
import uuid
from datetime import timedelta

import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone

from hone.accounts.models import Project, User
from labeling import ahead, assignment, responses, waiting, withdrawal
from labeling.models import Draft, Ranking, Slot
from tests import factories

pytestmark = pytest.mark.django_db


def take(project: Project, user: User, kind: str = "rank") -> Slot:
    slot = assignment.next_slot(project=project, user=user, kind=kind)
    assert slot is not None and slot.lease_token is not None
    return slot


def fetch(slot: Slot, user: User) -> Slot | None:
    assert slot.lease_token is not None
    return ahead.fetch(slot_id=slot.pk, user=user, lease_token=slot.lease_token, project=slot.project)


def submit(slot: Slot, user: User) -> responses.Submitted:
    assert slot.lease_token is not None and slot.order_shown is not None
    answer = factories.rank_answer(slot, [[index] for index in slot.order_shown])
    return responses.submit(
        slot_id=slot.pk, user=user, lease_token=slot.lease_token, client_key=uuid.uuid4(), answer=answer
    )


@pytest.fixture
def pair(project: Project, contractor: User) -> tuple[Slot, Slot]:
    """The item in hand and the one that waits behind it, of three."""
    factories.make_batch(project, items=3)
    current = take(project, contractor)
    following = fetch(current, contractor)
    assert following is not None and following.is_ahead and following.pk != current.pk
    return current, following


def test_a_submit_moves_up_what_was_fetched(project: Project, contractor: User, pair: tuple[Slot, Slot]) -> None:
    current, following = pair
    assert following.lease_expires_at is not None and current.lease_expires_at is not None
    assert following.lease_expires_at < current.lease_expires_at
    assert submit(current, contractor).next_slot == following.pk
    row = Slot.objects.get(pk=following.pk)
    assert not row.is_ahead and row.holder == contractor and row.lease_token == following.lease_token
    assert row.lease_expires_at is not None and row.lease_expires_at > following.lease_expires_at
    assert take(project, contractor).pk == following.pk
    assert submit(following, contractor).next_slot is None


def test_a_skip_moves_it_up_too(project: Project, contractor: User, pair: tuple[Slot, Slot]) -> None:
    current, following = pair
    assert current.lease_token is not None
    responses.skip(slot_id=current.pk, user=contractor, lease_token=current.lease_token, reason="unclear", note="")
    assert take(project, contractor).pk == following.pk and not Slot.objects.get(pk=following.pk).is_ahead


def test_another_tab_is_handed_the_item_in_hand_not_the_one_behind(
    project: Project, contractor: User, pair: tuple[Slot, Slot]
) -> None:
    current, following = pair
    assert take(project, contractor).pk == current.pk
    Slot.objects.filter(pk=current.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    again = take(project, contractor)
    assert again.pk == current.pk and again.lease_token != current.lease_token
    assert waiting.count(project=project, user=contractor, kind="rank") == 3


def test_asking_again_finds_the_same_one(contractor: User, pair: tuple[Slot, Slot]) -> None:
    current, following = pair
    again = fetch(current, contractor)
    assert again is not None and (again.pk, again.lease_token) == (following.pk, following.lease_token)
    assert Slot.objects.filter(state="leased").count() == 2
    assert fetch(following, contractor) is None, "nothing is fetched behind what waits itself"


def test_nothing_is_fetched_behind_a_lost_item(project: Project, contractor: User) -> None:
    factories.make_batch(project, items=2)
    current = take(project, contractor)
    Slot.objects.filter(pk=current.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert fetch(current, contractor) is None and not Slot.objects.filter(is_ahead=True).exists()


def test_a_lost_item_that_is_free_comes_before_what_waited(
    project: Project, contractor: User, pair: tuple[Slot, Slot]
) -> None:
    current, following = pair
    Draft.objects.create(item=current.item, author=contractor, content={"tiers": [["A"]]})
    Slot.objects.filter(pk=current.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert assignment.free_expired() == 1
    assert take(project, contractor).pk == current.pk
    assert Slot.objects.get(pk=following.pk).state == "open"


def test_renewing_the_item_renews_what_waits(contractor: User, pair: tuple[Slot, Slot]) -> None:
    current, following = pair
    assert current.lease_token is not None
    soon = timezone.now() + timedelta(seconds=5)
    Slot.objects.filter(pk__in=[current.pk, following.pk]).update(lease_expires_at=soon)
    assignment.renew(slot_id=current.pk, user=contractor, lease_token=current.lease_token)
    ends = dict(Slot.objects.filter(state="leased").values_list("pk", "lease_expires_at"))
    assert ends[current.pk] > ends[following.pk] > soon + timedelta(seconds=60)


def test_a_page_that_is_left_gives_it_back(contractor: User, pair: tuple[Slot, Slot]) -> None:
    current, following = pair
    assert current.lease_token is not None and following.lease_token is not None
    assert ahead.give_back(slot_id=following.pk, user=contractor, lease_token=following.lease_token)
    assert Slot.objects.get(pk=following.pk).state == "open"
    assert not ahead.give_back(slot_id=following.pk, user=contractor, lease_token=following.lease_token)
    assert not ahead.give_back(slot_id=current.pk, user=contractor, lease_token=current.lease_token)
    assert Slot.objects.get(pk=current.pk).holder == contractor


def test_it_ends_with_its_lease(contractor: User, pair: tuple[Slot, Slot]) -> None:
    _current, following = pair
    Slot.objects.filter(pk=following.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert assignment.free_expired() == 1
    assert not Slot.objects.filter(is_ahead=True).exists()


class TestNobodyStarves:
    def test_who_finds_nothing_open_gets_what_only_waits(
        self, project: Project, contractor: User, reviewer: User
    ) -> None:
        factories.make_batch(project, items=2)
        current = take(project, contractor)
        following = fetch(current, contractor)
        assert following is not None and following.lease_token is not None
        theirs = take(project, reviewer)
        assert theirs.pk == following.pk and not Slot.objects.get(pk=theirs.pk).is_ahead
        assert theirs.order_shown != [] and theirs.lease_token != following.lease_token
        # Its first holder is told with their submit, and what they show of it is refused like any lost lease.
        assert submit(current, contractor).next_slot is None
        with pytest.raises(assignment.LeaseLost):
            assignment.renew(slot_id=following.pk, user=contractor, lease_token=following.lease_token)
        assert assignment.next_slot(project=project, user=contractor, kind="rank") is None
        assert submit(theirs, reviewer).label.author == reviewer

    def test_what_was_begun_stays(self, project: Project, contractor: User, reviewer: User) -> None:
        factories.make_batch(project, items=2)
        following = fetch(take(project, contractor), contractor)
        assert following is not None
        responses.save_draft(slot_id=following.pk, user=contractor, content={"tiers": [["A"]]})
        assert assignment.next_slot(project=project, user=reviewer, kind="rank") is None

    def test_returned_work_stays_its_authors(self, project: Project, contractor: User, reviewer: User) -> None:
        """Also where its lease waits behind another one."""
        found = factories.make_review(contractor, project, reviewer)
        factories.give_verdict(found, reviewer, "return")
        slot = take(project, contractor, "write")
        Slot.objects.filter(pk=slot.pk).update(is_ahead=True)
        assert assignment.next_slot(project=project, user=reviewer, kind="write") is None
        assert slot.lease_token is not None
        responses.skip(slot_id=slot.pk, user=contractor, lease_token=slot.lease_token, reason="other", note="")
        row = Slot.objects.get(pk=slot.pk)
        assert (row.state, row.is_ahead, row.review) == ("submitted", False, None)

    def test_a_withdrawn_item_is_nobody_elses(
        self, project: Project, contractor: User, reviewer: User, manager: User
    ) -> None:
        factories.make_batch(project, items=2)
        following = fetch(take(project, contractor), contractor)
        assert following is not None
        withdrawal.withdraw(item=following.item, actor=manager)
        assert assignment.next_slot(project=project, user=reviewer, kind="rank") is None
        assert Slot.objects.get(pk=following.pk).holder == contractor

    def test_open_items_go_first(self, project: Project, reviewer: User, pair: tuple[Slot, Slot]) -> None:
        current, following = pair
        assert take(project, reviewer).pk not in (current.pk, following.pk)

    def test_nobody_is_handed_their_own_item_a_second_time(
        self, project: Project, contractor: User, reviewer: User
    ) -> None:
        factories.make_batch(project, items=2, slots=2)
        current = take(project, contractor)
        submit(current, contractor)
        following = take(project, contractor)
        mine = take(project, reviewer)
        submit(mine, reviewer)
        assert fetch(following, contractor) is None
        last = take(project, reviewer)
        assert last.item_id != mine.item_id


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_fifty_people_with_and_without_fetching_ahead_finish_everything_once(project: Project) -> None:
    """60 items with 2 slots, 50 connections, every second one fetches ahead: 120 rankings, no slot left or shared."""
    factories.make_batch(project, items=60, slots=2, answers=2)
    people = [factories.make_member(project, username=f"racer{n}") for n in range(50)]
    barrier = threading.Barrier(len(people))
    failures: list[BaseException] = []

    def work(user: User, looks_ahead: bool) -> None:
        try:
            barrier.wait(30)
            empty = 0
            while empty < 3:  # others may still give something back
                slot = assignment.next_slot(project=project, user=user, kind="rank")
                if slot is None:
                    empty += 1
                    continue
                following = fetch(slot, user) if looks_ahead else None
                moved_up = submit(slot, user).next_slot
                assert moved_up is None or (following is not None and moved_up == following.pk)
        except assignment.LeaseLost as error:
            failures.append(error)
        except BaseException as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=[user, n % 2 == 0]) for n, user in enumerate(people)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failures
    assert Ranking.objects.count() == Slot.objects.filter(state="submitted").count() == 120
    assert not Slot.objects.exclude(state="submitted").exists(), "a slot is stuck"
    pairs = Ranking.objects.values_list("item", "author")
    assert len(set(pairs)) == 120


class TestPage:
    def fetch(self, client: Client, slot: Slot, **changed: str) -> int:
        body = {"slot_id": str(slot.pk), "lease_token": str(slot.lease_token), **changed}
        self.answer = client.post("/p/alpha/rank/ahead/", body)
        return self.answer.status_code

    def test_it_is_the_part_of_the_page_that_shows_an_item(
        self, client: Client, project: Project, contractor: User
    ) -> None:
        factories.make_guideline(project)
        factories.make_batch(project, items=3)
        client.force_login(contractor)
        first = client.get("/p/alpha/rank/").content.decode()
        assert self.fetch(client, Slot.objects.get(state="leased")) == 200
        part = self.answer.content.decode()
        following = Slot.objects.select_related("item__prompt").get(is_ahead=True)
        assert following.item.prompt is not None and following.item.prompt.preview in part
        assert "<html" not in part and 'id="work-data"' in part and str(following.lease_token) in part
        assert "0 today" in first and "3 open" in first
        assert "1 today" in part and "2 open" in part, "as they will stand when it is shown"

    def test_nothing_to_fetch_is_204(self, client: Client, project: Project, contractor: User) -> None:
        factories.make_batch(project)
        client.force_login(contractor)
        slot = take(project, contractor)
        assert self.fetch(client, slot) == 204
        for changed in ({"slot_id": "x"}, {"slot_id": "9" * 30}, {"lease_token": "\x00"}, {"lease_token": ""}):
            assert self.fetch(client, slot, **changed) == 204
        assert client.get("/p/alpha/rank/ahead/").status_code == 405

    @pytest.mark.parametrize(
        ("who", "status"), [("manager", 200), ("reviewer", 200), ("contractor", 200), ("outsider", 404)]
    )
    def test_who_may(
        self, request: pytest.FixtureRequest, client: Client, project: Project, who: str, status: int
    ) -> None:
        factories.make_batch(project, items=2)
        user = request.getfixturevalue(who)
        client.force_login(user)
        slot = take(project, user) if who != "outsider" else Slot.objects.first()
        assert slot is not None
        assert self.fetch(client, slot) == status

    def test_somebody_elses_item_fetches_nothing(
        self, client: Client, project: Project, contractor: User, reviewer: User
    ) -> None:
        factories.make_batch(project, items=3)
        theirs = take(project, reviewer)
        client.force_login(contractor)
        assert self.fetch(client, theirs) == 204 and not Slot.objects.filter(is_ahead=True).exists()
