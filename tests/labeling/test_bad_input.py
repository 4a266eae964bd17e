"""Bad input to the endpoints of a contractor's work: each is refused with a sentence, and not one row changes.

The table says what is sent and what comes back. Rows are counted and held against a copy, leases and drafts included.
"""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.core import serializers
from rest_framework.test import APIClient

from hone.accounts.models import Project, User
from hone.audit.models import Event
from labeling.models import Batch, Comparison, Completion, Demonstration, Draft, Item, Prompt, Ranking, Skip, Slot
from tests import factories

pytestmark = pytest.mark.django_db

TABLES = (Batch, Comparison, Completion, Demonstration, Draft, Event, Item, Prompt, Ranking, Skip, Slot)
ORDER = [["A"], ["B"], ["C"], ["D"]]
NESTED = "[" * 4000 + "]" * 4000
HUGE = "9" * 5000


def rows() -> dict[str, str]:
    """Every row of the labeling tables, as text."""
    return {model.__name__: serializers.serialize("json", model._default_manager.order_by("pk")) for model in TABLES}


@dataclass
class Work:
    """What a client holds: the payload, and how to send."""

    api: APIClient
    payload: dict[str, Any]

    def base(self) -> dict[str, Any]:
        return {"lease_token": self.payload["lease_token"], "client_key": str(uuid.uuid4())}

    def messages(self, text: str = "Because.") -> list[dict[str, str]]:
        asked = [{key: turn[key] for key in ("role", "content")} for turn in self.payload["prompt"]["messages"]]
        return [*asked, {"role": "assistant", "content": text}]

    def send(self, raw: str | bytes, *, path: str = "submit", content_type: str = "application/json") -> Any:
        verb = self.api.put if path == "draft" else self.api.post
        return verb(f"/api/v1/work/{self.payload['slot']}/{path}/", raw, content_type=content_type)


@pytest.fixture
def take(api: APIClient, project: Project, contractor: User) -> Callable[[str], Work]:
    def take_(kind: str) -> Work:
        factories.make_guideline(project)
        factories.make_batch(project, kind)
        api.force_authenticate(contractor)
        return Work(api, api.post(f"/api/v1/projects/alpha/work/{kind}/next/").json())

    return take_


def refused(work: Work, answer: Any, *, field: str, words: str, before: dict[str, str], status: int = 400) -> None:
    assert answer.status_code == status, answer.content
    said = answer.json()
    sentences = said["errors"][field] if "errors" in said else [said[field]]
    assert words in sentences[0] and len(sentences[0]) < 300
    assert rows() == before


# (name, fields beside lease and key, field of the error, words)
RANK: list[tuple[str, dict[str, Any], str, str]] = [
    ("nothing", {}, "tiers", "list of lists"),
    ("an unknown answer", {"tiers": [*ORDER, ["E"]]}, "tiers", "There is no answer E."),
    ("a lower-case letter", {"tiers": [["a"], ["B"], ["C"], ["D"]]}, "tiers", "There is no answer a."),
    ("a number for a letter", {"tiers": [[0], [1], [2], [3]]}, "tiers", "There is no answer 0."),
    ("a missing answer", {"tiers": ORDER[:3]}, "tiers", "Not placed yet: D."),
    ("an answer twice", {"tiers": [*ORDER, ["A"]]}, "tiers", "Answer A is placed twice."),
    ("twice in one tier", {"tiers": [["A", "A"], ["B"], ["C"], ["D"]]}, "tiers", "Answer A is placed twice."),
    ("in a tier and below", {"tiers": ORDER, "unacceptable": ["D"]}, "tiers", "Answer D is placed twice."),
    ("a long name", {"tiers": [["A" * 5000]]}, "tiers", "There is no answer AAAA"),
    ("a direction mark", {"tiers": [["\u202eA"], ["B"], ["C"], ["D"]]}, "tiers", "There is no answer"),
    ("a note over the limit", {"tiers": ORDER, "note": "x" * 2001}, "note", "at most 2000"),
    ("a reason not asked for", {"tiers": ORDER, "reason": "so"}, "reason", "does not ask"),
    ("a scale not asked for", {"tiers": ORDER, "ratings": {"A": {"quality": 3}}}, "ratings", "no scale quality"),
    ("a strength of four answers", {"tiers": ORDER, "strength": 3}, "strength", "does not ask"),
    ("a negative time", {"tiers": ORDER, "active_seconds": -1}, "active_seconds", "whole number"),
    ("a moment for a time", {"tiers": ORDER, "active_seconds": "2031-01-01T00:00:00Z"}, "active_seconds", "integer"),
    ("another guideline", {"tiers": ORDER, "guideline_version": 7}, "guideline_version", "another version"),
    ("a text as guideline", {"tiers": ORDER, "guideline_version": "new"}, "guideline_version", "integer"),
    ("order and verdict", {"tiers": ORDER, "verdict": "broken"}, "verdict", "not both"),
    ("an unknown verdict", {"verdict": "bored"}, "verdict", "valid choice"),
    ("a key that is none", {"tiers": ORDER, "client_key": "1"}, "client_key", "UUID"),
    ("a token that is none", {"tiers": ORDER, "lease_token": "x"}, "lease_token", "UUID"),
]

