"""The run's page while its trainer is at work: the curve asks for what is new, in the words of the table beside it."""

import re
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Page, Route, expect

from hone.accounts.models import Project, User
from tests import factories, report_files
from tests.e2e.steps import PHONE, OpenPage, eventually, expect_nothing_wide
from training.models import Metric, Run

pytestmark = pytest.mark.browser


def log(run: Run, step: int, **values: float) -> None:
    for name, value in values.items():
        point = {"value": value, "at": timezone.now()}
        Metric.objects.update_or_create(run=run, step=step, name=name.replace("__", "/"), defaults=point)
    Run.objects.filter(pk=run.pk).update(step=step)


def copied(page: Page) -> str:
    page.locator("#curve-csv").click()
    return page.evaluate("navigator.clipboard.readText()")


def test_a_poll_brings_only_the_new_points_and_a_resumed_run_is_drawn_anew(
    open_page: OpenPage, lead: User, project: Project
) -> None:
    run = factories.make_run(project, kind="dpo", state="running", total_steps=9)
    log(run, 1, rewards__accuracies=0.5)
    log(run, 2, rewards__accuracies=0.6)
    page = open_page(lead, permissions=["clipboard-read", "clipboard-write"])
    asked: list[str] = []

    def note(request: Any) -> None:
        if "/metrics/" in request.url:
            asked.append(request.url.partition("/metrics/")[2])

    page.on("request", note)
    page.goto(f"/console/runs/{run.pk}/")
    expect(page.locator("#curve-metric option")).to_have_text(["accuracy"])
    expect(page.locator("#curve-foot")).to_contain_text("accuracy: 0.6 at step 2")
    assert asked == [""]

    log(run, 3, rewards__accuracies=0.7, heldout_rewards__accuracies=0.75)
    expect(page.locator("#curve-foot")).to_contain_text("accuracy: 0.7 at step 3")
    expect(page.locator("#curve-metric option")).to_have_text(["held-out accuracy", "accuracy"])
    eventually(page, lambda: len(asked) > 1)
    assert set(asked[1:]) <= {"?after=1", "?after=2"}
    assert [line.split(",")[0] for line in copied(page).splitlines()] == ["step", "1", "2", "3"]

    log(run, 2, rewards__accuracies=0.1)  # resumed from step 1
    eventually(page, lambda: "" in asked[1:])
    eventually(page, lambda: "2,0.1" in copied(page).splitlines())

    Run.objects.filter(pk=run.pk).update(state="succeeded", step=9)
    expect(page.locator("#run-live")).to_have_attribute("data-run-state", "succeeded")


def test_a_report_appears_while_the_run_goes_on_and_stays(open_page: OpenPage, lead: User, project: Project) -> None:
    run = factories.make_run(project, kind="pretrain", state="running", total_steps=9)
    page = open_page(lead)
    page.clock.install()
    page.goto(f"/console/runs/{run.pk}/")
    report = page.get_by_role("region", name="What it measured")
    expect(page.locator("#run-live")).to_be_visible()
    expect(report).to_have_count(0)
    report_files.corpus(run, words="words")
    page.clock.fast_forward(11_000)
    expect(report).to_be_visible()
    fold = report.locator("details").first
    fold.locator("summary").click()
    # Polled again with the run's end: the open fold stays open, and nothing asks any more.
    Run.objects.filter(pk=run.pk).update(state="succeeded", step=9)
    page.clock.fast_forward(11_000)
    expect(page.locator("#run-live")).to_have_attribute("data-run-state", "succeeded")
    page.clock.fast_forward(11_000)
    expect(page.locator("#run-report")).not_to_have_attribute("hx-get", re.compile("."))
    expect(fold).to_have_attribute("open", "")


def test_a_slow_server_at_the_runs_end_leaves_the_page_whole(open_page: OpenPage, lead: User, project: Project) -> None:
    """A tick while a poll is still under way must not be asked later, when the page no longer swaps calmly."""
    run = factories.make_run(project, kind="pretrain", state="running", total_steps=9)
    report_files.corpus(run, words="words")
    page = open_page(lead)
    page.clock.install()
    page.goto(f"/console/runs/{run.pk}/")
    held: list[Route] = []
    page.route(f"**/console/runs/{run.pk}/live/", lambda route: held.append(route))  # Playwright marks its handlers
    page.clock.fast_forward(3_100)
    eventually(page, lambda: held)
    page.clock.fast_forward(3_100)
    page.clock.fast_forward(3_100)
    Run.objects.filter(pk=run.pk).update(state="succeeded", step=9)
    held[0].continue_()
    expect(page.locator("#run-live")).to_have_attribute("data-run-state", "succeeded")
    page.wait_for_timeout(300)
    assert len(held) == 1
    expect(page.locator("#run-live")).to_have_count(1)
    expect(page.get_by_role("region", name="What it measured")).to_be_visible()


def test_a_guard_that_stopped_ppo_is_eased_by_keyboard_alone(open_page: OpenPage, lead: User, project: Project) -> None:
    told = {"state": "failed", "error": "At update 3 the answers lie 130 nats from the first model.", "step": 12}
    run = factories.make_run(project, kind="ppo", params={"max_kl": 100.0}, total_steps=40, **told)
    page = open_page(lead, viewport=PHONE)
    page.goto(f"/console/runs/{run.pk}/")
    page.locator("#resume").focus()
    page.keyboard.press("Enter")
    limit = page.get_by_label("Largest distance")
    expect(limit).to_have_value("100.0")
    expect_nothing_wide(page)
    for _ in range(10):
        page.keyboard.press("Tab")
        if limit.evaluate("field => field === document.activeElement"):
            break
    page.keyboard.type("250")  # what stood there is selected
    page.keyboard.press("Enter")
    expect(page.locator("#run-about")).to_contain_text("100 → 250")
    expect(page.locator("#run-about")).to_contain_text("changed by lead after step 12 was logged")
    run.refresh_from_db()
    assert run.state == "queued" and run.params["max_kl"] == 250.0
