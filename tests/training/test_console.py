"""The lead's console: who gets in, what is shown, what is refused."""

import time
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from hone.accounts.models import Project, User
from tests import factories
from training import metrics, rounds
from training.forms import TRAINERS, USUAL
from training.models import Checkpoint, Metric, Round, Run
from training.trainers.config import fields_of
from training.views import console

pytestmark = pytest.mark.django_db


@pytest.fixture
def base(tmp_path: Any) -> Checkpoint:
    (tmp_path / "config.json").write_text(
        '{"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,'
        ' "num_key_value_heads": 4, "vocab_size": 1000, "tie_word_embeddings": true, "model_type": "llama"}'
    )
    return factories.make_checkpoint(tmp_path, name="base-model")


@pytest.fixture
def found(project: Project, base: Checkpoint, lead: User, woken: list[int]) -> Round:
    for _ in range(3):
        factories.make_prompt(project)
    recipe = rounds.Recipe(name="First", start=base, stages={"sample": {"prompts": 2, "k": 4}, "rank": {}})
    made = rounds.start(project=project, recipe=recipe, actor=lead)
    rounds.advance(made.pk)
    made.refresh_from_db()
    return made


def form_values(base: Checkpoint, **changes: Any) -> dict[str, Any]:
    """The form as a browser sends it with every default, and these changes (None leaves a field out)."""
    values: dict[str, Any] = {"name": "", "start": base.pk, "heldout_percent": 10}
    for kind in USUAL:
        values[f"use-{kind}"] = "on"
    for kind in TRAINERS:
        values |= {f"{kind}-{spec.name}": spec.default for spec in fields_of(kind) if spec.type != "bool"}
    values |= {"write-prompts": 2, "write-min_labels": 0, "write-auto": "on", "rank-min_labels": 0, "rank-auto": "on"}
    values |= {"sample-prompts": 2, "sample-slots_per_item": 1, "sample-examples": 0}
    values |= {"best_of_n-prompts": 2, "evaluate-prompts": 2}
    values |= {name.replace("__", "-"): value for name, value in changes.items()}
    return {name: value for name, value in values.items() if value is not None}


@pytest.mark.parametrize("who", ["manager", "contractor", "outsider"])
@pytest.mark.parametrize("name", ["console", "runs", "checkpoints"])
def test_only_staff_see_the_console(
    request: pytest.FixtureRequest, client: Client, project: Project, who: str, name: str
) -> None:
    client.force_login(request.getfixturevalue(who))
    assert client.get(reverse(f"training:{name}")).status_code == 403


@pytest.mark.slow
def test_every_page_answers(client: Client, lead: User, project: Project, found: Round, base: Checkpoint) -> None:
    client.force_login(lead)
    run = Run.objects.get()
    pages = [
        reverse("training:console"),
        reverse("training:round", args=[found.pk]),
        reverse("training:round_stages", args=[found.pk]),
        reverse("training:runs"),
        reverse("training:runs") + "?state=failed",
        reverse("training:run", args=[run.pk]),
        reverse("training:run_live", args=[run.pk]),
        reverse("training:checkpoints"),
        reverse("training:checkpoint", args=[base.pk]),
        reverse("training:round_new", args=[project.slug]),
        reverse("training:round_new", args=[project.slug]) + f"?from={found.pk}",
    ]
    for page in pages:
        assert client.get(page).status_code == 200, page


def test_the_console_without_anything_says_how_to_begin(client: Client, lead: User, project: Project) -> None:
    client.force_login(lead)
    page = client.get(reverse("training:console")).content.decode()
    assert reverse("training:round_new", args=[project.slug]) in page


def test_launching_makes_the_round_with_typed_parameters(
    client: Client, lead: User, project: Project, base: Checkpoint, woken: list[int]
) -> None:
    for _ in range(3):
        factories.make_prompt(project)
    client.force_login(lead)
    values = form_values(base, sft__epochs="3.5", sft__learning_rate="1e-4", name="Spring")
    answer = client.post(reverse("training:round_new", args=[project.slug]), values)
    assert answer.status_code == 302, answer.context["form"].errors
    made = Round.objects.get()
    assert (made.name, made.created_by, made.state) == ("Spring", lead, "waiting")
    sft = made.stages.get(kind="sft")
    assert sft.params["epochs"] == 3.5 and sft.params["learning_rate"] == 1e-4
    assert made.stages.get(kind="write").batch is not None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sft-epochs", "0"),
        ("sft-learning_rate", "2"),
        ("reward-batch_size", "0"),
        ("dpo-beta", "-1"),
        ("sample-k", "40"),
        ("sample-temperature", "hot"),
        ("sft-method", "magic"),
        ("heldout_percent", "95"),
        ("start", "999999"),
    ],
)
def test_a_value_out_of_bounds_is_refused_at_its_field(
    client: Client, lead: User, project: Project, base: Checkpoint, field: str, value: str
) -> None:
    client.force_login(lead)
    answer = client.post(reverse("training:round_new", args=[project.slug]), form_values(base) | {field: value})
    assert answer.status_code == 400
    assert answer.context["form"].errors.keys() == {field}
    assert answer.context["form"].errors[field][0] in answer.content.decode().replace("&#x27;", "'")
    assert not Round.objects.exists()


def test_a_stage_that_is_left_out_may_hold_nonsense(
    client: Client, lead: User, project: Project, base: Checkpoint, woken: list[int]
) -> None:
    client.force_login(lead)
    values = form_values(base) | {"use-sft": "", "sft-epochs": "many", "dpo-beta": "", "use-dpo": ""}
    assert client.post(reverse("training:round_new", args=[project.slug]), values).status_code == 302
    assert set(Round.objects.get().stages.values_list("kind", flat=True)) == {"write", "sample", "rank", "reward"}


