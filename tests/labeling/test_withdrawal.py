"""Items that leads withdraw: nobody is handed them, rounds do not wait for them, and they come back whole."""

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection, connections, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from hone.accounts.models import Project, User
from hone.audit.models import Event
from labeling import assignment, queries, responses, retraction, verdicts, withdrawal
from labeling.models import Item, Ranking, Slot
from tests import factories
from tests.labeling.test_cannot_judge import cannot

PAGE = "/p/alpha/quality/items/"


@pytest.fixture
def two(project: Project) -> list[User]:
    return [factories.make_member(project, username=name) for name in ("one", "two")]


@pytest.fixture
def item(project: Project, two: list[User]) -> Item:
    """Two people could not judge it, a third place is open."""
    factories.make_batch(project, slots=3)
    for user in two:
        cannot(user, project, note="Look: <b>")
    return Item.objects.get()


@pytest.mark.django_db
class TestPage:
    @pytest.mark.parametrize(
        ("who", "sees", "changes"),
        [("manager", 200, 302), ("reviewer", 200, 403), ("contractor", 403, 403), ("outsider", 404, 404)],
    )
    def test_leads_see_it_and_managers_withdraw(
        self, request: pytest.FixtureRequest, client: Client, item: Item, who: str, sees: int, changes: int
    ) -> None:
        client.force_login(request.getfixturevalue(who))
        answer = client.get(PAGE)
        assert answer.status_code == sees
        assert client.post(f"{PAGE}{item.pk}/withdraw/").status_code == changes
        item.refresh_from_db()
        assert (item.withdrawn == "lead") is (changes == 302)
        assert client.post(f"{PAGE}{item.pk}/restore/").status_code == changes
        if sees == 200:
            html = answer.content.decode()
            assert "2 people cannot judge it" in html and "Look: &lt;b&gt;" in html
            assert (f"Withdraw item {item.pk}" in html) is (who == "manager")

    def test_withdraw_and_restore_say_what_happened_and_are_audited(
        self, client: Client, project: Project, manager: User, item: Item
    ) -> None:
        client.force_login(manager)
        html = client.post(f"{PAGE}{item.pk}/withdraw/", follow=True).content.decode()
        assert "The item is withdrawn; 1 open place is closed." in html and f"Restore item {item.pk}" in html
        item.refresh_from_db()
        assert item.withdrawn_by == manager and item.withdrawn_at is not None
        assert sorted(Slot.objects.values_list("state", flat=True)) == ["submitted", "submitted", "withdrawn"]
        event = Event.objects.get(verb="item.withdrawn")
        assert event.actor == manager and event.detail["slots"] == 1
        again = client.post(f"{PAGE}{item.pk}/withdraw/", follow=True).content.decode()
        assert "withdrawn already" in again and Event.objects.filter(verb="item.withdrawn").count() == 1
        html = client.post(f"{PAGE}{item.pk}/restore/", follow=True).content.decode()
        assert "The item is restored; 1 place is open again." in html
        item.refresh_from_db()
        assert (item.withdrawn, item.withdrawn_at, item.withdrawn_by) == ("", None, None)
        assert Slot.objects.filter(state="open").count() == 1
        assert Event.objects.get(verb="item.restored").detail["why"] == "lead"
        assert "restored already" in client.post(f"{PAGE}{item.pk}/restore/", follow=True).content.decode()

    def test_another_projects_item_is_not_found(self, client: Client, manager: User, item: Item) -> None:
        other = factories.make_project("other")
        theirs = factories.make_batch(other).items.get()
        client.force_login(manager)
        for what in ("withdraw", "restore"):
            assert client.post(f"{PAGE}{theirs.pk}/{what}/").status_code == 404
            assert client.get(f"{PAGE}{item.pk}/{what}/").status_code == 405

    def test_the_quality_page_counts_and_links(self, client: Client, reviewer: User, item: Item) -> None:
        client.force_login(reviewer)
        html = client.get("/p/alpha/quality/").content.decode()
        assert "1 item to look at" in html and PAGE in html and "The answers are broken" in html

    def test_one_persons_word_is_listed_on_request(
        self, client: Client, project: Project, reviewer: User, contractor: User
    ) -> None:
        factories.make_batch(project)
        cannot(contractor, project)
        client.force_login(reviewer)
        assert "No such item" in client.get(PAGE).content.decode()
        assert "1 person cannot judge it" in client.get(PAGE, {"least": "1"}).content.decode()

    def test_hidden_checks_are_no_word_and_no_place(
        self, client: Client, project: Project, manager: User, contractor: User, item: Item
    ) -> None:
        check = cannot(contractor, project)
        Slot.objects.filter(holder=contractor).update(hidden="gold")
        Ranking.objects.filter(author=contractor).update(hidden="gold")
        assert check.item == item
        client.force_login(manager)
        html = client.get(PAGE).content.decode()
        assert "2 people cannot judge it" in html
        [found] = verdicts.items(project)
        assert (found.verdicts, found.orders) == (2, 0)  # type: ignore[attr-defined]
        Ranking.objects.filter(hidden="gold").update(verdict="", tiers=[[0], [1], [2], [3]])
        assert verdicts.items(project).get().orders == 0  # type: ignore[attr-defined]
        Slot.objects.filter(hidden="gold").update(state="withdrawn", holder=None, lease_token=None, submitted_at=None)
        withdrawal.withdraw(item=item, actor=manager)
        [row] = client.get(PAGE).context["withdrawn"]
        assert row["item"].closed == 0

    def test_as_many_queries_for_twice_the_items(
        self, client: Client, project: Project, manager: User, two: list[User], item: Item
    ) -> None:
        client.force_login(manager)

        def grow() -> None:
            factories.make_batch(project, items=2, slots=2)
            for user in two:
                for _ in range(2):
                    cannot(user, project)
            withdrawal.withdraw(item=Item.objects.filter(withdrawn="").order_by("-pk")[0], actor=manager)

        def count() -> int:
            with CaptureQueriesContext(
                connection,
            ) as ran:
                assert client.get(PAGE).status_code == 200
            return len(ran)

        grow()
        client.get(PAGE)
        few = count()
        grow()
        grow()
        assert count() == few


