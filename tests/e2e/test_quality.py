"""The quality page and retraction in a browser: by keyboard, on a phone, and what a contractor sees of it."""

import pytest
from django.test import override_settings
from playwright.sync_api import expect

from hone.accounts.models import Project, User
from labeling import assignment
from labeling.models import QualityReport, Ranking, Retraction, Slot
from labeling.quality import measuring
from tests import factories
from tests.e2e.steps import PHONE, OpenPage, expect_nothing_wide
from tests.labeling.test_quality_report import rank

pytestmark = pytest.mark.browser


@pytest.fixture
def measured(project: Project, contractor: User) -> Project:
    """Two people who ranked 30 items: one as they should, one leaves everything as shown."""
    stamp = factories.make_member(project, username="stamp", display_name="Stanley Stamp")
    factories.make_batch(project, items=30, answers=4, slots=2)
    # Orders are drawn by the key, of which each installation has its own: some leave the agreement too wide to call.
    with override_settings(SECRET_KEY="the same orders everywhere"):
        for _ in range(30):
            rank(contractor, project, [[0], [1], [2], [3]])
            slot = assignment.next_slot(project=project, user=stamp, kind="rank")
            assert slot is not None and slot.order_shown is not None
            rank(stamp, project, [[index] for index in slot.order_shown])
    measuring.measure(QualityReport.objects.create(project=project).pk)
    return project


def test_the_page_answers_first_and_names_whom_to_look_at(
    open_page: OpenPage, measured: Project, reviewer: User
) -> None:
    page = open_page(reviewer)
    page.goto("/p/alpha/quality/")
    expect(page.get_by_role("heading", level=2).first).to_contain_text("people agree")
    expect(page.get_by_text("InstructGPT's labelers: 72.6 ± 1.5 %")).to_be_visible()
    first = page.locator("#people tbody tr").first
    expect(first).to_contain_text("Stanley Stamp")
    expect(first).to_contain_text("Look at this: often leaves the order as shown")
    expect(first).to_contain_text("Look at this: prefers what stands first")
    expect(page.get_by_role("img", name="between").first).to_be_visible()
    first.get_by_role("link", name="Stanley Stamp").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Stanley Stamp")
    expect(page.get_by_role("article")).to_have_count(20)
    expect(page.get_by_role("article").first).to_contain_text("A > B > C > D")
    expect(page.get_by_role("button", name="Retract labels")).to_have_count(0)  # a reviewer only looks


def test_retracting_by_keyboard_and_restoring(open_page: OpenPage, measured: Project, manager: User) -> None:
    stamp = User.objects.get(username="stamp")
    page = open_page(manager)
    page.goto(f"/p/alpha/people/{stamp.pk}/")
    page.get_by_role("button", name="Retract labels").focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Retract labels of Stanley Stamp")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name="Retract labels")).to_be_focused()
    page.keyboard.press("Enter")
    reason = dialog.get_by_label("Reason")
    for _ in range(8):
        if reason.evaluate("box => box === document.activeElement"):
            break
        page.keyboard.press("Tab")
    expect(reason).to_be_focused()
    page.keyboard.type("Left everything as it was")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")  # ask for these again
    expect(dialog.get_by_label("ask for these again")).to_be_checked()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_contain_text("30 rankings with their 180 comparisons leave counts")
    expect(page.get_by_role("main")).to_contain_text("30 places open again for others.")
    assert not Retraction.objects.exists()
    page.get_by_role("button", name="Retract 30 labels").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="30 labels are retracted")).to_be_visible()
    expect(page.get_by_role("row", name="Left everything as it was")).to_contain_text("retracted")
    made = Retraction.objects.get()
    assert (made.rankings, made.slots_opened, made.reason) == (30, 30, "Left everything as it was")
    assert Ranking.objects.filter(retraction=None).count() == 30
    page.get_by_role("button", name="Restore").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="The labels are restored.")).to_be_visible()
    assert Ranking.objects.filter(retraction=None).count() == 60
    assert not Slot.objects.filter(state="open").exists()


def test_ones_own_numbers_on_a_phone(open_page: OpenPage, measured: Project, contractor: User) -> None:
    page = open_page(contractor, viewport=PHONE)
    page.goto("/p/alpha/")
    page.get_by_role("link", name="My work").click()
    expect(page.get_by_role("row", name="Rankings")).to_contain_text("30")
    expect(page.get_by_role("main")).to_contain_text("Of 180 pairs of answers")
    expect(page.get_by_role("main")).not_to_contain_text("Stanley")
    expect(page.get_by_role("link", name="Quality")).to_have_count(0)
    expect_nothing_wide(page)


@pytest.mark.parametrize("path", ["/p/alpha/quality/", "/p/alpha/people/{stamp}/", "/p/alpha/members/"])
def test_the_leads_pages_fit_a_phone(open_page: OpenPage, measured: Project, manager: User, path: str) -> None:
    page = open_page(manager, viewport=PHONE)
    page.goto(path.format(stamp=User.objects.get(username="stamp").pk))
    expect(page.locator("h1")).to_have_count(1)
    expect_nothing_wide(page)
