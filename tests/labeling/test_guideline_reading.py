"""A new guideline version is read before the next item: the gate, page, quiz, endpoint and managers' view."""

from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from hone.accounts.models import Project, User
from labeling import assignment, guideline_reading, guidelines
from labeling.models import Guideline, GuidelineReading, QuizAttempt, Ranking, Slot
from tests import factories

pytestmark = pytest.mark.django_db
READ = "/p/alpha/guideline/read/?for=rank"
NEXT = "/api/v1/projects/alpha/work/rank/next/"
QUIZ = {
    "pass_percent": 100,
    "questions": [
        {"text": "Truth?", "several": False, "options": ["Never", "Invent"], "right": [0], "explanation": "Rule 1"},
        {"text": "Tone?", "several": True, "options": ["Kind", "Rude", "Calm"], "right": [0, 2], "explanation": ""},
    ],
}  # fmt: skip


@pytest.fixture
def project(db: None) -> Project:
    return factories.make_project("alpha", confirm_guideline=True)


def publish(project: Project, body: str = "# Spec\n\nBe kind.", **fields: Any) -> Guideline:
    draft = guidelines.save_draft(project=project, title="Spec", body=body, **fields)
    return guidelines.publish(guideline=draft, actor=factories.make_user())


def take(project: Project, user: User) -> Slot | None:
    return assignment.next_slot(project=project, user=user, kind="rank")


def confirm(guideline: Guideline, user: User) -> None:
    guideline_reading.confirm(guideline=guideline, user=user)


class TestGate:
    @pytest.mark.parametrize("who", ["contractor", "reviewer", "manager", "lead"])
    def test_nobody_is_handed_an_item_before_reading(
        self, request: pytest.FixtureRequest, project: Project, who: str
    ) -> None:
        user = request.getfixturevalue(who)
        factories.make_batch(project)
        first = publish(project)
        with pytest.raises(assignment.GuidelineUnread) as unread:
            take(project, user)
        assert unread.value.guideline == first and not Slot.objects.exclude(state="open").exists()
        assert guideline_reading.must_read(project=project, user=user)
        confirm(first, user)
        assert not guideline_reading.must_read(project=project, user=user)
        slot = take(project, user)
        assert slot is not None and slot.guideline == first

    def test_opening_a_version_is_no_confirmation(self, project: Project, contractor: User) -> None:
        factories.make_batch(project)
        guideline_reading.open_reading(guideline=publish(project), user=contractor)
        with pytest.raises(assignment.GuidelineUnread):
            take(project, contractor)

    def test_somebody_elses_confirmation_does_not_count(
        self, project: Project, contractor: User, reviewer: User
    ) -> None:
        factories.make_batch(project)
        confirm(publish(project), reviewer)
        with pytest.raises(assignment.GuidelineUnread):
            take(project, contractor)

    def test_without_a_guideline_or_with_the_switch_off_nothing_is_asked(
        self, project: Project, contractor: User
    ) -> None:
        factories.make_batch(project, items=2)
        factories.submit_next(project, contractor)
        publish(project)
        project.confirm_guideline = False
        project.save()
        assert take(project, contractor) is not None

    def test_an_item_in_hand_is_finished_under_the_version_shown(self, project: Project, contractor: User) -> None:
        factories.make_batch(project, items=2)
        first = publish(project)
        confirm(first, contractor)
        held = take(project, contractor)
        second = publish(project, "# Spec\n\nBe brief.")
        again = take(project, contractor)
        assert held is not None and again is not None and again.pk == held.pk
        factories.submit_next(project, contractor)
        assert Ranking.objects.get().guideline == first
        with pytest.raises(assignment.GuidelineUnread) as unread:
            take(project, contractor)
        assert unread.value.guideline == second

    def test_an_own_lease_that_ran_out_is_a_new_hand_out(self, project: Project, contractor: User) -> None:
        factories.make_batch(project)
        confirm(publish(project), contractor)
        held = take(project, contractor)
        assert held is not None
        Slot.objects.filter(pk=held.pk).update(lease_expires_at=held.leased_at)
        confirm(publish(project, "Two"), factories.make_user())
        with pytest.raises(assignment.GuidelineUnread):
            take(project, contractor)
        assert Slot.objects.get(pk=held.pk).holder == contractor

    def test_a_minor_change_asks_for_no_reading_of_who_has_read_the_one_before(
        self, project: Project, contractor: User, reviewer: User
    ) -> None:
        factories.make_batch(project, items=2, slots=2)
        first = publish(project, is_minor=True)
        assert not first.is_minor  # the first version is news to everybody
        confirm(first, contractor)
        minor = publish(project, "# Spec\n\nBe kind!", is_minor=True)
        slot = take(project, contractor)
        assert minor.is_minor and slot is not None and slot.guideline == minor
        with pytest.raises(assignment.GuidelineUnread) as unread:
            take(project, reviewer)
        assert unread.value.guideline == minor
        confirm(minor, reviewer)
        assert take(project, reviewer) is not None

    def test_a_minor_change_after_an_unread_version_still_asks(self, project: Project, contractor: User) -> None:
        factories.make_batch(project)
        confirm(publish(project), contractor)
        publish(project, "Two")
        newest = publish(project, "Three", is_minor=True)
        with pytest.raises(assignment.GuidelineUnread):
            take(project, contractor)
        confirm(newest, contractor)
        assert take(project, contractor) is not None

    def test_the_check_costs_no_statement(self, project: Project, contractor: User) -> None:
        factories.make_batch(project, items=3)
        confirm(publish(project), contractor)
        factories.submit_next(project, contractor)
        with CaptureQueriesContext(connection) as with_it:
            factories.submit_next(project, contractor)
        project.confirm_guideline = False
        with CaptureQueriesContext(connection) as without:
            factories.submit_next(project, contractor)
        assert len(with_it) == len(without)


