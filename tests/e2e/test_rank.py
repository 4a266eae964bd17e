"""The rank page: keys, mouse and touch end in the same row."""

import json
from typing import Any

import pytest
from django.db import connection, transaction
from playwright.sync_api import Locator, Page, Response, Route, expect

from hone.accounts.models import Project, User
from labeling.models import Comparison, Draft, Ranking, Skip, Slot
from tests import factories
from tests.e2e.conftest import Problems
from tests.e2e.steps import (
    LETTERS,
    PHONE,
    OpenPage,
    chip,
    drag,
    eventually,
    expect_order,
    expect_saved,
    indexes,
    middle,
    swipe,
    zone,
)
from training.models import Generation

pytestmark = pytest.mark.browser

NOTHING = "Nothing to rank right now"


@pytest.fixture
def slot(project: Project) -> Slot:
    """The one slot there is to rank, four answers."""
    factories.make_batch(project)
    return Slot.objects.get()


def ranking_page(open_page: OpenPage, user: User, **options: Any) -> Page:
    page = open_page(user, **options)
    page.goto("/p/alpha/rank/")
    expect_order(page, free="ABCD")
    return page


def note_on(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Note optional, for the reviewer")


def expect_next_page(page: Page) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text(NOTHING)


def test_keys_alone_rank_from_page_load_to_submit(open_page: OpenPage, contractor: User, slot: Slot) -> None:
    page = ranking_page(open_page, contractor)
    slot.refresh_from_db()
    assert slot.order_shown is not None
    for letter, index in zip(LETTERS, slot.order_shown, strict=False):
        expect(page.get_by_role("article", name=f"Answer {letter}")).to_contain_text(f"Answer {index}")
    for key in ("b", "1", "d", "1", "ArrowLeft", "x", "a", "2"):
        page.keyboard.press(key)
    expect_order(page, t1="BD", t2="A", t3="", t4="", x="C", free="")
    expect(page.locator("[data-status]")).to_have_text("Order: B = D > A · unacceptable: C")
    page.keyboard.press("Control+Enter")
    expect_next_page(page)
    ranking = Ranking.objects.get()
    assert ranking.tiers == [indexes(slot, "BD"), indexes(slot, "A")]
    assert ranking.unacceptable == indexes(slot, "C")
    assert ranking.order_shown == slot.order_shown and ranking.author == contractor
    # B and D each over A and over C, A over C; the tie gives none.
    assert Comparison.objects.filter(ranking=ranking).count() == 5
    assert not Draft.objects.exists()


def test_the_mouse_drags_letters_into_tiers(open_page: OpenPage, contractor: User, slot: Slot) -> None:
    page = ranking_page(open_page, contractor)
    for letter, place in (("C", "1"), ("A", "2"), ("D", "2"), ("B", "x")):
        drag(page, letter, zone(page, place))
    expect_order(page, t1="C", t2="AD", x="B", free="")
    page.get_by_role("button", name="Submit").click()
    expect_next_page(page)
    slot.refresh_from_db()
    ranking = Ranking.objects.get()
    assert ranking.tiers == [indexes(slot, "C"), indexes(slot, "AD")]
    assert ranking.unacceptable == indexes(slot, "B")


def test_a_letter_dropped_outside_the_tiers_stays_where_it_was(
    open_page: OpenPage, contractor: User, slot: Slot
) -> None:
    page = ranking_page(open_page, contractor)
    drag(page, "C", page.locator("[data-prompt-body]"))
    expect_order(page, t1="", x="", free="ABCD")
    expect(page.locator(".is-held")).to_have_count(0)


def test_after_a_drag_the_letter_can_still_be_chosen_by_key(open_page: OpenPage, contractor: User, slot: Slot) -> None:
    page = ranking_page(open_page, contractor)
    drag(page, "C", zone(page, "1"))
    page.keyboard.press("b")
    chip(page, "C").focus()
    page.keyboard.press("Enter")
    expect(chip(page, "C")).to_have_attribute("aria-pressed", "true")


def test_fingers_drag_letters_and_tap_tiers(open_page: OpenPage, contractor: User, slot: Slot) -> None:
    page = ranking_page(open_page, contractor, viewport=PHONE, has_touch=True, is_mobile=True)
    swipe(page, middle(chip(page, "C")), middle(zone(page, "1")))
    swipe(page, middle(chip(page, "B")), middle(zone(page, "x")))
    expect_order(page, t1="C", x="B", free="AD")
    for letter in "AD":
        chip(page, letter).tap()
        zone(page, "2").get_by_role("button", name="2", exact=True).tap()
    expect_order(page, t2="AD", free="")
    page.get_by_role("button", name="Submit").tap()
    expect_next_page(page)
    slot.refresh_from_db()
    ranking = Ranking.objects.get()
    assert ranking.tiers == [indexes(slot, "C"), indexes(slot, "AD")]
    assert ranking.unacceptable == indexes(slot, "B")


def test_swiping_an_answer_scrolls_and_moves_no_letter(open_page: OpenPage, contractor: User, slot: Slot) -> None:
    page = ranking_page(open_page, contractor, viewport=PHONE, has_touch=True, is_mobile=True)
    x, y = middle(page.get_by_role("article", name="Answer A"))
    swipe(page, (x + 120, y), (x - 120, y))
    eventually(page, lambda: page.evaluate("document.querySelector('[data-answers]').scrollLeft > 100"))
    swipe(page, (x, y), middle(zone(page, "1")))
    expect_order(page, t1="", x="", free="ABCD")
    expect(page.locator(".is-held")).to_have_count(0)
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()


def test_undo_takes_back_one_step_at_a_time(open_page: OpenPage, contractor: User, slot: Slot) -> None:
    page = ranking_page(open_page, contractor)
    undo = page.get_by_role("button", name="Undo")
    expect(undo).to_be_disabled()
    for key in ("a", "1", "b", "2", "a", "x"):
        page.keyboard.press(key)
    expect_order(page, t1="", t2="B", x="A", free="CD")
    page.keyboard.press("z")
    expect_order(page, t1="A", t2="B", x="", free="CD")
    undo.click()
    expect_order(page, t1="A", t2="", free="BCD")
    undo.click()
    expect_order(page, t1="", free="ABCD")
    expect(undo).to_be_disabled()
    assert not Ranking.objects.exists()


def test_submit_waits_for_every_letter_and_says_which_are_missing(
    open_page: OpenPage, contractor: User, slot: Slot
) -> None:
    page = ranking_page(open_page, contractor)
    submit = page.get_by_role("button", name="Submit")
    expect(submit).to_have_attribute("aria-disabled", "true")
    expect(submit).to_have_accessible_description("Still to place: A, B, C, D")
    for key in ("a", "2", "c", "1"):
        page.keyboard.press(key)
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-said]")).to_have_text("Still to place: B, D")
    expect(page.get_by_role("article", name="Answer B")).to_be_focused()
    for key in ("3", "d", "4"):
        page.keyboard.press(key)
    expect(submit).to_have_attribute("aria-disabled", "false")
    expect(submit).to_have_accessible_description("Order: C > A > B > D")
    slot.refresh_from_db()
    assert slot.state == "leased" and not Ranking.objects.exists()


