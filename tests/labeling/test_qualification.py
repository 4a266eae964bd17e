"""The qualification test: its gate, score, attempts, page, endpoint and what managers do."""

import threading
import uuid
from typing import Any

import pytest
from django.db import IntegrityError, connection, connections, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from hone import prepared
from hone.accounts.models import Membership, Project, User
from hone.audit.models import Event
from labeling import ahead, assignment, qualification_questions, qualifying
from labeling.models import Qualification, QualificationAttempt, Slot
from labeling.qualifying import NotQualified, Stale
from tests import factories

pytestmark = pytest.mark.django_db
QUALIFY = "/p/alpha/qualify/?for=rank"
NEXT = "/api/v1/projects/alpha/work/rank/next/"
RIGHT = {"questions": [[0]], "rankings": [[1, 2, 3]]}
WRONG = {"questions": [[1]], "rankings": [[3, 2, 1]]}


@pytest.fixture
def test(project: Project, manager: User) -> Qualification:
    factories.make_batch(project, items=4, slots=6)
    return factories.make_qualification(project, actor=manager)


def take(project: Project, user: User) -> Slot | None:
    return assignment.next_slot(project=project, user=user, kind="rank")


def send(project: Project, user: User, answers: dict[str, Any] = RIGHT, **fields: int) -> QualificationAttempt:
    found = qualifying.standing(project=project, user=user)
    assert found is not None
    values = {"number": found.number, "version": found.test.version} | fields
    return qualifying.attempt(project=project, user=user, answers=answers, **values)


def member(project: Project, user: User) -> Membership:
    return Membership.objects.get(project=project, user=user)


def posted(test: Qualification, answers: dict[str, Any], **fields: Any) -> dict[str, Any]:
    body = {f"q{at}": chosen for at, chosen in enumerate(answers["questions"])}
    for at, tiers in enumerate(answers["rankings"]):
        body |= {f"r{at}-{index}": tier for index, tier in enumerate(tiers)}
    return {"number": 1, "version": test.version, **body, **fields}


class TestGate:
    def test_a_contractor_is_handed_nothing_before_passing(
        self, project: Project, contractor: User, test: Qualification
    ) -> None:
        with pytest.raises(NotQualified):
            take(project, contractor)
        assert not Slot.objects.exclude(state="open").exists()
        assert not send(project, contractor, WRONG).passed
        with pytest.raises(NotQualified):
            take(project, contractor)
        assert send(project, contractor).passed
        assert take(project, contractor) is not None

    @pytest.mark.parametrize("who", ["reviewer", "manager", "lead"])
    def test_others_are_not_asked(
        self, request: pytest.FixtureRequest, project: Project, test: Qualification, who: str
    ) -> None:
        assert take(project, request.getfixturevalue(who)) is not None

    def test_simulated_contractors_and_staff_who_are_contractors_are_not_asked(
        self, project: Project, test: Qualification
    ) -> None:
        assert take(project, factories.make_member(project, is_simulated=True)) is not None
        assert take(project, factories.make_member(project, is_staff=True)) is not None

    def test_passing_elsewhere_does_not_count(self, project: Project, manager: User, test: Qualification) -> None:
        other = factories.make_project("other")
        person = factories.make_member(other)
        Membership.objects.create(user=person, project=project)
        factories.make_qualification(other, actor=manager)
        assert send(other, person).passed
        with pytest.raises(NotQualified):
            take(project, person)

    def test_switched_off_nobody_is_asked(
        self, project: Project, contractor: User, manager: User, test: Qualification
    ) -> None:
        factories.make_qualification(project, actor=manager, is_on=False)
        assert take(project, contractor) is not None

    def test_an_item_in_hand_is_finished_and_a_lease_that_ran_out_is_asked(
        self, project: Project, contractor: User, manager: User
    ) -> None:
        factories.make_batch(project, items=3)
        held = take(project, contractor)
        assert held is not None and held.lease_token is not None
        factories.make_qualification(project, actor=manager)
        again = take(project, contractor)
        assert again is not None and again.pk == held.pk
        assert ahead.fetch(slot_id=held.pk, user=contractor, lease_token=held.lease_token, project=project) is None
        Slot.objects.filter(pk=held.pk).update(lease_expires_at=held.leased_at)
        with pytest.raises(NotQualified):
            take(project, contractor)

    def test_the_next_item_is_fetched_ahead_for_who_is_qualified(
        self, project: Project, contractor: User, test: Qualification
    ) -> None:
        send(project, contractor)
        held = take(project, contractor)
        assert held is not None and held.lease_token is not None
        assert ahead.fetch(slot_id=held.pk, user=contractor, lease_token=held.lease_token, project=project)

    @pytest.mark.parametrize("keep", [True, False])
    def test_who_has_labels_goes_on_if_the_manager_says_so(
        self, project: Project, contractor: User, manager: User, keep: bool
    ) -> None:
        newcomer = factories.make_member(project)
        factories.make_ranking(contractor, project, [[0], [1]])
        factories.make_batch(project, items=2)
        factories.make_qualification(project, actor=manager, keep=keep)
        assert (member(project, contractor).qualified_at is not None) is keep
        assert member(project, newcomer).qualified_at is None
        assert Event.objects.get(verb="qualification.changed").detail["kept"] == int(keep)

    def test_without_a_test_it_costs_no_statement_and_with_one_a_single_look(
        self, monkeypatch: pytest.MonkeyPatch, project: Project, contractor: User, manager: User
    ) -> None:
        factories.make_batch(project, items=5)
        sent: list[str] = []
        rows = prepared.rows

        def counted(sql: str, values: Any) -> Any:
            sent.append(sql)
            return rows(sql, values)

        monkeypatch.setattr(prepared, "rows", counted)
        cycles = []
        for is_on in (False, True):
            factories.make_qualification(project, actor=manager, is_on=is_on)
            factories.submit_next(project, contractor)
            sent.clear()
            with CaptureQueriesContext(connection) as others:
                factories.submit_next(project, contractor)
            cycles.append((list(sent), len(others)))
        (without, others_without), (with_it, others_with) = cycles
        looks = [sql for sql in with_it if sql not in without]
        assert len(looks) == 1 and "qualified_at IS NULL" in looks[0]
        assert (len(with_it), others_with) == (len(without) + 1, others_without + 1)


