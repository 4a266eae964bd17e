"""The verdicts: what each writes, what each does to the data, and what is refused."""

import json
import uuid
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from rest_framework.test import APIClient

from hone.accounts.models import Project, User
from hone.audit.models import Event
from labeling import assignment, queries, retraction
from labeling.models import Demonstration, Ranking, Retraction, Review, ReviewComment, ReviewRules, Slot
from labeling.responses import Invalid
from labeling.review import deciding, queue
from tests import factories
from training import estimates, snapshots, stage_data

pytestmark = pytest.mark.django_db


@pytest.fixture
def second(project: Project) -> User:
    return factories.make_member(project, username="second")


def held_ranking(project: Project, author: User, reviewer: User) -> Review:
    ReviewRules.objects.create(project=project, rankings_percent=100)
    factories.make_ranking(author, project, [[0], [1], [2]])
    found = queue.next_review(project=project, user=reviewer)
    assert found is not None
    return found


def exported(project: Project, manager: User) -> dict[str, list[int]]:
    """The labels that leave by each door."""
    api = APIClient()
    api.force_authenticate(manager)
    answer: Any = api.get("/api/v1/projects/alpha/comparisons/export/")
    lines = b"".join(answer.streaming_content).splitlines()
    found = {
        "comparisons": sorted({json.loads(line)["ranking_id"] for line in lines}),
        "list": [row["id"] for row in api.get("/api/v1/projects/alpha/demonstrations/").json()["results"]],
    }
    for name, freeze in (("rankings", snapshots.freeze_rankings), ("demonstrations", snapshots.freeze_demonstrations)):
        try:
            snapshot = freeze(project=project, include_simulated=False, heldout_percent=0)
            found[name] = snapshot.manifest["label_ids"]
        except snapshots.NothingToFreeze:
            found[name] = []
    return found


NOTHING: dict[str, list[int]] = {"comparisons": [], "list": [], "rankings": [], "demonstrations": []}


def test_approved_work_stays_as_it_is(project: Project, manager: User, contractor: User, reviewer: User) -> None:
    found = factories.make_review(contractor, project, reviewer)
    factories.give_verdict(found, reviewer, "approve")
    row = Review.objects.get()
    assert row.state == "approved" and row.reviewer == reviewer and row.decided_at is not None
    assert exported(project, manager)["demonstrations"] == [found.demonstration_id]
    event = Event.objects.get(verb="review.approved")
    assert event.actor == reviewer and event.target == f"review:{found.pk}"


def test_rejected_work_leaves_every_door_and_is_asked_of_somebody_else(
    project: Project, manager: User, contractor: User, reviewer: User, second: User
) -> None:
    found = held_ranking(project, contractor, reviewer)
    batch = found.slot.item.batch_id
    before = exported(project, manager)
    assert before["comparisons"] == before["rankings"] == [found.ranking_id]
    factories.give_verdict(found, reviewer, "reject", remark="B is wrong")
    assert exported(project, manager) == NOTHING
    assert queries.counts(project)["rankings"] == queries.counts(project)["comparisons"] == 0
    assert Ranking.objects.count() == 1  # the row is there
    made = Retraction.objects.get()
    assert (made.cause, made.rankings, made.comparisons, made.slots_opened) == ("rejected", 1, 3, 1)
    assert queries.batch_progress(batch) == {"total": 1, "submitted": 0, "simulated": 0, "open": 0}
    assert assignment.next_slot(project=project, user=contractor, kind="rank") is None
    again = assignment.next_slot(project=project, user=second, kind="rank")
    assert again is not None and again.item_id == found.slot.item_id
    with pytest.raises(IntegrityError), transaction.atomic():
        retraction.undo(retraction=made, actor=manager)


def test_returned_work_leaves_every_door_and_is_still_to_come(
    project: Project, manager: User, contractor: User, reviewer: User, second: User
) -> None:
    found = factories.make_review(contractor, project, reviewer)
    batch = found.slot.item.batch_id
    factories.give_verdict(found, reviewer, "return")
    assert exported(project, manager) == NOTHING
    assert queries.batch_progress(batch) == {"total": 1, "submitted": 0, "simulated": 0, "open": 0}
    slot = Slot.objects.get(pk=found.slot_id)
    assert slot.state == "returned" and slot.holder == contractor and slot.review_id == found.pk
    assert assignment.next_slot(project=project, user=second, kind="write") is None
    assert not stage_data.prompts_to_write(project).exists()


def test_comments_keep_what_stood_at_their_span(project: Project, contractor: User, reviewer: User) -> None:
    text = "Grüße 👋🏽 an alle.\n\nZweiter Absatz."
    found = factories.make_review(contractor, project, reviewer, text)
    start = text.index("👋")
    comments = [
        {"message": 1, "start": start, "end": start + 2, "body": " Which hand? "},
        {"message": 0, "start": 0, "end": 8, "body": "Odd prompt"},
    ]
    factories.give_verdict(found, reviewer, "return", comments=comments, remark="")
    rows = ReviewComment.objects.order_by("id")
    assert [(row.text, row.quote, row.body) for row in rows] == [
        (1, "👋🏽", "Which hand?"),
        (0, "Question", "Odd prompt"),
    ]


def test_a_comment_on_an_answer_goes_by_the_letter_that_its_author_saw(
    project: Project, contractor: User, reviewer: User
) -> None:
    found = held_ranking(project, contractor, reviewer)
    assert found.ranking is not None
    comment = {"answer": "B", "start": 0, "end": 8, "body": "This is the best"}
    factories.give_verdict(found, reviewer, "return", comments=[comment])
    row = ReviewComment.objects.get()
    assert row.text == found.ranking.order_shown[1] and row.quote == f"Answer {row.text}"