def test_the_order_as_it_was_shown_is_asked_about_once(open_page: OpenPage, contractor: User, slot: Slot) -> None:
    page = ranking_page(open_page, contractor)
    for key in ("a", "1", "b", "2", "c", "3", "d", "4", "Control+Enter"):
        page.keyboard.press(key)
    expect(page.get_by_role("dialog")).to_contain_text("the one in which the answers were shown")
    assert not Ranking.objects.exists()
    page.get_by_role("button", name="Submit as it is").click()
    expect_next_page(page)
    assert Ranking.objects.get().moved is False


def test_a_draft_survives_closing_the_page(open_page: OpenPage, contractor: User, slot: Slot) -> None:
    page = ranking_page(open_page, contractor)
    for key in ("c", "1", "a", "1", "b", "x", "n"):
        page.keyboard.press(key)
    note_on(page).fill("D is hard to place")
    expect_saved(page)
    page.context.close()
    page = open_page(contractor)
    page.goto("/p/alpha/rank/")
    expect_order(page, t1="AC", x="B", free="D")
    expect(note_on(page)).to_have_value("D is hard to place")
    draft = Draft.objects.get()
    assert draft.author == contractor and draft.content["tiers"][0] == ["A", "C"]


def test_leaving_at_once_still_saves_the_draft(open_page: OpenPage, contractor: User, slot: Slot) -> None:
    page = ranking_page(open_page, contractor)
    page.keyboard.press("d")
    page.keyboard.press("1")
    page.goto("/")
    draft = eventually(page, Draft.objects.first)
    assert draft.content["tiers"][0] == ["D"]


