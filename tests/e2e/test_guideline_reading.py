"""A new guideline version while somebody works: the item in hand is finished, then what changed is read."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from hone.accounts.models import Project, User
from labeling import guideline_reading, guidelines
from labeling.models import GuidelineReading, QuizAttempt, Ranking
from tests import factories
from tests.e2e.conftest import Problems
from tests.e2e.steps import PHONE, OpenPage, eventually, expect_nothing_wide

pytestmark = pytest.mark.browser

OLD = "# Spec\n\nWhat a good answer is.\n\n## Truth\n\nNever invent a source.\n\n## Tone\n\nBe kind."
NEW = OLD.replace("a source", "a source or a quote") + "\n\n## 长度\n\n回答要简短。"
QUESTION = {
    "text": "May a quote be invented?",
    "several": False,
    "options": ["Never", "When it is short"],
    "right": [0],
    "explanation": "See the section on truth.",
}


def seen(page: Page, name: str) -> None:
    """A picture for whoever asks for them; the test does not need it."""
    if folder := os.environ.get("HONE_SCREENSHOTS"):
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            width = page.viewport_size["width"] if page.viewport_size else 0
            page.screenshot(path=Path(folder) / f"{name}-{width}-{scheme}.png", full_page=True)


def tab_to(page: Page, name: str) -> None:
    """Presses Tab until the control of this name has the focus."""
    for _press in range(60):
        page.keyboard.press("Tab")
        if name in page.evaluate(
            "document.activeElement.closest('label')?.innerText ?? document.activeElement.innerText"
        ):
            return
    raise AssertionError(f"{name} cannot be reached by Tab")


def choose(page: Page, option: str) -> None:
    """Into the group of radio buttons by Tab, and along it by arrows."""
    for _press in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.type === 'radio'"):
            break
    page.keyboard.press("Space")
    if not page.get_by_label(option).is_checked():
        page.keyboard.press("ArrowDown")
    expect(page.get_by_label(option)).to_be_checked()


def test_a_new_version_is_read_and_its_quiz_passed_by_keyboard_alone(
    open_page: OpenPage, project: Project, contractor: User, manager: User
) -> None:
    Project.objects.update(confirm_guideline=True)
    first = factories.make_guideline(project, body=OLD)
    guideline_reading.confirm(guideline=first, user=contractor)
    factories.make_batch(project, items=2, answers=2)
    page = open_page(contractor)
    page.goto("/p/alpha/rank/")
    expect(page.get_by_role("article", name="Answer A")).to_be_visible()

    quiz = {"pass_percent": 100, "questions": [QUESTION]}
    draft = guidelines.save_draft(project=project, title="Spec", body=NEW, quiz=quiz)
    second = guidelines.publish(guideline=draft, actor=manager)
    for key in ("a", "2", "b", "1", "Control+Enter"):
        page.keyboard.press(key)
    expect(page.get_by_role("heading", name="Spec", level=1)).to_be_visible()
    assert Ranking.objects.get().guideline == first

    expect(page.locator(".change ins")).to_have_count(2)
    expect(page.locator(".change ins").first).to_contain_text("or a quote")
    expect(page.get_by_text("2 sections are unchanged")).to_be_visible()
    expect_nothing_wide(page)
    seen(page, "read")
    choose(page, "When it is short")
    tab_to(page, "I have read it")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("0 of 1 was right")
    expect(page.get_by_role("alert")).to_contain_text("See the section on truth.")
    seen(page, "wrong")
    choose(page, "Never")
    tab_to(page, "I have read it")
    page.keyboard.press("Enter")
    expect(page.get_by_role("article", name="Answer A")).to_be_visible()
    reading = GuidelineReading.objects.get(guideline=second, user=contractor)
    assert reading.confirmed_at is not None
    assert list(QuizAttempt.objects.values_list("passed", flat=True)) == [False, True]


def test_a_manager_writes_a_quiz_and_sees_who_has_read(
    open_page: OpenPage, project: Project, contractor: User, manager: User
) -> None:
    page = open_page(manager)
    page.goto("/p/alpha/guideline/edit/")
    page.get_by_label("Title").fill("Spec")
    page.get_by_label("Text").fill(OLD)
    page.get_by_text("Questions to whoever reads it").click()
    page.get_by_role("button", name="Add a question").click()
    expect(page.get_by_label("Text")).to_have_value(OLD)
    page.get_by_label("Question", exact=True).fill("May a quote be invented?")
    page.get_by_label("Answer 1").fill("Never")
    page.get_by_role("button", name="Publish").click()
    expect(page.get_by_text("Write at least two answers.")).to_be_visible()
    page.get_by_label("Answer 2").fill("Always")
    page.get_by_label("right", exact=True).first.check()
    expect_nothing_wide(page)
    seen(page, "editor")
    page.get_by_role("button", name="Publish").click()
    expect(page.get_by_role("status").filter(has_text="Version 1 is published.")).to_be_visible()
    published = eventually(page, lambda: project.guidelines.filter(published_at__isnull=False).first())
    guideline_reading.attempt(guideline=published, user=contractor, answers=[[0]])
    page.reload()
    expect(page.get_by_text("1 of 2 confirmed this version")).to_be_visible()
    row = page.get_by_role("row").filter(has_text="contractor")
    expect(row).to_contain_text("passed")
    seen(page, "readers")


def test_on_a_phone_a_member_gets_languages_and_an_own_version_fits(
    open_page: OpenPage, project: Project, contractor: User, manager: User, problems: Problems
) -> None:
    problems.expect("400 (Bad Request)")
    page = open_page(manager, viewport=PHONE)
    page.goto("/p/alpha/members/")
    summary = page.get_by_label("Languages and skills of contractor")
    summary.click()
    form = page.locator("details[open]")
    form.get_by_role("textbox", name="Languages").fill("en, 中文")
    form.get_by_role("button", name="Save").click()
    expect(page.get_by_text("“中文” is no language tag, such as en or zh.")).to_be_visible()
    expect_nothing_wide(page)
    seen(page, "members")
    page.locator("details[open]").get_by_role("textbox", name="Languages").fill("en, zh")
    page.locator("details[open]").get_by_role("textbox", name="Skills").fill("law")
    page.locator("details[open]").get_by_role("button", name="Save").click()
    expect(page.get_by_role("status").filter(has_text="are saved")).to_be_visible()
    member = project.memberships.get(user=contractor)
    assert (member.languages, member.skills) == (["en", "zh"], ["law"])
    page.goto("/p/alpha/settings/")
    page.get_by_label("Match languages").check()
    page.locator("#work").get_by_role("button", name="Save").click()
    expect(page.get_by_role("status").filter(has_text="The rules for handing out are saved.")).to_be_visible()
    seen(page, "settings")
    project.refresh_from_db()
    assert project.match_languages

    factories.make_guideline(project, body=OLD)
    theirs = open_page(contractor, viewport=PHONE)
    theirs.goto("/p/alpha/guideline/read/")
    expect(theirs.get_by_text("Never invent a source.")).to_be_visible()
    expect_nothing_wide(theirs)
    seen(theirs, "first")
    theirs.goto("/p/alpha/me/")
    expect(theirs.get_by_text("en, zh")).to_be_visible()
    seen(theirs, "me")
