"""The launch form as a lead uses it: what is left out holds nothing up, and what is wrong shows itself."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from hone.accounts.models import Project, User
from tests import factories
from tests.e2e.conftest import OpenPage, Problems
from training.models import Round

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def form(
    open_page: OpenPage, project: Project, lead: User, settings: object, tmp_path: Path, problems: Problems
) -> Page:
    # Whoever sends the form leaves the page, perhaps while an estimate is under way.
    problems.expect("htmx:sendAbort", "htmx:afterRequest")
    settings.CORPORA_DIR = tmp_path / "no-corpora"  # type: ignore[attr-defined]
    factories.make_checkpoint(name="base-model")
    factories.make_checkpoint(name="judge", kind="reward", project=project)
    for _ in range(12):
        factories.make_prompt(project)
    page = open_page(lead)
    page.goto("/console/p/alpha/rounds/new/")
    for box in page.locator(".launch-switch input").all():
        box.set_checked(False)
    page.get_by_label("Start from").select_option(label="base-model")
    return page


def test_a_round_starts_on_a_site_without_corpora(form: Page) -> None:
    """Pretraining is left out, so that its corpora, of which there are none, hold nothing up."""
    form.get_by_role("checkbox", name="Write", exact=True).check()
    form.get_by_role("button", name="Start the round").click()
    expect(form).to_have_url(re.compile("/console/rounds/"))
    assert Round.objects.get().stages.get().kind == "write"


def test_pretraining_without_corpora_is_held_up(form: Page) -> None:
    form.get_by_role("checkbox", name="Pretrain", exact=True).check()
    form.get_by_role("button", name="Start the round").click()
    expect(form.locator("[name=pretrain-corpora]")).to_be_focused()
    assert not Round.objects.exists()


def test_ppo_that_asks_for_more_prompts_than_there_are_is_told_beside_the_field(form: Page, problems: Problems) -> None:
    problems.expect("400 (Bad Request)", "422")
    form.get_by_role("checkbox", name="PPO", exact=True).check()
    form.get_by_role("button", name="Start the round").click()
    field = form.get_by_label("Prompts an update")
    expect(field).to_have_accessible_description(
        re.compile(
            r"There are \d+ prompts that SFT has no answer to, nor gets one in this round, for an update of 64: ask"
        )
    )
    field.fill("4")
    form.locator("[name=ppo-batch_size]").fill("4")
    form.get_by_role("button", name="Start the round").click()
    expect(form).to_have_url(re.compile("/console/rounds/"))
    [stage] = Round.objects.get().stages.all()
    assert stage.kind == "ppo" and stage.params["rollout_prompts"] == 4
