"""What each kind's files say is what its part of the run's page shows."""

import json
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from hone.accounts.models import Project, User
from tests import factories, report_files
from tests.report_files import make, page_of
from tests.training.corpus.test_cleaning import CHINESE, ENGLISH
from training import reports
from training.models import Checkpoint, Run
from training.reports import reward
from training.reports.shapes import Measure
from training.trainers.corpus.report import REASONS

pytestmark = pytest.mark.django_db


def test_a_reward_models_report_stands_beside_people(
    client: Client, lead: User, project: Project, contractor: User
) -> None:
    run = make(project, "reward")
    judged = report_files.rankings(prompts=30, annotators=[f"a{contractor.pk}", "a999999", "old name"], right=0.6)
    metrics = report_files.reward(run, judged, weights={f"a{contractor.pk}": 1.25})
    Run.objects.update(result={"metrics": metrics})
    run.refresh_from_db()
    report = reports.of(run)
    assert report is not None and not report.problem
    body = report.body
    assert body["accuracy"].value == metrics["heldout_accuracy"] and body["accuracy"].n == body["comparisons"] == 360
    assert body["agreement"].value == metrics["people_agreement"] and body["beside"].prompts == 30
    assert body["calibration_error"].value == metrics["heldout_calibration_error"]
    assert (
        sum(row["n"] for row in body["reliability"]["bins"]) == 360 == sum(row["share"].n for row in body["categories"])
    )
    assert {row["name"]: row["weight"] for row in body["annotators"]}[f"a{contractor.pk}"] == 1.25
    assert body["cut"] == 3 and body["zero"]["from_demonstrations"] is False
    client.force_login(lead)
    page = page_of(client, run)
    share = body["accuracy"].share
    assert f"{share['value']:.1f} %" in page and f"between {share['low']:.1f} and {share['high']:.1f} %" in page
    assert "People among themselves" in page and body["headline"] in page
    assert reverse("labeling:person", args=[project.slug, contractor.pk]) in page and "old name" in page
    assert "how sure the model is" in page and 'style="' not in page


@pytest.mark.parametrize(
    ("accuracy", "agreement", "beside", "state", "words"),
    [
        (None, None, None, "draft", "no ranking was held out"),
        ((0.6, 0.48, 0.7), None, None, "failed", "Not told from chance"),
        ((0.7, 0.6, 0.8), None, None, "waiting", "How far people agree is unknown"),
        ((0.7, 0.6, 0.8), (0.7, 0.5, 0.8), (0.7, 0.65, 0.75), "waiting", "Too few held-out pairs"),
        ((0.7, 0.6, 0.8), (0.8, 0.75, 0.85), (0.65, 0.6, 0.7), "waiting", "Below what people agree on"),
        ((0.7, 0.6, 0.8), (0.7, 0.65, 0.75), (0.72, 0.68, 0.78), "done", "About as good as people"),
        ((0.9, 0.8, 0.95), (0.6, 0.55, 0.65), (0.8, 0.75, 0.85), "done", "more often than they agree"),
    ],
)
def test_the_verdict_on_a_reward_model_follows_the_intervals(
    accuracy: Any, agreement: Any, beside: Any, state: str, words: str
) -> None:
    given = [of and Measure(value=of[0], low=of[1], high=of[2]) for of in (accuracy, agreement, beside)]
    found = reward.verdict(given[0], agreement=given[1], beside=given[2])
    assert found[0] == state and words in found[1]


def test_a_reward_model_without_held_out_rankings_says_so(client: Client, lead: User, project: Project) -> None:
    run = make(project, "reward")
    report_files.write(run, "checkpoint/report.json", {"annotator_weights": {}})
    zero = {"reward": 0.75, "std": 1.5, "count": 400, "source": "demonstrations", "data_sha256": "0"}
    report_files.write(run, "checkpoint/reward.json", {"mean": 0.0, "std": 1.0, "zero_point": zero})
    client.force_login(lead)
    page = page_of(client, run)
    assert "no ranking was held out" in page and "mean of 400 demonstrations" in page and "0.750" in page


def test_an_evaluation_is_policy_beside_reference(
    client: Client, lead: User, project: Project, policy: Checkpoint
) -> None:
    judge = factories.make_checkpoint("/models/judge", name="judge-1", kind="reward")
    run = make(project, "evaluate", model=policy)
    paths = {"reference": "/models/gone/checkpoint", "reward_model": judge.path}
    metrics = report_files.evaluate(run, texts=["One.", "Two."], **paths)
    body = reports.of(run).body  # type: ignore[union-attr]
    assert body["wins"].value == metrics["win_rate"] and body["wins"].low == metrics["win_rate_low"]
    assert body["kl"].value == metrics["kl_sequence"] and body["difference"].high == metrics["reward_difference_high"]
    beside = {row["name"]: (row["ours"].value, row["theirs"].value) for row in body["beside"]}
    assert beside["Entropy, nats a token"] == (metrics["policy_entropy"], metrics["reference_entropy"])
    assert beside["Different pairs"][0] == metrics["policy_distinct_2"] and len(beside) == 9
    assert [point["n"] for point in body["curve"]["points"]] == [1, 2, 4]
    assert len(body["categories"]) == 4 and not body["biased"]
    client.force_login(lead)
    page = page_of(client, run)
    assert "policy-1" in page and reverse("training:checkpoint", args=[judge.pk]) in page and "gone/checkpoint" in page
    assert reverse("training:run_samples", args=[run.pk]) in page and body["headline"] in page