class TestPage:
    def test_the_work_page_leads_there_and_back(self, client: Client, project: Project, contractor: User) -> None:
        factories.make_batch(project)
        guideline = publish(project)
        client.force_login(contractor)
        assert client.get("/p/alpha/rank/").headers["Location"] == READ
        page = client.get(READ).content.decode()
        assert "Read the guideline before your first item" in page and "Be kind." in page
        reading = GuidelineReading.objects.get()
        assert reading.user == contractor and reading.confirmed_at is None
        answer = client.post(READ, {"version": guideline.number})
        assert answer.status_code == 302 and answer.headers["Location"] == "/p/alpha/rank/"
        reading.refresh_from_db()
        assert reading.confirmed_at is not None
        assert client.get("/p/alpha/rank/").status_code == 200

    def test_it_shows_what_changed_since_the_version_confirmed_last(
        self, client: Client, project: Project, contractor: User
    ) -> None:
        confirm(publish(project, "## Truth\n\nNever invent a source.\n\n## Tone\n\nBe kind."), contractor)
        publish(project, "## Truth\n\nNever invent a quote.\n\n## Tone\n\nBe kind.")
        publish(project, "## Truth\n\nNever invent a fact.\n\n## Tone\n\nBe kind.\n\n## New\n\n<b>Be</b> brief.")
        client.force_login(contractor)
        answer = client.get(READ)
        states = [(section.heading, section.state) for section in answer.context["sections"]]
        assert states == [("Truth", "changed"), ("New", "new")] and len(answer.context["unchanged"]) == 1
        parts = (("same", "Never invent a "), ("gone", "source"), ("new", "fact"), ("same", "."))
        assert answer.context["sections"][0].parts == parts
        page = answer.content.decode()
        assert "you confirmed version 1" in page and "&lt;b&gt;Be&lt;/b&gt; brief." in page

    def test_a_version_published_while_reading_is_not_confirmed_unseen(
        self, client: Client, project: Project, contractor: User
    ) -> None:
        first = publish(project)
        client.force_login(contractor)
        client.get(READ)
        second = publish(project, "Two")
        answer = client.post(READ, {"version": first.number})
        assert answer.status_code == 200 and "A newer version was published" in answer.content.decode()
        assert not GuidelineReading.objects.filter(confirmed_at__isnull=False).exists()
        assert client.post(READ, {"version": second.number}).status_code == 302

    def test_without_a_guideline_there_is_nothing_to_read(
        self, client: Client, project: Project, contractor: User
    ) -> None:
        client.force_login(contractor)
        assert client.get(READ).headers["Location"] == "/p/alpha/guideline/"

    @pytest.mark.parametrize(
        ("who", "status"), [("manager", 200), ("reviewer", 200), ("contractor", 200), ("outsider", 404)]
    )
    def test_members_alone_read_it(
        self, request: pytest.FixtureRequest, client: Client, project: Project, who: str, status: int
    ) -> None:
        publish(project)
        client.force_login(request.getfixturevalue(who))
        assert client.get(READ).status_code == status
        assert GuidelineReading.objects.exists() is (status == 200)


