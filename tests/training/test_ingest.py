"""Following events.jsonl by byte offset."""

import json

import pytest

from hone.accounts.models import Project
from tests import factories
from training import ingest, runs
from training.models import Metric, Run

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(project: Project) -> Run:
    made = factories.make_run(project)
    claimed = runs.claim(made.pk, host="here", boot_id="x")
    assert claimed is not None
    claimed.folder.mkdir(parents=True)
    return claimed


def append(run: Run, *parts: str) -> None:
    with (run.folder / "events.jsonl").open("a") as file:
        file.write("".join(parts))


def metric(step: int, **values: float) -> str:
    return json.dumps({"type": "metrics", "step": step, "total_steps": 9, "time": 1.0, "metrics": values}) + "\n"


def test_no_file_is_nothing_new(run: Run) -> None:
    assert ingest.follow(run) is False


def test_a_torn_last_line_waits_for_its_end(run: Run) -> None:
    line = metric(2, loss=0.5)
    append(run, metric(1, loss=1.0), line[:20])
    assert ingest.follow(run) and Metric.objects.count() == 1
    assert ingest.follow(run) is False
    append(run, line[20:])
    assert ingest.follow(run) and Metric.objects.count() == 2
    run.refresh_from_db()
    assert run.step == 2 and run.events_offset == (run.folder / "events.jsonl").stat().st_size


def test_a_step_logged_again_after_a_resume_keeps_the_newest_value(run: Run) -> None:
    append(run, metric(1, loss=1.0))
    ingest.follow(run)
    append(run, metric(1, loss=0.9))
    ingest.follow(run)
    assert list(Metric.objects.values_list("step", "value")) == [(1, 0.9)]


def test_a_line_that_is_no_json_is_passed_over(run: Run) -> None:
    append(run, '{"type": "met\n', metric(1, loss=1.0))
    assert ingest.follow(run) and Metric.objects.count() == 1


def test_a_lost_worker_adds_nothing(run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(fence=7)
    append(run, metric(1, loss=1.0))
    with pytest.raises(runs.LostRun):
        ingest.follow(run)
    assert not Metric.objects.exists()
