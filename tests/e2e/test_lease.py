"""Leases that end and connections that break: the page says so, and nothing that was entered is lost."""

import pytest
from playwright.sync_api import Page, Route, expect

from hone.accounts.models import Project, User
from labeling.models import Demonstration, Draft, Ranking, Slot
from tests import factories
from tests.e2e.conftest import Problems
from tests.e2e.steps import (
    OpenPage,
    eventually,
    expect_order,
    expect_saved,
    expire,
    indexes,
    lose,
)

pytestmark = pytest.mark.browser

TEXT = "An answer that took an hour."
CONFLICT = "409 (Conflict)"
OFFLINE = "ERR_INTERNET_DISCONNECTED"
UNKNOWN = "We do not know whether it arrived. Press Submit again: it is never counted twice."


def write_on_the_last(open_page: OpenPage, user: User) -> tuple[Page, Slot]:
    """A page with a text on the slot that the user now holds."""
    page = open_page(user)
    page.goto("/p/alpha/write/")
    page.get_by_label("Response").fill(TEXT)
    return page, Slot.objects.get(holder=user)


def expect_lost(page: Page) -> None:
    expect(page.get_by_text("Your reservation of this item has ended.")).to_be_visible()
    expect(page.get_by_text("What you did is kept as your draft. Nothing was submitted.")).to_be_visible()
    expect(page.get_by_role("button", name="Take it up again")).to_be_focused()
    expect(page.get_by_role("button", name="Skip")).to_be_disabled()


def test_a_lost_lease_is_said_and_the_text_is_kept_as_a_draft(
    open_page: OpenPage, project: Project, contractor: User, reviewer: User, problems: Problems
) -> None:
    factories.make_batch(project, "write")
    page, slot = write_on_the_last(open_page, contractor)
    lose(slot, to=reviewer)
    problems.expect(CONFLICT)
    page.keyboard.press("Control+Enter")
    expect_lost(page)
    expect(page.get_by_label("Response")).to_have_value(TEXT)
    expect(page.get_by_role("button", name="Submit")).to_be_disabled()
    assert not Demonstration.objects.exists()
    assert Draft.objects.get(author=contractor).content["messages"][-1]["content"] == TEXT
    page.get_by_role("button", name="Take it up again").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing to write right now")
    expire(slot)  # the other gives up, and the draft is where it was
    page.get_by_role("link", name="Look again").click()
    expect(page.get_by_label("Response")).to_have_value(TEXT)
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing to write right now")
    assert Demonstration.objects.get().messages[-1]["content"] == TEXT


def test_after_a_lost_lease_the_next_item_opens(
    open_page: OpenPage, project: Project, contractor: User, reviewer: User, problems: Problems
) -> None:
    factories.make_batch(project, items=2)
    page = open_page(contractor)
    page.goto("/p/alpha/rank/")
    page.keyboard.press("b")
    page.keyboard.press("1")
    expect_saved(page)
    slot = Slot.objects.select_related("item__prompt").get(holder=contractor)
    lose_first(slot, reviewer)
    problems.expect(CONFLICT)
    for key in ("a", "2", "c", "3", "d", "4", "Control+Enter"):
        page.keyboard.press(key)
    expect_lost(page)
    page.keyboard.press("a")
    page.keyboard.press("x")  # nothing more is taken in
    expect_order(page, t1="B", t2="A", t3="C", t4="D", x="")
    page.get_by_role("button", name="Next item").click()
    expect_order(page, t1="", free="ABCD")
    other = Slot.objects.select_related("item__prompt").get(holder=contractor)
    assert other.item != slot.item and not Ranking.objects.exists()
    expect(page.get_by_role("region", name="Conversation")).to_contain_text(other.item.prompt.preview)
    kept = Draft.objects.get(item=slot.item, author=contractor).content
    assert [letter for tier in kept["tiers"] for letter in tier] == ["B", "A", "C", "D"]