class TestScore:
    """The mean over questions; a ranking question: the share of the reference's strict pairs, a tie counting half."""

    REFERENCE = {
        "pass_percent": 80,
        "questions": [
            {"text": "?", "several": True, "options": ["a", "b", "c"], "right": [0, 2], "explanation": ""},
            {"text": "?", "several": False, "options": ["a", "b"], "right": [1], "explanation": ""},
        ],
        # Of six pairs five are strict: B and C are tied.
        "rankings": [{"prompt": "?", "answers": list("ABCD"), "tiers": [1, 2, 2, 3]}],
    }

    @pytest.mark.parametrize(
        ("questions", "tiers", "percent"),
        [
            ([[0, 2], [1]], [1, 2, 2, 3], 100),
            ([[0, 2], [1]], [1, 2, 3, 4], 100),  # an order where the reference has a tie costs nothing
            ([[0], [1]], [1, 2, 2, 3], 66),  # a part of the right options is wrong: (0 + 1 + 1) / 3
            ([[0, 2], [1]], [1, 1, 2, 3], 96),  # A = B: 4.5 of 5 pairs; (1 + 1 + 0.9) / 3 = 96.67
            ([[0, 2], [0]], [2, 1, 3, 4], 60),  # B > A: 4 of 5; (1 + 0 + 0.8) / 3 = 60
            ([[1], [0]], [4, 3, 2, 1], 0),
            ([[1], [0]], [1, 1, 1, 1], 16),  # all tied: 2.5 of 5; 0.5 / 3 = 16.67
        ],
    )
    def test_by_hand(self, questions: list[list[int]], tiers: list[int], percent: int) -> None:
        answers = {"questions": questions, "rankings": [tiers]}
        assert qualification_questions.percent(self.REFERENCE, answers) == percent

    def test_the_pass_mark_is_reached_exactly(self, project: Project, contractor: User, manager: User) -> None:
        # The choice question is right, two of three pairs: (1 + 2/3) / 2 = 83.33.
        almost = {"questions": [[0]], "rankings": [[2, 1, 3]]}
        factories.make_qualification(project, actor=manager, pass_percent=84)
        made = send(project, contractor, almost)
        assert (made.percent, made.passed) == (83, False)
        factories.make_qualification(project, actor=manager, pass_percent=83)
        assert send(project, contractor, almost).passed


