"""Reviewing in a browser: return and correct, two reviewers at once, by keyboard alone, on a phone."""

from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect
from rest_framework.test import APIClient

from hone.accounts.models import Project, User
from labeling.models import Demonstration, Review, ReviewComment, ReviewRules, Slot
from labeling.review import blind
from tests import factories
from tests.e2e.conftest import Problems
from tests.e2e.steps import PHONE, OpenPage, eventually, expect_nothing_wide, expect_saved

pytestmark = pytest.mark.browser

TEXT = "Water boils at 90 degrees.\n\nAdd the 👩‍🍳 rice and wait."


@pytest.fixture(autouse=True)
def all_reviewed(project: Project) -> None:
    ReviewRules.objects.create(project=project, demonstrations_percent=100, rankings_percent=100)


def select(page: Page, words: str) -> None:
    """As a drag of the mouse over these words does."""
    page.evaluate(
        """(words) => {
            for (const block of document.querySelectorAll("[data-block]")) {
                const walker = document.createTreeWalker(block, NodeFilter.SHOW_TEXT);
                while (walker.nextNode()) {
                    const at = walker.currentNode.data.indexOf(words);
                    if (at < 0) continue;
                    const range = new Range();
                    range.setStart(walker.currentNode, at);
                    range.setEnd(walker.currentNode, at + words.length);
                    getSelection().removeAllRanges();
                    getSelection().addRange(range);
                    return;
                }
            }
            throw new Error(`not on the page: ${words}`);
        }""",
        words,
    )


def test_returned_work_comes_back_first_with_its_comments_and_passes_at_the_second_look(
    open_page: OpenPage, project: Project, manager: User, contractor: User, reviewer: User
) -> None:
    factories.make_guideline(project)
    made = factories.make_demonstration(contractor, project, TEXT, note="Not sure about the rice")
    factories.make_batch(project, "write")  # something new, which has to wait

    page = open_page(reviewer)
    page.goto("/p/alpha/")
    page.get_by_role("main").get_by_role("link", name="Start reviewing").click()
    expect(page.get_by_role("main")).to_contain_text(
        f"by {blind.pseudonym(project_id=project.pk, user_id=contractor.pk)}"
    )
    expect(page.get_by_role("main")).to_contain_text("Not sure about the rice")
    expect(page.get_by_role("complementary", name="Guideline")).to_be_visible()
    select(page, "90 degrees")
    page.get_by_role("button", name="Comment c", exact=True).click()
    page.keyboard.type("At sea level it is 100")
    select(page, "👩‍🍳 rice")
    page.get_by_role("button", name="Comment c", exact=True).click()
    page.keyboard.type("Which rice?")
    expect(page.locator("[data-block] mark")).to_have_text(["90 degrees", "👩‍🍳 rice"])
    expect_saved(page)
    expect(page.locator("[data-saved-said]")).to_contain_text("Saved")  # and read out
    page.reload()  # nothing is lost
    expect(page.get_by_role("textbox", name="Comment 2")).to_have_value("Which rice?")
    page.get_by_label("General remark").fill("Nearly there")
    page.get_by_role("button", name="Return").click()
    expect(page.get_by_role("heading", name="Nothing to review right now")).to_be_visible()
    rows = [(row.quote, row.body) for row in ReviewComment.objects.order_by("id")]
    assert rows == [("90 degrees", "At sea level it is 100"), ("👩‍🍳 rice", "Which rice?")]

    author = open_page(contractor)
    author.goto("/p/alpha/")
    expect(author.get_by_role("main")).to_contain_text("1 label was returned to you with comments")
    author.get_by_role("link", name="Correct what you wrote").click()
    back = author.locator("[data-returned]")
    expect(back).to_contain_text("Nearly there")
    expect(back.locator("mark")).to_have_text(["90 degrees", "👩‍🍳 rice"])
    expect(back).to_contain_text("At sea level it is 100")
    editor = author.get_by_role("textbox", name="Response")
    expect(editor).to_have_value(TEXT)
    editor.fill(TEXT.replace("90", "100"))
    author.get_by_role("button", name="Submit").click()
    expect(author.locator("[data-returned]")).to_have_count(0)  # the new item
    expect(author.get_by_role("textbox", name="Response")).to_have_value("")

    eventually(author, lambda: Demonstration.objects.filter(retraction=None).exists())
    # The author cannot take it back any more.
    Slot.objects.filter(final_at__isnull=False).update(final_at=timezone.now())
    page.get_by_role("link", name="Look again").click()
    expect(page.get_by_role("main")).to_contain_text("round 2")
    expect(page.get_by_role("region", name="Returned before with these words")).to_contain_text("Which rice?")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("heading", name="Nothing to review right now")).to_be_visible()
    assert list(Review.objects.order_by("id").values_list("state", flat=True)) == ["resubmitted", "approved"]

    api = APIClient()
    api.force_authenticate(manager)
    [row] = api.get("/api/v1/projects/alpha/demonstrations/").json()["results"]
    assert row["id"] != made.pk and "100 degrees" in row["messages"][-1]["content"]
    assert Demonstration.objects.count() == 2


