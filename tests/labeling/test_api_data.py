"""Export and the rest of the data endpoints."""

import base64
import json
import re
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from hone.accounts.models import ApiToken, Project, User
from labeling.api import urls as labeling_urls
from labeling.models import Prompt
from tests import factories
from training.api import urls as training_urls

pytestmark = pytest.mark.django_db


def export(api: APIClient, project: Project, query: str = "") -> list[dict[str, object]]:
    answer = api.get(f"/api/v1/projects/{project.slug}/comparisons/export/{query}")
    assert answer.status_code == 200, answer.content
    assert answer.streaming and answer["Content-Type"].startswith("application/x-ndjson")
    text = b"".join(answer.streaming_content).decode()
    return [json.loads(line) for line in text.splitlines()]


def test_conversational_and_plain(api: APIClient, project: Project, manager: User, contractor: User) -> None:
    factories.make_ranking(contractor, project, [[1], [0]])
    api.force_authenticate(manager)
    [row] = export(api, project)
    assert row["prompt"] == Prompt.objects.get().messages
    assert row["chosen"] == [{"role": "assistant", "content": "Answer 1"}]
    assert row["rejected"] == [{"role": "assistant", "content": "Answer 0"}]
    assert row["tier_distance"] == 1 and "margin" not in row and row["simulated"] is False
    [plain] = export(api, project, "?fmt=plain")
    assert (plain["chosen"], plain["rejected"]) == ("Answer 1", "Answer 0")
    assert plain["prompt"] == Prompt.objects.get().messages[0]["content"]


def test_simulated_labels_come_only_when_asked_for(
    api: APIClient, project: Project, manager: User, contractor: User
) -> None:
    robot = factories.make_member(project, username="robot", is_simulated=True)
    factories.make_ranking(contractor, project, [[0], [1]])
    factories.make_ranking(robot, project, [[0], [1], [2]])
    api.force_authenticate(manager)
    assert len(export(api, project)) == 1
    assert [row["simulated"] for row in export(api, project, "?include_simulated=true")].count(True) == 3


@pytest.mark.parametrize(
    ("who", "status"), [("manager", 200), ("reviewer", 200), ("contractor", 403), ("outsider", 404)]
)
def test_who_may_export_with_a_token(
    request: pytest.FixtureRequest, api: APIClient, project: Project, who: str, status: int
) -> None:
    user = request.getfixturevalue(who)
    _token, secret = ApiToken.objects.create(user=user, name="t")
    api.credentials(HTTP_AUTHORIZATION=f"Token {secret}")
    assert api.get(f"/api/v1/projects/{project.slug}/comparisons/export/").status_code == status


def test_no_credentials_no_export(api: APIClient, project: Project) -> None:
    assert api.get(f"/api/v1/projects/{project.slug}/comparisons/export/").status_code == 401


@pytest.mark.parametrize("query", ["?fmt=parquet", "?include_simulated=perhaps"])
def test_unknown_parameters_are_refused(api: APIClient, project: Project, manager: User, query: str) -> None:
    api.force_authenticate(manager)
    assert api.get(f"/api/v1/projects/{project.slug}/comparisons/export/{query}").status_code == 400


@pytest.mark.parametrize("accept", ["application/x-ndjson", "*/*", "text/html", "application/json", "nonsense"])
def test_the_export_is_sent_whatever_the_client_says_it_accepts(
    api: APIClient, project: Project, manager: User, accept: str
) -> None:
    api.force_authenticate(manager)
    path = f"/api/v1/projects/{project.slug}/comparisons/export/"
    answer = api.get(path, HTTP_ACCEPT=accept)
    assert answer.status_code == 200 and answer["Content-Type"].startswith("application/x-ndjson")
    refused = api.get(f"{path}?fmt=no", HTTP_ACCEPT=accept)
    assert refused.status_code == 400 and refused["Content-Type"] == "application/json"