class TestAttempts:
    def test_they_are_kept_with_what_was_asked_and_end(
        self, project: Project, contractor: User, test: Qualification
    ) -> None:
        for number in (1, 2, 3):
            assert send(project, contractor, WRONG).number == number
        with pytest.raises(Stale):
            send(project, contractor)
        rows = list(QualificationAttempt.objects.values_list("number", "percent", "passed"))
        assert rows == [(1, 0, False), (2, 0, False), (3, 0, False)]
        made = QualificationAttempt.objects.first()
        assert made is not None and made.asked["questions"] == test.questions and made.answers == WRONG
        assert Event.objects.filter(verb="qualification.attempted", actor=contractor).count() == 3

    def test_the_database_keeps_numbers_apart(self, project: Project, contractor: User, test: Qualification) -> None:
        made = send(project, contractor, WRONG)
        made.pk = None
        with pytest.raises(IntegrityError, match="qualification_attempt_once"), transaction.atomic():
            made.save(force_insert=True)

    def test_other_questions_are_a_new_version_for_who_has_not_passed(
        self, project: Project, contractor: User, reviewer: User, manager: User
    ) -> None:
        passed = factories.make_member(project)
        factories.make_qualification(project, actor=manager, attempts=1)
        send(project, passed)
        send(project, contractor, WRONG)
        qualifying.give_attempt(member=member(project, contractor), actor=manager)
        send(project, contractor, WRONG)
        since = member(project, passed).qualified_at
        # Another pass mark or number of attempts is no other version.
        same = factories.make_qualification(project, actor=manager, attempts=1, pass_percent=70)
        assert same.version == 1
        newer = factories.make_qualification(project, actor=manager, attempts=1, words="Other?")
        assert newer.version == 2 and member(project, passed).qualified_at == since
        found = qualifying.standing(project=project, user=contractor)
        assert found is not None and (found.number, found.used, found.left, found.last) == (3, 0, 1, None)
        with pytest.raises(Stale):
            send(project, contractor, version=1)
        assert send(project, contractor).passed

    @pytest.mark.parametrize("who", ["manager", "reviewer", "lead", "outsider"])
    def test_those_who_are_not_asked_make_none(
        self, request: pytest.FixtureRequest, project: Project, test: Qualification, who: str
    ) -> None:
        with pytest.raises(Stale):
            qualifying.attempt(project=project, user=request.getfixturevalue(who), number=1, version=1, answers=RIGHT)
        assert not QualificationAttempt.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("own_numbers", [False, True])
def test_tabs_that_send_at_once_make_never_more_attempts_than_allowed(
    project: Project, contractor: User, manager: User, own_numbers: bool
) -> None:
    """Eight connections: the same attempt from each, or each number of its own."""
    factories.make_qualification(project, actor=manager, attempts=2)
    barrier = threading.Barrier(8)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            barrier.wait(30)
            qualifying.attempt(project=project, user=contractor, number=number, version=1, answers=WRONG)
        except Stale:
            pass
        except BaseException as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=[n + 1 if own_numbers else 1]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    made = sorted(QualificationAttempt.objects.values_list("number", flat=True))
    assert not failures and made in ([[1], [1, 2]] if own_numbers else [[1]])


