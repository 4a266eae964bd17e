"""The endpoints behind the working pages: answers and rows, and that no model is named."""

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from hone.accounts.models import Project, User
from labeling.models import Demonstration, Draft, Ranking, Skip, Slot
from tests import factories
from training.models import Generation

pytestmark = pytest.mark.django_db


def begin(api: APIClient, user: User, project: Project, kind: str = "rank") -> dict[str, Any]:
    api.force_authenticate(user)
    answer = api.post(f"/api/v1/projects/{project.slug}/work/{kind}/next/")
    assert answer.status_code == 200
    return answer.json()


def submit(api: APIClient, work: dict[str, Any], **body: Any) -> Any:
    values = {"lease_token": work["lease_token"], "client_key": str(uuid.uuid4()), **body}
    return api.post(f"/api/v1/work/{work['slot']}/submit/", values)


def test_rank_from_next_to_submit(api: APIClient, project: Project, contractor: User) -> None:
    factories.make_batch(project)
    work = begin(api, contractor, project)
    assert [answer["letter"] for answer in work["answers"]] == ["A", "B", "C", "D"]
    Slot.objects.update(leased_at=timezone.now() - timedelta(seconds=12))
    answer = submit(api, work, tiers=[["D"], ["A", "B"]], unacceptable=["C"], active_seconds=12)
    assert answer.status_code == 201
    ranking = Ranking.objects.get(pk=answer.json()["id"])
    slot = Slot.objects.get(pk=work["slot"])
    assert slot.order_shown is not None
    assert ranking.tiers[0] == [slot.order_shown[3]] and ranking.unacceptable == [slot.order_shown[2]]
    assert (ranking.active_seconds, ranking.claimed_seconds) == (12, None)


def test_the_payload_never_names_the_model(api: APIClient, project: Project, contractor: User) -> None:
    batch = factories.make_batch(project)
    secret = factories.make_checkpoint(name="secret-model-name")
    run = factories.make_run(project, model=secret)
    for completion in batch.items.get().completions.all():
        Generation.objects.create(
            completion=completion, checkpoint=secret, run=run, seed=424242, finish_reason="stop", token_count=3
        )
    work = json.dumps(begin(api, contractor, project))
    assert "secret-model-name" not in work and "424242" not in work
    assert not any(f'"{word}"' in work for word in ("checkpoint", "model", "run", "seed", "index", "completion"))


def test_no_work_is_204(api: APIClient, project: Project, contractor: User) -> None:
    api.force_authenticate(contractor)
    assert api.post(f"/api/v1/projects/{project.slug}/work/rank/next/").status_code == 204


def test_replay_is_200_with_the_same_id(api: APIClient, project: Project, contractor: User) -> None:
    factories.make_batch(project)
    work, key = begin(api, contractor, project), str(uuid.uuid4())
    body = {"tiers": [["A"], ["B"], ["C"], ["D"]], "client_key": key}
    first, second = submit(api, work, **body), submit(api, work, **body)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json() and Ranking.objects.count() == 1


def test_a_lost_lease_is_409_and_says_that_the_draft_is_kept(
    api: APIClient, project: Project, contractor: User
) -> None:
    factories.make_batch(project, "write")
    work = begin(api, contractor, project, "write")
    Slot.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "kept"}]
    answer = submit(api, work, messages=messages)
    assert answer.status_code == 409
    assert answer.json()["code"] == "lease_lost" and answer.json()["draft_saved"]
    assert "kept as a draft" in answer.json()["detail"]
    assert Draft.objects.get().content["messages"] == messages and not Demonstration.objects.exists()
    again = begin(api, contractor, project, "write")
    assert again["draft"]["messages"] == messages


def test_whoever_lost_the_item_to_another_keeps_the_text_by_its_key(
    api: APIClient, project: Project, contractor: User
) -> None:
    factories.make_batch(project, "write")
    work = begin(api, contractor, project, "write")
    Slot.objects.update(state="open", holder=None, lease_token=None, leased_at=None, lease_expires_at=None)
    draft = {"content": {"note": "kept"}}
    refused = api.put(f"/api/v1/work/{work['slot']}/draft/", draft, format="json")
    assert refused.status_code == 400 and "item_key" in refused.json()["errors"]["content"][0]
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "kept"}]
    lost = submit(api, work, messages=messages)
    assert lost.status_code == 409 and not lost.json()["draft_saved"] and not Draft.objects.exists()
    saved = api.put(f"/api/v1/work/{work['slot']}/draft/", {**draft, "item_key": work["item_key"]}, format="json")
    assert saved.status_code == 200 and Draft.objects.get().content == {"note": "kept"}
    lost = submit(api, work, messages=messages, item_key=work["item_key"])
    assert lost.status_code == 409 and lost.json()["draft_saved"]
    assert Draft.objects.get().content["messages"] == messages


