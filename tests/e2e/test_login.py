"""Log-in, log-out and what happens in between."""

import pytest
from playwright.sync_api import expect

from hone.accounts.models import Project, User
from tests.e2e.steps import OpenPage, log_in

pytestmark = pytest.mark.browser


def test_log_in_leads_to_the_projects(open_page: OpenPage, project: Project, contractor: User) -> None:
    page = open_page()
    page.goto("/")
    expect(page).to_have_url("/login/?next=/")
    log_in(page, "contractor")
    expect(page.get_by_role("heading", level=1)).to_have_text("Your projects")
    expect(page.get_by_role("link", name="Alpha")).to_be_visible()
    contractor.refresh_from_db()
    assert contractor.last_login is not None


def test_log_in_leads_back_to_the_page_that_was_asked_for(
    open_page: OpenPage, project: Project, contractor: User
) -> None:
    page = open_page()
    page.goto("/p/alpha/rank/")
    log_in(page, "contractor")
    expect(page).to_have_url("/p/alpha/rank/")


def test_a_wrong_password_is_said_and_the_name_is_kept(open_page: OpenPage, contractor: User) -> None:
    page = open_page()
    page.goto("/login/")
    log_in(page, "contractor", "wrong")
    expect(page.get_by_role("alert")).to_contain_text("You are not logged in")
    expect(page.get_by_role("alert")).to_contain_text("correct username and password")
    expect(page.get_by_label("Username")).to_have_value("contractor")
    expect(page.get_by_label("Password")).to_have_value("")
    contractor.refresh_from_db()
    assert contractor.last_login is None


def test_log_out_ends_the_session(open_page: OpenPage, contractor: User) -> None:
    page = open_page(contractor)
    page.goto("/")
    page.get_by_label("Menu of contractor").click()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Log in")
    page.goto("/")
    expect(page).to_have_url("/login/?next=/")