def test_skip_is_sent_once(open_page: OpenPage, contractor: User, slot: Slot) -> None:
    page = ranking_page(open_page, contractor)
    sent: list[Route] = []
    page.route("**/skip/", lambda route: sent.append(route))
    page.get_by_role("button", name="Skip").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Another reason").check()
    dialog.get_by_role("button", name="Skip").dblclick()
    eventually(page, lambda: sent)
    page.wait_for_timeout(100)
    [once] = sent
    once.continue_()
    expect_next_page(page)
    assert Skip.objects.count() == 1


def test_keys_work_with_caps_lock_on(open_page: OpenPage, contractor: User, slot: Slot) -> None:
    page = ranking_page(open_page, contractor)
    for key in ("B", "X", "A", "1"):
        page.keyboard.press(key)
    expect_order(page, t1="A", x="B", free="CD")
    page.keyboard.press("Z")
    expect_order(page, t1="", x="B", free="ACD")
    page.keyboard.press("V")
    expect(page.get_by_role("dialog", name="Differences")).to_be_visible()
    page.keyboard.press("V")
    page.keyboard.press("N")
    expect(note_on(page)).to_be_focused()


def test_skip_asks_for_a_reason_and_never_brings_the_item_back(
    open_page: OpenPage, contractor: User, slot: Slot
) -> None:
    page = ranking_page(open_page, contractor)
    page.get_by_role("button", name="Skip").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Skip").click()
    expect(dialog).to_be_visible()  # the browser asks for one of the reasons
    assert not Skip.objects.exists()
    dialog.get_by_label("It needs knowledge that I do not have").check()
    dialog.get_by_label("Note").fill("quantum chemistry")
    dialog.get_by_role("button", name="Skip").click()
    expect_next_page(page)
    skip = Skip.objects.get()
    assert (skip.author, skip.reason, skip.note) == (contractor, "expertise", "quantum chemistry")
    slot.refresh_from_db()
    assert slot.state == "open" and slot.holder is None


def test_two_people_race_for_the_last_slot_and_one_gets_it(
    open_page: OpenPage, contractor: User, reviewer: User, slot: Slot
) -> None:
    pages = [open_page(contractor), open_page(reviewer)]
    for page in pages:
        page.goto("/")
    with transaction.atomic():
        # Both requests stop at their user's row, so that they go for the slot together.
        list(User.objects.select_for_update())
        for page in pages:
            page.evaluate("() => { setTimeout(() => location.assign('/p/alpha/rank/')) }")
        eventually(pages[0], lambda: waiting_for_a_lock() == 2)
    for page in pages:
        page.wait_for_url("**/p/alpha/rank/")
    headings = sorted(page.get_by_role("heading", level=1).inner_text() for page in pages)
    assert headings == [NOTHING, "Rank the answers"]
    slot.refresh_from_db()
    winner = next(page for page in pages if page.locator("[data-rank]").count())
    assert slot.state == "leased" and slot.holder == (contractor if winner is pages[0] else reviewer)


