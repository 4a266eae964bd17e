"""What models wrote, for people to read."""

import pytest
from django.test import Client
from django.urls import reverse

from hone.accounts.models import Project, User
from tests import report_files
from tests.report_files import make
from tests.training.corpus.test_cleaning import ENGLISH
from training.models import Checkpoint

pytestmark = pytest.mark.django_db

CHINESE_TEXT = "这是一个回答，带有表情 🙂。"
HOSTILE = "<script>window.hacked = 1</script> **bold**"
LONG = "A long answer. " * 80


def test_samples_are_read_as_best_and_worst(client: Client, lead: User, project: Project, policy: Checkpoint) -> None:
    run = make(project, "evaluate", model=policy)
    paths = {"reference": "/models/r", "reward_model": "/models/j"}
    report_files.evaluate(run, texts=[CHINESE_TEXT, HOSTILE, LONG, ""], question="为什么", shown=14, **paths)
    client.force_login(lead)
    address = reverse("training:run_samples", args=[run.pk])
    answer = client.get(address)
    page = answer.content.decode()
    shown = answer.context["page_obj"]
    assert shown.paginator.count == 14 and len(shown) == 10 and "为什么" in page
    assert CHINESE_TEXT in page and "<script>window" not in page and "&lt;script&gt;window" in page
    assert "<strong>bold</strong>" in page and "This text is empty." in page and 'class="long-text"' in page
    rewards = [float(one["reward"]) for one in shown]
    assert rewards == sorted(rewards, reverse=True) and all(one["reference"] for one in shown)
    second = client.get(address + "?show=worst&page=2")
    assert second.context["shown"] == "worst" and len(second.context["page_obj"]) == 4
    assert "show=worst" in second.content.decode()
    assert client.get(address + "?show=nonsense&page=x").context["shown"] == "best"


def test_samples_of_a_pretraining_are_grouped_by_step_newest_first(
    client: Client, lead: User, project: Project
) -> None:
    run = make(project, "pretrain", state="running")
    report_files.pretrain(run, sources={"wiki": [ENGLISH]}, steps=tuple(range(0, 700, 100)), text="河水")
    client.force_login(lead)
    answer = client.get(reverse("training:run_samples", args=[run.pk]))
    groups = list(answer.context["page_obj"])
    assert [group["step"] for group in groups] == [600, 500, 400, 300, 200]
    assert [sample["prompt"] for sample in groups[0]["samples"]] == ["Once upon a time", ""]
    assert "河水 600" in answer.content.decode()


def test_answers_of_ppo_are_grouped_by_update_with_what_each_reward_gave(
    client: Client, lead: User, project: Project
) -> None:
    run = make(project, "ppo", state="running")
    report_files.ppo(run, words=f"{CHINESE_TEXT} {HOSTILE}", updates=7)
    client.force_login(lead)
    answer = client.get(reverse("training:run_samples", args=[run.pk]))
    groups = list(answer.context["page_obj"])
    assert [group["step"] for group in groups] == [7, 6, 5, 4, 3]
    first = groups[0]["samples"][0]
    assert (first["score"], first["kl"], first["tokens"], first["ended"]) == ("3.46", "1.00", 4, True)
    assert first["judged"] == [("reward_model", "3.50"), ("length", "4.00")]
    page = answer.content.decode()
    assert CHINESE_TEXT in page and "<script>window" not in page and "reward model <b>3.50</b>" in page
    assert "cut at the longest length" in page and "This text is empty." in page


@pytest.mark.parametrize("kind", ["evaluate", "pretrain", "ppo"])
def test_samples_that_are_absent_or_broken(client: Client, lead: User, project: Project, kind: str) -> None:
    run = make(project, kind)
    client.force_login(lead)
    address = reverse("training:run_samples", args=[run.pk])
    assert "No samples yet" in client.get(address).content.decode()
    for content in ('{"shown_as": "best"', '{"shown_as": "best", "completion": 3, "text": 3}\n', b"\xff", "[]\n"):
        report_files.write(run, "samples.jsonl", content)
        answer = client.get(address)
        assert answer.status_code == 200 and "The samples cannot be read: " in answer.content.decode(), content
    report_files.write(run, "samples.jsonl", '{"shown_as": "best", "prompt": [{}]}\n\n')
    assert client.get(address).status_code == 200


def test_other_kinds_have_no_samples(client: Client, lead: User, project: Project) -> None:
    client.force_login(lead)
    for kind in ("sft", "reward", "best_of_n"):
        assert client.get(reverse("training:run_samples", args=[make(project, kind).pk])).status_code == 404