WRITE: list[tuple[str, dict[str, Any], str, str]] = [
    ("nothing", {}, "messages", "non-empty list"),
    ("a text", {"messages": "hello"}, "messages", "list"),
    ("no turn", {"messages": []}, "messages", "non-empty list"),
    ("an unknown role", {"messages": [{"role": "root", "content": "x"}]}, "messages.0.content", "role"),
    ("a turn without text", {"messages": [{"role": "user"}]}, "messages.0.content", "needs a role and a text"),
    ("another prompt", {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]},
     "messages", "given prompt was changed"),
    ("a negative time", {"text": "Because.", "active_seconds": -1}, "active_seconds", "whole number"),
    ("an empty answer", {"text": " \n\x00"}, "messages.1.content", "Nothing is written"),
    ("an answer over the limit", {"text": "x" * 20_001}, "messages.1.content", "at most 20000"),
    ("a note over the limit", {"text": "Because.", "note": "x" * 2001}, "note", "at most 2000"),
    ("another guideline", {"text": "Because.", "guideline_version": 0}, "guideline_version", "another version"),
]  # fmt: skip

BEGIN = '{"lease_token": "{token}", "client_key": "{key}", '
PARSE = "JSON parse error"

# (name, body, field, words): what is no request at all. {token} and {key} are filled in.
RAW: list[tuple[str, str | bytes, str, str]] = [
    ("half a body", BEGIN + '"tiers": [["A"', "detail", PARSE),
    ("no body", "", "lease_token", "required"),
    ("null", "null", "non_field_errors", "No data"),
    ("a list", "[]", "non_field_errors", "dictionary"),
    ("a number", "7", "non_field_errors", "dictionary"),
    ("nesting", BEGIN + f'"tiers": {NESTED}}}', "detail", "nested too deeply"),
    ("a huge number", BEGIN + f'"active_seconds": {HUGE}}}', "detail", PARSE),
    ("NaN", BEGIN + '"tiers": [], "active_seconds": NaN}', "detail", PARSE),
    ("a lone surrogate as letter", BEGIN + '"tiers": [["\\ud800"], ["B"]]}', "tiers", "There is no answer"),
    ("a NUL as letter", BEGIN + '"tiers": [["\\u0000"], ["B"]]}', "tiers", "There is no answer"),
    ("a lone surrogate as note", BEGIN + '"tiers": [["A"]], "note": "\\ud800"}', "note", "Surrogate"),
    ("bytes that are no text", b'{"lease_token": "\xff\xfe"}', "detail", PARSE),
]


@pytest.mark.parametrize(("name", "fields", "field", "words"), RANK, ids=[row[0] for row in RANK])
def test_a_ranking_is_refused(
    take: Callable[[str], Work], name: str, fields: dict[str, Any], field: str, words: str
) -> None:
    work = take("rank")
    before = rows()
    refused(work, work.send(json.dumps({**work.base(), **fields})), field=field, words=words, before=before)


@pytest.mark.parametrize(("name", "fields", "field", "words"), WRITE, ids=[row[0] for row in WRITE])
def test_a_demonstration_is_refused(
    take: Callable[[str], Work], name: str, fields: dict[str, Any], field: str, words: str
) -> None:
    work = take("write")
    body = {**work.base(), **fields}
    if "text" in body:
        body["messages"] = work.messages(body.pop("text"))
    before = rows()
    refused(work, work.send(json.dumps(body)), field=field, words=words, before=before)


