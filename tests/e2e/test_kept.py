"""What the network refused outlives its tab, in this browser and for this person alone."""

import pytest
from playwright.sync_api import Page, expect

from hone.accounts.models import Project, User
from labeling.models import Demonstration, Draft, Slot
from tests import factories
from tests.e2e.conftest import Problems
from tests.e2e.steps import OpenPage, eventually, expect_saved, log_in

pytestmark = pytest.mark.browser
KEPT = "Object.keys(localStorage).filter((key) => key.startsWith('hone-kept:'))"


def kept(page: Page) -> list[str]:
    return page.evaluate(KEPT)


@pytest.fixture
def page(open_page: OpenPage, project: Project, contractor: User, problems: Problems) -> Page:
    """The write page after a text was typed offline."""
    problems.expect("ERR_INTERNET_DISCONNECTED")
    factories.make_batch(project, "write")
    page = open_page(contractor)
    page.goto("/p/alpha/write/")
    page.get_by_label("Response").fill("On the server")
    expect_saved(page)
    page.context.set_offline(True)
    page.get_by_label("Response").fill("Typed")
    expect(page.locator(".saved")).to_contain_text("offline")
    page.get_by_label("Response").fill("Typed offline")
    eventually(page, lambda: any("Typed offline" in page.evaluate(f"localStorage[{key!r}]") for key in kept(page)))
    # The page sees what it has set at once. A tab that ends in this moment loses what its browser has not written yet.
    page.wait_for_timeout(1000)
    return page


def opened_again(page: Page) -> Page:
    """The tab is closed without a word, and another opens with the network back."""
    again = another_tab(page)
    again.goto("/p/alpha/write/")
    return again


def another_tab(page: Page) -> Page:
    """In place of this one, whose last words to the server are lost before the network is back: else they save all."""
    context = page.context
    # A browser may keep what a closed tab sends until the network is back: this one sends nothing.
    page.evaluate("() => { window.fetch = () => Promise.reject(new TypeError('no network')); }")
    page.close()
    again = context.new_page()
    again.wait_for_timeout(500)
    context.set_offline(False)
    return again


def test_a_closed_tabs_text_is_offered_and_used(page: Page) -> None:
    again = opened_again(page)
    notice = again.locator("[data-kept]")
    expect(notice).to_contain_text("A newer text from this browser was kept")
    expect(again.get_by_label("Response")).to_have_value("On the server")
    again.get_by_role("button", name="Use it").click()
    expect(again.get_by_label("Response")).to_have_value("Typed offline")
    expect(notice).to_be_hidden()
    eventually(again, lambda: Draft.objects.get().content["messages"][0]["content"] == "Typed offline")
    eventually(again, lambda: not kept(again))
    again.reload()
    expect(again.locator("[data-kept]")).to_be_hidden()


def test_it_is_offered_in_another_place_of_the_same_item(page: Page, reviewer: User) -> None:
    again = another_tab(page)
    first = Slot.objects.get()
    Slot.objects.create(item=first.item, project=first.project, kind="write", index=1, draw=first.draw)
    # The lease ran out, and somebody else took that place.
    Slot.objects.filter(pk=first.pk).update(holder=reviewer)
    again.goto("/p/alpha/write/")
    again.get_by_role("button", name="Use it").click()
    expect(again.get_by_label("Response")).to_have_value("Typed offline")


def test_a_closed_tabs_text_can_be_discarded(page: Page) -> None:
    again = opened_again(page)
    again.get_by_role("button", name="Discard").click()
    assert kept(again) == []
    expect(again.get_by_label("Response")).to_have_value("On the server")


def test_an_offer_that_nobody_answered_stays(page: Page) -> None:
    again = opened_again(page)
    again.get_by_label("Response").fill("Something else")
    expect_saved(again)
    again.reload()
    expect(again.locator("[data-kept]")).to_contain_text("An older text from this browser was kept")


def test_nothing_is_kept_once_the_server_has_it(page: Page) -> None:
    assert len(kept(page)) == 1
    page.context.set_offline(False)
    expect_saved(page)
    assert kept(page) == []


def test_a_submit_takes_it_away(page: Page) -> None:
    again = opened_again(page)
    expect(again.locator("[data-kept]")).to_be_visible()
    again.get_by_role("button", name="Submit").click()
    eventually(again, Demonstration.objects.exists)
    expect(again.get_by_role("heading", level=1)).to_have_text("Nothing to write right now")
    assert kept(again) == []


def test_a_log_out_takes_it_away(page: Page) -> None:
    again = opened_again(page)
    again.get_by_label("Menu of contractor").click()
    again.get_by_role("button", name="Log out").click()
    expect(again.get_by_role("heading", level=1)).to_have_text("Log in")
    assert kept(again) == []


def test_the_next_person_at_this_browser_finds_nothing(page: Page, reviewer: User) -> None:
    context = page.context
    page.close()
    context.set_offline(False)
    context.clear_cookies()  # the session ended without a log-out
    other = context.new_page()
    other.goto("/login/")
    assert len(kept(other)) == 1
    log_in(other, "reviewer")
    expect(other.get_by_role("heading", level=1)).to_have_text("Your projects")
    assert kept(other) == []


def test_what_is_kept_is_bounded(page: Page) -> None:
    lengths = page.evaluate(
        """async () => {
            const { keep } = await import("/static/hone/js/kept.js");
            for (let slot = 0; slot < 40; slot += 1) keep("1", slot, "x");
            keep("1", 99, "y".repeat(500000));
            return Object.keys(localStorage).filter((key) => key.startsWith("hone-kept:")).length;
        }"""
    )
    assert lengths == 20
