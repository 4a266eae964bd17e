"""The rank page with a ranking form: scales, flags, strengths and the reason, by key, mouse and finger."""

from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from hone.accounts.models import Project, User
from labeling import ranking_forms
from labeling.models import Draft, Ranking, Slot
from tests import factories
from tests.e2e.steps import PHONE, OpenPage, eventually, expect_nothing_wide, expect_saved, indexes

pytestmark = pytest.mark.browser
PRESETS = {name: form for name, _title, form in ranking_forms.presets()}


def ranked_by(open_page: OpenPage, user: User, form: dict[str, Any], *, answers: int = 4, **options: Any) -> Page:
    """The rank page of the one item there is, under this form."""
    project = Project.objects.get(slug="alpha")
    ranking_forms.change(project=project, form=form, actor=user)
    factories.make_batch(project, answers=answers)
    page = open_page(user, **options)
    page.goto("/p/alpha/rank/")
    expect(page.locator("[data-status]")).not_to_be_empty()
    return page


def answer(page: Page, letter: str) -> Locator:
    return page.get_by_role("article", name=f"Answer {letter}")


def scale(page: Page, letter: str) -> Locator:
    return page.get_by_role("group", name=f"Overall quality of {letter}")


def pressed(place: Locator) -> Locator:
    return place.locator('[aria-pressed="true"]')


def status(page: Page) -> Locator:
    return page.locator("[data-status]")


def submitted(page: Page) -> Ranking:
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing to rank right now")
    return Ranking.objects.get()


def test_the_keyboard_alone_answers_the_instructgpt_form(
    open_page: OpenPage, contractor: User, project: Project
) -> None:
    page = ranked_by(open_page, contractor, PRESETS["instructgpt"], answers=2)
    slot = Slot.objects.get()
    expect(status(page)).to_have_text("Still to place: A, B")
    for key in ("a", "2", "b", "1"):
        page.keyboard.press(key)
    expect(status(page)).to_have_text("Overall quality of A, B is missing")
    for key in ("a", "Shift+Digit3"):
        page.keyboard.press(key)
    expect(status(page)).to_have_text("Overall quality of B is missing")
    # Submit leads to what is missing: B's scale has the focus, where the arrows move and Space sets.
    page.keyboard.press("Control+Enter")
    expect(scale(page, "B").get_by_role("button", name="1, very poor")).to_be_focused()
    for key in ("End", "ArrowLeft", "Space"):
        page.keyboard.press(key)
    expect(pressed(scale(page, "B"))).to_have_text("6")
    for key in ("a", "f", "ArrowRight", "ArrowRight", "Space", "End", "Enter"):
        page.keyboard.press(key)
    expect(pressed(answer(page, "A").locator("[data-flag-list]"))).to_have_text(["Makes things up", "Judges morally"])
    page.keyboard.press("Escape")
    expect(answer(page, "A")).to_be_focused()
    expect(answer(page, "A").get_by_role("button", name="Flags")).to_contain_text("2 · Makes things up, Judges morally")
    page.keyboard.press("Control+Enter")
    ranking = submitted(page)
    [a], [b] = indexes(slot, "A"), indexes(slot, "B")
    assert ranking.tiers == [[b], [a]]
    assert ranking.ratings == {str(a): {"quality": 3}, str(b): {"quality": 6}}
    assert ranking.flags == {str(a): ["hallucination", "moral_judgement"]}
    assert ranking.form == PRESETS["instructgpt"] and ranking.strength is None


def test_undo_takes_back_order_scales_and_flags_in_turn(
    open_page: OpenPage, contractor: User, project: Project
) -> None:
    page = ranked_by(open_page, contractor, {**PRESETS["instructgpt"], "reason": "optional"})
    page.keyboard.press("1")
    scale(page, "A").get_by_role("button", name="5").click()
    scale(page, "A").get_by_role("button", name="4").click()
    answer(page, "A").get_by_role("button", name="Flags").click()
    flag = answer(page, "A").get_by_role("button", name="Sexual content")
    flag.click()
    page.get_by_label("Why this order?").fill("because")
    page.keyboard.press("Escape")
    undo = page.get_by_role("button", name="Undo")
    undo.click()
    expect(page.get_by_label("Why this order?")).to_have_value("")
    undo.click()
    expect(flag).to_have_attribute("aria-pressed", "false")
    undo.click()
    expect(pressed(scale(page, "A"))).to_have_text("5")
    undo.click()
    expect(pressed(scale(page, "A"))).to_have_count(0)
    page.keyboard.press("z")
    expect(status(page)).to_have_text("Still to place: A, B, C, D")
    expect(undo).to_be_disabled()


