"""What may be another when a run goes on: guards that stopped it, processes; and what stays on record of it."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from hone.accounts.models import Project, User
from hone.audit.models import events_of
from tests import factories
from training import rounds, runs
from training.models import Round, Run
from training.trainers.config import STAGES, ConfigError, fields_that_may_change

pytestmark = pytest.mark.django_db

GUARD = "At update 3 the answers lie 130 nats from the first model, max_kl allows 100."


@pytest.fixture
def run(project: Project, lead: User, woken: list[int]) -> Run:
    """PPO, stopped by a guard; its recipe names one guard and leaves the others at their defaults."""
    params = {"max_kl": 100.0, "lora_r": 8}
    return factories.make_run(
        project, kind="ppo", params=params, state="failed", error=GUARD, step=12, total_steps=40, created_by=lead
    )


def sent(run: Run, **changes: Any) -> dict[str, Any]:
    """The dialog as a browser sends it with what stands in it, and these changes (None leaves a field out)."""
    values = {spec.name: run.params.get(spec.name, spec.default) for spec in fields_that_may_change(run.kind)} | changes
    values = {name: "on" if value is True else value for name, value in values.items()}
    return {f"resume-{name}": value for name, value in values.items() if value is not None and value is not False}


def test_every_stage_that_learns_names_what_may_change() -> None:
    assert {"max_kl", "min_entropy", "min_end_rate"} < {spec.name for spec in fields_that_may_change("ppo")}
    assert fields_that_may_change("sample") == []
    for stage in set(STAGES) - {"sample", "evaluate"}:
        assert [spec.name for spec in fields_that_may_change(stage)][-1] in ("processes", "sharding")


def test_a_guard_is_eased_and_the_change_is_on_record(client: Client, lead: User, run: Run) -> None:
    client.force_login(lead)
    page = client.get(reverse("training:run", args=[run.pk])).content.decode()
    assert GUARD in page and 'name="resume-max_kl" value="100.0"' in page and "Change settings" in page
    answer = client.post(reverse("training:run_resume", args=[run.pk]), sent(run, max_kl="250.5"), follow=True)
    run.refresh_from_db()
    assert (run.state, run.params) == ("queued", {"max_kl": 250.5, "lora_r": 8})
    assert runs.config(run)["params"]["max_kl"] == 250.5
    event = events_of(run).filter(verb="run.resumed").get()
    assert event.actor == lead and event.detail == {"step": 12, "changed": {"max_kl": [100.0, 250.5]}}
    text = " ".join(answer.content.decode().split())
    assert "100 → 250.5" in text and "changed by lead after step 12 was logged" in text
    assert "Change settings" not in text


def test_resumed_as_it_is_nothing_is_changed(client: Client, lead: User, run: Run) -> None:
    client.force_login(lead)
    client.post(reverse("training:run_resume", args=[run.pk]), sent(run))
    run.refresh_from_db()
    assert run.state == "queued" and run.params == {"max_kl": 100.0, "lora_r": 8} and runs.changes(run) == []


def test_what_nobody_touched_stays_as_somebody_else_has_set_it(client: Client, lead: User, run: Run) -> None:
    shown = sent(run)
    shown |= {f"initial-{name}": value for name, value in shown.items()}
    Run.objects.filter(pk=run.pk).update(params={"max_kl": 200.0, "lora_r": 8})  # while the dialog was open
    client.force_login(lead)
    client.post(reverse("training:run_resume", args=[run.pk]), shown | {"resume-min_entropy": "0.5"})
    run.refresh_from_db()
    assert run.params == {"max_kl": 200.0, "lora_r": 8, "min_entropy": 0.5}
    assert [(change.name, change.before, change.after) for change in runs.changes(run)] == [("min_entropy", 0.0, 0.5)]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"max_kl": "-1"}, "Largest distance"),
        ({"max_kl": ""}, "This field is required"),
        ({"min_end_rate": "nan"}, "Enter a number"),
        ({"engine": "vllm"}, None),
    ],
)
def test_what_cannot_be_is_refused_with_the_fields_name(
    client: Client, lead: User, run: Run, changes: dict[str, Any], sentence: str | None
) -> None:
    client.force_login(lead)
    answer = client.post(reverse("training:run_resume", args=[run.pk]), sent(run, **changes), follow=True)
    run.refresh_from_db()
    if sentence is None:  # a field that the dialog has not is none of it
        assert run.state == "queued" and "engine" not in run.params
    else:
        assert sentence in answer.content.decode() and run.state == "failed" and run.params["max_kl"] == 100.0


def test_what_a_state_belongs_to_stays(run: Run, lead: User) -> None:
    with pytest.raises(ConfigError, match="learning_rate stays as it was"):
        runs.resume(run_id=run.pk, actor=lead, params={"learning_rate": 0.1})
    with pytest.raises(ConfigError, match="max_kl must be a number"):
        runs.resume(run_id=run.pk, actor=lead, params={"max_kl": "much"})
    run.refresh_from_db()
    assert run.state == "failed"


def test_a_run_of_an_older_version_goes_on_as_it_is(run: Run, lead: User) -> None:
    """Its trainer says what it cannot read; nobody is kept from asking it."""
    Run.objects.filter(pk=run.pk).update(params={"a_field_of_before": 1})
    assert runs.resume(run_id=run.pk, actor=lead).params == {"a_field_of_before": 1}


@pytest.mark.parametrize("place", ["run", "round"])
def test_a_run_of_a_round_takes_the_rounds_recipe_with_it(client: Client, lead: User, run: Run, place: str) -> None:
    recipe = rounds.Recipe(name="First", start=run.model, stages={"sample": {"prompts": 2}, "rank": {}})
    factories.make_prompt(run.project)
    made = rounds.start(project=run.project, recipe=recipe, actor=lead)
    stage = made.stages.create(kind="ppo", index=9, state="failed", params={"max_kl": 100.0, "prompts": 8})
    made.stages.exclude(pk=stage.pk).update(state="done")
    Round.objects.filter(pk=made.pk).update(state="failed")
    Run.objects.filter(pk=run.pk).update(stage=stage)
    client.force_login(lead)
    page = client.get(reverse("training:round", args=[made.pk])).content.decode()
    assert 'name="resume-max_kl" value="100.0"' in page
    addresses = {"run": reverse("training:run_resume", args=[run.pk])}
    addresses["round"] = reverse("training:round_resume", args=[made.pk])
    client.post(addresses[place], sent(run, max_kl="-1"))
    made.refresh_from_db()
    assert made.state == "failed"
    client.post(addresses[place], sent(run, max_kl="0"))
    stage.refresh_from_db()
    made.refresh_from_db()
    run.refresh_from_db()
    assert (made.state, stage.state, stage.params["max_kl"], stage.params["prompts"]) == ("running", "running", 0.0, 8)
    assert run.params["max_kl"] == 0.0
    page = client.get(reverse("training:round", args=[made.pk])).content.decode()
    assert "resume-max_kl" not in page
