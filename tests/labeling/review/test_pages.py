"""Who sees which page of reviewing, what the forms write, and that lists cost the same however long."""

import csv
import io
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from hone.accounts.models import Project, User
from hone.audit.models import Event
from labeling import people, retraction, tasks
from labeling.models import QualityReport, Review, ReviewRules, Slot
from labeling.quality import measuring
from labeling.review import blind, listing, queue
from tests import factories
from tests.labeling.test_cannot_judge import cannot

pytestmark = pytest.mark.django_db
RULES = "/p/alpha/settings/review/"
FORM = {"demonstrations_percent": 10, "rankings_percent": 5, "newcomer_labels": 3, "overdue_days": 7}


def see(client: Client, user: User, path: str) -> Any:
    client.force_login(user)
    return client.get(path)


@pytest.mark.parametrize("path", ["review/", "reviews/"])
@pytest.mark.parametrize(
    ("who", "status"), [("manager", 200), ("reviewer", 200), ("contractor", 403), ("outsider", 404), ("lead", 200)]
)
def test_who_reviews(
    request: pytest.FixtureRequest, client: Client, project: Project, path: str, who: str, status: int
) -> None:
    assert see(client, request.getfixturevalue(who), f"/p/alpha/{path}").status_code == status


@pytest.mark.parametrize(
    ("who", "status"),
    [("manager", 200), ("reviewer", 200), ("contractor", 200), ("other", 403), ("outsider", 404)],
)
def test_who_reads_a_verdict(
    request: pytest.FixtureRequest, client: Client, project: Project, contractor: User, who: str, status: int
) -> None:
    reviewer = factories.make_member(project, "reviewer", username="judge")
    found = factories.make_review(contractor, project, reviewer)
    path = f"/p/alpha/reviews/{found.pk}/"
    assert see(client, contractor, path).status_code == 403  # not decided yet
    factories.give_verdict(found, reviewer, "reject", remark="It is not true")
    user = factories.make_member(project, username="x") if who == "other" else request.getfixturevalue(who)
    answer = see(client, user, path)
    assert answer.status_code == status
    assert ("It is not true" in answer.content.decode()) is (status == 200)


@pytest.mark.parametrize(
    ("who", "status"), [("manager", 200), ("reviewer", 403), ("contractor", 403), ("outsider", 404)]
)
def test_only_managers_set_the_rules(
    request: pytest.FixtureRequest, client: Client, project: Project, who: str, status: int
) -> None:
    assert see(client, request.getfixturevalue(who), RULES).status_code == status
    assert client.post(RULES, FORM).status_code == (302 if status == 200 else status)
    assert ReviewRules.objects.exists() == (who == "manager")


def test_the_rules_are_kept_and_audited(client: Client, project: Project, manager: User) -> None:
    client.force_login(manager)
    sent = {**FORM, "on_note": "on", "fast_seconds": "20", "only_reviewed": "on"}
    assert "The review rules are saved." in client.post(RULES, sent, follow=True).content.decode()
    row = ReviewRules.objects.get()
    assert (row.demonstrations_percent, row.on_note, row.fast_seconds, row.is_blind) == (10, True, 20, False)
    event = Event.objects.get(verb="review_rules.changed")
    assert event.actor == manager and event.detail["rankings_percent"] == 5


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("demonstrations_percent", 101),
        ("rankings_percent", -1),
        ("newcomer_labels", "many"),
        ("fast_seconds", 0),
        ("overdue_days", 0),
    ],
)
def test_a_rule_that_cannot_be_is_refused_at_its_field(
    client: Client, project: Project, manager: User, field: str, value: Any
) -> None:
    client.force_login(manager)
    answer = client.post(RULES, {**FORM, field: value})
    assert answer.status_code == 200 and list(answer.context["form"].errors) == [field]
    assert f'value="{value}"' in answer.content.decode()  # what was typed
    assert not ReviewRules.objects.exists()