@pytest.mark.django_db
class TestHandOut:
    def test_nobody_is_handed_it_and_the_batch_is_whole(
        self, project: Project, manager: User, contractor: User, item: Item
    ) -> None:
        assert queries.batch_progress(item.batch_id) == {"total": 3, "submitted": 2, "simulated": 0, "open": 0}
        withdrawal.withdraw(item=item, actor=manager)
        assert assignment.next_slot(project=project, user=contractor, kind="rank") is None
        assert queries.batch_progress(item.batch_id) == {"total": 2, "submitted": 2, "simulated": 0, "open": 0}
        assert queries.counts(project)["rank_open"] == 0
        withdrawal.restore(item=item, actor=manager)
        assert assignment.next_slot(project=project, user=contractor, kind="rank") is not None

    def test_who_holds_it_may_finish(self, project: Project, manager: User, contractor: User) -> None:
        factories.make_batch(project, slots=2)
        slot = assignment.next_slot(project=project, user=contractor, kind="rank")
        assert slot is not None
        assert withdrawal.withdraw(item=slot.item, actor=manager) == 1
        factories.submit_next(project, contractor)
        assert Ranking.objects.count() == 1

    def test_what_they_give_back_is_withdrawn_too(self, project: Project, manager: User, two: list[User]) -> None:
        """By a skip, and by a lease that ran out."""
        factories.make_batch(project, slots=2)
        held = [assignment.next_slot(project=project, user=user, kind="rank") for user in two]
        assert held[0] is not None and held[1] is not None and held[0].lease_token is not None
        assert withdrawal.withdraw(item=held[0].item, actor=manager) == 0
        responses.skip(slot_id=held[0].pk, user=two[0], lease_token=held[0].lease_token, reason="other", note="")
        Slot.objects.filter(pk=held[1].pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
        assert assignment.free_expired() == 1
        assert set(Slot.objects.values_list("state", "holder")) == {("withdrawn", None)}
        assert withdrawal.restore(item=held[0].item, actor=manager) == 2

    def test_asking_again_for_retracted_labels_leaves_it_out(
        self, project: Project, manager: User, two: list[User], item: Item
    ) -> None:
        withdrawal.withdraw(item=item, actor=manager)
        taken = retraction.retract(
            project=project, author=two[0], since=None, reason="x", ask_again=True, actor=manager
        )
        assert (taken.rankings, taken.slots_opened) == (1, 0)

    def test_the_page_of_a_retraction_promises_no_place_of_it(
        self, project: Project, manager: User, two: list[User], item: Item
    ) -> None:
        withdrawal.withdraw(item=item, actor=manager)
        assert retraction.effect(project=project, author=two[0], since=None) == retraction.Effect(0, 1, 0, 0)

    def test_a_place_opened_again_and_withdrawn_is_closed_when_the_labels_are_restored(
        self, project: Project, manager: User, two: list[User], item: Item
    ) -> None:
        before = sorted(Slot.objects.values_list("pk", "state"))
        taken = retraction.retract(
            project=project, author=two[0], since=None, reason="x", ask_again=True, actor=manager
        )
        withdrawal.withdraw(item=item, actor=manager)
        retraction.undo(retraction=taken, actor=manager)
        assert withdrawal.restore(item=item, actor=manager) == 1
        assert sorted(Slot.objects.values_list("pk", "state")) == before

    def test_an_item_that_was_withdrawn_before_keeps_its_places(
        self, project: Project, manager: User, two: list[User], item: Item
    ) -> None:
        factories.make_batch(project)
        cannot(two[0], project)
        withdrawal.withdraw(item=item, actor=manager)
        taken = retraction.retract(
            project=project, author=two[0], since=None, reason="x", ask_again=True, actor=manager
        )
        assert taken.slots_opened == 1  # of the other item
        retraction.undo(retraction=taken, actor=manager)
        assert withdrawal.restore(item=item, actor=manager) == 1
        assert not Slot.objects.exclude(item=item).filter(state="open").exists()


@pytest.mark.django_db(transaction=True)
def test_a_slot_given_back_while_its_item_is_being_withdrawn_does_not_stay_open(
    project: Project, manager: User, contractor: User
) -> None:
    factories.make_batch(project)
    slot = assignment.next_slot(project=project, user=contractor, kind="rank")
    assert slot is not None and slot.lease_token is not None
    token = slot.lease_token

    def in_thread(act: Callable[[], object]) -> threading.Thread:
        def run() -> None:
            act()
            connections.close_all()

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    with transaction.atomic():
        withdrawal.withdraw(item=slot.item, actor=manager)  # holds the item's lock, saw the slot leased
        skipping = in_thread(
            lambda: responses.skip(slot_id=slot.pk, user=contractor, lease_token=token, reason="other", note="")
        )
        skipping.join(0.5)
        assert skipping.is_alive(), "it waits for the withdrawal"
    skipping.join(10)
    assert Slot.objects.get().state == "withdrawn"