@pytest.mark.parametrize(("name", "raw", "field", "words"), RAW, ids=[row[0] for row in RAW])
def test_what_is_no_request_is_refused(
    take: Callable[[str], Work], name: str, raw: str | bytes, field: str, words: str
) -> None:
    work = take("rank")
    body = raw
    if isinstance(body, str):
        body = body.replace("{token}", work.payload["lease_token"]).replace("{key}", str(uuid.uuid4()))
    before = rows()
    refused(work, work.send(body), field=field, words=words, before=before)


@pytest.mark.parametrize("content_type", ["text/plain", "text/html", "application/xml", "nonsense"])
@pytest.mark.parametrize("path", ["renew", "draft", "submit", "skip"])
def test_another_content_type_is_415(take: Callable[[str], Work], path: str, content_type: str) -> None:
    work = take("rank")
    before = rows()
    body = json.dumps({**work.base(), "tiers": ORDER, "content": {}, "reason": "other"})
    answer = work.send(body, path=path, content_type=content_type)
    refused(work, answer, field="detail", words="Unsupported media type", before=before, status=415)


@pytest.mark.parametrize("path", ["renew", "draft", "check", "submit", "skip"])
@pytest.mark.parametrize("raw", ["{", "null", "[]", '"x"', NESTED, '{"lease_token": NaN}', '{"a": 1e999', "\u202e"])
def test_no_endpoint_takes_a_broken_body(take: Callable[[str], Work], path: str, raw: str) -> None:
    work = take("write")
    before = rows()
    answer = work.send(raw, path=path)
    assert answer.status_code == 400, answer.content
    assert answer["Content-Type"] == "application/json" and answer.json()
    assert rows() == before


@pytest.mark.parametrize("path", ["renew", "draft", "submit", "skip"])
def test_another_persons_slot(
    take: Callable[[str], Work], api: APIClient, project: Project, manager: User, outsider: User, path: str
) -> None:
    """Of a project that is not theirs: 404. Of their own project: the lease is not theirs."""
    work = take("rank")
    body = {**work.base(), "tiers": ORDER, "reason": "other", "content": {}}
    before = rows()
    api.force_authenticate(outsider)
    refused(
        work, work.send(json.dumps(body), path=path), field="detail", words="no such project", before=before, status=404
    )
    api.force_authenticate(manager)
    answer = work.send(json.dumps(body), path=path)
    assert answer.status_code == (400 if path == "draft" else 409)
    assert rows() == before and not Draft.objects.filter(author=manager).exists()


def test_a_replay_writes_nothing(take: Callable[[str], Work]) -> None:
    work = take("rank")
    body = json.dumps({**work.base(), "tiers": ORDER})
    assert work.send(body).status_code == 201
    before = rows()
    again = work.send(body)
    assert again.status_code == 200 and again.json() == {"id": Ranking.objects.get().pk, "next_slot": None}
    assert rows() == before
    # The same key for another order is the first order's: a key names one submission.
    assert work.send(body.replace('"A"', '"D"', 1).replace('"D"', '"A"', 1)).status_code == 200
    assert rows() == before


def test_a_second_tabs_submit_changes_nothing_and_says_why(take: Callable[[str], Work]) -> None:
    work = take("rank")
    assert work.send(json.dumps({**work.base(), "tiers": ORDER})).status_code == 201
    before = rows()
    late = work.send(json.dumps({**work.base(), "tiers": ORDER[::-1]}))
    assert late.status_code == 409 and late.json()["code"] == "already_submitted"
    assert "in another tab" in late.json()["detail"]
    assert rows() == before


ODD = {
    "override": "\u202eevil\u202c",
    "isolates": "\u2066\u2067x",
    "controls": "\x01\x07\x1b[31m",
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈",
    "arabic": "مرحبا",
    "long line": "x" * 10_000,
    "script": "<script>1</script>",
    "odd spaces": "\ufeff\u2028\u0085",
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_odd_text_is_kept_as_it_was_written(take: Callable[[str], Work], text: str) -> None:
    work = take("write")
    assert work.send(json.dumps({**work.base(), "messages": work.messages(text)})).status_code == 201
    assert Demonstration.objects.get().messages[-1]["content"] == text


def test_the_version_that_was_shown_is_taken(take: Callable[[str], Work], project: Project) -> None:
    work = take("rank")
    factories.make_guideline(project, body="## Newer")  # published while the page is open
    seen = work.payload["guideline"]["number"]
    answer = work.send(json.dumps({**work.base(), "tiers": ORDER, "guideline_version": seen}))
    assert answer.status_code == 201
    made = Ranking.objects.get()
    assert made.guideline is not None and made.guideline.number == seen