def test_errors_name_the_field(api: APIClient, project: Project, contractor: User) -> None:
    factories.make_batch(project)
    work = begin(api, contractor, project)
    answer = submit(api, work, tiers=[["A", "A"], ["B"], ["C"], ["D"]])
    assert answer.status_code == 400 and answer.json() == {"errors": {"tiers": ["Answer A is placed twice."]}}
    assert submit(api, work, tiers="no").json()["errors"].keys() == {"tiers"}
    assert submit(api, work, tiers=[["A"]], active_seconds=-1).status_code == 400
    assert not Ranking.objects.exists()


def test_a_half_sent_request_changes_nothing(api: APIClient, project: Project, contractor: User) -> None:
    factories.make_batch(project)
    work = begin(api, contractor, project)
    answer = api.post(f"/api/v1/work/{work['slot']}/submit/", '{"tiers": [["A"', content_type="application/json")
    assert answer.status_code == 400 and not Ranking.objects.exists()
    assert Slot.objects.get(pk=work["slot"]).state == "leased"


def test_renew_draft_and_skip(api: APIClient, project: Project, contractor: User) -> None:
    factories.make_batch(project)
    work = begin(api, contractor, project)
    token = {"lease_token": work["lease_token"]}
    assert "lease_expires_at" in api.post(f"/api/v1/work/{work['slot']}/renew/", token).json()
    saved = api.put(f"/api/v1/work/{work['slot']}/draft/", {"content": {"tiers": [["B"]]}})
    assert saved.status_code == 200 and begin(api, contractor, project)["draft"] == {"tiers": [["B"]]}
    skipped = api.post(f"/api/v1/work/{work['slot']}/skip/", {**token, "reason": "unclear", "note": "?"})
    assert skipped.status_code == 200 and Skip.objects.get().author == contractor
    assert api.post(f"/api/v1/work/{work['slot']}/renew/", token).status_code == 409


@pytest.mark.parametrize(
    ("who", "status"), [("manager", 200), ("reviewer", 200), ("contractor", 200), ("outsider", 404), (None, 401)]
)
def test_who_may_work(
    request: pytest.FixtureRequest, api: APIClient, project: Project, who: str | None, status: int
) -> None:
    factories.make_batch(project)
    if who:
        api.force_authenticate(request.getfixturevalue(who))
    assert api.post(f"/api/v1/projects/{project.slug}/work/rank/next/").status_code == status


def test_an_outsider_reaches_no_slot(api: APIClient, project: Project, contractor: User, outsider: User) -> None:
    factories.make_batch(project)
    work = begin(api, contractor, project)
    api.force_authenticate(outsider)
    for verb, path in (("post", "renew"), ("put", "draft"), ("post", "submit"), ("post", "skip")):
        assert getattr(api, verb)(f"/api/v1/work/{work['slot']}/{path}/", {}).status_code == 404


def test_session_requests_need_the_csrf_token(project: Project, contractor: User) -> None:
    factories.make_batch(project)
    api = APIClient(enforce_csrf_checks=True)
    api.force_login(contractor)
    assert api.post(f"/api/v1/projects/{project.slug}/work/rank/next/").status_code == 403


NESTED = "[" * 5000 + "]" * 5000
ODD_TEXTS = ["a\\u0000b", "\\ud83d", "\\ude00\\ud83d", "\\ud83d\\ude00"]  # as they stand in JSON


