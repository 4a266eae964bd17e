"""From an invitation to earnings in a browser, pay settings by keyboard alone, and the clock of time in use."""

from decimal import Decimal

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from hone.accounts.models import Membership, Project, User
from labeling import assignment, pay, tasks
from labeling.models import LedgerEntry, PayRate, Ranking, Slot
from tests import factories
from tests.e2e.conftest import Problems
from tests.e2e.steps import PHONE, OpenPage, eventually, expect_nothing_wide, expect_order

pytestmark = pytest.mark.browser


def tab_to(page: Page, name: str) -> None:
    """Presses Tab until the field or button of this label has the focus."""
    label = "document.activeElement.labels?.[0]?.innerText ?? document.activeElement.innerText"
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate(label).startswith(name):
            return
    raise AssertionError(f"{name} was not reached")


def pay_two(project: Project, manager: User) -> None:
    rate = {"per_ranking": Decimal(2), "per_demonstration": Decimal(3)}
    pay.set_rate(project=project, actor=manager, basis="piece", currency="EUR", **rate)


def test_from_an_invitation_to_earnings(
    open_page: OpenPage, project: Project, manager: User, contractor: User, problems: Problems
) -> None:
    factories.make_batch(project, answers=2)
    pay_two(project, manager)
    boss = open_page(manager)
    boss.goto("/p/alpha/members/")
    boss.get_by_role("link", name="Invite by link").click()
    boss.get_by_label("Note").fill("for Nova")
    boss.get_by_role("button", name="Make a link").click()
    expect(boss.get_by_role("status").filter(has_text="It is not shown again")).to_be_visible()
    link = boss.locator("#new-link").inner_text()

    seen: list[str] = []
    page = open_page(None, viewport=PHONE)
    page.on("request", lambda sent: seen.append(sent.url + str(sent.headers)))
    page.goto(link)
    expect(page.get_by_role("heading", level=1)).to_have_text("Join Alpha")
    token = link.split("#")[1]
    assert token not in page.url and not [text for text in seen if token in text]
    expect_nothing_wide(page)
    page.get_by_label("Username").fill("manager")
    page.get_by_label("Display name").fill("Nova Star")
    page.get_by_label("Password", exact=True).fill("lantern-harbour-9")
    page.get_by_label("Password confirmation").fill("lantern-harbour-9")
    problems.expect("400 (Bad Request)")
    page.get_by_role("button", name="Make an account and join").click()
    expect(page.get_by_role("alert")).to_contain_text("This name is taken")
    expect(page.get_by_label("Display name")).to_have_value("Nova Star")
    page.get_by_label("Username").fill("nova")
    page.get_by_label("Password", exact=True).fill("lantern-harbour-9")
    page.get_by_label("Password confirmation").fill("lantern-harbour-9")
    page.get_by_role("button", name="Make an account and join").click()
    expect(page.get_by_role("status").filter(has_text="Welcome")).to_be_visible()
    nova = User.objects.get(username="nova")
    assert Membership.objects.get(user=nova).role == "contractor"

    page.set_viewport_size({"width": 1280, "height": 800})
    page.get_by_role("link", name="Start ranking").click()
    page.wait_for_url("**/rank/", wait_until="load")
    for key in ("b", "1", "a", "2"):
        page.keyboard.press(key)
    expect_order(page, t1="B", t2="A")
    page.keyboard.press("Control+Enter")
    # The page goes on by itself after the answer to a submit: a way to elsewhere would cross that one.
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing to rank right now")
    label = Ranking.objects.get(author=nova)
    # The seconds in which it may be taken back are over.
    Slot.objects.filter(final_at__isnull=False).update(final_at=timezone.now())
    tasks.book_earnings()
    page.goto("/")
    page.get_by_label("Menu of Nova Star").click()
    page.get_by_role("link", name="My work").click()
    expect(page.get_by_role("row", name="Alpha")).to_contain_text("2.00 EUR")
    page.get_by_role("link", name="Alpha").click()
    expect(page.get_by_role("region", name="Earnings")).to_contain_text(f"ranking {label.pk}")
    boss.goto("/p/alpha/invitations/")
    expect(boss.get_by_role("row", name="for Nova")).to_contain_text("1 of 1")
    expect(boss.get_by_role("row", name="for Nova")).to_contain_text("Nova Star")


def test_pay_is_set_by_keyboard_alone(open_page: OpenPage, project: Project, manager: User) -> None:
    page = open_page(manager)
    page.goto("/p/alpha/settings/pay/")
    tab_to(page, "Paid")
    page.keyboard.type("By the hour")
    tab_to(page, "Currency")
    page.keyboard.type("eur")
    page.keyboard.press("Enter")
    expect(page.get_by_label("For an hour in use")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_role("alert")).to_contain_text("Say what an hour is paid.")
    expect(page.get_by_label("Currency")).to_have_value("eur")
    tab_to(page, "For an hour in use")
    page.keyboard.type("18.50")
    tab_to(page, "At most this many seconds")
    page.keyboard.type("900")
    tab_to(page, "Save the rate")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="The rate is saved.")).to_be_visible()
    expect(page.get_by_role("row", name="everybody")).to_contain_text(
        "18.50 EUR for an hour in use, at most 900 seconds"
    )
    rate = PayRate.objects.get()
    assert (rate.basis, rate.currency, rate.per_hour, rate.seconds_cap) == ("hourly", "EUR", Decimal("18.5"), 900)


