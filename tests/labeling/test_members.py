"""Taking people out and in: what stops at once, what stays, and the last manager; the sorted page of all."""

import csv
import io
import threading
from datetime import timedelta

import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from hone.accounts.models import ApiToken, Membership, Project, User
from labeling import assignment, booking, members, people, responses
from labeling.models import Draft, LedgerEntry, Ranking, Slot
from tests import factories
from tests.labeling.test_pay import piece, ranked

pytestmark = pytest.mark.django_db
PAGE = "/p/alpha/members/"


def membership(user: User, project: Project) -> Membership:
    return Membership.objects.get(user=user, project=project)


def test_access_ends_at_once_and_work_stays(
    client: Client, api: APIClient, project: Project, manager: User, contractor: User, reviewer: User
) -> None:
    piece(project, manager)
    ranked(contractor, project)
    booking.book_all()
    factories.make_batch(project)
    slot = assignment.next_slot(project=project, user=contractor, kind="rank")
    assert slot is not None
    responses.save_draft(slot_id=slot.pk, user=contractor, content={"tiers": [["A"]]})
    elsewhere = factories.make_project("beta")
    elsewhere.memberships.create(user=contractor)
    factories.make_batch(elsewhere)
    kept = assignment.next_slot(project=elsewhere, user=contractor, kind="rank")
    _token, secret = ApiToken.objects.create(user=contractor, name="script")
    api.credentials(HTTP_AUTHORIZATION=f"Token {secret}")
    assert api.get("/api/v1/projects/alpha/").status_code == 200

    client.force_login(manager)
    client.post(PAGE, {"action": "deactivate", "member": membership(contractor, project).pk})
    slot.refresh_from_db()
    assert (slot.state, slot.holder) == ("open", None)
    assert kept is not None and Slot.objects.get(pk=kept.pk).state == "leased"
    again = assignment.next_slot(project=project, user=reviewer, kind="rank")
    assert again is not None and again.pk == slot.pk  # nobody waits for the lease
    assert api.get("/api/v1/projects/alpha/").status_code == 404
    assert api.post(f"/api/v1/work/{slot.pk}/renew/", {"lease_token": str(slot.lease_token)}).status_code == 404
    assert api.get("/api/v1/projects/beta/").status_code == 200
    client.force_login(contractor)
    assert client.get("/p/alpha/rank/").status_code == 404
    assert Draft.objects.filter(author=contractor).count() == 1
    assert Ranking.objects.filter(retraction=None).count() == 1 and LedgerEntry.objects.count() == 1
    assert people.statistics(project, [contractor])[contractor.pk]["rank"]["all"] == 1

    client.force_login(manager)
    client.post(PAGE, {"action": "activate", "member": membership(contractor, project).pk})
    assert api.get("/api/v1/projects/alpha/").status_code == 200


@pytest.mark.parametrize(
    "sent", [{"action": "deactivate"}, {"action": "add", "username": "manager", "role": "contractor"}]
)
def test_the_last_manager_stays(client: Client, project: Project, manager: User, sent: dict[str, str]) -> None:
    inactive = factories.make_member(project, "manager", is_active=False)
    client.force_login(manager)
    member = membership(manager, project)
    page = client.post(PAGE, {**sent, "member": member.pk}, follow=True).content.decode()
    assert "last active manager" in page
    member.refresh_from_db()
    assert (member.role, member.is_active) == ("manager", True)
    User.objects.filter(pk=inactive.pk).update(is_active=True)
    client.post(PAGE, {**sent, "member": member.pk})
    member.refresh_from_db()
    assert (member.role, member.is_active) != ("manager", True)


@pytest.mark.django_db(transaction=True)
def test_two_managers_who_take_each_other_out_leave_one(project: Project, manager: User) -> None:
    other = factories.make_member(project, "manager")
    outcomes: list[str] = []
    start = threading.Barrier(2)

    def take_out(whom: User, actor: User) -> None:
        try:
            start.wait(10)
            members.deactivate(member=membership(whom, project), actor=actor)
            outcomes.append("out")
        except members.LastManager:
            outcomes.append("stays")
        finally:
            connections.close_all()

    threads = [threading.Thread(target=take_out, args=pair) for pair in ((manager, other), (other, manager))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(outcomes) == ["out", "stays"]
    assert project.memberships.filter(role="manager", is_active=True).count() == 1


class TestSorting:
    @pytest.fixture
    def team(self, project: Project, manager: User, contractor: User) -> Project:
        piece(project, manager)
        other = factories.make_member(project, username="zoe", display_name="Ann")
        for user, times, seconds in ((contractor, 1, 500), (other, 2, 10)):
            for _ in range(times):
                ranked(user, project, active_seconds=seconds)
        Ranking.objects.filter(author=other).update(created_at=timezone.now() - timedelta(days=3))
        booking.book_all()
        return project

    @pytest.mark.parametrize(
        ("sort", "first"),
        [
            ("name", "zoe"),
            ("-name", "manager"),
            ("-rankings", "zoe"),
            ("-active", "contractor"),
            ("-earned", "contractor"),
            ("-seen", "contractor"),
            ("'; DROP", "zoe"),
            ("--name", "zoe"),
        ],
    )
    def test_the_address_says_by_what(
        self, client: Client, team: Project, manager: User, sort: str, first: str
    ) -> None:
        client.force_login(manager)
        User.objects.update(last_login=None)
        rows = people.member_rows(team, sort=sort)
        assert rows[0]["member"].user.username == first
        page = client.get(PAGE, {"sort": sort})
        assert [row["member"].user.username for row in page.context["rows"]][0] in {first, "manager"}
        text = client.get("/p/alpha/members.csv", {"sort": "-rankings"}).content.decode()
        lines = list(csv.DictReader(io.StringIO(text)))
        assert lines[0]["user_name"] == "zoe" and lines[0]["active_seconds"] == "20" and lines[0]["retracted"] == "0"
        assert {line["user_name"]: line["earned"] for line in lines}["contractor"] == "0.5000 EUR"

    def test_a_heading_says_how_it_is_sorted_and_turns_it_round(
        self, client: Client, team: Project, manager: User
    ) -> None:
        client.force_login(manager)
        page = client.get(PAGE, {"sort": "-rankings"}).content.decode()
        assert 'aria-sort="descending"><a href="?sort=rankings">Rankings</a>' in page
        assert '<a href="?sort=-active">Time in use</a>' in page and '<a href="?sort=name">Name</a>' in page