def waiting_for_a_lock() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return cursor.fetchone()[0]


def test_neither_page_nor_answers_name_the_model(open_page: OpenPage, contractor: User, slot: Slot) -> None:
    secret = factories.make_checkpoint("/models/secret-path", name="secret-model-name")
    run = factories.make_run(slot.project, model=secret)
    for completion in slot.item.completions.all():
        Generation.objects.create(
            completion=completion, checkpoint=secret, run=run, seed=424242, finish_reason="stop", token_count=3
        )
    page = open_page(contractor)
    html = page.goto("/p/alpha/rank/")
    assert html is not None
    answers: list[Response] = []
    page.on("response", lambda response: answers.append(response) if "/api/" in response.url else None)
    page.keyboard.press("a")
    page.keyboard.press("1")
    expect_saved(page)
    work = json.loads(page.locator("#work-data").text_content() or "")
    page.evaluate(
        """async ({ slot, lease_token, project }) => {
            const { work } = await import("/static/hone/js/api.js");
            await work.renew(slot, lease_token);
            await work.next(project, "rank");
        }""",
        work,
    )
    paths = ["/".join(answer.url.split("/")[-3:]) for answer in answers]
    assert paths == [f"{slot.pk}/draft/", f"{slot.pk}/renew/", "rank/next/"]
    for text in [html.text(), page.content(), *(answer.text() for answer in answers)]:
        for word in ("secret-model-name", "secret-path", "424242", '"run"', '"checkpoint"', '"model"', '"seed"'):
            assert word not in text
    assert answers[-1].json()["answers"][0].keys() == {"letter", "text", "html"}


def test_single_keys_can_be_switched_off(open_page: OpenPage, contractor: User, slot: Slot) -> None:
    page = ranking_page(open_page, contractor)
    page.keyboard.press("?")
    page.get_by_label("Single keys act on this page").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    page.reload()
    page.keyboard.press("1")
    expect_order(page, t1="", free="ABCD")


def test_differences_of_two_answers_are_marked(open_page: OpenPage, contractor: User, slot: Slot) -> None:
    page = ranking_page(open_page, contractor)
    slot.refresh_from_db()
    assert slot.order_shown is not None
    for key in ("v", "b", "d"):
        page.keyboard.press(key)
    sides = page.get_by_role("dialog").locator("[data-diff]")
    expect(sides.nth(0).locator("del")).to_have_text(str(slot.order_shown[1]))
    expect(sides.nth(1).locator("ins")).to_have_text(str(slot.order_shown[3]))
    for name, letter in (("First answer", "B"), ("Second answer", "D")):
        expect(page.get_by_role("combobox", name=name)).to_have_value(letter)
        expect(page.get_by_role("region", name=name)).to_be_visible()


def test_a_second_tab_cannot_submit_the_same_item_again(
    open_page: OpenPage, contractor: User, slot: Slot, problems: Problems
) -> None:
    first = ranking_page(open_page, contractor)
    second = first.context.new_page()
    second.goto("/p/alpha/rank/")
    for page, keys in ((first, "b1a2c3d4"), (second, "d1c2b3a4")):
        for key in keys:
            page.keyboard.press(key)
        expect_saved(page)  # a draft that came after the submit would be refused
    first.keyboard.press("Control+Enter")
    expect_next_page(first)
    problems.expect("409 (Conflict)")
    second.keyboard.press("Control+Enter")
    expect(second.locator("[data-already]")).to_contain_text("You have submitted this item already")
    expect(second.get_by_role("button", name="Submit")).to_have_attribute("aria-disabled", "true")
    expect(second.get_by_role("button", name="Skip")).to_be_disabled()
    second.keyboard.press("Enter")  # the way on has the focus
    expect_next_page(second)
    slot.refresh_from_db()
    assert Ranking.objects.get().tiers == [indexes(slot, letter) for letter in "BACD"]
