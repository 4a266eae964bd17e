"""What stands between an open page and the server is named, and the name goes when an answer comes, not before."""

import pytest
from playwright.sync_api import Page, Route, expect

from hone.accounts.models import Membership, Project, Session, User
from tests import factories
from tests.e2e.conftest import Problems
from tests.e2e.steps import OpenPage, expect_saved, log_in

pytestmark = pytest.mark.browser

OFFLINE = "No connection to the server."
TEXT = "An answer that took an hour."


@pytest.fixture
def page(write_page: Page) -> Page:
    """The write page with a saved draft."""
    write_page.get_by_label("Response").fill(TEXT)
    expect_saved(write_page)
    return write_page


def ask_the_server(page: Page) -> None:
    """The page renews its lease now."""
    page.evaluate("dispatchEvent(new Event('online'))")


def test_no_connection_is_said_until_the_server_answers(page: Page, problems: Problems) -> None:
    problems.expect("ERR_FAILED")
    page.route("**/renew/", lambda route: route.abort())
    ask_the_server(page)
    expect(page.get_by_text(OFFLINE)).to_be_visible()
    for _ in range(12):  # meanwhile the page says anew how long ago it saved
        page.clock.run_for(500)
        assert page.get_by_text(OFFLINE).is_visible()
    page.unroute("**/renew/")
    ask_the_server(page)
    expect(page.get_by_text(OFFLINE)).to_be_hidden()


def test_logged_out_is_said_and_the_work_goes_on_after_a_log_in_elsewhere(
    page: Page, contractor: User, problems: Problems
) -> None:
    problems.expect("401 (Unauthorized)", "403 (Forbidden)")
    Session.objects.all().delete()
    ask_the_server(page)
    notice = page.get_by_text("Log in in another tab, then go on here; nothing typed is lost.")
    expect(notice).to_be_visible()
    expect(page.get_by_text(OFFLINE)).to_be_hidden()
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Log in").click()
    log_in(opened.value, contractor.username)
    expect(opened.value.get_by_role("heading", level=1)).to_have_text("Your projects")
    opened.value.close()
    ask_the_server(page)
    expect(notice).to_be_hidden()
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing to write right now")


def test_somebody_taken_off_the_project_is_told(page: Page, contractor: User, problems: Problems) -> None:
    problems.expect("404 (Not Found)")
    Membership.objects.filter(user=contractor).update(is_active=False)
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_text("You are no longer on this project.", exact=True)).to_be_visible()
    expect(page.get_by_role("alert").filter(has_text="Nothing was submitted")).to_have_text(
        "Nothing was submitted: you are no longer on this project. Your work is still here; try again."
    )
    expect(page.get_by_text(OFFLINE)).to_be_hidden()
    expect(page.get_by_label("Response")).to_have_value(TEXT)


def test_a_problem_of_the_server_is_not_called_a_lost_connection(page: Page, problems: Problems) -> None:
    problems.expect("500 (Internal Server Error)")
    page.route("**/renew/", lambda route: route.fulfill(status=500), times=1)
    ask_the_server(page)
    notice = page.get_by_text("The server has a problem.")
    expect(notice).to_be_visible()
    expect(page.get_by_text(OFFLINE)).to_be_hidden()
    page.clock.run_for(4000)  # it tries again by itself
    expect(notice).to_be_hidden()


def test_a_refusal_is_quoted_as_one_sentence(
    open_page: OpenPage, project: Project, contractor: User, problems: Problems
) -> None:
    factories.make_batch(project)
    page = open_page(contractor)
    page.goto("/p/alpha/rank/")
    problems.expect("400 (Bad Request)")

    def refuse(route: Route) -> None:
        route.fulfill(status=400, json={"errors": {"tiers": ["Not placed yet: D."]}})

    page.route("**/submit/", refuse)
    for key in ("d", "1", "c", "2", "b", "3", "a", "4", "Control+Enter"):
        page.keyboard.press(key)
    expect(page.locator("[data-failure]")).to_have_text(
        "Nothing was submitted: Not placed yet: D. Your work is still here; try again."
    )
    expect_saved(page)
