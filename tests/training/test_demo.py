"""The demo's parts: its accounts, its scripted contractors, and what it prints."""

import functools
import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.utils import timezone
from rich.console import Console

from hone.accounts.models import Project, User
from tests import factories
from training.demo import contractors, display, loop, material
from training.demo.__main__ import site_at
from training.demo.contractors import Contractor, Login
from training.models import Round, Run, Stage


@pytest.mark.parametrize(
    ("address", "site"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("[::]:8080", "http://127.0.0.1:8080"),
        ("hone.lan:80", "http://hone.lan:80"),
    ],
)
def test_a_wildcard_address_is_asked_on_the_loopback_one(address: str, site: str) -> None:
    assert site_at(address) == site


def contractor_at(monkeypatch: pytest.MonkeyPatch, answer: Any) -> Contractor:
    """A contractor whose site is this function."""
    client = functools.partial(httpx.Client, transport=httpx.MockTransport(answer))
    monkeypatch.setattr(contractors.httpx, "Client", client)
    login = Login("sim-ada", "secret")
    return Contractor(address="http://hone.test", login=login, project="demo", answers={}, seed=0)


@pytest.mark.parametrize(
    ("status", "words"), [(200, "does not take the password"), (400, "400 Bad Request"), (429, "429 Too Many Requests")]
)
def test_a_contractor_that_is_not_let_in_gives_up_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, status: int, words: str
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers={"Set-Cookie": "csrftoken=x"})

    robot = contractor_at(monkeypatch, answer)
    robot.run()
    assert robot.failure is not None and "sim-ada cannot log in" in robot.failure and words in robot.failure


def test_a_site_that_is_restarted_is_a_problem_that_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        robot.stop()
        return httpx.Response(502)

    robot = contractor_at(monkeypatch, answer)
    robot.run()
    assert robot.failure is None and robot.problem is not None and "502" in robot.problem


def test_a_contractor_that_breaks_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if "/work/" in request.url.path:
            return httpx.Response(200, json={"no": "slot"})
        return httpx.Response(200, headers=[("Set-Cookie", "csrftoken=x"), ("Set-Cookie", "sessionid=y")])

    robot = contractor_at(monkeypatch, answer)
    robot.run()
    assert robot.failure is not None and "broke: KeyError" in robot.failure


class Broken:
    """A contractor that has given up."""

    failure = "The scripted contractor sim-bo cannot log in: the site does not take the password."
    problem = None

    def stop(self) -> None: ...

    def join(self, seconds: float) -> None: ...


class Idle:
    """A supervisor with nothing to do."""

    def restart_ended(self) -> None: ...


@pytest.fixture
def found(project: Project) -> Round:
    made = Round.objects.create(project=project, number=1, name="Round 1", start=factories.make_checkpoint())
    Stage.objects.create(round=made, index=0, kind="write", state="waiting")
    return made


@pytest.mark.django_db
def test_a_contractor_that_gave_up_ends_the_demo(found: Round, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_first_round", lambda *_: found)
    monkeypatch.setattr(loop, "_contractors", lambda *_: [Broken()])
    output = io.StringIO()
    code = loop.run(
        console=Console(file=output, width=200), supervisor=Idle(), site="", found=None, start=None, model="tiny"
    )  # type: ignore[arg-type]
    assert code == 1 and Broken.failure in output.getvalue()


@pytest.mark.slow
@pytest.mark.django_db
def test_a_trouble_is_shown_with_the_round(found: Round) -> None:
    output = io.StringIO()
    console, done = Console(file=output, width=200), iter([False, False, True])
    trouble = "sim-bo tries again: refused"
    display.follow(console=console, round_id=found.pk, finished=lambda _: next(done), check=lambda: trouble)
    assert output.getvalue().count("sim-bo tries again: refused") == 1


@pytest.mark.django_db
def test_the_demo_leaves_other_peoples_accounts_alone(settings: Any, tmp_path: Path) -> None:
    settings.VAR_DIR = tmp_path
    mine = factories.make_user("casey")
    with pytest.raises(material.AccountTaken, match="account named casey that the demo did not make"):
        material._accounts()
    mine.refresh_from_db()
    assert mine.check_password("correct horse")
    assert User.objects.count() == 1 and list(tmp_path.iterdir()) == []


@pytest.mark.django_db
def test_the_demo_knows_its_own_accounts_again(settings: Any, tmp_path: Path) -> None:
    settings.VAR_DIR = tmp_path
    first = material._accounts()
    assert material._accounts() == first and User.objects.count() == 6
    assert (tmp_path / "demo-logins.json").stat().st_mode & 0o077 == 0
    assert json.loads((tmp_path / "demo-logins.json").read_text())["lead"] == first["lead"].password


@pytest.mark.django_db
def test_the_closing_table_breaks_no_measure_in_80_columns(project: Project) -> None:
    now = timezone.now()
    made = Round.objects.create(project=project, number=1, name="Round 1", start=factories.make_checkpoint())
    results: dict[str, dict[str, Any]] = {
        "sft": {
            "metrics": {"heldout_loss_before": 2.345, "heldout_loss": 1.987, "heldout_token_accuracy": 0.512},
            "consumed": {"rows": 1234, "tokens": 1_234_567},
        },
        "reward": {
            "metrics": {"heldout_accuracy": 0.75, "heldout_accuracy_before": 0.5, "heldout_accuracy_low": 0.61},
            "consumed": {"rows": 24, "comparisons": 123_456},
        },
        "dpo": {
            "metrics": {"heldout_accuracy": 0.75, "heldout_rewards/margins": -0.0123},
            "consumed": {"pairs": 48},
        },
        "evaluate": {"metrics": {"win_rate": 0.625, "kl_sequence": 3.21}, "consumed": {"rows": 8}},
    }
    for index, (kind, result) in enumerate(results.items()):
        stage = Stage.objects.create(
            round=made, index=index, kind=kind, state="done", started_at=now - timedelta(seconds=723), ended_at=now
        )
        run = factories.make_run(project, kind=kind, stage=stage, state=Run.State.SUCCEEDED, result=result)
        if kind != "evaluate":
            factories.make_checkpoint(project=project, run=run, name=f"demo-tiny-r1-{kind}-{run.pk}")
    output = io.StringIO()
    Console(file=output, width=80).print(display.closing_table(made))
    text = output.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    for phrase in (
        "held-out loss before 2.35", "held-out token accuracy 0.512", "held-out accuracy 0.75",
        "held-out accuracy, low 0.61",
        "held-out reward margin -0.0123", "win rate 0.625",
        "a report, on the run's", "1,234,567 tokens", "123,456 comparisons", "Reward model", "12 min 03 s",
    ):  # fmt: skip
        assert phrase in text, text
    assert "rewards/accuracies" not in text and "heldout" not in text