def test_an_evaluation_alone_and_a_biased_kl(client: Client, lead: User, project: Project) -> None:
    run = make(project, "evaluate")
    report_files.evaluate(run, texts=["One."])
    client.force_login(lead)
    page = page_of(client, run)
    assert "no reference stood beside it" in page and "What the reward model likes" not in page
    report_files.evaluate(run, texts=["One."], reference="/models/r")
    path = run.folder / "report.json"
    found = json.loads(path.read_text())
    found["kl"]["biased"] = True
    path.write_text(json.dumps(found))
    page = page_of(client, run)
    assert "This KL is biased" in page and "no reward model scored the answers" in page


def test_best_of_n_shows_reward_bought_by_kl(client: Client, lead: User, project: Project) -> None:
    run = make(project, "best_of_n")
    report_files.best_of_n(run, n=8, left_out=2)
    curve = reports.of(run).body["curve"]  # type: ignore[union-attr]
    assert [point["n"] for point in curve["points"]] == [1, 2, 4, 8]
    assert curve["last"]["kl_text"] == "1.20"  # log 8 - 7/8
    assert curve["gain"].value == curve["last"]["reward"].value - curve["first"]["reward"].value > 1
    # Downwards in pixels: more reward stands higher, and further right.
    dots = curve["plot"].dots
    assert [dot["y"] for dot in dots] == sorted((dot["y"] for dot in dots), reverse=True)
    across = [float(dot["x"].rstrip("%")) for dot in dots]
    assert across == sorted(across) and dots[-1]["x"] == curve["plot"].right
    client.force_login(lead)
    page = page_of(client, run)
    assert "Best of 8" in page and "at a KL of 1.20 nats" in page and 'role="img"' in page


@pytest.mark.slow
def test_a_corpus_is_told_by_source_and_reason(client: Client, lead: User, project: Project) -> None:
    run = make(project, "pretrain")
    sources = {"wiki": [ENGLISH, ENGLISH, "too short"], "web": [CHINESE, ENGLISH + " A last word is new."]}
    metrics = report_files.pretrain(run, sources=sources)
    Run.objects.update(result={"metrics": metrics})
    run.refresh_from_db()
    body = reports.of(run).body  # type: ignore[union-attr]
    assert (body["documents"], body["kept"], body["exact"], body["near"]) == (5, 2, 1, 1)
    assert body["across"] == 1  # the near one, whose twin is the other source's
    wiki, web = body["sources"]
    assert {row["reason"] for row in wiki["dropped"]} == {"exact_duplicate", "too_short"}
    near = next(row for row in web["dropped"] if row["reason"] == "near_duplicate")
    assert near["examples"][0]["detail"].startswith("of ") and "wiki.jsonl:1" in near["examples"][0]["detail"]
    assert (wiki["perplexity_before"].value, wiki["perplexity"].value, wiki["bits"].value) == (380.0, 30.0, 1.25)
    assert body["plot"].label == "Perplexity before and after: it fell for 2 of 2 sources."
    client.force_login(lead)
    page = page_of(client, run)
    assert "the same words as an earlier document" in page and "too short" in page and "400 → 31.5" in page


def test_every_reason_has_words_of_its_own() -> None:
    from training.reports.pretrain import reasons

    assert reasons() == REASONS


def test_a_pretraining_shows_its_corpus_while_it_goes_on(client: Client, lead: User, project: Project) -> None:
    run = make(project, "pretrain", state="running")
    client.force_login(lead)
    part = reverse("training:run_report", args=[run.pk])
    before = client.get(part).content.decode()
    assert "hx-trigger" in before and "What it measured" not in before
    report_files.pretrain(run, sources={"wiki": [ENGLISH]})
    assert "What it measured" in client.get(part).content.decode()
    assert part in page_of(client, run)
    # What is polled every three seconds reads no report.
    assert "What it measured" not in client.get(reverse("training:run_live", args=[run.pk])).content.decode()
    Run.objects.update(state="succeeded")
    assert "hx-trigger" not in client.get(part).content.decode()


def test_ppo_shows_what_was_gained_at_what_distance_and_the_newest_answers(
    client: Client, lead: User, project: Project
) -> None:
    run = make(project, "ppo", state="running")
    client.force_login(lead)
    assert "What it measured" not in page_of(client, run)
    report_files.ppo(run, words="河流 **wide**", updates=12)
    page = page_of(client, run)
    assert "0.500 → 6.00" in page and "in the last of 12 updates" in page and "2.40 → 1.30" in page
    # Of ten seconds: what an update spends its time on.
    assert "10 s" in page and "reading 15 % · learning 45 %" in page
    assert "Answers of update 12" in page and "河流 **wide**" in page and "5.96" in page
    assert reverse("training:run_samples", args=[run.pk]) in page