@pytest.mark.parametrize(
    ("verdict", "more", "field"),
    [
        ("burn", {}, "verdict"),
        ("return", {"remark": "  "}, "remark"),
        ("return", {"remark": "x" * 4001}, "remark"),
        ("reject", {"reason": ""}, "reason"),
        ("reject", {"reason": "ugly"}, "reason"),
        ("return", {"comments": "x"}, "comments"),
        ("return", {"comments": [{}] * 201}, "comments"),
        ("return", {"comments": [1]}, "comments.0"),
        ("return", {"comments": [{"message": 9, "start": 0, "end": 1, "body": "b"}]}, "comments.0"),
        ("return", {"comments": [{"answer": "A", "start": 0, "end": 1, "body": "b"}]}, "comments.0"),
        ("return", {"comments": [{"message": 1, "start": 3, "end": 3, "body": "b"}]}, "comments.0"),
        ("return", {"comments": [{"message": 1, "start": 0, "end": 9, "body": "b"}]}, "comments.0"),
        ("return", {"comments": [{"message": 1, "start": "0", "end": 2, "body": "b"}]}, "comments.0"),
        ("return", {"comments": [{"message": 1, "start": 0, "end": 2, "body": " "}]}, "comments.0"),
        ("approve", {"comments": [{"message": 1, "start": 0, "end": 2, "body": "x" * 2001}]}, "comments.0"),
    ],
)
def test_a_faulty_verdict_names_its_field_and_changes_nothing(
    project: Project, contractor: User, reviewer: User, verdict: str, more: dict[str, Any], field: str
) -> None:
    found = factories.make_review(contractor, project, reviewer)
    with pytest.raises(Invalid) as caught:
        factories.give_verdict(found, reviewer, verdict, **more)
    assert list(caught.value.errors) == [field]
    row = Review.objects.get()
    assert row.state == "leased" and row.lease_token == found.lease_token
    assert not ReviewComment.objects.exists() and not Retraction.objects.exists()


def test_the_same_verdict_sent_again_changes_nothing_and_another_is_refused(
    project: Project, contractor: User, reviewer: User
) -> None:
    found = factories.make_review(contractor, project, reviewer)
    token = found.lease_token
    assert token is not None
    for expected in (False, True):
        sent = deciding.decide(review_id=found.pk, user=reviewer, lease_token=token, verdict="return", remark="No")
        assert sent.is_replay is expected
    assert Retraction.objects.count() == 1
    with pytest.raises(deciding.AlreadyDecided):
        deciding.decide(review_id=found.pk, user=reviewer, lease_token=token, verdict="approve")
    with pytest.raises(queue.LeaseLost):
        deciding.decide(review_id=found.pk, user=reviewer, lease_token=uuid.uuid4(), verdict="return", remark="No")
    factories.write_next(contractor, project, "Better")
    sent = deciding.decide(review_id=found.pk, user=reviewer, lease_token=token, verdict="return", remark="No")
    assert sent.is_replay and sent.review.state == "resubmitted"


def test_a_label_that_was_retracted_meanwhile_is_not_decided(
    project: Project, manager: User, contractor: User, reviewer: User
) -> None:
    found = factories.make_review(contractor, project, reviewer)
    values: dict[str, Any] = {"author": contractor, "since": None, "reason": "r", "ask_again": False}
    retraction.retract(project=project, actor=manager, **values)
    with pytest.raises(deciding.LabelGone):
        factories.give_verdict(found, reviewer, "reject")
    assert Retraction.objects.count() == 1 and Review.objects.get().state == "leased"


def test_waiting_labels_stay_in_only_when_the_project_asks_for_it(
    project: Project, manager: User, contractor: User, reviewer: User
) -> None:
    first = factories.make_review(contractor, project, reviewer)
    ranked = factories.make_ranking(contractor, project, [[0], [1]])
    ReviewRules.objects.update(demonstrations_percent=0, rankings_percent=0)
    free = factories.make_demonstration(contractor, project)
    written = [first.demonstration_id, free.pk]
    everything = {"comparisons": [ranked.pk], "list": written, "rankings": [ranked.pk], "demonstrations": written}
    assert exported(project, manager) == everything
    ReviewRules.objects.update(only_reviewed=True)
    assert exported(project, manager) == {**NOTHING, "list": [free.pk], "demonstrations": [free.pk]}
    rows = estimates._data(project, {"use-rank": False, "sample-prompts": 0}, 2)
    assert rows[estimates.Stage.Kind.REWARD][0] == 0 and rows[estimates.Stage.Kind.SFT][0] == 1
    factories.give_verdict(first, reviewer, "approve")
    second = queue.next_review(project=project, user=reviewer)
    assert second is not None
    factories.give_verdict(second, reviewer, "approve")
    assert exported(project, manager) == everything


@pytest.mark.parametrize(
    "fields",
    [
        {"state": "approved", "decided_at": None},
        {"state": "rejected", "reject_reason": ""},
        {"reject_reason": "wrong"},
        {"demonstration": None},
        {"kind": "rank"},
        {"state": "waiting"},
        {"round": 0},
    ],
)
def test_the_database_refuses_what_cannot_be(
    project: Project, contractor: User, reviewer: User, fields: dict[str, Any]
) -> None:
    found = factories.make_review(contractor, project, reviewer)
    with pytest.raises(IntegrityError), transaction.atomic():
        Review.objects.filter(pk=found.pk).update(**fields)


def test_one_label_stands_in_a_slot(project: Project, contractor: User) -> None:
    made = factories.make_demonstration(contractor, project)
    with pytest.raises(IntegrityError), transaction.atomic():
        Demonstration.objects.create(
            project=project, author=contractor, prompt=made.prompt, slot=made.slot, messages=made.messages
        )