class TestPage:
    def test_the_work_page_leads_there_and_on(
        self, client: Client, project: Project, contractor: User, test: Qualification
    ) -> None:
        client.force_login(contractor)
        assert client.get("/p/alpha/rank/").headers["Location"] == QUALIFY
        page = client.get(QUALIFY).content.decode()
        assert "You have 3 attempts left." in page and "80 % or more" in page and "? 3" not in page
        answer = client.post(QUALIFY, posted(test, WRONG))
        assert answer.headers["Location"] == f"{QUALIFY}#result"
        page = client.get(QUALIFY).content.decode()
        # The explanation, and no word of the reference order.
        assert "Not passed: 0 %" in page and "? 3" in page and "You have 2 attempts left." in page
        assert client.post(QUALIFY, posted(test, RIGHT, number=2)).status_code == 302
        page = client.get(QUALIFY).content.decode()
        assert "You passed with 100 %." in page and 'href="/p/alpha/rank/"' in page
        assert member(project, contractor).qualified_at is not None
        assert client.get("/p/alpha/rank/").status_code == 200

    def test_an_answer_that_is_missing_is_no_attempt_and_loses_nothing(
        self, client: Client, contractor: User, test: Qualification
    ) -> None:
        client.force_login(contractor)
        for sent in ({"r0-1": ""}, {"r0-1": "9"}, {"q0": "7"}, {"q0": ""}):
            answer = client.post(QUALIFY, posted(test, RIGHT) | sent)
            page = answer.content.decode()
            assert answer.status_code == 400 and "every question needs an answer" in page
            assert '<option value="3" selected>' in page
        assert not QualificationAttempt.objects.exists()

    def test_an_attempt_sent_twice_or_of_an_older_version_is_not_counted(
        self, client: Client, contractor: User, test: Qualification
    ) -> None:
        client.force_login(contractor)
        client.post(QUALIFY, posted(test, WRONG))
        for sent in ({"number": 1}, {"number": 2, "version": 9}, {"number": "x"}, {"number": "9" * 40}):
            answer = client.post(QUALIFY, posted(test, RIGHT, **sent))
            assert answer.status_code == 409 and "was not counted" in answer.content.decode()
        assert QualificationAttempt.objects.count() == 1

    def test_after_the_last_attempt_it_says_whom_to_ask(
        self, client: Client, project: Project, contractor: User, manager: User, test: Qualification
    ) -> None:
        for _attempt in range(3):
            send(project, contractor, WRONG)
        client.force_login(contractor)
        page = client.get(QUALIFY).content.decode()
        assert "You have no attempt left" in page and "manager" in page and "Send my answers" not in page

    def test_the_orders_are_drawn_anew_for_each_attempt(
        self, client: Client, project: Project, contractor: User, manager: User
    ) -> None:
        ranking = {"prompt": "?", "answers": list("abcd"), "tiers": [1, 2, 3, 4]}
        question = {"text": "?", "several": False, "options": list("abcdef"), "right": [0], "explanation": ""}
        factories.make_qualification(project, actor=manager, attempts=6, questions=[question], rankings=[ranking])
        client.force_login(contractor)
        options, answers = set(), set()
        for _attempt in range(5):
            shown = client.get(QUALIFY).context
            assert client.get(QUALIFY).context["rankings"] == shown["rankings"]
            options.add(tuple(shown["questions"][0]["options"]))
            answers.add(tuple(answer["text"] for answer in shown["rankings"][0]["answers"]))
            send(project, contractor, {"questions": [[1]], "rankings": [[4, 3, 2, 1]]})
        assert len(options) > 1 and len(answers) > 1

    @pytest.mark.parametrize(
        ("who", "status", "words"),
        [
            ("manager", 200, "This is how they see it."),
            ("lead", 200, "This is how they see it."),
            ("reviewer", 200, "it is for contractors"),
            ("contractor", 200, "Send my answers"),
            ("outsider", 404, ""),
        ],
    )
    def test_who_sees_it(
        self,
        request: pytest.FixtureRequest,
        client: Client,
        test: Qualification,
        who: str,
        status: int,
        words: str,
    ) -> None:
        client.force_login(request.getfixturevalue(who))
        answer = client.get(QUALIFY)
        assert answer.status_code == status and words in answer.content.decode()
        assert (b"Send my answers" in answer.content) is (who == "contractor")
        assert (b'name="q0"' in answer.content) is (who not in ("reviewer", "outsider"))

    def test_without_a_test_it_leads_on(self, client: Client, project: Project, contractor: User) -> None:
        client.force_login(contractor)
        assert client.get(QUALIFY).headers["Location"] == "/p/alpha/rank/"
        assert client.get("/p/alpha/qualify/").headers["Location"] == "/p/alpha/"


class TestApi:
    def test_the_next_item_is_refused_with_a_code(
        self, api: APIClient, project: Project, contractor: User, test: Qualification
    ) -> None:
        api.force_authenticate(contractor)
        answer = api.post(NEXT)
        assert answer.status_code == 409
        assert answer.json() == {
            "code": "not_qualified",
            "detail": "Pass this project's qualification test first.",
            "page": "/p/alpha/qualify/",
        }
        send(project, contractor)
        assert api.post(NEXT).status_code == 200

    def test_a_submit_of_what_is_in_hand_goes_through(
        self, api: APIClient, project: Project, contractor: User, manager: User
    ) -> None:
        factories.make_batch(project, items=2, answers=2)
        held = take(project, contractor)
        factories.make_qualification(project, actor=manager)
        assert held is not None
        api.force_authenticate(contractor)
        body = {"lease_token": held.lease_token, "client_key": uuid.uuid4(), "tiers": [["A"], ["B"]]}
        assert api.post(f"/api/v1/work/{held.pk}/submit/", body, format="json").status_code == 201
        assert api.post(NEXT).status_code == 409
