"""What the API's schema says is what the API answers: the same keys, at every depth, for every endpoint of labeling."""

import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from hone.accounts.models import Project, User
from labeling import guideline_reading, guidelines, pay
from labeling.api.urls import urlpatterns
from labeling.models import QualityReport, ReviewRules, Slot, WritingRules
from labeling.quality import measuring
from tests import factories

pytestmark = pytest.mark.django_db
OF_PROJECT = "/api/v1/projects/{slug}/"
OF_SLOT = "/api/v1/work/{slot_id}/"


class Checker:
    """Sends requests and holds every answer against the schema."""

    def __init__(self, api: APIClient, project: Project) -> None:
        self.api, self.project = api, project
        self.schema = api.get("/api/v1/schema/?format=json").json()
        self.seen: set[str] = set()

    def __call__(
        self, verb: str, path: str, status: int, body: Any = None, *, slot: int = 0, review: int = 0, **options: Any
    ) -> Any:
        address = path.format(slug=self.project.slug, slot_id=slot, kind="rank", number=2, review_id=review)
        answer = getattr(self.api, verb)(address, body, **options)
        assert answer.status_code == status, answer.content
        said = self.schema["paths"][path][verb]["responses"][str(status)]
        self.seen.add(path)
        if "content" in said and not answer.streaming:
            self.compare(answer.json(), said["content"]["application/json"]["schema"], path)
        return answer

    def compare(self, value: Any, said: dict[str, Any], where: str) -> None:
        if "$ref" in said:
            said = self.schema["components"]["schemas"][said["$ref"].split("/")[-1]]
        for part in said.get("allOf", []) + said.get("oneOf", []):
            if value is not None:
                self.compare(value, part, where)
        if isinstance(value, dict) and "properties" in said:
            required = set(said.get("required", said["properties"]))
            assert required <= set(value) <= set(said["properties"]), where
            for key, part in value.items():
                self.compare(part, said["properties"][key], f"{where} {key}")
        elif isinstance(value, dict) and isinstance(extra := said.get("additionalProperties"), dict):
            for key, part in value.items():
                self.compare(part, extra, f"{where} {key}")
        elif isinstance(value, list) and "items" in said:
            for part in value:
                self.compare(part, said["items"], where)
        elif value is not None and "type" in said:
            kind = {str: "string", bool: "boolean", int: "integer", float: "number", dict: "object", list: "array"}
            assert said["type"] == kind[type(value)], where


