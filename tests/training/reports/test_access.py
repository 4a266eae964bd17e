"""Who may see reports, in the console and by the API, and what a checkpoint's page takes from them."""

import json

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from rest_framework.test import APIClient

from hone.accounts.models import Project, User
from tests import factories, report_files
from tests.report_files import FILES, make
from training.models import Checkpoint, Run
from training.reports.shapes import Measure

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("who", ["manager", "reviewer", "contractor", "outsider"])
@pytest.mark.parametrize("name", ["run_report", "run_samples"])
def test_only_staff_see_reports_and_samples(
    request: pytest.FixtureRequest, client: Client, project: Project, who: str, name: str
) -> None:
    run = make(project, "evaluate")
    report_files.evaluate(run, texts=["One."])
    client.force_login(request.getfixturevalue(who))
    assert client.get(reverse(f"training:{name}", args=[run.pk])).status_code == 403


def test_a_run_that_is_not_there_has_no_pages(client: Client, lead: User) -> None:
    client.force_login(lead)
    for name in ("run_report", "run_samples"):
        assert client.get(reverse(f"training:{name}", args=[999])).status_code == 404


@pytest.mark.parametrize(
    ("who", "status"), [("lead", 200), ("manager", 403), ("reviewer", 403), ("contractor", 403), ("outsider", 404)]
)
def test_the_api_gives_the_report_to_staff(
    request: pytest.FixtureRequest, api: APIClient, project: Project, who: str, status: int
) -> None:
    run = make(project, "reward")
    report_files.reward(run, report_files.rankings(prompts=4, annotators=["a1", "a2"], right=0.9))
    api.force_authenticate(request.getfixturevalue(who))
    answer = api.get(f"/api/v1/runs/{run.pk}/report/")
    assert answer.status_code == status
    if status == 200:
        found = answer.json()
        assert found["kind"] == "reward" and found["report"] == json.loads((run.folder / FILES["reward"]).read_text())
        assert found["scores"]["zero_point"]["source"] == "completions ranked first (heldout)"


def test_the_api_says_why_there_is_no_report(api: APIClient, project: Project, lead: User) -> None:
    api.force_authenticate(lead)
    run = make(project, "evaluate")
    address = f"/api/v1/runs/{run.pk}/report/"
    for content, words in ((None, "has left no report"), ("{", "report.json is not whole JSON")):
        if content:
            report_files.write(run, "report.json", content)
        answer = api.get(address)
        assert answer.status_code == 404 and words in str(answer.json())
    report_files.write(run, "report.json", '{"policy": {"reward": {"mean": NaN}}, "big": 1e999}')
    assert api.get(address).json()["report"] == {"policy": {"reward": {"mean": None}}, "big": None}
    assert api.get("/api/v1/runs/999/report/").status_code == 404
    assert api.get(f"/api/v1/runs/{make(project, 'sft').pk}/report/").status_code == 404


def test_a_checkpoint_lists_its_evaluations(client: Client, lead: User, project: Project, policy: Checkpoint) -> None:
    reference = factories.make_checkpoint("/models/ref", name="reference-1")
    run = make(project, "evaluate", model=policy)
    metrics = report_files.evaluate(run, texts=["One."], reference=reference.path, reward_model="/models/j")
    Run.objects.filter(pk=run.pk).update(result={"metrics": metrics})
    broken = make(project, "evaluate", model=policy, result={"metrics": {"win_rate": "x", "kl_sequence": 2.5}})
    report_files.write(broken, "report.json", "{")
    make(project, "evaluate", model=policy, state="failed")
    make(project, "evaluate")
    client.force_login(lead)
    answer = client.get(reverse("training:checkpoint", args=[policy.pk]))
    rows = answer.context["evaluations"]
    assert [row["run"].pk for row in rows] == [broken.pk, run.pk]
    assert rows[0]["wins"] is None and rows[0]["kl"].value == 2.5 and rows[0]["against"] is None
    assert rows[1]["wins"].value == metrics["win_rate"] and rows[1]["against"]["pk"] == reference.pk
    page = answer.content.decode()
    assert (
        reverse("training:run", args=[run.pk]) in page and reverse("training:checkpoint", args=[reference.pk]) in page
    )


def test_a_checkpoints_evaluations_cost_the_same_queries(
    client: Client, lead: User, project: Project, policy: Checkpoint
) -> None:
    client.force_login(lead)

    def queries(more: int) -> int:
        for _ in range(more):
            run = make(project, "evaluate", model=policy, result={"metrics": {"win_rate": 0.5}})
            report_files.write(run, "report.json", {"reference": {"model": "/models/ref"}})
        with CaptureQueriesContext(connection) as found:
            assert client.get(reverse("training:checkpoint", args=[policy.pk])).status_code == 200
        return len(found)

    assert queries(2) == queries(2)


def test_a_reward_models_checkpoint_stands_beside_people(client: Client, lead: User, project: Project) -> None:
    run = make(project, "reward")
    metrics = report_files.reward(run, report_files.rankings(prompts=30, annotators=["a1", "a2"], right=0.6))
    model = factories.make_checkpoint(kind="reward", project=project, run=run, metrics=metrics)
    client.force_login(lead)
    page = client.get(reverse("training:checkpoint", args=[model.pk])).content.decode()
    share = Measure(value=metrics["people_agreement"]).share["value"]
    assert "People among themselves" in page and f"{share:.1f} %" in page
    old = factories.make_checkpoint(kind="reward", metrics={"loss": 0.5})
    assert "How good is this" not in client.get(reverse("training:checkpoint", args=[old.pk])).content.decode()
