"""The training side of the API: who may read, and that files under an id never change."""

import hashlib

import pytest
from rest_framework.test import APIClient

from hone.accounts.models import Project, User
from tests import factories
from training import snapshots
from training.models import Metric

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("who", "status"), [("manager", 200), ("reviewer", 200), ("contractor", 403), ("outsider", 404)]
)
@pytest.mark.parametrize("name", ["rounds", "checkpoints", "snapshots"])
def test_leads_read_and_others_do_not(
    request: pytest.FixtureRequest, api: APIClient, project: Project, who: str, status: int, name: str
) -> None:
    api.force_authenticate(request.getfixturevalue(who))
    assert api.get(f"/api/v1/projects/{project.slug}/{name}/").status_code == status


def test_a_snapshots_file_has_the_hash_that_its_row_says(
    api: APIClient, project: Project, manager: User, contractor: User
) -> None:
    factories.make_ranking(contractor, project, [[0], [1]])
    snapshot = snapshots.freeze_rankings(project=project, include_simulated=False, heldout_percent=0)
    api.force_authenticate(manager)
    answer = api.get(f"/api/v1/snapshots/{snapshot.pk}/file/")
    content = b"".join(answer.streaming_content)
    assert hashlib.sha256(content).hexdigest() == snapshot.sha256 == answer["ETag"].strip('"')
    api.force_authenticate(contractor)
    assert api.get(f"/api/v1/snapshots/{snapshot.pk}/file/").status_code == 403


@pytest.mark.parametrize("accept", ["application/vnd.apache.parquet", "application/x-ndjson", "text/html", "*/*"])
def test_a_snapshots_file_comes_whatever_the_request_accepts(
    api: APIClient, project: Project, manager: User, contractor: User, accept: str
) -> None:
    factories.make_ranking(contractor, project, [[0], [1]])
    snapshot = snapshots.freeze_rankings(project=project, include_simulated=False, heldout_percent=0)
    api.force_authenticate(manager)
    answer = api.get(f"/api/v1/snapshots/{snapshot.pk}/file/", HTTP_ACCEPT=accept)
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/vnd.apache.parquet")
    assert b"".join(answer.streaming_content).startswith(b"PAR1")
    api.force_authenticate(contractor)
    refused = api.get(f"/api/v1/snapshots/{snapshot.pk}/file/", HTTP_ACCEPT=accept)
    assert (refused.status_code, refused["Content-Type"]) == (403, "application/json")


def test_metrics_are_series_by_name(api: APIClient, project: Project, manager: User, contractor: User) -> None:
    from django.utils import timezone

    run = factories.make_run(project)
    for step in (2, 1):
        Metric.objects.create(run=run, step=step, name="loss", value=1 / step, at=timezone.now())
    api.force_authenticate(manager)
    assert api.get(f"/api/v1/runs/{run.pk}/metrics/").json() == {"loss": [[1, 1.0], [2, 0.5]]}
    assert api.get(f"/api/v1/runs/{run.pk}/metrics/?after=1").json() == {"loss": [[2, 0.5]]}
    assert api.get(f"/api/v1/runs/{run.pk}/metrics/?after=2").json() == {}
    assert api.get(f"/api/v1/runs/{run.pk}/metrics/?after=soon").status_code == 400
    api.force_authenticate(contractor)
    assert api.get(f"/api/v1/runs/{run.pk}/metrics/").status_code == 403


def test_lineage_names_authors_and_versions(api: APIClient, project: Project, manager: User, contractor: User) -> None:
    factories.make_guideline(project)
    factories.make_ranking(contractor, project, [[0], [1]])
    snapshot = snapshots.freeze_rankings(project=project, include_simulated=False, heldout_percent=0)
    run = factories.make_run(project, kind="dpo", snapshot=snapshot)
    made = factories.make_checkpoint(project=project, run=run, parent=run.model, kind="policy")
    api.force_authenticate(manager)
    newest, base = api.get(f"/api/v1/checkpoints/{made.pk}/lineage/").json()
    assert newest["authors"] == {"contractor": 1} and newest["snapshot"]["manifest"]["guideline_versions"] == [1]
    assert base["checkpoint"]["id"] == run.model.pk