def test_a_value_pressed_again_is_taken_back(open_page: OpenPage, contractor: User, project: Project) -> None:
    page = ranked_by(open_page, contractor, PRESETS["instructgpt"])
    seven = scale(page, "C").get_by_role("button", name="7, excellent")
    seven.click()
    expect(seven).to_have_attribute("aria-pressed", "true")
    seven.click()
    expect(seven).to_have_attribute("aria-pressed", "false")


def test_f_names_the_sixth_answer_and_shift_f_opens_flags(
    open_page: OpenPage, contractor: User, project: Project
) -> None:
    page = ranked_by(open_page, contractor, PRESETS["instructgpt"], answers=6)
    page.keyboard.press("f")
    expect(answer(page, "F")).to_be_focused()
    page.keyboard.press("Shift+F")
    expect(answer(page, "F").get_by_role("button", name="Misses the task")).to_be_focused()


def test_four_strengths_by_key(open_page: OpenPage, contractor: User, project: Project) -> None:
    page = ranked_by(open_page, contractor, PRESETS["llama2"], answers=2)
    slot = Slot.objects.get()
    strip = page.locator("[data-strengths]")
    expect(status(page)).to_have_text("Say which answer is better, and how much")
    expect(page.locator("[data-zone-box]")).to_have_count(0)
    # No ties here: one step from A's side is B's weakest.
    for key, said in (
        ("4", "A is negligibly better, or unsure"),
        ("ArrowRight", "B is negligibly better, or unsure"),
        ("t", "B is negligibly better, or unsure"),
        ("x", "B is negligibly better, or unsure"),
        ("1", "A is significantly better"),
        ("ArrowLeft", "A is significantly better"),
        ("7", "B is clearly better"),
    ):
        page.keyboard.press(key)
        expect(status(page)).to_have_text(said)
        expect(pressed(strip)).to_have_attribute("aria-label", said)
    page.keyboard.press("0")
    expect(status(page)).to_have_text("Say which answer is better, and how much")
    page.keyboard.press("z")
    expect(status(page)).to_have_text("B is clearly better")
    page.keyboard.press("Control+Enter")
    ranking = submitted(page)
    assert ranking.tiers == [indexes(slot, "B"), indexes(slot, "A")] and ranking.strength == 3
    assert ranking.comparisons.count() == 1


def test_a_strength_and_a_flag_by_mouse(open_page: OpenPage, contractor: User, project: Project) -> None:
    page = ranked_by(open_page, contractor, PRESETS["llama2"], answers=2)
    slot = Slot.objects.get()
    page.get_by_role("button", name="A is slightly better").click()
    answer(page, "B").get_by_role("button", name="Unsafe").click()
    page.get_by_role("button", name="Submit").click()
    ranking = submitted(page)
    assert ranking.tiers == [indexes(slot, "A"), indexes(slot, "B")] and ranking.strength == 2
    assert ranking.flags == {str(indexes(slot, "B")[0]): ["unsafe"]}


def test_a_tie_in_the_middle_has_no_strength(open_page: OpenPage, contractor: User, project: Project) -> None:
    page = ranked_by(open_page, contractor, {"strength": True}, answers=2)
    for key in ("5", "ArrowLeft"):
        page.keyboard.press(key)
    expect(status(page)).to_have_text("A and B are tied")
    page.keyboard.press("Control+Enter")
    ranking = submitted(page)
    assert ranking.tiers == [[0, 1]] and ranking.strength is None and not ranking.comparisons.exists()


def test_where_ties_are_not_taken_the_page_says_so(open_page: OpenPage, contractor: User, project: Project) -> None:
    page = ranked_by(open_page, contractor, {"ties": False}, answers=3)
    for key in ("a", "1", "b", "2", "c", "2"):
        page.keyboard.press(key)
    expect(status(page)).to_have_text("No ties in this project: part B, C")
    page.keyboard.press("3")
    expect(status(page)).to_have_text("Order: A > B > C")


def test_a_required_reason_holds_submit_back(open_page: OpenPage, contractor: User, project: Project) -> None:
    page = ranked_by(open_page, contractor, {"reason": "required"}, answers=2)
    for key in ("b", "1", "a", "2"):
        page.keyboard.press(key)
    expect(status(page)).to_have_text("The reason is missing")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_label("Why this order?")).to_be_focused()
    page.keyboard.type("B is shorter")
    page.keyboard.press("Control+Enter")
    assert submitted(page).reason == "B is shorter"


