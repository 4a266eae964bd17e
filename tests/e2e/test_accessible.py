"""WCAG 2.2 AA by axe-core on every page and in its states: light at a desk, dark on a phone, in both languages."""

from importlib.resources import files
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from hone.accounts.models import Project, User
from labeling.batches import NewItem, open_batch
from labeling.models import RankingForm
from tests import factories, sitemap
from tests.e2e.conftest import Problems
from tests.e2e.steps import DESK, PHONE, OpenPage

pytestmark = pytest.mark.browser

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RUN = """async (tags) => {
    // What follows the window's size has followed it.
    for (let frame = 0; frame < 2; frame += 1) await new Promise((done) => requestAnimationFrame(done));
    const found = await axe.run(document, { runOnly: tags, resultTypes: ["violations"] });
    return found.violations.flatMap((rule) => rule.nodes.map((node) =>
        [rule.id, rule.impact, node.target.join(" "), node.html.slice(0, 160), node.any[0]?.message].join(" | ")));
}"""


class Axe:
    """Collects what axe finds, so that one run tells everything that is wrong."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.found: list[str] = []

    def look(self, name: str) -> None:
        """The page as it stands. The script comes by the debugger, which the page's policy does not bind."""
        if not self.page.evaluate("typeof axe === 'object'"):
            self.page.evaluate(f"() => {{ {AXE} }}")
        self.found += [f"{name}: {line}" for line in self.page.evaluate(RUN, RULES)]

    def look_twice(self, name: str) -> None:
        """Light at a desk, then dark on a phone."""
        self.look(f"{name}, light")
        self.page.emulate_media(color_scheme="dark")
        self.page.set_viewport_size(PHONE)
        self.look(f"{name}, dark, phone")
        self.page.emulate_media(color_scheme="light")
        self.page.set_viewport_size(DESK)

    def visit(self, address: str) -> None:
        self.page.goto(address)
        self.look_twice(address)

    def expect_nothing(self) -> None:
        assert not self.found, "\n".join(["axe-core found:", *self.found])


@pytest.fixture
def rows(project: Project, contractor: User, reviewer: User, lead: User, woken: list[int]) -> dict[str, Any]:
    return sitemap.filled(project, contractor, reviewer, lead, words="Some words")


def pages(rows: dict[str, Any]) -> dict[str, str]:
    """Whole pages, without the parts that are polled and the addresses that take a POST."""
    parts = {
        "training:round_stages",
        "training:run_live",
        "training:run_report",
        "training:round_estimate",
        "hone:language",
    }
    posts = ("_cancel", "_resume", "_delete", "_continue", ":restore", ":retract")
    found = sitemap.addresses(rows)
    return {name: path for name, path in found.items() if name not in parts and not name.endswith(posts)}


@pytest.mark.parametrize("locale", ["en", "zh-CN"])
def test_every_page(open_page: OpenPage, lead: User, rows: dict[str, Any], locale: str) -> None:
    page = open_page(lead, locale=locale)
    axe = Axe(page)
    for name, address in pages(rows).items():
        if name == "hone:login":
            continue
        page.goto(address)
        if locale == "en":
            axe.look_twice(address)
        else:
            axe.look(address)
    axe.expect_nothing()


def test_pages_without_rows(open_page: OpenPage, project: Project, lead: User, outsider: User) -> None:
    page = open_page(lead)
    axe = Axe(page)
    for address in pages({"slug": project.slug}).values():
        if address != "/login/":
            axe.visit(address)
    axe.page = open_page(outsider)
    axe.visit("/")
    axe.expect_nothing()


def test_refusals_and_wrong_forms(
    open_page: OpenPage, project: Project, contractor: User, lead: User, problems: Problems
) -> None:
    problems.expect("403 (", "404 (", "400 (", "409 (", "422 (")
    factories.make_checkpoint(name="m-0")
    axe = Axe(open_page(contractor))
    axe.visit("/p/alpha/members/")
    axe.visit("/p/nowhere/")
    axe.page = open_page()
    axe.visit("/login/")
    axe.page.get_by_label("Username").fill("contractor")
    axe.page.get_by_label("Password").fill("wrong")
    axe.page.get_by_role("button", name="Log in").click()
    expect(axe.page.get_by_role("alert")).to_be_visible()
    axe.look_twice("a wrong password")
    page = axe.page = open_page(lead)
    for address, wrong in {
        "/p/alpha/settings/writing/": {"min_chars": "9", "max_chars": "1"},
        "/p/alpha/members/": {"username": "nobody"},
        "/account/password/": {"old_password": "x", "new_password1": "a", "new_password2": "b"},
        "/console/p/alpha/rounds/new/": {"name": "x" * 200, "heldout_percent": "99"},
    }.items():
        page.goto(address)
        for name, value in wrong.items():
            page.locator(f'main [name="{name}"]').evaluate(
                "(field, value) => { field.removeAttribute('maxlength'); field.value = value; }", value
            )
        page.locator("main form").last.evaluate("(form) => { form.noValidate = true; }")
        with page.expect_navigation():
            form = page.locator(f'main form:has([name="{next(iter(wrong))}"])')
            form.evaluate("(form) => form.submit()")
        assert page.locator(".error, .error-summary, [role=alert]").count(), address
        axe.look_twice(f"{address} with errors")
    axe.expect_nothing()


