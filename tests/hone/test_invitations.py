"""Invitations by link: who makes them, who joins, what they never do, and the last place taken by two at once."""

import re
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from hone.accounts import invitations
from hone.accounts.models import Invitation, InvitationUse, Membership, Project, User
from hone.audit.models import Event
from tests import factories

pytestmark = pytest.mark.django_db
PAGE = "/p/alpha/invitations/"
SECRET = "lantern-harbour-9"
NEW = {"username": "nova", "display_name": "Nova Star", "password1": SECRET, "password2": SECRET}


def invite(project: Project, actor: User, **more: Any) -> tuple[Invitation, str]:
    values = {"role": "contractor", "note": "", "max_uses": 1, "expires_at": timezone.now() + timedelta(days=1)}
    return invitations.invite(project=project, actor=actor, **{**values, **more})  # type: ignore[arg-type]


def opened(token: str, user: User | None = None) -> Client:
    """A browser that has opened the link."""
    client = Client()
    if user:
        client.force_login(user)
    assert client.post("/join/", {"code": token}).headers["Location"] == "/join/"
    return client


class TestItsMaker:
    @pytest.mark.parametrize("lost", ["demoted", "removed", "account closed"])
    def test_nobody_joins_by_the_link_of_one_who_manages_no_more(
        self, client: Client, project: Project, manager: User, outsider: User, lost: str
    ) -> None:
        maker = factories.make_member(project, "manager", username="former")
        invite(project, manager)
        made, token = invite(project, maker, role="manager", max_uses=1000)
        before, newcomer = opened(token, outsider), opened(token)
        if lost == "account closed":
            User.objects.filter(pk=maker.pk).update(is_active=False)
        else:
            change = {"role": "reviewer"} if lost == "demoted" else {"is_active": False}
            Membership.objects.filter(user=maker, project=project).update(**change)
        answer = before.post("/join/")
        assert answer.status_code == 410 and "does not manage the project any more" in answer.content.decode()
        assert newcomer.post("/join/", NEW).status_code == 410
        assert not project.memberships.filter(user=outsider).exists()
        assert not User.objects.filter(username="nova").exists() and not InvitationUse.objects.exists()
        with pytest.raises(invitations.Closed):
            invitations.join(invitation_id=made.pk, user=outsider)
        client.force_login(manager)
        page = client.get(PAGE).content.decode()
        assert page.count("does not manage the project any more") == 1 and page.count('data-state="done"') == 1

    def test_staff_may_invite_without_being_a_member(self, project: Project, outsider: User) -> None:
        staff = factories.make_user("chief", is_staff=True)
        _made, token = invite(project, staff)
        assert opened(token, outsider).post("/join/").status_code == 302
        assert project.memberships.get(user=outsider).role == "contractor"


class TestManaging:
    @pytest.mark.parametrize(
        ("who", "status"), [("manager", 200), ("reviewer", 403), ("contractor", 403), ("outsider", 404)]
    )
    def test_managers_alone(
        self, request: pytest.FixtureRequest, client: Client, project: Project, manager: User, who: str, status: int
    ) -> None:
        made, _token = invite(project, manager)
        client.force_login(request.getfixturevalue(who))
        assert client.get(PAGE).status_code == status
        assert client.post(PAGE, {"role": "contractor", "max_uses": 1, "days": 1}).status_code == status
        assert Invitation.objects.count() == (2 if status == 200 else 1)
        client.post(f"{PAGE}{made.pk}/revoke/")
        assert Invitation.objects.filter(revoked_at__isnull=False).exists() is (status == 200)

    def test_the_link_is_shown_once_and_its_token_is_stored_nowhere(
        self, client: Client, project: Project, manager: User
    ) -> None:
        client.force_login(manager)
        page = client.post(PAGE, {"role": "reviewer", "max_uses": 3, "days": 2, "note": "Team B"}).content.decode()
        [token] = re.findall(r"http://testserver/join/#([\w-]{43})<", page)
        made = Invitation.objects.get()
        assert (made.role, made.max_uses, made.note) == ("reviewer", 3, "Team B")
        assert token not in made.digest and invitations.find(token) == made
        assert token not in client.get(PAGE).content.decode()
        assert not [event for event in Event.objects.all() if token in str(event.detail)]

    @pytest.mark.parametrize("wrong", [{"max_uses": 0}, {"days": 91}, {"role": "owner"}, {"max_uses": "many"}])
    def test_what_is_wrong_is_said_and_kept(
        self, client: Client, project: Project, manager: User, wrong: dict[str, Any]
    ) -> None:
        client.force_login(manager)
        sent = {"role": "contractor", "max_uses": 1, "days": 1, "note": "for Ann", **wrong}
        page = client.post(PAGE, sent).content.decode()
        assert 'class="error"' in page and "for Ann" in page and not Invitation.objects.exists()

    def test_the_list_takes_the_same_queries_for_more(self, client: Client, project: Project, manager: User) -> None:
        client.force_login(manager)
        numbers = []
        for _ in range(2):
            for _ in range(3):
                made, _token = invite(project, manager)
                invitations.join(invitation_id=made.pk, user=factories.make_user())
            with CaptureQueriesContext(connection) as caught:
                client.get(PAGE)
            numbers.append(len(caught))
        assert numbers[0] == numbers[1]