def test_the_draft_brings_everything_back(open_page: OpenPage, contractor: User, project: Project) -> None:
    page = ranked_by(
        open_page, contractor, {**PRESETS["instructgpt"], "strength": True, "reason": "optional"}, answers=2
    )
    for key in ("3", "b", "Shift+Digit7", "f", "Space"):
        page.keyboard.press(key)
    page.get_by_label("Why this order?").fill("half a sen")
    expect_saved(page)
    eventually(page, lambda: Draft.objects.filter(content__reason="half a sen").exists())
    page.reload()
    expect(status(page)).to_have_text("Overall quality of A is missing")
    expect(pressed(page.locator("[data-strengths]"))).to_have_attribute("aria-label", "A is slightly better")
    expect(pressed(scale(page, "B"))).to_have_text("7")
    expect(answer(page, "B").get_by_role("button", name="Flags")).to_contain_text("1 · Misses the task")
    expect(page.get_by_label("Why this order?")).to_have_value("half a sen")


@pytest.mark.parametrize("answers", [2, 4])
def test_a_phone_has_room_for_fingers(open_page: OpenPage, contractor: User, project: Project, answers: int) -> None:
    form = {**PRESETS["instructgpt"], "strength": True, "reason": "optional"}
    options = {"viewport": PHONE, "has_touch": True, "is_mobile": True}
    page = ranked_by(open_page, contractor, form, answers=answers, **options)
    answer(page, "A").get_by_role("button", name="Flags").tap()
    expect_nothing_wide(page)
    small = page.evaluate(
        """() => [...document.querySelectorAll(".judge button, .strengths button, .strip-reason textarea")]
            .map((box) => [box.textContent, box.getBoundingClientRect()])
            .filter(([, at]) => at.width && (at.width < 43.9 || at.height < 43.9))
            .map(([text, at]) => `${text} ${at.width} x ${at.height}`)"""
    )
    assert not small
    scale(page, "A").get_by_role("button", name="4", exact=True).tap()
    answer(page, "A").get_by_role("button", name="Misses the task").tap()
    eventually(page, lambda: Draft.objects.filter(content__flags__A=["misses_task"]).exists())
    assert Draft.objects.get().content["ratings"]["A"] == {"quality": 4}


def test_the_list_of_keys_names_those_of_the_form(open_page: OpenPage, contractor: User, project: Project) -> None:
    page = ranked_by(open_page, contractor, {**PRESETS["llama2"], "reason": "optional"}, answers=2)
    page.keyboard.press("?")
    keys = page.get_by_role("dialog", name="Keys of this page")
    expect(keys).to_contain_text("B is better: barely, slightly, clearly, significantly")
    expect(keys).to_contain_text("flags of the chosen answer")
    expect(keys).not_to_contain_text("a tie")


def test_a_manager_sets_the_form_and_the_page_asks_by_it(open_page: OpenPage, manager: User, project: Project) -> None:
    page = open_page(manager)
    page.goto("/p/alpha/")
    page.get_by_role("navigation", name="Project").get_by_role("link", name="Settings").click()
    page.get_by_role("button", name="InstructGPT").click()
    expect(page.get_by_text("not saved yet")).to_be_visible()
    page.get_by_role("button", name="Remove Violent content").click()
    expect(page.get_by_role("button", name="Remove Violent content")).to_have_count(0)
    page.get_by_role("button", name="Add a scale").click()
    row = page.get_by_role("group", name="Scale 2")
    row.get_by_label("Name", exact=True).fill("Tone")
    row.get_by_label("Highest", exact=True).fill("0")
    page.get_by_role("button", name="Save", exact=True).first.click()
    expect(row).to_contain_text("The highest value must be above the lowest.")
    row.get_by_label("Highest", exact=True).fill("3")
    page.get_by_role("button", name="Show the preview").click()
    expect(page.locator(".form-preview")).to_contain_text("Tone")
    page.get_by_role("button", name="Save", exact=True).first.click()
    expect(page.get_by_text("The ranking form is saved.")).to_be_visible()
    form = ranking_forms.of(project)
    assert form is not None and [one["key"] for one in form["scales"]] == ["quality", "tone"]
    assert len(form["flags"]) == 10
    factories.make_batch(project)
    page.goto("/p/alpha/rank/")
    expect(page.get_by_role("group", name="Tone of A").get_by_role("button")).to_have_count(3)