@pytest.mark.slow
def test_answers_have_the_keys_that_the_schema_names(
    api: APIClient, project: Project, manager: User, contractor: User
) -> None:
    factories.make_guideline(project)
    factories.make_batch(project, items=2)
    prompt = factories.make_prompt(project)
    prompt.demonstrations.create(project=project, author=contractor, messages=prompt.messages)
    api.force_authenticate(manager)
    check = Checker(api, project)

    check("get", "/api/v1/projects/", 200)
    for name in ("", "prompts/", "guidelines/", "demonstrations/", "comparisons/export/"):
        check("get", OF_PROJECT + name, 200)
    for content, status in ((b'{"prompt": "a"}', 201), (b"{", 400)):
        file = SimpleUploadedFile("p.jsonl", content)
        check("post", f"{OF_PROJECT}import/", status, {"file": file}, format="multipart")

    def take() -> tuple[int, dict[str, Any]]:
        work = check("post", OF_PROJECT + "work/{kind}/next/", 200).json()
        return work["slot"], {"lease_token": work["lease_token"]}

    slot, token = take()
    check("post", f"{OF_SLOT}renew/", 200, token, slot=slot)
    check("post", f"{OF_SLOT}renew/", 400, {}, slot=slot)
    check("put", f"{OF_SLOT}draft/", 200, {"content": {"tiers": [["A"]]}}, slot=slot)
    check("put", f"{OF_SLOT}draft/", 400, {}, slot=slot)
    take()  # with the draft
    answer = {**token, "client_key": str(uuid.uuid4()), "tiers": [["A"], ["B"], ["C"], ["D"]]}
    check("post", f"{OF_SLOT}submit/", 400, {**answer, "tiers": []}, slot=slot)
    check("post", f"{OF_SLOT}submit/", 201, {**answer, "may_take_back": True}, slot=slot)
    key = {"client_key": answer["client_key"]}
    token = {"lease_token": check("post", f"{OF_SLOT}take-back/", 200, key, slot=slot).json()["lease_token"]}
    check("post", f"{OF_SLOT}take-back/", 400, {}, slot=slot)
    check("post", f"{OF_SLOT}take-back/", 409, {"client_key": str(uuid.uuid4())}, slot=slot)
    check("post", f"{OF_SLOT}give-back/", 204, token, slot=slot)
    check("post", f"{OF_SLOT}give-back/", 400, {}, slot=slot)
    answer |= token
    check("post", f"{OF_SLOT}submit/", 201, answer, slot=slot)
    check("post", f"{OF_SLOT}submit/", 200, answer, slot=slot)
    check("post", f"{OF_SLOT}submit/", 409, {**answer, "client_key": str(uuid.uuid4())}, slot=slot)
    check("post", f"{OF_SLOT}renew/", 409, token, slot=slot)
    slot, token = take()
    check("post", f"{OF_SLOT}skip/", 400, token, slot=slot)
    check("post", f"{OF_SLOT}skip/", 200, {**token, "reason": "unclear"}, slot=slot)
    check("post", f"{OF_SLOT}skip/", 409, {**token, "reason": "unclear"}, slot=slot)
    check("post", f"{OF_SLOT}submit/", 409, {**answer, "client_key": str(uuid.uuid4())}, slot=slot)
    assert not Slot.objects.filter(state="leased").exists()
    check("post", OF_PROJECT + "work/{kind}/next/", 204)
    WritingRules.objects.create(project=project, personal="warn")
    factories.make_batch(project, "write")
    slot = api.post("/api/v1/projects/alpha/work/write/next/").json()["slot"]
    said = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "jane@acme.com"}]
    check("post", f"{OF_SLOT}check/", 200, {"messages": said}, slot=slot)
    check("post", f"{OF_SLOT}check/", 400, {"messages": 1}, slot=slot)
    check("post", "/api/v1/preview/", 200, {"text": "*a*"})
    check("post", "/api/v1/preview/", 400, {})
    measuring.measure(QualityReport.objects.create(project=project).pk)
    check("get", f"{OF_PROJECT}quality/", 200)
    check_reviews(check, factories.make_member(project))
    Project.objects.update(confirm_guideline=True)
    question = {"text": "?", "several": False, "options": ["a", "b"], "right": [0], "explanation": ""}
    quiz = {"pass_percent": 100, "questions": [question]}
    draft = guidelines.save_draft(project=project, title="Spec", body="Two", quiz=quiz)
    newer = guidelines.publish(guideline=draft, actor=manager)
    factories.make_batch(project)
    check("post", OF_PROJECT + "work/{kind}/next/", 409)
    check("post", OF_PROJECT + "guideline/{number}/confirm/", 409)
    guideline_reading.attempt(guideline=newer, user=manager, answers=[[0]])
    check("post", OF_PROJECT + "guideline/{number}/confirm/", 200)
    factories.make_qualification(project, actor=manager)
    api.force_authenticate(factories.make_member(project))
    check("post", OF_PROJECT + "work/{kind}/next/", 409)
    api.force_authenticate(manager)
    rate = {"currency": "EUR", "per_demonstration": 1, "per_ranking": 1}
    pay.set_rate(project=project, actor=manager, basis="piece", **rate)
    pay.bonus(project=project, user=manager, amount=Decimal(1), currency="EUR", reason="Thanks", actor=manager)
    check("get", f"{OF_PROJECT}ledger/", 200)
    check("get", f"{OF_PROJECT}ledger/mine/", 200)
    routes = {"/api/v1/" + str(route.pattern).replace("<slug:", "{").replace("<int:", "{") for route in urlpatterns}
    assert {path.replace("<str:", "{").replace(">", "}") for path in routes} == check.seen


def check_reviews(check: Checker, author: User) -> None:
    project = check.project
    ReviewRules.objects.create(project=project, rankings_percent=100)
    Slot.objects.filter(state="open").delete()  # the author's ranking is of an item of its own
    factories.make_ranking(author, project, [[0], [1]])
    of_review = "/api/v1/reviews/{review_id}/"

    def take() -> tuple[int, dict[str, Any]]:
        work = check("post", f"{OF_PROJECT}reviews/next/", 200).json()
        return work["review"], {"lease_token": work["lease_token"]}

    number, token = take()
    check("post", f"{of_review}renew/", 200, token, review=number)
    check("put", f"{of_review}draft/", 200, {**token, "content": {"remark": "a"}}, review=number, format="json")
    take()  # with the draft
    answer = {**token, "verdict": "return", "comments": [{"answer": "A", "start": 0, "end": 2, "body": "Why?"}]}
    check("post", f"{of_review}decide/", 400, {**answer, "verdict": "reject"}, review=number, format="json")
    check("post", f"{of_review}decide/", 200, answer, review=number, format="json")
    check("post", f"{of_review}decide/", 409, {**answer, "verdict": "approve"}, review=number, format="json")
    check("post", f"{of_review}renew/", 409, token, review=number)
    check("get", f"{OF_PROJECT}reviews/", 200)
    manager = check.api.handler._force_user
    check.api.force_authenticate(author)  # gets it back, and corrects it
    work = check("post", OF_PROJECT + "work/{kind}/next/", 200).json()
    assert work["returned"]["comments"]
    body = {"lease_token": work["lease_token"], "client_key": str(uuid.uuid4()), "tiers": [["A"], ["B"]]}
    check("post", f"{OF_SLOT}submit/", 201, body, slot=work["slot"], format="json")
    check.api.force_authenticate(manager)
    take()  # the second round, with what was said before
    check("post", f"{OF_PROJECT}reviews/next/", 200)