class TestQuiz:
    def test_wrong_then_right(self, client: Client, project: Project, contractor: User) -> None:
        guideline = publish(project, quiz=QUIZ)
        client.force_login(contractor)
        client.get(READ)
        wrong = client.post(READ, {"version": 1, "q0": "1", "q1": ["0", "2"]}, follow=True)
        page = wrong.content.decode()
        assert "1 of 2 were right" in page and "Rule 1" in page and "You chose: Invent" in page
        reading = GuidelineReading.objects.get()
        assert reading.confirmed_at is None and reading.guideline == guideline
        right = client.post(READ, {"version": 1, "q0": "0", "q1": ["2", "0"]})
        assert right.headers["Location"] == "/p/alpha/rank/"
        reading.refresh_from_db()
        assert reading.confirmed_at is not None
        rows = [(row.answers, row.score, row.passed) for row in QuizAttempt.objects.all()]
        assert rows == [([[1], [0, 2]], 1, False), ([[0], [0, 2]], 2, True)]
        # What was confirmed is not tried again.
        client.post(READ, {"version": 1, "q0": "1", "q1": "1"})
        assert QuizAttempt.objects.count() == 2

    def test_a_part_of_several_right_answers_is_wrong(self, client: Client, project: Project, contractor: User) -> None:
        publish(project, quiz=QUIZ)
        client.force_login(contractor)
        client.post(READ, {"version": 1, "q0": "0", "q1": "0"})
        assert QuizAttempt.objects.get().score == 1

    def test_a_question_without_an_answer_is_no_try(self, client: Client, project: Project, contractor: User) -> None:
        publish(project, quiz=QUIZ)
        client.force_login(contractor)
        for sent in ({"q0": "0"}, {"q0": "0", "q1": "9"}, {"q0": "0", "q1": "-1"}):
            answer = client.post(READ, {"version": 1, **sent})
            page = answer.content.decode()
            assert answer.status_code == 400 and "every question needs an answer" in page and " checked" in page
        assert not QuizAttempt.objects.exists()

    def test_the_pass_mark_is_of_all_questions(self, client: Client, project: Project, contractor: User) -> None:
        publish(project, quiz={**QUIZ, "pass_percent": 50})
        client.force_login(contractor)
        client.post(READ, {"version": 1, "q0": "0", "q1": "1"})
        assert QuizAttempt.objects.get().passed

    def test_the_answers_stand_in_another_order_at_another_try(
        self, client: Client, project: Project, contractor: User
    ) -> None:
        many = {"text": "?", "several": False, "options": list("abcdef"), "right": [0], "explanation": ""}
        publish(project, quiz={"pass_percent": 100, "questions": [many]})
        client.force_login(contractor)
        orders = []
        for _try in range(3):
            orders.append(client.get(READ).context["questions"][0]["options"])
            assert client.get(READ).context["questions"][0]["options"] == orders[-1]
            client.post(READ, {"version": 1, "q0": "1"})
        assert len({tuple(order) for order in orders}) > 1
        assert all(sorted(order) == list(enumerate("abcdef")) for order in orders)

    def test_it_is_final_with_its_version(self, project: Project) -> None:
        guideline = publish(project, quiz=QUIZ)
        for change in ({"quiz": None}, {"is_minor": True}):
            with pytest.raises(IntegrityError, match="never changes"), transaction.atomic():
                Guideline.objects.filter(pk=guideline.pk).update(**change)