def lose_first(slot: Slot, to: User) -> None:
    """Like `lose`, where there are other slots that the other person could be handed."""
    Slot.objects.filter(pk=slot.pk).update(priority=9)
    lose(slot, to=to)


def test_a_lease_that_ran_out_can_be_taken_up_again_with_the_text(
    open_page: OpenPage, project: Project, contractor: User, problems: Problems
) -> None:
    factories.make_batch(project, "write")
    page, slot = write_on_the_last(open_page, contractor)
    expire(slot)
    problems.expect(CONFLICT)
    page.get_by_role("button", name="Submit").click()
    expect_lost(page)
    assert not Demonstration.objects.exists()
    page.get_by_role("button", name="Take it up again").click()
    expect(page.get_by_text("Your reservation of this item has ended.")).to_be_hidden()
    expect(page.get_by_label("Response")).to_have_value(TEXT)
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing to write right now")
    assert Demonstration.objects.get().messages[-1]["content"] == TEXT
    assert not Draft.objects.exists()


def test_a_ranking_whose_lease_ran_out_is_taken_up_and_submitted(
    open_page: OpenPage, project: Project, contractor: User, problems: Problems
) -> None:
    factories.make_batch(project)
    page = open_page(contractor)
    page.goto("/p/alpha/rank/")
    for key in ("d", "1", "c", "1", "b", "2", "a", "x"):
        page.keyboard.press(key)
    slot = Slot.objects.get()
    expire(slot)
    problems.expect(CONFLICT)
    page.keyboard.press("Control+Enter")
    expect_lost(page)
    expect_order(page, t1="CD", t2="B", x="A", free="")
    page.keyboard.press("Enter")  # the focus is on "Take it up again"
    expect(page.get_by_text("Your reservation of this item has ended.")).to_be_hidden()
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing to rank right now")
    ranking = Ranking.objects.get()
    assert ranking.tiers == [indexes(slot, "CD"), indexes(slot, "B")]
    assert ranking.unacceptable == indexes(slot, "A")


