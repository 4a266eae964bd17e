"""Reviewing by REST: who may, what it answers, and conflicts."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from hone.accounts.models import Project, User
from labeling import retraction
from labeling.models import Review, ReviewRules
from labeling.review.blind import pseudonym
from tests import factories

pytestmark = pytest.mark.django_db
LIST = "/api/v1/projects/alpha/reviews/"
NEXT = LIST + "next/"


@pytest.fixture(autouse=True)
def all_reviewed(project: Project) -> None:
    ReviewRules.objects.create(project=project, demonstrations_percent=100, rankings_percent=100)


def take(api: APIClient, user: User) -> Any:
    api.force_authenticate(user)
    return api.post(NEXT).json()


@pytest.mark.parametrize(
    ("who", "status"), [("manager", 200), ("reviewer", 200), ("contractor", 403), ("outsider", 404), ("lead", 200)]
)
def test_who_may_review(
    request: pytest.FixtureRequest, api: APIClient, project: Project, who: str, status: int
) -> None:
    factories.make_demonstration(factories.make_member(project), project)
    user = request.getfixturevalue(who)
    api.force_authenticate(user)
    assert api.get(LIST).status_code == api.post(NEXT).status_code == status
    review = Review.objects.get()
    body = {"lease_token": str(review.lease_token or uuid.uuid4())}
    path = f"/api/v1/reviews/{review.pk}/"
    assert api.post(f"{path}renew/", body).status_code == status
    draft = {**body, "content": {"remark": "a"}}
    assert api.put(f"{path}draft/", draft, format="json").status_code == status
    assert api.post(f"{path}decide/", {**body, "verdict": "approve"}).status_code == status
    assert Review.objects.get().state == ("approved" if status == 200 else "waiting")


@pytest.mark.parametrize("number", [10**6, 10**30])
def test_a_review_that_is_not_there_is_404(api: APIClient, project: Project, reviewer: User, number: int) -> None:
    api.force_authenticate(reviewer)
    assert api.post(f"/api/v1/reviews/{number}/renew/", {"lease_token": uuid.uuid4()}).status_code == 404


def test_return_by_api_and_the_list(api: APIClient, project: Project, contractor: User, reviewer: User) -> None:
    made = factories.make_ranking(contractor, project, [[1], [0]])
    work = take(api, reviewer)
    assert work["kind"] == "rank" and work["author"] == pseudonym(project_id=project.pk, user_id=contractor.pk)
    assert [text["answer"] for text in work["texts"]] == ["A", "B"]
    body = {
        "lease_token": work["lease_token"],
        "verdict": "return",
        "comments": [{"answer": "A", "start": 0, "end": 6, "body": "Look"}],
    }
    for _ in range(2):
        answer = api.post(f"/api/v1/reviews/{work['review']}/decide/", body, format="json")
        assert answer.status_code == 200 and answer.json() == {"id": work["review"], "state": "returned"}
    [row] = api.get(f"{LIST}?state=returned").json()["results"]
    assert row["ranking"] == made.pk and row["annotator"] == f"a{contractor.pk}"
    assert [(one["answer"], one["quote"], one["body"]) for one in row["comments"]] == [("A", "Answer", "Look")]
    assert api.get(f"{LIST}?state=approved").json()["results"] == []
    assert api.get(f"{LIST}?state=odd").status_code == 400


def test_conflicts_say_which(api: APIClient, project: Project, manager: User, contractor: User, reviewer: User) -> None:
    factories.make_demonstration(contractor, project)
    work = take(api, reviewer)
    path = f"/api/v1/reviews/{work['review']}/decide/"
    body = {"lease_token": work["lease_token"], "verdict": "approve"}

    def code(**more: Any) -> str:
        answer = api.post(path, {**body, **more}, format="json")
        assert answer.status_code == 409
        return answer.json()["code"]

    assert code(lease_token=str(uuid.uuid4())) == "lease_lost"
    values: dict[str, Any] = {"author": contractor, "since": None, "reason": "r", "ask_again": False}
    made = retraction.retract(project=project, actor=manager, **values)
    assert code() == "label_gone"
    retraction.undo(retraction=made, actor=manager)
    assert api.post(path, body).status_code == 200
    assert code(verdict="return", remark="No") == "already_submitted"
    factories.make_demonstration(contractor, project)
    work = take(api, reviewer)
    Review.objects.filter(pk=work["review"]).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    path, body["lease_token"] = f"/api/v1/reviews/{work['review']}/decide/", work["lease_token"]
    assert code() == "lease_lost"


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"verdict": "burn"}, "verdict"),
        ({"verdict": "return"}, "remark"),
        ({"verdict": "reject"}, "reason"),
        ({"verdict": "reject", "reason": "ugly"}, "reason"),
        ({"lease_token": "x"}, "lease_token"),
        ({"comments": [{"message": 0, "start": 0, "end": 1, "body": ""}]}, "comments.0"),
        ({"comments": 1}, "comments"),
    ],
)
def test_a_faulty_body_is_400_and_changes_nothing(
    api: APIClient, project: Project, contractor: User, reviewer: User, more: dict[str, Any], field: str
) -> None:
    factories.make_demonstration(contractor, project)
    work = take(api, reviewer)
    body = {"lease_token": work["lease_token"], "verdict": "approve", **more}
    answer = api.post(f"/api/v1/reviews/{work['review']}/decide/", body, format="json")
    assert answer.status_code == 400 and list(answer.json()["errors"]) == [field]
    assert Review.objects.get().state == "leased"


def test_the_list_costs_the_same_however_long(
    api: APIClient, project: Project, contractor: User, reviewer: User
) -> None:
    api.force_authenticate(reviewer)
    costs = []
    for _ in range(2):
        for kind in ("write", "rank"):
            if kind == "write":
                factories.make_demonstration(contractor, project)
            else:
                factories.make_ranking(contractor, project, [[0], [1]])
        with CaptureQueriesContext(connection) as queries:
            assert api.get(LIST).status_code == 200
        costs.append(len(queries))
    assert costs[0] == costs[1]