class TestEditor:
    EDIT = "/p/alpha/guideline/edit/"
    ROW = {"q0-text": "Sources?", "q0-option0": "Never", "q0-option1": "", "q0-option2": "Always", "q0-right2": "on"}

    def send(self, client: Client, action: str, **fields: str) -> Any:
        stamp = client.get(self.EDIT).context["based_on"]
        body = {"title": "Spec", "body": "Text", "based_on": stamp, "questions": "1", "pass_percent": "80"}
        return client.post(self.EDIT, {**body, **self.ROW, "action": action, **fields})

    def test_a_quiz_is_kept_with_the_draft_and_published(self, client: Client, project: Project, manager: User) -> None:
        client.force_login(manager)
        assert self.send(client, "save", **{"q0-explanation": "See 1."}).status_code == 302
        question = {
            "text": "Sources?",
            "several": False,
            "options": ["Never", "Always"],
            "right": [1],
            "explanation": "See 1.",
        }
        assert Guideline.objects.get().quiz == {"pass_percent": 80, "questions": [question]}
        assert 'value="Always"' in client.get(self.EDIT).content.decode()
        assert self.send(client, "publish", is_minor="on").status_code == 302
        assert Guideline.objects.get().is_published
        # The next version begins with the same quiz, and is not minor by itself.
        assert self.send(client, "publish", is_minor="on", body="Two").status_code == 302
        assert Guideline.objects.first().is_minor  # type: ignore[union-attr]
        page = client.get(self.EDIT)
        assert 'value="Always"' in page.content.decode() and not page.context["form"]["is_minor"].value()

    def test_adding_and_removing_rows_keeps_nothing_and_loses_nothing(
        self, client: Client, project: Project, manager: User
    ) -> None:
        client.force_login(manager)
        page = self.send(client, "add_question", title="", body="Typed").content.decode()
        assert 'name="questions" value="2"' in page and 'value="Never"' in page and ">\nTyped</textarea>" in page
        assert "This field is required" not in page
        page = self.send(client, "remove_question:0").content.decode()
        assert 'name="questions" value="0"' in page and not Guideline.objects.exists()

    @pytest.mark.parametrize(
        ("fields", "sentence"),
        [
            ({"q0-text": " "}, "Write the question."),
            ({"q0-option2": ""}, "Write at least two answers."),
            ({"q0-option2": "Never"}, "Two answers are the same."),
            ({"q0-right2": ""}, "Mark the right answer."),
            ({"q0-right0": "on"}, "Mark one right answer, or say that several are right."),
            ({"q0-explanation": "x" * 1001}, "At most 1000 characters."),
            ({"pass_percent": "0"}, "The pass mark is a whole number from 1 to 100."),
            ({"pass_percent": "many"}, "Enter a whole number."),
            ({"questions": "21"}, "At most 20 questions."),
        ],
    )
    def test_a_fault_is_said_at_its_field_and_nothing_is_kept(
        self, client: Client, project: Project, manager: User, fields: dict[str, str], sentence: str
    ) -> None:
        client.force_login(manager)
        page = self.send(client, "publish", **fields).content.decode()
        assert sentence in page and not Guideline.objects.exists()

    def test_another_ones_change_of_the_quiz_is_noticed(self, client: Client, project: Project, manager: User) -> None:
        client.force_login(manager)
        stamp = client.get(self.EDIT).context["based_on"]
        self.send(client, "save")
        body = {"title": "Spec", "body": "Text", "based_on": stamp, "action": "save"}
        assert client.post(self.EDIT, body).status_code == 409
        assert Guideline.objects.get().quiz is not None


