"""Which labels go to review: the share, the marks, newcomers, and nothing by default."""

import uuid
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from hone.accounts.models import Project, User
from labeling.models import Review, ReviewRules, WritingRules
from labeling.review import drawing
from tests import factories

pytestmark = pytest.mark.django_db


def rules(project: Project, **fields: Any) -> None:
    ReviewRules.objects.update_or_create(project=project, defaults=fields)


def marks() -> list[list[str]]:
    return list(Review.objects.order_by("id").values_list("marks", flat=True))


def test_nothing_is_reviewed_and_nothing_more_asked_without_rules(project: Project, contractor: User) -> None:
    with CaptureQueriesContext(connection) as queries:
        factories.make_ranking(contractor, project, [[0], [1]])
        factories.make_demonstration(contractor, project)
    assert not Review.objects.exists()
    # The rules come with the slot, in a statement that runs anyway.
    asked = [query["sql"] for query in queries if "labeling_review" in query["sql"]]
    assert all("labeling_reviewrules" in sql and "FROM labeling_slot AS slot" in sql for sql in asked)


def test_the_share_is_right_and_the_same_whenever_it_is_asked_for(project: Project) -> None:
    keys = [uuid.UUID(int=n) for n in range(4000)]  # chosen by the client, one after the other
    drawn = [drawing.draw(project_id=project.pk, client_key=key) for key in keys]
    assert drawn == [drawing.draw(project_id=project.pk, client_key=key) for key in keys]
    for percent in (5, 20, 50):
        # Four standard errors of the share.
        share = sum(value < percent / 100 for value in drawn) / len(drawn)
        assert abs(share - percent / 100) < 4 * (percent / 100 * (1 - percent / 100) / len(drawn)) ** 0.5
    other = [drawing.draw(project_id=project.pk + 1, client_key=key) for key in keys]
    assert sum(a < 0.5 and b < 0.5 for a, b in zip(drawn, other, strict=True)) < 1200  # not the same ones


def test_nobody_who_does_not_know_the_secret_can_tell_which_key_is_drawn(project: Project, settings: Any) -> None:
    key = uuid.UUID(int=7)
    before = drawing.draw(project_id=project.pk, client_key=key)
    settings.SECRET_KEY = "another"
    assert drawing.draw(project_id=project.pk, client_key=key) != before


def test_each_kind_has_its_own_share(project: Project, contractor: User) -> None:
    rules(project, rankings_percent=100)
    factories.make_demonstration(contractor, project)
    factories.make_ranking(contractor, project, [[1], [0]])
    [found] = Review.objects.all()
    assert found.kind == "rank" and found.marks == ["sampled"] and found.state == "waiting" and found.round == 1
    assert found.ranking is not None and found.slot == found.ranking.slot and found.author == contractor


def test_the_first_labels_of_each_person_are_all_reviewed(project: Project, contractor: User, reviewer: User) -> None:
    rules(project, newcomer_labels=2)
    for user in (contractor, contractor, contractor, reviewer):
        factories.make_demonstration(user, project)
    assert marks() == [["newcomer"]] * 3
    assert set(Review.objects.values_list("author", flat=True)) == {contractor.pk, reviewer.pk}


def test_marks_send_a_label_to_review_and_say_so(project: Project, contractor: User) -> None:
    WritingRules.objects.create(project=project, personal="warn")
    rules(project, on_note=True, on_findings=True, on_unmoved=True, fast_seconds=30)
    slow = {"active_seconds": 30}
    factories.make_demonstration(contractor, project, **slow)
    assert marks() == []
    factories.make_demonstration(contractor, project, note="Unsure", **slow)
    factories.make_demonstration(contractor, project, "Write to jane@acme.com", **slow)
    factories.make_demonstration(contractor, project, active_seconds=29)
    factories.make_batch(project)
    factories.submit_next(project, contractor)  # in the order shown, and with no time at all
    assert marks() == [["note"], ["findings"], ["fast"], ["fast", "unmoved"]]