@pytest.mark.parametrize("fields", [{"demonstrations_percent": 101}, {"fast_seconds": 0}, {"overdue_days": 0}])
def test_the_database_holds_the_rules_too(project: Project, fields: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        ReviewRules.objects.create(project=project, **fields)


@pytest.mark.parametrize("is_blind", [True, False])
def test_a_blind_reviewer_sees_a_pseudonym_and_a_manager_the_name(
    client: Client, project: Project, manager: User, reviewer: User, is_blind: bool
) -> None:
    author = factories.make_member(project, username="author", display_name="Ada Author")
    ReviewRules.objects.create(project=project, demonstrations_percent=100, is_blind=is_blind)
    factories.make_demonstration(author, project)
    for path in ("review/", "reviews/"):
        page = see(client, reviewer, f"/p/alpha/{path}").content.decode()
        known = blind.pseudonym(project_id=project.pk, user_id=author.pk)
        assert ("Ada Author" in page) is not is_blind and (known in page) is is_blind
        assert f"a{author.pk}<" not in page
    Review.objects.update(state="waiting", reviewer=None, lease_token=None, leased_at=None, lease_expires_at=None)
    for path in ("review/", "reviews/"):
        assert "Ada Author" in see(client, manager, f"/p/alpha/{path}").content.decode()


@pytest.mark.parametrize("is_blind", [True, False])
def test_no_page_tells_a_blind_reviewer_who_somebody_is(
    client: Client, project: Project, manager: User, reviewer: User, is_blind: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.measure_quality, "apply_async", lambda *_, **__: None)
    one, other = (factories.make_member(project, username=f"w{n}", display_name=f"Ada {n}") for n in range(2))
    for author in (one, other):
        factories.make_ranking(author, project, [[0], [1]])
    factories.make_batch(project, answers=2)
    cannot(other, project)
    gone = factories.make_demonstration(one, project)
    retraction.retract(project=project, author=one, since=gone.created_at, reason="x", ask_again=False, actor=manager)
    measuring.measure(QualityReport.objects.create(project=project).pk)
    ReviewRules.objects.create(project=project, is_blind=is_blind)
    for user, sees in ((reviewer, not is_blind), (manager, True)):
        for path in ("quality/", "quality/items/?least=1"):
            page = see(client, user, f"/p/alpha/{path}").content.decode()
            assert ("Ada 1" in page) is sees, path
            assert (f"/people/{one.pk}/" in page) is (sees and path == "quality/")
            assert (blind.pseudonym(project_id=project.pk, user_id=other.pk) in page) is not sees
        assert see(client, user, f"/p/alpha/people/{one.pk}/").status_code == (200 if sees else 403)
    assert User.objects.get(pk=one.pk).display_name == "Ada 0"


def test_a_pseudonym_is_a_projects_own(project: Project, contractor: User) -> None:
    here = blind.pseudonym(project_id=project.pk, user_id=contractor.pk)
    assert here == blind.pseudonym(project_id=project.pk, user_id=contractor.pk)
    assert here != blind.pseudonym(project_id=project.pk + 1, user_id=contractor.pk)
    assert here != blind.pseudonym(project_id=project.pk, user_id=contractor.pk + 1)


def test_the_models_name_never_reaches_the_reviewers_page(
    client: Client, project: Project, contractor: User, reviewer: User
) -> None:
    from training.models import Generation

    ReviewRules.objects.create(project=project, rankings_percent=100)
    made = factories.make_ranking(contractor, project, [[0], [1]])
    run = factories.make_run(project, model=factories.make_checkpoint(name="secret-model"))
    for completion in made.item.completions.all():
        Generation.objects.create(
            completion=completion, checkpoint=run.model, run=run, seed=1, finish_reason="stop", token_count=1
        )
    page = see(client, reviewer, "/p/alpha/review/").content.decode()
    assert "Answer 0" in page and "secret-model" not in page


def test_a_manager_frees_overdue_work_and_nobody_else_does(
    client: Client, project: Project, manager: User, contractor: User, reviewer: User
) -> None:
    found = factories.make_review(contractor, project, reviewer)
    factories.give_verdict(found, reviewer, "return")
    path = f"/p/alpha/reviews/{found.pk}/free/"
    client.force_login(reviewer)
    assert client.post(path).status_code == 403
    client.force_login(manager)
    assert "it is not overdue yet" in client.post(path, follow=True).content.decode().lower()
    assert Review.objects.get().state == "returned"
    assert "overdue" not in client.get("/p/alpha/reviews/?state=returned").content.decode()
    Review.objects.update(decided_at=timezone.now() - timedelta(days=8))
    page = client.get("/p/alpha/reviews/?state=returned").content.decode()
    assert "overdue" in page and "Ask somebody else" in page
    assert "Somebody else will be asked for it." in client.post(path, follow=True).content.decode()
    assert Review.objects.get().state == "dropped" and Slot.objects.filter(state="open").count() == 1
    assert "not with its author any more" in client.post(path, follow=True).content.decode()


def test_what_waits_for_its_author_is_listed_however_much_was_sent_back_since(
    project: Project, contractor: User, reviewer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "SENT_BACK_SHOWN", 2)
    ReviewRules.objects.create(project=project, demonstrations_percent=100)
    for _ in range(3):
        factories.make_demonstration(contractor, project)
    found = []
    for verdict in ("return", "reject", "reject"):
        held = queue.next_review(project=project, user=reviewer)
        assert held is not None
        found.append(factories.give_verdict(held, reviewer, verdict))
    assert listing.sent_back(project, contractor) == [found[0], found[2]]


def test_home_and_project_say_what_waits(
    client: Client, project: Project, manager: User, contractor: User, reviewer: User
) -> None:
    found = factories.make_review(contractor, project, reviewer)
    factories.give_verdict(found, reviewer, "return")
    factories.make_demonstration(factories.make_member(project), project)
    for path in ("/", "/p/alpha/"):
        page = see(client, contractor, path).content.decode()
        assert "returned to you" in page and "to review" not in page
        page = see(client, manager, path).content.decode()
        assert "to review" in page and "returned to you" not in page
    assert see(client, manager, "/p/alpha/").context["to_review"] == 1


def test_numbers_stand_on_the_members_and_persons_pages_and_in_the_file(
    client: Client, project: Project, manager: User, contractor: User, reviewer: User
) -> None:
    for verdict in ("approve", "reject"):
        factories.give_verdict(factories.make_review(contractor, project, reviewer), reviewer, verdict)
    page = see(client, manager, "/p/alpha/members/").content.decode()
    assert "First pass" in page and "reviewed 2" in page
    person = see(client, manager, f"/p/alpha/people/{contractor.pk}/").content.decode()
    assert (
        "2 labels reviewed" in person
        and "rejected by a reviewer"
        in see(client, manager, f"/p/alpha/people/{contractor.pk}/?kind=write").content.decode()
    )
    rows = {row["user_name"]: row for row in csv.DictReader(io.StringIO(people.members_csv(project)))}
    assert rows["contractor"]["first_pass"] == "0.5" and rows["contractor"]["reviewed"] == "2"
    assert rows["reviewer"]["reviews_made"] == "2" and rows["reviewer"]["first_pass"] == ""
    mine = see(client, contractor, "/p/alpha/me/").content.decode()
    assert "Of 2 labels of yours that were reviewed" in mine and "It is wrong or not true" in mine
    assert "You reviewed 2 labels." in see(client, reviewer, "/p/alpha/me/").content.decode()


@pytest.mark.parametrize(
    ("who", "path"),
    [("manager", "/p/alpha/reviews/"), ("contractor", "/p/alpha/me/"), ("manager", "/p/alpha/members/")],
)
def test_lists_cost_the_same_however_long(
    request: pytest.FixtureRequest,
    client: Client,
    project: Project,
    contractor: User,
    reviewer: User,
    who: str,
    path: str,
) -> None:
    client.force_login(request.getfixturevalue(who))
    costs = []
    for _ in range(2):
        for _ in range(3):
            comments = [{"message": 1, "start": 0, "end": 2, "body": "Why?"}]
            found = factories.make_review(contractor, project, reviewer)
            factories.give_verdict(found, reviewer, "reject", comments=comments)
        client.get(path)
        with CaptureQueriesContext(connection) as queries:
            assert client.get(path).status_code == 200
        costs.append(len(queries))
    assert costs[0] == costs[1]