def test_a_period_is_closed_and_an_entry_corrected(
    open_page: OpenPage, project: Project, manager: User, contractor: User
) -> None:
    pay_two(project, manager)
    factories.make_ranking(contractor, project, [[0], [1]])
    tasks.book_earnings()
    page = open_page(manager)
    page.goto("/p/alpha/pay/")
    page.get_by_role("button", name="Write the payouts").click()
    expect(page.get_by_role("status").filter(has_text="1 payout is written.")).to_be_visible()
    page.get_by_role("row", name="contractor").first.get_by_role("link").click()
    page.get_by_role("link", name="Correct no.").last.click()
    page.get_by_label("Amount to add").fill("-0.50")
    page.get_by_label("Reason").first.fill("Half of it was a copy")
    page.get_by_role("button", name="Write the correction").click()
    expect(page.get_by_role("status").filter(has_text="The correction is written.")).to_be_visible()
    expect(page.get_by_role("row", name="Half of it was a copy")).to_contain_text("-0.50 EUR")
    kinds = list(LedgerEntry.objects.order_by("id").values_list("kind", "amount"))
    assert kinds == [("earned", 2), ("payout", -2), ("correction", Decimal("-0.5"))]


class TestClock:
    def shown(self, page: Page) -> str:
        return page.locator("[data-clock]").inner_text()

    def run(self, page: Page, seconds: int) -> None:
        page.clock.run_for(seconds * 1000)

    def test_it_stops_when_nobody_touches_the_page(self, write_page: Page) -> None:
        page = write_page
        page.clock.pause_at(page.evaluate("Date.now() + 1000"))
        page.mouse.move(300, 300)
        start = self.shown(page)
        self.run(page, 30)
        working = self.shown(page)
        assert start < working
        self.run(page, 600)
        assert "00:01:00" <= self.shown(page) <= "00:01:05"
        page.keyboard.press("Shift")  # back at work
        self.run(page, 10)
        assert "00:01:09" <= self.shown(page) <= "00:01:16"

    def test_it_stops_while_the_page_is_hidden(self, write_page: Page) -> None:
        page = write_page
        page.clock.pause_at(page.evaluate("Date.now() + 1000"))
        page.mouse.move(300, 300)
        before = self.shown(page)
        page.evaluate("Object.defineProperty(document, 'visibilityState', { value: 'hidden', configurable: true })")
        self.run(page, 50)
        assert self.shown(page) == before

    def test_a_machines_sleep_does_not_count(self, write_page: Page) -> None:
        page = write_page
        page.clock.pause_at(page.evaluate("Date.now() + 1000"))
        page.mouse.move(300, 300)
        # All timers fire at most once and the clocks jump, as after the lid was closed.
        page.clock.fast_forward(45_000)
        assert self.shown(page) <= "00:00:04"
        page.clock.fast_forward(8 * 3_600_000)
        page.mouse.move(310, 310)
        self.run(page, 5)
        assert self.shown(page) <= "00:00:12"

    def test_it_goes_on_after_a_reload_with_and_without_a_draft(self, write_page: Page) -> None:
        page = write_page
        page.clock.pause_at(page.evaluate("Date.now() + 1000"))
        page.mouse.move(300, 300)
        self.run(page, 20)
        before = self.shown(page)
        page.reload()
        assert before > "00:00:15" and self.shown(page) >= before
        page.get_by_label("Response").first.fill("Because")
        self.run(page, 5)
        eventually(page, lambda: page.locator(".saved").inner_text().startswith("Saved"))
        page.evaluate("sessionStorage.clear()")  # another tab: the draft alone remembers
        page.reload()
        assert self.shown(page) >= before


def test_who_is_taken_out_is_told_so_at_the_next_page(
    open_page: OpenPage, project: Project, manager: User, contractor: User, problems: Problems
) -> None:
    factories.make_batch(project)
    page = open_page(contractor)
    page.goto("/p/alpha/rank/")
    slot = Slot.objects.get(state="leased")
    boss = open_page(manager)
    boss.goto("/p/alpha/members/")
    boss.get_by_role("row", name="contractor").get_by_role("button", name="Remove").click()
    expect(boss.get_by_role("row", name="contractor")).to_contain_text("left")
    slot.refresh_from_db()
    assert slot.state == "open" and assignment.next_slot(project=project, user=manager, kind="rank") == slot
    boss.get_by_role("row", name="manager").get_by_role("button", name="Remove").click()
    expect(boss.get_by_role("status").filter(has_text="last active manager")).to_be_visible()
    problems.expect("404 (Not Found)")
    answer = page.goto("/p/alpha/rank/")
    assert answer is not None and answer.status == 404
