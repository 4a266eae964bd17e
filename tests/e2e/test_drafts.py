"""Drafts: what the page says about them is true at every moment, and leaving loses nothing."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from hone.accounts.models import User
from labeling.models import Draft, Slot
from tests.e2e.conftest import Problems
from tests.e2e.steps import eventually, expect_saved, lose

pytestmark = pytest.mark.browser

CHANGED = "Not saved yet"


@pytest.fixture
def page(write_page: Page) -> Page:
    """The write page with nothing typed yet."""
    return write_page


def response(page: Page) -> Any:
    return page.get_by_label("Response")


def hold_drafts(page: Page) -> list[Route]:
    held: list[Route] = []
    page.route("**/draft/", lambda route: held.append(route))
    return held


def kept() -> str:
    return Draft.objects.get().content["messages"][0]["content"]


def test_what_is_typed_during_a_write_is_not_called_saved(page: Page) -> None:
    held = hold_drafts(page)
    page.clock.pause_at(page.evaluate("Date.now() + 1000"))
    response(page).fill("One")
    page.clock.run_for(800)
    eventually(page, lambda: held)
    response(page).fill("One and two")
    held[0].continue_()
    eventually(page, Draft.objects.exists)
    page.wait_for_timeout(100)
    expect(page.locator(".saved")).to_have_text(CHANGED)
    page.clock.run_for(800)
    eventually(page, lambda: len(held) == 2)
    held[1].continue_()
    expect_saved(page)
    assert kept() == "One and two"


def test_content_that_returns_to_the_saved_one_needs_no_saving(page: Page) -> None:
    page.clock.pause_at(page.evaluate("Date.now() + 1000"))
    state = page.locator(".saved")
    response(page).fill("x")
    expect(state).to_have_text(CHANGED)
    response(page).fill("")
    expect(state).to_have_text("")
    response(page).fill("One")
    page.clock.run_for(800)
    expect_saved(page)
    response(page).fill("Two")
    expect(state).to_have_text(CHANGED)
    response(page).fill("One")
    expect_saved(page)


def test_a_page_that_is_hidden_saves_after_the_write_under_way(page: Page) -> None:
    held = hold_drafts(page)
    response(page).fill("Older")
    page.keyboard.press("Control+s")
    eventually(page, lambda: held)
    response(page).fill("Newer")
    page.evaluate(
        """() => {
            Object.defineProperty(document, "visibilityState", { value: "hidden" });
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    page.wait_for_timeout(100)
    assert len(held) == 1
    held[0].continue_()
    eventually(page, lambda: len(held) == 2)
    held[1].continue_()
    expect_saved(page)
    assert kept() == "Newer"


def test_leaving_asks_when_the_text_is_too_long_to_go_along(page: Page, problems: Problems) -> None:
    held = hold_drafts(page)
    long = "long " * 14_000
    response(page).click()  # a page that nobody touched may not ask
    response(page).fill(long)
    problems.expect("dialog: beforeunload")
    page.evaluate("() => { setTimeout(() => location.assign('/')) }")
    page.clock.run_for(100)
    eventually(page, lambda: any("beforeunload" in text for text in problems.found))
    page.keyboard.press("Control+s")
    eventually(page, lambda: held)
    held[0].continue_()
    expect_saved(page)
    assert kept() == long


def test_next_item_takes_the_last_words_along(page: Page, reviewer: User, problems: Problems) -> None:
    lose(Slot.objects.get(), to=reviewer)
    problems.expect("409 (Conflict)")
    page.evaluate("dispatchEvent(new Event('online'))")
    expect(page.get_by_text("Your reservation of this item has ended.")).to_be_visible()
    page.clock.pause_at(page.evaluate("Date.now() + 1000"))
    response(page).fill("The last words")
    page.get_by_role("button", name="Next item").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing to write right now")
    assert kept() == "The last words"


def test_next_item_stays_while_the_last_words_cannot_be_saved(page: Page, reviewer: User, problems: Problems) -> None:
    lose(Slot.objects.get(), to=reviewer)
    problems.expect("409 (Conflict)", "ERR_INTERNET_DISCONNECTED")
    page.evaluate("dispatchEvent(new Event('online'))")
    expect(page.get_by_text("Your reservation of this item has ended.")).to_be_visible()
    page.context.set_offline(True)
    response(page).fill("The last words")
    page.get_by_role("button", name="Next item").click()
    expect(page.get_by_role("alert").filter(has_text="is not saved yet, so this page stays open")).to_be_visible()
    expect(response(page)).to_have_value("The last words")
    page.context.set_offline(False)
    expect_saved(page)
    page.get_by_role("button", name="Next item").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing to write right now")
    assert kept() == "The last words"


def test_a_draft_that_the_server_refuses_says_why(page: Page, problems: Problems) -> None:
    problems.expect("400 (Bad Request)")
    response(page).fill("y" * 410_000)
    page.keyboard.press("Control+s")
    expect(page.locator(".saved")).to_have_text(re.compile("Not saved: The draft is too large"))
    response(page).fill("")
    expect(page.locator(".saved")).to_have_text("")


def test_leaving_asks_while_the_server_refuses_the_draft(page: Page, problems: Problems) -> None:
    problems.expect("400 (Bad Request)", "dialog: beforeunload")
    page.route("**/draft/", lambda route: route.fulfill(status=400, json={"errors": {"content": ["No."]}}))
    response(page).click()
    response(page).fill("Refused")
    page.keyboard.press("Control+s")
    expect(page.locator(".saved")).to_have_text("Not saved: No.")
    # The server answered: nothing is kept in the browser as what the network refused is.
    response(page).fill("Refused again")
    assert page.evaluate("Object.keys(localStorage).filter((key) => key.startsWith('hone-kept:'))") == []
    page.evaluate("() => { setTimeout(() => location.assign('/')) }")
    page.clock.run_for(100)
    eventually(page, lambda: any("beforeunload" in text for text in problems.found))
