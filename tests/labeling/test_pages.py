"""The managers' pages and home, without a browser: what they answer and what they write."""

import threading
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from hone.accounts.models import Membership, Project, User
from hone.audit.models import Event
from labeling import guidelines
from labeling.models import Guideline
from tests import factories

pytestmark = pytest.mark.django_db
EDIT = "/p/alpha/guideline/edit/"


def based_on(client: Client) -> str:
    return client.get(EDIT).context["based_on"]


def save(client: Client, text: str, stamp: str, action: str = "save") -> Any:
    return client.post(EDIT, {"title": "Spec", "body": text, "based_on": stamp, "action": action})


class TestGuidelineEdit:
    def test_save_then_publish_then_the_next_version(self, client: Client, project: Project, manager: User) -> None:
        client.force_login(manager)
        assert save(client, "One", based_on(client)).status_code == 302
        assert save(client, "Two", based_on(client), "publish").status_code == 302
        assert save(client, "Three", based_on(client)).status_code == 302
        rows = [(row.number, row.body, row.is_published) for row in Guideline.objects.order_by("number")]
        assert rows == [(1, "Two", True), (2, "Three", False)]

    @pytest.mark.parametrize("first", ["save", "publish"])
    @pytest.mark.parametrize("second", ["save", "publish"])
    def test_the_second_editor_is_told_and_keeps_their_text(
        self, client: Client, project: Project, manager: User, first: str, second: str
    ) -> None:
        client.force_login(manager)
        save(client, "Old", based_on(client))
        stamp = based_on(client)
        save(client, "First", stamp, first)
        refused = save(client, "Second", stamp, second)
        page = refused.content.decode()
        assert refused.status_code == 409 and "Somebody else changed the guideline" in page
        assert ">\nSecond</textarea>" in page and "<code>First</code>" in page
        assert not Guideline.objects.filter(body="Second").exists()
        assert save(client, "Second", refused.context["based_on"], second).status_code == 302
        assert Guideline.objects.filter(body="Second").exists()

    def test_a_form_with_an_error_does_not_forget_what_it_began_with(
        self, client: Client, project: Project, manager: User
    ) -> None:
        client.force_login(manager)
        stamp = based_on(client)
        save(client, "First", stamp)
        assert save(client, "", stamp).context["based_on"] == stamp

    def test_no_draft_is_left_when_publishing_fails(
        self, client: Client, project: Project, manager: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise RuntimeError("no")

        monkeypatch.setattr(guidelines, "record", fail)
        client.force_login(manager)
        client.raise_request_exception = False
        assert save(client, "One", based_on(client), "publish").status_code == 500
        assert not Guideline.objects.exists()


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_two_who_publish_at_once_make_one_version(project: Project, manager: User) -> None:
    refused: list[guidelines.Changed] = []

    def publish() -> None:
        try:
            guidelines.edit(project=project, title="t", body="b", based_on="", actor=manager, publish_it=True)
        except guidelines.Changed as error:
            refused.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=publish)
    with transaction.atomic():
        guidelines.edit(project=project, title="t", body="a", based_on="", actor=manager, publish_it=True)
        thread.start()
        thread.join(1)
    thread.join(20)
    assert len(refused) == 1 and Guideline.objects.get().body == "a"


class TestPrompts:
    @pytest.mark.parametrize(
        ("words", "found"),
        [
            ("user", 0),
            ("content", 0),
            ("Rinse", 1),
            ("rinse THE", 1),
            ('the "rice"', 1),
            ("twice\nthen", 1),
            ("100%", 1),
            ("1.0", 0),
            ("(a|b)", 1),
            ("\\d", 1),
            ("洗米", 1),
            ("\x00", 0),
        ],
    )
    def test_the_search_reads_texts_as_they_are(
        self, client: Client, project: Project, manager: User, words: str, found: int
    ) -> None:
        factories.make_prompt(project, 'Rinse the "rice" twice\nthen wait. 100% (a|b) \\d 先洗米再煮')
        factories.make_prompt(project, "Something else")
        client.force_login(manager)
        page = client.get("/p/alpha/prompts/", {"q": words})
        assert page.status_code == 200 and page.context["page_obj"].paginator.count == found

    @pytest.mark.parametrize("query", [{"category": "\x00"}, {"category": "none"}, {"language": "\x00"}])
    def test_a_filter_that_nothing_can_match_finds_nothing(
        self, client: Client, project: Project, manager: User, query: dict[str, str]
    ) -> None:
        factories.make_prompt(project)
        client.force_login(manager)
        page = client.get("/p/alpha/prompts/", query)
        assert page.status_code == 200 and page.context["page_obj"].paginator.count == 0