def test_the_open_page_renews_its_lease(open_page: OpenPage, project: Project, contractor: User) -> None:
    factories.make_batch(project, "write")
    page = open_page(contractor)
    page.clock.install()
    page.goto("/p/alpha/write/")
    before = Slot.objects.get().lease_expires_at
    page.clock.fast_forward(project.lease_seconds * 1000 // 2)
    after = eventually(page, lambda: Slot.objects.filter(lease_expires_at__gt=before).first())
    assert after.holder == contractor


def test_the_page_notices_a_lost_lease_by_itself(
    open_page: OpenPage, project: Project, contractor: User, reviewer: User, problems: Problems
) -> None:
    factories.make_batch(project, "write")
    page = open_page(contractor)
    page.clock.install()
    page.goto("/p/alpha/write/")
    page.get_by_label("Response").fill(TEXT)
    lose(Slot.objects.get(), to=reviewer)
    problems.expect(CONFLICT)
    page.clock.fast_forward(project.lease_seconds * 1000 // 2)
    expect_lost(page)
    expect(page.get_by_label("Response")).to_have_value(TEXT)
    draft = Draft.objects.get(author=contractor)
    assert draft.content["messages"] == [{"role": "assistant", "content": TEXT}]


def test_offline_the_draft_waits_and_is_saved_when_the_connection_is_back(
    open_page: OpenPage, project: Project, contractor: User, problems: Problems
) -> None:
    factories.make_batch(project, "write")
    page = open_page(contractor)
    page.goto("/p/alpha/write/")
    problems.expect(OFFLINE)
    page.context.set_offline(True)
    page.get_by_label("Response").fill(TEXT)
    expect(page.locator(".saved")).to_have_text("Not saved: offline")
    expect(page.get_by_text("No connection to the server.")).to_be_visible()
    assert not Draft.objects.exists()
    page.context.set_offline(False)
    expect_saved(page)
    expect(page.get_by_text("No connection to the server.")).to_be_hidden()
    assert Draft.objects.get().content["messages"] == [{"role": "assistant", "content": TEXT}]


def test_a_submit_without_a_connection_can_be_sent_again(
    open_page: OpenPage, project: Project, contractor: User, problems: Problems
) -> None:
    factories.make_batch(project, "write")
    page, _slot = write_on_the_last(open_page, contractor)
    expect_saved(page)
    problems.expect(OFFLINE)
    page.context.set_offline(True)
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("alert").filter(has_text=UNKNOWN)).to_be_visible()
    expect(page.get_by_text("No connection to the server.")).to_be_visible()
    expect(page.get_by_label("Response")).to_have_value(TEXT)
    assert not Demonstration.objects.exists()
    page.context.set_offline(False)
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing to write right now")
    assert Demonstration.objects.get().messages[-1]["content"] == TEXT


def test_a_submit_whose_answer_was_lost_makes_one_row(
    open_page: OpenPage, project: Project, contractor: User, problems: Problems
) -> None:
    factories.make_batch(project, "write")
    page = open_page(contractor)
    page.clock.install()
    page.goto("/p/alpha/write/")
    page.get_by_label("Response").fill(TEXT)
    lose_the_answer_of_a_submit(page, problems)
    drafts: list[str] = []
    page.on("request", lambda request: drafts.append(request.url) if request.url.endswith("/draft/") else None)
    page.evaluate("dispatchEvent(new Event('online'))")  # would save the draft, were it one
    page.clock.run_for(2000)  # longer than a change waits
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing to write right now")
    assert not drafts and Demonstration.objects.count() == 1


def lose_the_answer_of_a_submit(page: Page, problems: Problems) -> None:
    """The label is made, and the page never hears of it."""
    # Asked about the slot meanwhile, the server says that it is gone.
    problems.expect("ERR_CONNECTION_RESET", CONFLICT)
    lost: list[int] = []

    def lose_it(route: Route) -> None:
        lost.append(route.fetch().status)
        route.abort("connectionreset")

    page.route("**/submit/", lose_it, times=1)
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("alert").filter(has_text=UNKNOWN)).to_be_visible()
    assert lost == [201]


def test_another_text_after_a_lost_answer_is_said_not_to_count(
    open_page: OpenPage, project: Project, contractor: User, problems: Problems
) -> None:
    factories.make_batch(project, "write")
    page, _slot = write_on_the_last(open_page, contractor)
    lose_the_answer_of_a_submit(page, problems)
    problems.expect("400 (Bad Request)")  # the better text as a draft of what is submitted
    page.get_by_label("Response").fill("A better answer.")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("[data-already]")).to_contain_text("That answer stands; this one is not kept.")
    expect(page.get_by_label("Response")).to_have_value("A better answer.")
    expect(page.get_by_role("button", name="Submit")).to_be_disabled()
    expect(page.get_by_role("button", name="Skip")).to_be_disabled()
    assert Demonstration.objects.get().messages[-1]["content"] == TEXT


@pytest.mark.parametrize("how", ["cut off", "never comes"])
def test_a_submit_without_a_whole_answer_is_sent_again_and_makes_one_row(
    open_page: OpenPage, project: Project, contractor: User, problems: Problems, how: str
) -> None:
    factories.make_batch(project, "write")
    page = open_page(contractor)
    if how == "never comes":
        page.add_init_script("AbortSignal.timeout = ((of) => () => of.call(AbortSignal, 300))(AbortSignal.timeout)")
    page.goto("/p/alpha/write/")
    page.get_by_label("Response").fill(TEXT)
    expect_saved(page)
    done: list[int] = []

    def spoil(route: Route) -> None:
        answer = route.fetch()
        done.append(answer.status)
        if how == "cut off":
            route.fulfill(status=answer.status, body=answer.body()[:9])

    problems.expect("ERR_ABORTED", CONFLICT)
    page.route("**/submit/", spoil, times=1)
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("alert").filter(has_text=UNKNOWN)).to_be_visible()
    for _ in range(500):  # the page waits 0.3 s for the server, which may take longer
        if done:
            break
        page.wait_for_timeout(20)
    assert done == [201]
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing to write right now")
    assert Demonstration.objects.count() == 1


