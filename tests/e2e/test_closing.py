"""What Esc and a press beside something close: one thing at a time, and only when that is meant."""

import pytest
from playwright.sync_api import Locator, Page, expect

from hone.accounts.models import Project, User
from labeling.models import Item
from tests import factories
from tests.e2e.steps import OpenPage, eventually, expect_order, middle

pytestmark = pytest.mark.browser
COMPOSING = "new KeyboardEvent('keydown', { key: 'Escape', isComposing: true, bubbles: true, cancelable: true })"


@pytest.fixture
def page(open_page: OpenPage, project: Project, contractor: User) -> Page:
    factories.make_guideline(project)
    factories.make_batch(project)
    page = open_page(contractor)
    page.goto("/p/alpha/rank/")
    expect_order(page, free="ABCD")
    return page


def search(page: Page) -> Locator:
    return page.get_by_label("Search the guideline")


def test_esc_empties_the_search_first_and_closes_the_guideline_then(page: Page) -> None:
    page.keyboard.press("g")
    search(page).fill("truth")
    page.keyboard.press("Escape")
    expect(search(page)).to_have_value("")
    expect(search(page)).to_be_visible()
    page.keyboard.press("Escape")
    expect(search(page)).to_be_hidden()


def test_esc_in_the_note_leaves_the_guideline_open(page: Page) -> None:
    page.keyboard.press("g")
    expect(search(page)).to_be_visible()
    page.get_by_role("article", name="Answer A").focus()
    page.keyboard.press("n")
    note = page.get_by_role("textbox", name="Note")
    expect(note).to_be_focused()
    note.evaluate(f"(note) => note.dispatchEvent({COMPOSING})")  # it only drops what the input method offers
    expect(note).to_be_focused()
    page.keyboard.press("Escape")
    expect(note).to_be_hidden()
    expect(search(page)).to_be_visible()
    page.keyboard.press("Escape")
    expect(search(page)).to_be_hidden()


def test_a_dialog_stays_when_its_text_is_selected_beyond_its_edge(page: Page) -> None:
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keys of this page")
    page.mouse.move(*middle(dialog.get_by_role("heading")))
    page.mouse.down()
    page.mouse.move(5, 5, steps=3)
    page.mouse.up()
    expect(dialog).to_be_visible()
    page.mouse.click(5, 5)
    expect(dialog).to_be_hidden()


def test_arrows_scroll_wide_code_that_has_the_focus(open_page: OpenPage, project: Project, contractor: User) -> None:
    factories.make_batch(project)
    for item in Item.objects.all():
        item.completions.update(text="```\n" + "wide " * 100 + "\n```")
    page = open_page(contractor)
    page.goto("/p/alpha/rank/")
    code = page.get_by_role("article", name="Answer B").locator("pre")
    code.evaluate("(code) => { code.tabIndex = 0; }")  # some browsers do it by themselves
    code.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(code).to_be_focused()
    eventually(page, lambda: page.evaluate("document.activeElement.scrollLeft > 0"))
    page.get_by_role("article", name="Answer B").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("article", name="Answer C")).to_be_focused()


ASKS = """() => {
    const going = new Event("beforeunload", { cancelable: true });
    dispatchEvent(going);
    return going.defaultPrevented;
}"""


@pytest.mark.parametrize("path", ["items/{item}/gold", "settings/checks", "settings/review", "guideline/edit"])
def test_leaving_a_form_with_something_typed_asks(
    open_page: OpenPage, project: Project, manager: User, path: str
) -> None:
    factories.make_batch(project)
    page = open_page(manager)
    page.goto(f"/p/alpha/{path.format(item=Item.objects.get().pk)}/")
    assert page.evaluate(ASKS) is False
    page.locator("form[data-guard] :is(input, select, textarea):visible").first.dispatch_event("input")
    assert page.evaluate(ASKS) is True