class TestMembers:
    def test_adding_and_changing_are_told_apart(self, client: Client, project: Project, manager: User) -> None:
        client.force_login(manager)
        factories.make_user("new")
        for role in ("contractor", "reviewer"):
            answer = client.post("/p/alpha/members/", {"action": "add", "username": "new", "role": role})
            assert answer.status_code == 302
        member = Membership.objects.get(user__username="new")
        events = list(Event.objects.order_by("id").values_list("verb", "detail"))
        assert events == [
            ("member.added", {"role": "contractor"}),
            ("member.changed", {"role": "reviewer", "role_before": "contractor", "active_before": True}),
        ]
        for action, active in (("deactivate", False), ("activate", True)):
            client.post("/p/alpha/members/", {"action": action, "member": member.pk})
            member.refresh_from_db()
            assert member.is_active is active
            assert Event.objects.filter(verb=f"member.{action}d").exists()

    @pytest.mark.parametrize("member", ["²", "", "x", "-1", "1" * 30, "\x00"])
    def test_an_odd_member_changes_nothing(self, client: Client, project: Project, manager: User, member: str) -> None:
        client.force_login(manager)
        assert client.post("/p/alpha/members/", {"action": "deactivate", "member": member}).status_code == 200
        assert Membership.objects.get().is_active

    def test_another_projects_member_is_out_of_reach(self, client: Client, project: Project, manager: User) -> None:
        other = factories.make_project("beta")
        factories.make_member(other, username="theirs")
        member = Membership.objects.get(user__username="theirs")
        client.force_login(manager)
        client.post("/p/alpha/members/", {"action": "deactivate", "member": member.pk})
        member.refresh_from_db()
        assert member.is_active

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize(
        "body", [{"action": "add", "username": "new", "role": "manager"}, {"action": "deactivate"}]
    )
    def test_a_change_that_cannot_be_recorded_is_not_made(
        self,
        client: Client,
        project: Project,
        manager: User,
        monkeypatch: pytest.MonkeyPatch,
        body: dict[str, str],
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise RuntimeError("no")

        monkeypatch.setattr("labeling.members.record", fail)
        factories.make_user("new")
        client.force_login(manager)
        client.raise_request_exception = False
        member = Membership.objects.get()
        factories.make_member(project, "manager")  # the last one could not go
        assert client.post("/p/alpha/members/", {"member": member.pk, **body}).status_code == 500
        member.refresh_from_db()
        assert member.is_active and Membership.objects.count() == 2


class TestHome:
    def test_takes_the_same_number_of_queries_with_any_number_of_projects(
        self, client: Client, contractor: User, project: Project
    ) -> None:
        client.force_login(contractor)
        numbers = []
        for count in (1, 5):
            for _ in range(count):
                other = factories.make_project()
                Membership.objects.create(user=contractor, project=other)
                factories.make_batch(other, items=2)
                factories.make_batch(other, "write", items=1)
            with CaptureQueriesContext(connection) as queries:
                page = client.get("/")
            numbers.append(len(queries))
        assert numbers[0] == numbers[1] < 12
        assert [(row["write_open"], row["rank_open"]) for row in page.context["projects"]] == [(0, 0)] + [(1, 2)] * 6
        assert {row["role"] for row in page.context["projects"]} == {"Contractor"}

    def test_staff_are_managers_everywhere(self, client: Client, lead: User, project: Project) -> None:
        client.force_login(lead)
        assert [row["role"] for row in client.get("/").context["projects"]] == ["Manager"]

    def test_projects_come_in_pages(self, client: Client, lead: User) -> None:
        Project.objects.bulk_create(Project(slug=f"p{n}", name=f"P{n:03}") for n in range(51))
        client.force_login(lead)
        assert len(client.get("/").context["projects"]) == 50
        assert [row["project"].name for row in client.get("/?page=2").context["projects"]] == ["P050"]

    def test_what_was_done_today_is_counted(self, client: Client, contractor: User, project: Project) -> None:
        factories.make_ranking(contractor, project, [[0], [1]])
        client.force_login(contractor)
        [row] = client.get("/").context["projects"]
        assert (row["done_today"], row["rank_open"]) == (1, 0)


@pytest.mark.parametrize("kind", ["rank", "write"])
def test_a_working_page_shows_the_version_that_its_label_will_have(
    client: Client, project: Project, contractor: User, kind: str
) -> None:
    factories.make_guideline(project, body="## First rules")
    factories.make_batch(project, kind)
    client.force_login(contractor)
    client.get(f"/p/alpha/{kind}/")
    factories.make_guideline(project, body="## Second rules")
    page = client.get(f"/p/alpha/{kind}/").content.decode()
    assert "First rules" in page and "Second rules" not in page
