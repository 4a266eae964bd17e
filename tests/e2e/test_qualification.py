"""A contractor takes the qualification test by keyboard alone: fails it, passes it, and ranks; a manager writes one."""

import pytest
from playwright.sync_api import Page, expect

from hone.accounts.models import Project, User
from labeling.models import Qualification, QualificationAttempt, Ranking
from tests import factories
from tests.e2e.conftest import Problems
from tests.e2e.steps import DESK, PHONE, OpenPage, expect_nothing_wide
from tests.e2e.test_accessible import Axe
from tests.e2e.test_guideline_reading import choose, seen, tab_to

pytestmark = pytest.mark.browser

QUESTION = {
    "text": "May a quote be invented?",
    "several": False,
    "options": ["Never", "When it is short"],
    "right": [0],
    "explanation": "See the section on truth.",
}
ANSWERS = [
    "Water boils at 100 °C at sea level, and at a lower temperature on a mountain, where the pressure is lower.",
    "At 100 °C.",
    "水在海平面约一百摄氏度沸腾。\n\nIt boils when you wait.",
]
RANKING = {"prompt": "At what temperature does water boil?", "answers": ANSWERS, "tiers": [1, 2, 3]}


def put_in_order(page: Page, tiers: list[int]) -> None:
    """A tier for each answer, wherever it stands: Tab to the first select, a digit, Tab to the next."""
    for _press in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "SELECT":
            break
    for place in range(len(tiers)):
        if place:
            page.keyboard.press("Tab")
        index = int(str(page.evaluate("document.activeElement.name")).partition("-")[2])
        page.keyboard.press(str(tiers[index]))


def test_a_contractor_fails_passes_and_ranks_by_keyboard_alone(
    open_page: OpenPage, problems: Problems, project: Project, contractor: User, manager: User
) -> None:
    problems.expect("status of 400")
    factories.make_batch(project, items=2, answers=2)
    factories.make_qualification(project, actor=manager, questions=[QUESTION], rankings=[RANKING])
    page = open_page(contractor)
    axe = Axe(page)
    page.goto("/p/alpha/rank/")
    expect(page.get_by_role("heading", name="Qualification test", level=1)).to_be_visible()
    expect_nothing_wide(page)
    seen(page, "qualify")

    # Nothing is counted while an answer is missing.
    choose(page, "When it is short")
    tab_to(page, "Send my answers")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").first).to_contain_text("every question needs an answer")
    expect(page.get_by_label("When it is short")).to_be_checked()
    seen(page, "qualify-missing")
    axe.look("qualify-missing")
    put_in_order(page, [3, 2, 1])
    tab_to(page, "Send my answers")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Not passed: 0 %")
    expect(page.get_by_role("alert")).to_contain_text("See the section on truth.")
    expect(page.get_by_text("You have 2 attempts left.")).to_be_visible()
    page.set_viewport_size(PHONE)
    expect_nothing_wide(page)
    seen(page, "qualify-failed")
    axe.look_twice("failed")
    page.set_viewport_size(DESK)

    choose(page, "Never")
    put_in_order(page, [1, 2, 3])
    tab_to(page, "Send my answers")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="You are qualified")).to_be_visible()
    seen(page, "qualified")
    axe.look("qualified")
    axe.expect_nothing()
    tab_to(page, "Go on")
    page.keyboard.press("Enter")
    expect(page.get_by_role("article", name="Answer A")).to_be_visible()
    page.wait_for_load_state()  # a link does not wait for the page's keys, as goto does
    for key in ("a", "2", "b", "1", "Control+Enter"):
        page.keyboard.press(key)
    expect(page.get_by_text("1 today")).to_be_visible()
    assert Ranking.objects.get().author == contractor
    assert list(QualificationAttempt.objects.values_list("percent", "passed")) == [(0, False), (100, True)]


def test_a_manager_writes_a_test_and_lets_somebody_in(
    open_page: OpenPage, problems: Problems, project: Project, contractor: User, manager: User
) -> None:
    problems.expect("status of 400")
    page = open_page(manager)
    axe = Axe(page)
    page.goto("/p/alpha/settings/qualification/")
    page.get_by_role("button", name="Add a question").click()
    page.get_by_label("Question", exact=True).fill("May a quote be invented?")
    page.get_by_label("Answer 1").fill("Never")
    page.get_by_label("right").first.check()
    page.get_by_label("Answer 2").fill("When it is short")
    page.get_by_role("button", name="Add a ranking question").click()
    rankings = page.locator("#rankings")
    rankings.get_by_label("Prompt").fill("Why?")
    for number, text in enumerate(("Good", "Bad"), start=1):
        rankings.get_by_label(f"Answer {number}", exact=True).fill(text)
    page.get_by_label("Contractors pass this test").check()
    page.get_by_role("button", name="Save").last.click()
    expect(page.get_by_role("alert")).to_contain_text("Choose a tier for each answer.")
    expect(rankings.get_by_label("Answer 2", exact=True)).to_have_value("Bad")
    seen(page, "editor")
    axe.look_twice("editor with a fault")
    rankings.get_by_label("Tier of answer 1").select_option("1")
    rankings.get_by_label("Tier of answer 2").select_option("2")
    page.set_viewport_size(PHONE)
    expect_nothing_wide(page)
    seen(page, "editor")
    page.get_by_role("button", name="Save").last.click()
    expect(page.get_by_text("The qualification test is saved.")).to_be_visible()
    assert Qualification.objects.get().rankings[0]["tiers"] == [1, 2]
    page.goto("/p/alpha/members/")
    seen(page, "members")
    expect_nothing_wide(page)
    page.set_viewport_size(DESK)
    seen(page, "members")
    axe.look("members")
    axe.expect_nothing()
    page.get_by_role("button", name="Qualify by hand").click()
    expect(page.get_by_role("button", name="Qualify by hand")).to_have_count(0)
    assert project.memberships.get(user=contractor).qualified_at is not None