def test_the_rank_page_in_its_states(open_page: OpenPage, project: Project, contractor: User) -> None:
    factories.make_guideline(project)
    scale = {
        "key": "q",
        "label": "Quality",
        "low": 1,
        "high": 7,
        "low_label": "poor",
        "high_label": "good",
        "optional": False,
    }
    flags = [{"key": f"f{n}", "label": f"Flag {n}", "help": "What it means"} for n in range(5)]
    RankingForm.objects.create(
        project=project, scales=[scale], flags=flags, strength=True, ties=True, reason="optional"
    )
    factories.make_batch(project, answers=4)
    page = open_page(contractor)
    axe = Axe(page)
    page.goto("/p/alpha/rank/")
    axe.look_twice("rank")
    for key, name in [("?", "keys"), ("v", "differences"), ("g", "guideline")]:
        page.keyboard.press(key)
        axe.look_twice(f"rank with {name}")
        page.keyboard.press("Escape")
    page.keyboard.press("1")
    page.keyboard.press("f")
    page.keyboard.press("Space")
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    axe.look_twice("rank, begun")
    page.get_by_role("button", name="Skip").click()
    axe.look_twice("rank, skipping")
    page.keyboard.press("Escape")
    page.get_by_label("Menu of").click()
    axe.look_twice("rank with the menu")
    axe.expect_nothing()


def test_two_answers_by_strength(open_page: OpenPage, project: Project, contractor: User) -> None:
    RankingForm.objects.create(project=project, scales=[], flags=[], strength=True, ties=True, reason="required")
    factories.make_batch(project, answers=2)
    page = open_page(contractor)
    axe = Axe(page)
    page.goto("/p/alpha/rank/")
    axe.look_twice("two answers")
    page.keyboard.press("3")
    axe.look_twice("two answers, one chosen")
    axe.expect_nothing()


def test_the_write_page_in_its_states(open_page: OpenPage, project: Project, contractor: User) -> None:
    factories.make_guideline(project)
    open_batch(project=project, kind="write", name="W", items=[NewItem(prompt=None)])
    page = open_page(contractor)
    axe = Axe(page)
    page.goto("/p/alpha/write/")
    axe.look_twice("write")
    page.get_by_role("button", name="Add a turn").click()
    page.get_by_role("button", name="System message").click()
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("[data-error-summary]")).to_be_visible()
    axe.look_twice("write with errors")
    page.get_by_label("Response, turn 1").fill("# Heading\n\n- one\n- two\n\n`code`")
    page.get_by_role("button", name="Preview").nth(2).click()
    expect(page.locator(".editor-preview h2")).to_be_visible()
    axe.look_twice("write with a preview")
    axe.expect_nothing()


def test_consoles_dialogs(open_page: OpenPage, lead: User, rows: dict[str, Any]) -> None:
    page = open_page(lead)
    axe = Axe(page)
    page.goto(f"/console/rounds/{rows['round']}/")
    for opener in page.locator("[data-open]").all():
        opener.click()
        axe.look_twice(f"the dialog {opener.get_attribute('data-open')}")
        page.keyboard.press("Escape")
    page.goto(f"/console/runs/{rows['run_failed']}/")
    page.locator("details:not(.menu)").evaluate_all("(folds) => { for (const fold of folds) fold.open = true; }")
    axe.look_twice("a failed run with everything open")
    for kind in ("reward", "evaluate", "pretrain"):
        page.goto(f"/console/runs/{rows['measured'][kind]}/")
        page.locator("main details").evaluate_all("(folds) => { for (const fold of folds) fold.open = true; }")
        axe.look_twice(f"a report of {kind} with everything open")
    page.goto(f"/console/runs/{rows['measured']['evaluate']}/samples/")
    page.locator("main details").evaluate_all("(folds) => { for (const fold of folds) fold.open = true; }")
    axe.look_twice("samples with everything open")
    axe.expect_nothing()