class TestApi:
    def test_next_is_409_until_it_is_confirmed(self, api: APIClient, project: Project, contractor: User) -> None:
        factories.make_batch(project)
        publish(project)
        api.force_authenticate(contractor)
        answer = api.post(NEXT)
        body = answer.json()
        assert answer.status_code == 409 and (body["code"], body["version"]) == ("guideline_unread", 1)
        assert body["page"] == "/p/alpha/guideline/read/"
        done = api.post("/api/v1/projects/alpha/guideline/1/confirm/")
        assert done.status_code == 200 and done.json()["version"] == 1
        assert api.post("/api/v1/projects/alpha/guideline/1/confirm/").json() == done.json()
        assert api.post(NEXT).status_code == 200

    def test_a_quiz_is_answered_on_its_page_but_by_scripts(
        self, api: APIClient, project: Project, contractor: User
    ) -> None:
        factories.make_batch(project)
        publish(project, quiz=QUIZ)
        api.force_authenticate(contractor)
        answer = api.post("/api/v1/projects/alpha/guideline/1/confirm/")
        assert answer.status_code == 409 and answer.json()["code"] == "quiz_not_passed"
        assert not GuidelineReading.objects.filter(confirmed_at__isnull=False).exists()
        api.force_authenticate(factories.make_member(project, is_simulated=True))
        assert api.post("/api/v1/projects/alpha/guideline/1/confirm/").status_code == 200
        assert api.post(NEXT).status_code == 200

    def test_drafts_and_unknown_versions_are_404(self, api: APIClient, project: Project, manager: User) -> None:
        guidelines.save_draft(project=project, title="Spec", body="b")
        api.force_authenticate(manager)
        for number in (1, 7, 10**12):
            assert api.post(f"/api/v1/projects/alpha/guideline/{number}/confirm/").status_code == 404

    @pytest.mark.parametrize(
        ("who", "status"), [("manager", 200), ("reviewer", 200), ("contractor", 200), ("outsider", 404), (None, 401)]
    )
    def test_members_alone_confirm(
        self, request: pytest.FixtureRequest, api: APIClient, project: Project, who: str | None, status: int
    ) -> None:
        publish(project)
        if who:
            api.force_authenticate(request.getfixturevalue(who))
        assert api.post("/api/v1/projects/alpha/guideline/1/confirm/").status_code == status
        assert GuidelineReading.objects.exists() is (status == 200)


class TestReaders:
    def test_managers_see_who_confirmed_and_tried(
        self, client: Client, project: Project, manager: User, contractor: User, reviewer: User
    ) -> None:
        confirm(publish(project), reviewer)
        second = publish(project, "Two", quiz=QUIZ)
        guideline_reading.attempt(guideline=second, user=contractor, answers=[[1], [0]])
        guideline_reading.attempt(guideline=second, user=contractor, answers=[[0], [0, 2]])
        client.force_login(manager)
        rows = client.get("/p/alpha/guideline/").context["readers"]
        seen = {
            row["member"].user: (
                row["confirmed_at"] is not None,
                row["tries"],
                getattr(row["newest"], "guideline", None),
            )
            for row in rows
        }
        first = Guideline.objects.get(number=1)
        assert seen == {contractor: (True, 2, second), reviewer: (False, 0, first), manager: (False, 0, None)}
        client.force_login(contractor)
        assert "Who has read it" not in client.get("/p/alpha/guideline/").content.decode()

    def test_the_number_of_queries_does_not_grow(self, client: Client, project: Project, manager: User) -> None:
        guideline = publish(project)
        client.force_login(manager)
        counted = []
        for _round in range(2):
            for _person in range(3):
                confirm(guideline, factories.make_member(project))
            client.get("/p/alpha/guideline/")
            with CaptureQueriesContext(connection) as queries:
                client.get("/p/alpha/guideline/")
            counted.append(len(queries))
        assert counted[0] == counted[1]