class TestJoining:
    def test_somebody_who_is_logged_in_joins_by_a_button(self, project: Project, manager: User, outsider: User) -> None:
        made, token = invite(project, manager, role="reviewer")
        client = opened(token, outsider)
        page = client.get("/join/").content.decode()
        assert "Join Alpha" in page and "Reviewer" in page and token not in page
        assert not Membership.objects.filter(user=outsider).exists()  # looking is not joining
        assert client.post("/join/").headers["Location"] == "/p/alpha/"
        assert Membership.objects.get(user=outsider).role == "reviewer"
        made.refresh_from_db()
        assert made.uses == 1 and InvitationUse.objects.get().user == outsider
        event = Event.objects.get(verb="member.added")
        assert event.actor == outsider and event.detail == {"role": "reviewer", "invitation": made.pk}

    def test_somebody_new_makes_an_account_and_lands_on_the_project(self, project: Project, manager: User) -> None:
        _made, token = invite(project, manager)
        client = opened(token)
        assert client.post("/join/", NEW).headers["Location"] == "/p/alpha/"
        user = User.objects.get(username="nova")
        assert user.display_name == "Nova Star" and user.check_password(SECRET) and not user.is_staff
        assert Membership.objects.get(user=user).role == "contractor"
        assert client.get("/p/alpha/").status_code == 200  # logged in

    @pytest.mark.parametrize(
        ("wrong", "sentence"),
        [
            ({"password1": "1234", "password2": "1234"}, "too short"),
            ({"password2": "another-one-8"}, "match"),
            ({"username": "a b"}, "valid username"),
            ({"username": "MANAGER"}, "This name is taken"),
            ({"username": ""}, "required"),
        ],
    )
    def test_a_faulty_account_is_not_made(
        self, project: Project, manager: User, wrong: dict[str, str], sentence: str
    ) -> None:
        made, token = invite(project, manager)
        answer = opened(token).post("/join/", {**NEW, **wrong})
        page = answer.content.decode()
        assert answer.status_code == 400 and sentence in page and "Nova Star" in page
        assert SECRET not in page
        made.refresh_from_db()
        assert made.uses == 0 and User.objects.count() == 1

    def test_after_five_taken_names_the_page_closes_for_a_while(self, project: Project, manager: User) -> None:
        _made, token = invite(project, manager)
        client = opened(token)
        for _ in range(5):
            assert client.post("/join/", {**NEW, "username": "manager"}).status_code == 400
        answer = client.post("/join/", NEW)
        assert answer.status_code == 429 and "Too many names" in answer.content.decode()
        assert not User.objects.filter(username="nova").exists()

    @pytest.mark.parametrize("why", ["withdrawn", "expired", "used"])
    @pytest.mark.parametrize("is_new", [True, False])
    def test_a_closed_one_says_why_and_takes_nobody(
        self, project: Project, manager: User, outsider: User, why: str, is_new: bool
    ) -> None:
        made, token = invite(project, manager)
        client = opened(token, None if is_new else outsider)
        if why == "withdrawn":
            invitations.revoke(invitation=made, actor=manager)
        elif why == "expired":
            Invitation.objects.update(expires_at=timezone.now())
        else:
            invitations.join(invitation_id=made.pk, user=factories.make_user())
        people = set(Membership.objects.values_list("user", flat=True))
        for answer in (client.get("/join/"), client.post("/join/", NEW if is_new else {})):
            assert answer.status_code == 410 and why in answer.content.decode()
        assert set(Membership.objects.values_list("user", flat=True)) == people
        assert not User.objects.filter(username="nova").exists()

    @pytest.mark.parametrize("code", ["", "x", "\x00", "ü" * 50, "a" * 5000])
    def test_a_code_of_nothing_opens_nothing(self, client: Client, project: Project, code: str) -> None:
        answer = client.post("/join/", {"code": code})
        assert answer.status_code == 404 and "There is no such invitation" in answer.content.decode()

    def test_without_a_link_there_is_nothing_to_join(self, client: Client, outsider: User) -> None:
        assert "Code of the invitation" in client.get("/join/").content.decode()
        client.force_login(outsider)
        assert client.post("/join/").status_code == 200 and not Membership.objects.exists()

    def test_a_member_keeps_the_higher_role_and_costs_no_place(
        self, project: Project, manager: User, contractor: User
    ) -> None:
        made, token = invite(project, manager, role="reviewer", max_uses=2)
        assert opened(token, manager).post("/join/").status_code == 302
        assert Membership.objects.get(user=manager).role == "manager"
        assert opened(token, contractor).post("/join/").status_code == 302
        assert Membership.objects.get(user=contractor).role == "reviewer"
        made.refresh_from_db()
        assert made.uses == 1

    def test_nobody_who_was_taken_out_comes_back_by_a_link(
        self, project: Project, manager: User, contractor: User
    ) -> None:
        made, token = invite(project, manager)
        Membership.objects.filter(user=contractor).update(is_active=False)
        client = opened(token, contractor)
        for answer in (client.get("/join/"), client.post("/join/")):
            assert answer.status_code in {403, 410} and "Ask its manager" in answer.content.decode()
        assert not Membership.objects.get(user=contractor).is_active
        made.refresh_from_db()
        assert made.uses == 0


@pytest.mark.django_db(transaction=True)
def test_of_two_who_take_the_last_place_one_gets_it(project: Project, manager: User) -> None:
    _made, token = invite(project, manager)
    browsers = [opened(token), opened(token)]
    statuses: list[int] = []
    start = threading.Barrier(2)

    def join(number: int) -> None:
        try:
            start.wait(10)
            statuses.append(browsers[number].post("/join/", {**NEW, "username": f"nova{number}"}).status_code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=join, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(statuses) == [302, 410]
    assert Invitation.objects.get().uses == 1
    assert User.objects.filter(username__startswith="nova").count() == 1  # the other one's account was not made