@pytest.mark.parametrize("key", ["j", "v", "?"])
def test_a_lost_lease_is_said_over_an_open_dialog_too(
    open_page: OpenPage, project: Project, contractor: User, reviewer: User, problems: Problems, key: str
) -> None:
    factories.make_batch(project)
    page = open_page(contractor)
    page.goto("/p/alpha/rank/")
    page.keyboard.press(key)
    expect(page.locator("dialog[open]")).to_have_count(1)
    lose(Slot.objects.get(), to=reviewer)
    problems.expect(CONFLICT)
    page.evaluate("dispatchEvent(new Event('online'))")
    expect(page.get_by_role("button", name="Take it up again")).to_be_focused()
    expect(page.locator("dialog[open]")).to_have_count(0)


def test_after_a_lost_answer_the_ended_lease_is_no_news(
    open_page: OpenPage, project: Project, contractor: User, problems: Problems
) -> None:
    factories.make_batch(project, "write")
    page, _slot = write_on_the_last(open_page, contractor)
    lose_the_answer_of_a_submit(page, problems)
    with page.expect_response("**/renew/") as renewed:
        page.evaluate("dispatchEvent(new Event('online'))")
    assert renewed.value.status == 409
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing to write right now")
    assert Demonstration.objects.count() == 1


def test_a_draft_under_way_lands_before_the_submit(open_page: OpenPage, project: Project, contractor: User) -> None:
    factories.make_batch(project, "write")
    page = open_page(contractor)
    page.goto("/p/alpha/write/")
    held: list[Route] = []
    page.route("**/draft/", lambda route: held.append(route), times=1)
    page.get_by_label("Response").fill(TEXT)
    eventually(page, lambda: held)
    submits: list[str] = []
    page.on("request", lambda request: submits.append(request.url) if request.url.endswith("/submit/") else None)
    submit = page.get_by_role("button", name="Submit")
    submit.click()
    expect(submit).to_have_attribute("data-busy", "")
    assert not submits
    held[0].continue_()
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing to write right now")
    assert len(submits) == 1 and Demonstration.objects.count() == 1 and not Draft.objects.exists()


def test_a_renewal_under_way_lands_before_the_submit_and_none_follows_it(
    open_page: OpenPage, project: Project, contractor: User
) -> None:
    factories.make_batch(project, "write")
    page, _slot = write_on_the_last(open_page, contractor)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url.rstrip("/").rsplit("/", 1)[-1]))
    held: list[Route] = []
    page.route("**/renew/", lambda route: held.append(route), times=1)
    page.evaluate("dispatchEvent(new Event('online'))")
    eventually(page, lambda: held)
    page.get_by_role("button", name="Submit").click()
    page.evaluate("dispatchEvent(new Event('online'))")
    page.wait_for_timeout(100)
    assert "submit" not in sent
    held[0].continue_()
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing to write right now")
    assert sent.count("renew") == 1 and sent.index("renew") < sent.index("submit")
    assert Demonstration.objects.count() == 1


def test_a_tab_that_renews_after_another_submitted_says_so(
    open_page: OpenPage, project: Project, contractor: User, problems: Problems
) -> None:
    factories.make_batch(project, "write")
    page, _slot = write_on_the_last(open_page, contractor)
    second = page.context.new_page()
    second.goto("/p/alpha/write/")
    expect(second.get_by_label("Response")).to_be_visible()
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing to write right now")
    problems.expect(CONFLICT)
    second.evaluate("dispatchEvent(new Event('online'))")
    expect(second.get_by_text("You have submitted this item already")).to_be_visible()
    expect(second.get_by_text("Your reservation of this item has ended.")).to_be_hidden()