def test_a_ranking_goes_back_with_a_comment_under_its_answer(
    open_page: OpenPage, project: Project, contractor: User, reviewer: User
) -> None:
    made = factories.make_ranking(contractor, project, [[1], [0]], [2])
    page = open_page(reviewer)
    page.goto("/p/alpha/review/")
    expect(page.get_by_role("region", name="Order given")).to_contain_text(">")
    select(page, "Answer 0")
    page.keyboard.press("c")
    page.keyboard.type("This one is best")
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    expect(page.get_by_role("heading", name="Nothing to review right now")).to_be_visible()

    author = open_page(contractor)
    author.goto("/p/alpha/rank/")
    letter = "ABC"[made.order_shown.index(0)]
    card = author.get_by_role("article", name=f"Answer {letter}")
    expect(card).to_contain_text("This one is best")
    expect(card.locator("[data-place]")).to_have_text("tier 2")  # as they had placed it
    card.get_by_role("button", name="Tier 1").click()
    author.get_by_role("button", name="Submit").click()
    eventually(author, lambda: Review.objects.filter(round=2).exists())
    again = Review.objects.get(round=2)
    assert again.ranking is not None and again.ranking.tiers == [[0, 1]]


def test_the_reviewer_whose_time_ran_out_is_told_and_the_other_goes_on(
    open_page: OpenPage, project: Project, contractor: User, reviewer: User, problems: Problems
) -> None:
    second = factories.make_member(project, "reviewer", username="second")
    factories.make_demonstration(contractor, project, TEXT)
    slow, quick = open_page(reviewer), open_page(second)
    slow.goto("/p/alpha/review/")
    quick.goto("/p/alpha/review/")
    expect(quick.get_by_role("main")).to_contain_text("One label is with another reviewer at this moment")
    Review.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    quick.get_by_role("link", name="Look again").click()
    expect(quick.get_by_role("button", name="Approve")).to_be_visible()
    problems.expect("409 (")
    slow.get_by_role("button", name="Approve").click()
    expect(slow.get_by_role("main")).to_contain_text("You no longer hold this review")
    expect(slow.get_by_role("button", name="Approve")).to_be_disabled()
    assert Review.objects.get().reviewer == second
    quick.get_by_role("button", name="Approve").click()
    expect(quick.get_by_role("heading", name="Nothing to review right now")).to_be_visible()
    row = Review.objects.get()
    assert row.state == "approved" and row.reviewer == second
    slow.get_by_role("button", name="Next label").click()
    expect(slow.get_by_role("heading", name="Nothing to review right now")).to_be_visible()


def test_by_keyboard_alone(open_page: OpenPage, project: Project, contractor: User, reviewer: User) -> None:
    for _ in range(3):
        factories.make_demonstration(contractor, project, TEXT)
    page = open_page(reviewer)
    page.goto("/p/alpha/review/")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys of this page")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("r")  # nothing to say yet
    remark = page.get_by_label("General remark")
    expect(remark).to_be_focused()
    expect(page.get_by_text("Say what to change: a comment at the text, or a remark.")).to_be_visible()
    page.keyboard.press("Escape")  # into the text
    expect(page.locator("[data-block]").first).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("option", selected=True)).to_have_text("Add the 👩‍🍳 rice and wait.")
    page.keyboard.press("c")
    expect(page.get_by_role("textbox", name="Comment 1")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("r")  # the comment has no words
    expect(page.get_by_role("textbox", name="Comment 1")).to_be_focused()
    expect(page.get_by_text("This comment is empty")).to_be_visible()
    page.keyboard.type("arxc How long?")
    page.keyboard.press("Escape")
    expect(page.get_by_role("option", selected=True)).to_be_focused()
    page.keyboard.press("r")
    eventually(page, lambda: Review.objects.filter(state="returned").exists())
    row = ReviewComment.objects.get()
    assert (row.text, row.quote, row.body) == (1, "Add the 👩‍🍳 rice and wait.", "arxc How long?")
    expect(page.get_by_role("textbox", name="Comment 1")).to_have_count(0)
    page.keyboard.press("x")
    dialog = page.get_by_role("dialog", name="Reject this label")
    expect(dialog).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    eventually(page, lambda: Review.objects.filter(state="rejected").exists())
    assert Review.objects.get(state="rejected").reject_reason == "off_task"
    expect(page.get_by_role("main")).to_contain_text("1 to review")
    page.keyboard.press("a")
    expect(page.get_by_role("heading", name="Nothing to review right now")).to_be_visible()
    assert Review.objects.filter(state="approved").count() == 1


def test_what_came_back_stands_on_ones_own_page(
    open_page: OpenPage, project: Project, contractor: User, reviewer: User
) -> None:
    found = factories.make_review(contractor, project, reviewer, TEXT)
    comments = [{"message": 1, "start": 0, "end": 5, "body": "Tap water?"}]
    factories.give_verdict(found, reviewer, "reject", reason="wrong", remark="It is 100", comments=comments)
    page = open_page(contractor, viewport=PHONE)
    page.goto("/p/alpha/me/")
    expect(page.get_by_role("row", name="rejected")).to_contain_text("It is wrong or not true")
    expect_nothing_wide(page)
    page.get_by_role("row", name="rejected").get_by_role("link").click()
    expect(page.locator("mark")).to_have_text("Water")
    expect(page.get_by_role("main")).to_contain_text("Tap water?")
    expect(page.get_by_role("main")).not_to_contain_text("reviewer" + str(reviewer.pk))
    expect_nothing_wide(page)


@pytest.mark.parametrize("path", ["review/", "reviews/", "settings/review/"])
def test_the_pages_fit_a_phone(
    open_page: OpenPage, project: Project, contractor: User, manager: User, path: str
) -> None:
    word = "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichen" * 3
    factories.make_demonstration(contractor, project, f"{word}\n\n{word} {word}")
    page = open_page(manager, viewport=PHONE)
    page.goto(f"/p/alpha/{path}")
    expect(page.locator("h1")).to_have_count(1)
    expect_nothing_wide(page)