@pytest.mark.parametrize(
    "fields",
    [
        '"tiers": [["A"], "BCD"]',
        '"tiers": {"0": ["A"]}',
        '"tiers": [[["A"]]]',
        '"tiers": [[{"A": 1}]]',
        '"tiers": [null]',
        '"tiers": [["\\ud83d"]]',
        '"tiers": [], "unacceptable": "ABCD"',
        '"tiers": [["A"],["B"],["C"],["D"]], "unacceptable": [{}]',
        '"tiers": [["A"],["B"],["C"],["D"]], "note": ["x"]',
        '"tiers": [["A"],["B"],["C"],["D"]], "note": "\\u0000"',
        '"tiers": [["A"],["B"],["C"],["D"]], "note": "\\ud83d"',
        '"tiers": [["A"],["B"],["C"],["D"]], "active_seconds": {}',
        '"tiers": [["A"],["B"],["C"],["D"]], "active_seconds": 1e400',
        f'"tiers": [["A"],["B"],["C"],["D"]], "active_seconds": {"9" * 4000}',
        f'"tiers": {NESTED}',
        f'"tiers": {"[" * 300 + "]" * 300}',
        '"tiers": [["A"],["B"],["C"],["D"]], "client_key": "\\ud83d"',
        '"tiers": [["A"],["B"],["C"],["D"]], "lease_token": ["\\ud83d"]',
    ],
)
def test_a_malformed_ranking_is_400_with_a_sentence(
    api: APIClient, project: Project, contractor: User, fields: str
) -> None:
    factories.make_batch(project)
    work = begin(api, contractor, project)
    body = f'{{"lease_token": "{work["lease_token"]}", "client_key": "{uuid.uuid4()}", {fields}}}'
    answer = api.post(f"/api/v1/work/{work['slot']}/submit/", body, content_type="application/json")
    assert answer.status_code == 400
    sentences = answer.json().get("errors", answer.json())
    assert all(isinstance(text, str) for text in (s[0] if isinstance(s, list) else s for s in sentences.values()))
    assert not Ranking.objects.exists()


@pytest.mark.parametrize("body", ["[]", '"x"', "7", "null", NESTED, '{"content": 5}', '{"content": [1]}', "{"])
@pytest.mark.parametrize("path", ["renew", "draft", "submit", "skip"])
def test_bodies_of_the_wrong_shape_are_400(
    api: APIClient, project: Project, contractor: User, path: str, body: str
) -> None:
    factories.make_batch(project)
    work = begin(api, contractor, project)
    send = api.put if path == "draft" else api.post
    answer = send(f"/api/v1/work/{work['slot']}/{path}/", body, content_type="application/json")
    assert answer.status_code == 400


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_odd_characters_are_taken_by_submit_and_draft(
    api: APIClient, project: Project, contractor: User, text: str
) -> None:
    factories.make_batch(project, "write", items=2)
    work = begin(api, contractor, project, "write")
    asked = json.dumps({"role": "user", "content": work["prompt"]["messages"][0]["content"]})
    messages = f'"messages": [{asked}, {{"role": "assistant", "content": "so: {text}"}}]'
    path = f"/api/v1/work/{work['slot']}"
    draft = f'{{"content": {{{messages}, "k{text}": 1e400}}}}'
    assert api.put(f"{path}/draft/", draft, content_type="application/json").status_code == 200
    body = f'{{"lease_token": "{work["lease_token"]}", "client_key": "{uuid.uuid4()}", {messages}}}'
    assert api.post(f"{path}/submit/", body, content_type="application/json").status_code == 201
    lost = begin(api, contractor, project, "write")
    Slot.objects.filter(pk=lost["slot"]).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    body = f'{{"lease_token": "{lost["lease_token"]}", "client_key": "{uuid.uuid4()}", {messages}}}'
    late = api.post(f"/api/v1/work/{lost['slot']}/submit/", body, content_type="application/json")
    assert late.status_code == 409 and Draft.objects.get().content["messages"][-1]["content"].startswith("so: ")


def test_an_unknown_reason_with_odd_characters_is_400(api: APIClient, project: Project, contractor: User) -> None:
    factories.make_batch(project)
    work = begin(api, contractor, project)
    body = f'{{"lease_token": "{work["lease_token"]}", "reason": "\\ud83d"}}'
    answer = api.post(f"/api/v1/work/{work['slot']}/skip/", body, content_type="application/json")
    assert answer.status_code == 400 and "reason" in answer.json()["errors"]


def test_a_number_that_no_slot_can_have_is_404(api: APIClient, contractor: User) -> None:
    api.force_authenticate(contractor)
    assert api.post(f"/api/v1/work/{10**30}/renew/", {}).status_code == 404


def test_renew_says_when_a_newer_guideline_is_published(api: APIClient, project: Project, contractor: User) -> None:
    factories.make_guideline(project)
    factories.make_batch(project)
    work = begin(api, contractor, project)
    token = {"lease_token": work["lease_token"]}
    assert api.post(f"/api/v1/work/{work['slot']}/renew/", token).json()["newer_guideline"] is False
    factories.make_guideline(project, body="## Two")
    assert api.post(f"/api/v1/work/{work['slot']}/renew/", token).json()["newer_guideline"] is True
    assert begin(api, contractor, project)["guideline"]["number"] == work["guideline"]["number"] == 1
