"""The managers' side of the qualification test: the editor, and deciding about people on the members page."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from hone.accounts.models import Membership, Project, User
from hone.audit.models import Event
from labeling import qualifying
from labeling.models import Qualification
from tests import factories

pytestmark = pytest.mark.django_db
EDIT = "/p/alpha/settings/qualification/"
MEMBERS = "/p/alpha/members/"
ROWS = {
    "questions": "1",
    "q0-text": "Sources?",
    "q0-option0": "Never invent",
    "q0-option1": "Invent",
    "q0-right0": "on",
    "q0-explanation": "See 1.",
    "rankings": "1",
    "r0-prompt": "Why?",
    "r0-answer0": "Good",
    "r0-tier0": "1",
    "r0-answer1": "Fair",
    "r0-tier1": "3",
    "r0-answer2": "",
    "r0-tier2": "",
    "r0-answer3": "Bad",
    "r0-tier3": "4",
}


def send(client: Client, action: str = "save", **fields: str) -> Any:
    stamp = client.get(EDIT).context["based_on"]
    marks = {"is_on": "on", "keep": "on", "pass_percent": "70", "attempts": "2", "based_on": stamp}
    body = {**marks, **ROWS, "action": action, **fields}
    return client.post(EDIT, {key: value for key, value in body.items() if value != "absent"})


class TestEditor:
    def test_it_is_kept_and_switched_on(self, client: Client, project: Project, manager: User) -> None:
        client.force_login(manager)
        assert send(client).headers["Location"] == EDIT
        made = Qualification.objects.get()
        assert (made.project, made.pass_percent, made.attempts, made.version) == (project, 70, 2, 1)
        question = {
            "text": "Sources?",
            "several": False,
            "options": ["Never invent", "Invent"],
            "right": [0],
            "explanation": "See 1.",
        }
        assert made.questions == [question]
        # The empty answer is left out, and tiers are numbered without a gap.
        assert made.rankings == [{"prompt": "Why?", "answers": ["Good", "Fair", "Bad"], "tiers": [1, 2, 3]}]
        project.refresh_from_db()
        assert project.asks_qualification
        event = Event.objects.get(verb="qualification.changed")
        assert event.actor == manager and event.detail["is_on"] and event.detail["version"] == 1
        page = client.get(EDIT).content.decode()
        assert "Never invent" in page and '<option value="3" selected>' in page

    def test_switching_it_off_keeps_the_questions(self, client: Client, project: Project, manager: User) -> None:
        client.force_login(manager)
        send(client)
        assert send(client, is_on="absent").status_code == 302
        project.refresh_from_db()
        made = Qualification.objects.get()
        # Tiers 1, 3, 4 are kept as 1, 2, 3: the same questions are the same version.
        assert not project.asks_qualification and len(made.questions) == 1 and made.version == 1

    @pytest.mark.parametrize(
        ("fields", "sentence"),
        [
            ({"pass_percent": "0"}, "The pass mark is a whole number from 1 to 100."),
            ({"pass_percent": "x"}, "The pass mark is a whole number from 1 to 100."),
            ({"pass_percent": ""}, "The pass mark is a whole number from 1 to 100."),
            ({"attempts": "11"}, "Attempts are a whole number from 1 to 10."),
            ({"attempts": ""}, "Attempts are a whole number from 1 to 10."),
            ({"questions": "0", "rankings": "0"}, "Write at least one question before you switch the test on."),
            ({"q0-right0": "absent"}, "Mark the right answer."),
            ({"q0-text": " "}, "Write the question."),
            ({"r0-prompt": " "}, "Write the prompt."),
            ({"r0-answer1": "", "r0-answer3": ""}, "Write at least two answers."),
            ({"r0-answer1": "Good"}, "Two answers are the same."),
            ({"r0-tier1": ""}, "Choose a tier for each answer."),
            ({"r0-tier1": "9"}, "Choose a tier for each answer."),
            ({"r0-tier1": "1", "r0-tier3": "1"}, "Put at least one answer above another"),
            ({"r0-answer1": "x" * 2001}, "At most 2000 characters."),
            ({"rankings": "11"}, "At most 10 questions."),
            ({"based_on": "2020-01-01"}, "Somebody else has saved this test meanwhile."),
        ],
    )
    def test_each_fault_is_said_and_the_text_kept(
        self, client: Client, project: Project, manager: User, fields: dict[str, str], sentence: str
    ) -> None:
        client.force_login(manager)
        answer = send(client, **fields)
        page = answer.content.decode()
        assert answer.status_code == 400 and sentence in page
        if fields.get("questions") != "0":
            assert "See 1." in page and "Good" in page
        assert not Qualification.objects.exists() and not Project.objects.get().asks_qualification

    def test_adding_and_removing_rows_keeps_nothing_and_loses_nothing(
        self, client: Client, project: Project, manager: User
    ) -> None:
        client.force_login(manager)
        answer = send(client, "add_ranking", attempts="99")
        assert len(answer.context["rankings"].rows) == 2 and len(answer.context["quiz"].rows) == 1
        page = answer.content.decode()
        assert answer.status_code == 200 and 'value="99"' in page and "Good" in page and "whole number" not in page
        assert len(send(client, "add_question").context["quiz"].rows) == 2
        answer = send(client, "remove_ranking:0")
        assert len(answer.context["rankings"].rows) == 0 and "Never invent" in answer.content.decode()
        assert not Qualification.objects.exists()

    @pytest.mark.parametrize(
        ("who", "status"), [("manager", 200), ("lead", 200), ("reviewer", 403), ("contractor", 403), ("outsider", 404)]
    )
    def test_managers_alone(
        self, request: pytest.FixtureRequest, client: Client, project: Project, who: str, status: int
    ) -> None:
        client.force_login(request.getfixturevalue(who))
        assert client.get(EDIT).status_code == status
        if status != 200:
            assert client.post(EDIT, {"action": "save", **ROWS}).status_code == status
            assert not Qualification.objects.exists()


class TestMembers:
    WRONG = {"questions": [[1]], "rankings": [[3, 2, 1]]}

    def fail(self, project: Project, user: User) -> None:
        found = qualifying.standing(project=project, user=user)
        assert found is not None
        qualifying.attempt(project=project, user=user, number=found.number, version=1, answers=self.WRONG)

    def test_a_manager_gives_one_more_attempt_to_who_has_none_left(
        self, client: Client, project: Project, manager: User, contractor: User
    ) -> None:
        factories.make_qualification(project, actor=manager, attempts=1)
        client.force_login(manager)
        own = Membership.objects.get(user=contractor)
        assert "One more attempt" not in client.get(MEMBERS).content.decode()
        self.fail(project, contractor)
        page = client.get(MEMBERS).content.decode()
        assert "1 of 1 attempts" in page and "last: 0 %" in page and "One more attempt" in page
        for _click in range(2):  # two managers at once
            assert client.post(MEMBERS, {"member": own.pk, "action": "give_attempt"}).status_code == 302
        own.refresh_from_db()
        assert own.extra_attempts == 1 and own.qualified_at is None
        assert Event.objects.get(verb="qualification.attempt_given").actor == manager
        found = qualifying.standing(project=project, user=contractor)
        assert found is not None and found.left == 1

    def test_a_manager_qualifies_by_hand(
        self, client: Client, project: Project, manager: User, contractor: User, reviewer: User
    ) -> None:
        factories.make_qualification(project, actor=manager)
        client.force_login(manager)
        for user in (contractor, reviewer):
            own = Membership.objects.get(user=user)
            assert client.post(MEMBERS, {"member": own.pk, "action": "qualify"}).status_code == 302
            own.refresh_from_db()
            assert (own.qualified_at is not None) is (user == contractor)
        assert Event.objects.get(verb="qualification.given").actor == manager
        assert not qualifying.is_missing(project=project, user=contractor)

    def test_a_member_of_another_project_is_out_of_reach(self, client: Client, project: Project, manager: User) -> None:
        other = factories.make_project("other")
        stranger = Membership.objects.create(user=factories.make_user(), project=other)
        client.force_login(manager)
        client.post(MEMBERS, {"member": stranger.pk, "action": "qualify"})
        stranger.refresh_from_db()
        assert stranger.qualified_at is None

    @pytest.mark.parametrize("who", ["reviewer", "contractor"])
    def test_others_decide_nothing(
        self,
        request: pytest.FixtureRequest,
        client: Client,
        project: Project,
        manager: User,
        contractor: User,
        who: str,
    ) -> None:
        factories.make_qualification(project, actor=manager)
        client.force_login(request.getfixturevalue(who))
        own = Membership.objects.get(user=contractor)
        assert client.post(MEMBERS, {"member": own.pk, "action": "qualify"}).status_code == 403
        own.refresh_from_db()
        assert own.qualified_at is None

    def test_more_members_cost_no_more_queries(self, client: Client, project: Project, manager: User) -> None:
        factories.make_qualification(project, actor=manager)
        client.force_login(manager)
        counts = []
        for _round in range(2):
            for _member in range(3):
                self.fail(project, factories.make_member(project))
            client.get(MEMBERS)
            with CaptureQueriesContext(connection) as queries:
                page = client.get(MEMBERS).content.decode()
            counts.append(len(queries))
            assert page.count("1 of 3 attempts") == 3 * (_round + 1)
        assert counts[0] == counts[1]

    def test_without_a_test_the_column_is_missing(self, client: Client, project: Project, manager: User) -> None:
        client.force_login(manager)
        assert "Qualif" not in client.get(MEMBERS).content.decode()
