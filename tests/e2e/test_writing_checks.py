"""The write page under a project's rules: remarks while one types, and what stands in the way of a submit."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from hone.accounts.models import Project, User
from labeling import tasks
from labeling.batches import NewItem, open_batch
from labeling.models import Demonstration, Prompt, WritingRules
from tests import factories
from tests.e2e.conftest import Problems
from tests.e2e.steps import DESK, PHONE, OpenPage, eventually, expect_nothing_wide

pytestmark = pytest.mark.browser
RICE = "How do I cook rice in a small pot without burning it at the bottom?"


@pytest.fixture
def rules(project: Project) -> WritingRules:
    return WritingRules.objects.create(
        project=project, min_chars=10, personal="block", words_action="warn", words="obviously", duplicates="warn"
    )


def writing_page(open_page: OpenPage, project: Project, user: User, prompt: Prompt | None, **options: Any) -> Page:
    open_batch(project=project, kind="write", name="Batch", items=[NewItem(prompt=prompt)])
    page = open_page(user, **options)
    page.goto("/p/alpha/write/")
    return page


def remarks(page: Page) -> Any:
    return page.locator(".findings li")


def selected(page: Page) -> str:
    return page.evaluate(
        "() => { const a = document.activeElement; return a.value?.slice(a.selectionStart, a.selectionEnd); }"
    )


@pytest.mark.parametrize("size", [DESK, PHONE])
def test_remarks_come_while_one_types_and_lead_to_their_place(
    open_page: OpenPage, project: Project, contractor: User, rules: WritingRules, size: dict[str, int]
) -> None:
    page = writing_page(open_page, project, contractor, factories.make_prompt(project, RICE), viewport=size)
    response = page.get_by_label("Response")
    response.fill("😀😀 Obviously, ask jane@acme.com or look into the pot now and then.")
    expect(remarks(page)).to_have_text(
        [re.compile("Look at this: “Obviously” is not wanted"), re.compile("Change this: This looks like an e-mail")]
    )
    expect(response).to_have_accessible_description(re.compile("This looks like an e-mail address"))
    expect(page.locator("[data-findings-said]").first).to_have_text("To change: 1. To look at: 1.")
    expect_nothing_wide(page)
    page.get_by_role("button", name="Change this:").click()
    expect(response).to_be_focused()
    assert selected(page) == "jane@acme.com"
    page.keyboard.type("a cook")
    expect(remarks(page)).to_have_count(1)
    response.fill("Look into the pot now and then.")
    expect(remarks(page)).to_have_count(0)
    expect(page.get_by_text("No remarks", exact=True).locator("visible=true").first).to_be_visible()


def test_submit_goes_to_what_must_change_and_then_through(
    open_page: OpenPage, project: Project, contractor: User, rules: WritingRules
) -> None:
    page = writing_page(open_page, project, contractor, factories.make_prompt(project, RICE))
    response = page.get_by_label("Response")
    response.fill("Ask jane@acme.com, obviously.")
    page.keyboard.press("Control+Enter")
    blocking = page.get_by_role("button", name="Change this:")
    expect(blocking).to_be_focused()
    page.keyboard.press("Enter")
    assert selected(page) == "jane@acme.com"
    assert not Demonstration.objects.exists()
    page.keyboard.type("a cook")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing to write right now")
    done = Demonstration.objects.get()
    assert done.messages[1]["content"] == "Ask a cook, obviously."
    assert [finding["check"] for finding in done.findings] == ["words"]


def test_a_rule_made_meanwhile_refuses_at_the_field_and_keeps_the_text(
    open_page: OpenPage, project: Project, contractor: User, problems: Problems
) -> None:
    page = writing_page(open_page, project, contractor, factories.make_prompt(project, RICE))
    page.get_by_label("Response").fill("Too short")
    WritingRules.objects.create(project=project, min_chars=50)
    problems.expect("400 (Bad Request)")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("link", name="Response: 9 characters; at least 50 are wanted.")).to_be_visible()
    expect(page.get_by_label("Response")).to_have_value("Too short")
    assert not Demonstration.objects.exists()


def test_an_earlier_prompt_that_is_alike_opens_in_a_dialog(
    open_page: OpenPage, project: Project, contractor: User, rules: WritingRules
) -> None:
    factories.make_prompt(project, RICE)
    tasks.remember_prompts()
    page = writing_page(open_page, project, contractor, None)
    page.get_by_label("User").fill(RICE.replace("small", "little"))
    page.get_by_role("button", name=re.compile("An earlier prompt is 94 % the same")).click()
    expect(page.get_by_role("dialog", name="The earlier prompt")).to_contain_text(RICE)
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name=re.compile("An earlier prompt"))).to_be_focused()


def test_an_older_answer_never_replaces_a_newer_one(
    open_page: OpenPage, project: Project, contractor: User, rules: WritingRules
) -> None:
    held: list[Route] = []
    page = writing_page(open_page, project, contractor, factories.make_prompt(project, RICE))
    page.route("**/check/", lambda route: held.append(route))
    response = page.get_by_label("Response")
    response.fill("Ask jane@acme.com about it.")
    eventually(page, lambda: len(held) == 1)
    response.fill("Obviously, ask a cook about it.")
    eventually(page, lambda: len(held) == 2)
    held[1].continue_()
    expect(remarks(page)).to_have_text([re.compile("Obviously")])
    with page.expect_response("**/check/") as older:
        held[0].continue_()
    older.value.finished()
    # The older answer's remark would hold up the submit.
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing to write right now")
    assert Demonstration.objects.exists() and len(held) == 2


def test_a_fault_that_is_mended_holds_up_no_submit_while_the_server_is_slow(
    open_page: OpenPage, project: Project, contractor: User, rules: WritingRules
) -> None:
    page = writing_page(open_page, project, contractor, factories.make_prompt(project, RICE))
    response = page.get_by_label("Response")
    response.fill("Ask jane@acme.com about it.")
    expect(remarks(page)).to_have_text([re.compile("This looks like an e-mail")])
    page.route("**/check/", lambda route: None)
    response.fill("Ask a cook about it.")
    page.keyboard.press("Control+Enter")
    eventually(page, Demonstration.objects.exists)
    assert Demonstration.objects.get().messages[1]["content"] == "Ask a cook about it."


def test_without_rules_nothing_is_asked(open_page: OpenPage, project: Project, contractor: User) -> None:
    asked: list[str] = []
    page = writing_page(open_page, project, contractor, factories.make_prompt(project, RICE))
    page.on("request", lambda request: asked.append(request.url))
    page.clock.install()
    page.reload()
    page.get_by_label("Response").fill("jane@acme.com")
    page.clock.run_for(2000)  # longer than a change waits
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing to write right now")
    assert any("/draft/" in url for url in asked) and not any("/check/" in url for url in asked)
