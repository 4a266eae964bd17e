"""One's own account: API tokens. And the theme, which is the browser's."""

import httpx
import pytest
from playwright.sync_api import expect
from pytest_django.live_server_helper import LiveServer

from hone.accounts.models import ApiToken, Project, User
from tests.e2e.steps import OpenPage

pytestmark = pytest.mark.browser


def test_a_token_is_shown_once_and_opens_the_api_until_it_is_deleted(
    open_page: OpenPage, project: Project, contractor: User, live_server: LiveServer
) -> None:
    page = open_page(contractor)
    page.goto("/account/")
    page.get_by_label("Name").fill("nightly export")
    page.get_by_role("button", name="Create token").click()
    token = page.locator("#new-token").inner_text()
    assert token.startswith("hone_") and len(token) > 40
    row = page.get_by_role("row").filter(has_text="nightly export")
    expect(row).to_contain_text(token[:8])
    stored = ApiToken.objects.get()
    assert (stored.user, stored.name) == (contractor, "nightly export") and token not in stored.digest

    def projects() -> httpx.Response:
        return httpx.get(f"{live_server.url}/api/v1/projects/", headers={"Authorization": f"Token {token}"})

    assert projects().status_code == 200
    assert [found["slug"] for found in projects().json()["results"]] == ["alpha"]
    page.goto("/account/")
    expect(row).to_be_visible()
    assert token not in page.content()
    row.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("main")).to_contain_text("No tokens.")
    assert not ApiToken.objects.exists() and projects().status_code == 401


def test_a_copied_token_is_on_the_clipboard(open_page: OpenPage, contractor: User) -> None:
    page = open_page(contractor, permissions=["clipboard-read", "clipboard-write"])
    page.goto("/account/")
    page.get_by_label("Name").fill("laptop")
    page.get_by_role("button", name="Create token").click()
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("status").filter(has_text="The token is copied.")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#new-token").inner_text()


def test_the_password_page_says_that_tokens_go_on_working(open_page: OpenPage, contractor: User) -> None:
    page = open_page(contractor)
    page.goto("/account/")
    page.get_by_role("link", name="Change password").click()
    expect(page.get_by_role("main")).to_contain_text("API tokens go on working")


def test_the_chosen_theme_stays(open_page: OpenPage, contractor: User) -> None:
    page = open_page(contractor, color_scheme="light")
    page.goto("/")
    light = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    for name in ("Theme: as the system", "Theme: light"):
        page.get_by_role("button", name=name).click()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    page.goto("/account/")
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") != light
    page.get_by_role("button", name="Theme: dark").click()
    page.reload()
    expect(page.get_by_role("button", name="Theme: as the system")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == light
