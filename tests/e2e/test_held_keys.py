"""A key held down repeats itself: it must not submit or judge what comes next, which nobody has seen."""

import pytest
from playwright.sync_api import expect

from hone.accounts.models import Project, User
from labeling.models import Demonstration, Ranking, Review, ReviewRules
from tests import factories
from tests.e2e.steps import OpenPage, eventually, expect_order

pytestmark = pytest.mark.browser


def test_the_key_that_submits_a_ranking_submits_one(open_page: OpenPage, project: Project, contractor: User) -> None:
    factories.make_batch(project, items=2, answers=2)
    page = open_page(contractor)
    page.goto("/p/alpha/rank/")
    with page.expect_response("**/ahead/"):
        for key in ("a", "1", "b", "2"):
            page.keyboard.press(key)
    expect(page.locator("body")).to_have_attribute("data-next-ready", "")
    page.keyboard.down("Control")
    page.keyboard.down("Enter")
    expect_order(page, free="AB")
    said = page.locator("[data-said]").first
    expect(said).to_be_empty()
    page.keyboard.down("Enter")
    expect(page.locator("[data-status]")).to_have_text("Still to place: A, B")
    expect(said).to_be_empty()  # a submit says there what is missing
    page.keyboard.up("Enter")
    page.keyboard.down("Enter")
    expect(said).to_have_text("Still to place: A, B")
    assert eventually(page, Ranking.objects.count) == 1


def test_the_key_that_submits_a_text_submits_one(open_page: OpenPage, project: Project, contractor: User) -> None:
    factories.make_batch(project, "write", items=2)
    page = open_page(contractor)
    page.goto("/p/alpha/write/")
    with page.expect_response("**/ahead/"):
        page.get_by_label("Response").fill("The first answer")
    expect(page.locator("body")).to_have_attribute("data-next-ready", "")
    page.keyboard.down("Control")
    page.keyboard.down("Enter")
    expect(page.get_by_label("Response")).to_have_value("")
    page.keyboard.down("Enter")
    summary = page.get_by_role("alert").filter(has_text="Not submitted yet")
    expect(summary).to_be_hidden()
    page.keyboard.up("Enter")
    page.keyboard.down("Enter")
    expect(summary).to_be_visible()
    assert eventually(page, Demonstration.objects.count) == 1


def test_the_key_that_approves_approves_one(
    open_page: OpenPage, project: Project, contractor: User, reviewer: User
) -> None:
    ReviewRules.objects.create(project=project, demonstrations_percent=100, rankings_percent=100)
    for text in ("One.", "Two."):
        factories.make_demonstration(contractor, project, text)
    page = open_page(reviewer)
    page.goto("/p/alpha/review/")
    first = page.locator("[data-block]").last.inner_text()
    page.keyboard.down("a")
    expect(page.locator("[data-block]").last).not_to_have_text(first)
    page.keyboard.press("?")  # the page is alive
    expect(page.get_by_role("dialog", name="Keys of this page")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.down("a")
    page.keyboard.press("r")  # and goes on: nothing is said yet
    expect(page.get_by_label("General remark")).to_be_focused()
    assert Review.objects.filter(state="approved").count() == 1