@pytest.mark.slow
@pytest.mark.parametrize("fmt", ["conversational", "plain"])
def test_datasets_reads_the_export(
    api: APIClient, project: Project, manager: User, contractor: User, tmp_path: Path, fmt: str
) -> None:
    from datasets import load_dataset

    factories.make_ranking(contractor, project, [[2], [0, 1], [3]])
    api.force_authenticate(manager)
    path = tmp_path / "comparisons.jsonl"
    answer = api.get(f"/api/v1/projects/{project.slug}/comparisons/export/?fmt={fmt}")
    path.write_bytes(b"".join(answer.streaming_content))
    rows = load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(rows) == 5 and {"prompt", "chosen", "rejected"} <= set(rows.column_names)


def test_import_by_api_is_all_or_nothing(api: APIClient, project: Project, manager: User) -> None:
    api.force_authenticate(manager)
    path = f"/api/v1/projects/{project.slug}/import/"
    bad = SimpleUploadedFile("p.jsonl", b'{"prompt": "a"}\n{broken\n')
    answer = api.post(path, {"file": bad, "kind": "prompts"}, format="multipart")
    assert answer.status_code == 400
    assert answer.json()["file"] == "p.jsonl" and answer.json()["faults"][0]["line"] == 2
    assert not Prompt.objects.exists()
    good = SimpleUploadedFile("p.jsonl", b'{"prompt": "a"}\n{"prompt": "b"}\n')
    assert api.post(path, {"file": good}, format="multipart").json()["created"] == 2


def test_contractors_may_not_import_or_read_prompts(api: APIClient, project: Project, contractor: User) -> None:
    api.force_authenticate(contractor)
    file = SimpleUploadedFile("p.jsonl", b'{"prompt": "a"}\n')
    assert api.post(f"/api/v1/projects/{project.slug}/import/", {"file": file}, format="multipart").status_code == 403
    assert api.get(f"/api/v1/projects/{project.slug}/prompts/").status_code == 403


def test_lists_take_the_same_number_of_queries_at_any_length(
    api: APIClient, project: Project, manager: User, django_assert_num_queries: object
) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    api.force_authenticate(manager)
    counts = []
    for _ in range(2):
        for _ in range(20):
            factories.make_prompt(project)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            api.get(f"/api/v1/projects/{project.slug}/prompts/")
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_a_demonstration_tells_its_note_and_names_its_author_as_the_export_does(
    api: APIClient, project: Project, manager: User, contractor: User
) -> None:
    prompt = factories.make_prompt(project)
    prompt.demonstrations.create(project=project, author=contractor, messages=prompt.messages, note="Unsure.")
    factories.make_ranking(contractor, project, [[0], [1]])
    api.force_authenticate(manager)
    [row] = api.get(f"/api/v1/projects/{project.slug}/demonstrations/").json()["results"]
    assert row["note"] == "Unsure."
    assert row["annotator"] == export(api, project)[0]["annotator"] == f"a{contractor.pk}"


@pytest.mark.parametrize("cursor", ["p=abc", "p=%00", "p=²", "p=-1", "o=x", "p=1"])
def test_a_made_up_cursor_is_404_or_a_page(api: APIClient, project: Project, manager: User, cursor: str) -> None:
    api.force_authenticate(manager)
    text = base64.b64encode(cursor.encode()).decode()
    assert api.get(f"/api/v1/projects/{project.slug}/prompts/", {"cursor": text}).status_code in {200, 404}


def test_schema_names_every_endpoint_and_docs_load_nothing_from_elsewhere(api: APIClient, manager: User) -> None:
    api.force_authenticate(manager)
    schema = api.get("/api/v1/schema/?format=json").json()
    routes = [route.pattern for urls in (labeling_urls, training_urls) for route in urls.urlpatterns]
    named = {"/api/v1/" + re.sub(r"<\w+:(\w+)>", r"{\1}", str(pattern)) for pattern in routes}
    found = {re.sub(r"{id}", "{pk}", path) for path in schema["paths"]}
    assert named - found == set()
    api.force_login(manager)
    page = api.get("/api/v1/docs/").content.decode()
    assert "swagger-ui" in page and "//cdn" not in page and "https://unpkg" not in page