def test_sampling_without_ranking_is_refused(client: Client, lead: User, project: Project, base: Checkpoint) -> None:
    client.force_login(lead)
    values = form_values(base) | {"use-rank": ""}
    answer = client.post(reverse("training:round_new", args=[project.slug]), values)
    assert answer.status_code == 400 and "wait to be ranked" in str(answer.context["form"].non_field_errors())


def test_the_estimate_names_tokens_compute_and_memory(
    client: Client, lead: User, project: Project, base: Checkpoint, contractor: User
) -> None:
    for _ in range(4):
        factories.make_ranking(contractor, project, [[0], [1]])
    client.force_login(lead)
    answer = client.post(reverse("training:round_estimate", args=[project.slug]), form_values(base))
    assert answer.status_code == 200 and not Round.objects.exists()
    plan = answer.context["plan"]
    by_kind = {stage["kind"]: stage for stage in plan.stages}
    assert by_kind["reward"]["estimate"].flops > 0 and by_kind["reward"]["peak"] > 0
    assert plan.flops == pytest.approx(sum(s["estimate"].flops for s in plan.stages if "estimate" in s))
    unfinished = form_values(base) | {"sft-epochs": "x"}
    assert client.post(reverse("training:round_estimate", args=[project.slug]), unfinished).status_code == 200


def test_cancel_and_resume_from_the_page(client: Client, lead: User, found: Round) -> None:
    client.force_login(lead)
    client.post(reverse("training:round_cancel", args=[found.pk]))
    assert Round.objects.get().state == "cancelled" and Run.objects.get().state == "cancelled"
    client.post(reverse("training:run_resume", args=[Run.objects.get().pk]))
    assert Round.objects.get().state == "running" and Run.objects.get().state == "queued"


def test_a_refusal_is_a_message_on_the_page(client: Client, lead: User, found: Round) -> None:
    client.force_login(lead)
    answer = client.post(reverse("training:run_resume", args=[Run.objects.get().pk]), follow=True)
    assert "No stage of this round has failed" in answer.content.decode()


def test_actions_want_post(client: Client, lead: User, found: Round) -> None:
    client.force_login(lead)
    assert client.get(reverse("training:round_cancel", args=[found.pk])).status_code == 405
    assert Round.objects.get().state == "running"


def test_a_failed_run_shows_its_sentence_and_the_last_lines_of_its_log(
    client: Client, lead: User, found: Round
) -> None:
    run = Run.objects.get()
    run.folder.mkdir(parents=True)
    run.log_path.write_text("\n".join(f"line {n}" for n in range(100)))
    Run.objects.update(state="failed", error="The disk is full at step 7.")
    client.force_login(lead)
    page = client.get(reverse("training:run", args=[run.pk])).content.decode()
    assert "The disk is full at step 7." in page
    assert "line 99" in page and "line 50" in page and "line 49" not in page


def add_metrics(run: Run, *points: tuple[int, str, float, float]) -> None:
    """Metrics as (step, name, value, seconds after the attempt's start)."""
    began = run.attempt_started_at
    assert began is not None
    for step, name, value, seconds in points:
        Metric.objects.create(run=run, step=step, name=name, value=value, at=began + timedelta(seconds=seconds))


def running(found: Round, **fields: Any) -> Run:
    """The round's run as a worker has started it 100 seconds ago."""
    values = {"state": "running", "total_steps": 10, "process_started": time.time() - 100, **fields}
    Run.objects.filter(stage__round=found).update(**values)
    return Run.objects.get()


def test_the_polled_part_shows_the_newest_number_of_each_and_leaves_out_what_does_not_change(
    client: Client, lead: User, found: Round
) -> None:
    run = running(found, step=3)
    add_metrics(run, (1, "loss", 3.5, 1), (2, "loss", 2.5, 2), (2, "heldout_accuracy", 0.75, 2))
    client.force_login(lead)
    answer = client.get(reverse("training:run_live", args=[run.pk]))
    assert answer.context["latest"] == {"heldout_accuracy": 0.75, "loss": 2.5}
    assert "held-out accuracy</th>" in answer.content.decode()
    assert not any(name in answer.context for name in ("command", "config", "manifest"))
    page = client.get(reverse("training:run", args=[run.pk])).context
    assert "training.trainers.sample" in page["command"] and '"stage": "sample"' in page["config"]


def test_the_newest_numbers_are_chosen_by_the_database(found: Round, django_assert_num_queries: Any) -> None:
    run = running(found)
    add_metrics(run, *((step, "loss", float(step), step) for step in range(1, 30)))
    with django_assert_num_queries(1) as queries:
        assert metrics.newest(run) == {"loss": 29.0}
    assert "DISTINCT ON" in queries.captured_queries[0]["sql"]


def test_time_left_counts_this_attempts_steps_alone(found: Round) -> None:
    """Two attempts with an hour between them: only the second one's pace, 10 s a step, says how long it takes."""
    run = running(found)
    add_metrics(run, (1, "loss", 1.0, -3600), (2, "loss", 1.0, -3590))
    assert console.seconds_left(run) is None
    add_metrics(run, (3, "loss", 1.0, 80), (4, "loss", 1.0, 90), (5, "loss", 1.0, 100))
    assert console.seconds_left(run) == pytest.approx(50, abs=2)
    Run.objects.update(process_started=None)
    assert console.seconds_left(Run.objects.get()) is None


def test_a_contractors_page_never_links_to_the_console(client: Client, contractor: User) -> None:
    client.force_login(contractor)
    assert reverse("training:console") not in client.get("/").content.decode()
