"""The managers' pages: what is done there is in the rows, and on the contractors' pages."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import Page, Route, expect

from hone.accounts.models import Membership, Project, User
from labeling.models import Comparison, Guideline, Prompt
from tests import factories
from tests.e2e.conftest import Problems
from tests.e2e.steps import OpenPage, eventually
from training.models import Checkpoint

pytestmark = pytest.mark.browser

SPEC = "# Spec\n\n## Truth\n\nNever invent a **source**.\n\n## Tone\n\nBe kind."


def test_a_published_guideline_is_shown_beside_the_work(
    open_page: OpenPage, project: Project, manager: User, contractor: User
) -> None:
    factories.make_batch(project, "write")
    factories.make_batch(project, "rank")
    page = open_page(manager)
    page.goto("/p/alpha/guideline/")
    page.get_by_role("link", name="Write the guideline").click()
    page.get_by_label("Title").fill("House rules")
    page.get_by_label("Text").fill(SPEC)
    expect(page.get_by_role("region", name="Preview").locator("strong")).to_have_text("source")
    page.get_by_role("button", name="Save draft").click()
    expect(page.get_by_role("status").filter(has_text="The draft is saved.")).to_be_visible()
    assert Guideline.objects.get().published_at is None
    page.get_by_role("button", name="Publish").click()
    expect(page.get_by_role("status").filter(has_text="Version 1 is published.")).to_be_visible()
    expect(page.get_by_role("heading", name="House rules", level=1)).to_be_visible()
    published = Guideline.objects.get()
    assert published.published_by == manager and published.body.splitlines() == SPEC.splitlines()

    work = open_page(contractor)
    work.goto("/p/alpha/write/")
    beside = work.get_by_role("complementary", name="Guideline")
    expect(beside).to_contain_text("Never invent a source.")
    expect(beside.get_by_role("link", name="version 1")).to_be_visible()
    beside.get_by_role("searchbox").fill("kind")
    expect(beside).to_contain_text("1 section found")
    expect(beside.get_by_text("Never invent")).to_be_hidden()
    work.goto("/p/alpha/rank/")
    expect(beside).to_be_hidden()
    work.keyboard.press("g")
    expect(beside).to_contain_text("Never invent a source.")
    work.keyboard.press("Escape")
    expect(beside).to_be_hidden()


def test_a_new_draft_of_a_guideline_leaves_the_published_one(
    open_page: OpenPage, project: Project, manager: User
) -> None:
    factories.make_guideline(project, body=SPEC)
    page = open_page(manager)
    page.goto("/p/alpha/guideline/edit/")
    expect(page.get_by_label("Text")).to_have_value(SPEC)
    page.get_by_label("Text").fill("Something new")
    page.get_by_role("button", name="Save draft").click()
    expect(page.get_by_text("draft of version 2")).to_be_visible()
    page.goto("/p/alpha/guideline/")
    expect(page.get_by_text("Never invent a source.")).to_be_visible()
    assert list(Guideline.objects.order_by("number").values_list("body", flat=True)) == [SPEC, "Something new"]


def upload(page: Page, name: str, lines: list[Any], kind: str = "Prompts") -> None:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    page.get_by_label("File").set_input_files({"name": name, "mimeType": "application/jsonl", "buffer": text.encode()})
    page.get_by_label("What it holds").select_option(label=kind)
    page.get_by_role("button", name="Import").click()


def test_a_malformed_file_is_refused_with_file_line_and_reason(
    open_page: OpenPage, project: Project, manager: User, problems: Problems
) -> None:
    page = open_page(manager)
    page.goto("/p/alpha/import/")
    problems.expect("400 (Bad Request)")
    upload(page, "broken.jsonl", [{"prompt": "Good"}, '{"prompt": "cut o', {"messages": [{"role": "user"}]}])
    refused = page.get_by_role("alert")
    expect(refused.get_by_role("heading")).to_have_text("2 lines are wrong; nothing was imported · broken.jsonl")
    rows = refused.locator("tbody tr")
    expect(rows.nth(0)).to_contain_text("2")
    expect(rows.nth(0)).to_contain_text("not valid JSON")
    expect(rows.nth(1)).to_contain_text("3")
    expect(rows.nth(1)).to_contain_text("message 1 needs a role and a text as content.")
    assert not Prompt.objects.exists()


def test_where_the_search_for_wrong_lines_ended_early_their_number_is_a_least(
    open_page: OpenPage, project: Project, manager: User, problems: Problems
) -> None:
    page = open_page(manager)
    page.goto("/p/alpha/import/")
    problems.expect("400 (Bad Request)")
    upload(page, "broken.jsonl", ["{"] * 60)
    expect(page.get_by_role("alert").get_by_role("heading")).to_have_text(
        "At least 50 lines are wrong; nothing was imported · broken.jsonl"
    )


def test_a_form_that_was_stopped_on_its_way_can_be_sent_again(
    open_page: OpenPage, project: Project, manager: User, problems: Problems
) -> None:
    page = open_page(manager)
    page.clock.install()
    page.goto("/p/alpha/guideline/edit/")
    page.get_by_label("Title").fill("House rules")
    page.get_by_label("Text").fill(SPEC)
    sent: list[str] = []

    def stop(route: Route) -> None:
        sent.append(route.request.method)
        route.fulfill(status=204)  # the page stays, as after Esc

    page.route("**/guideline/edit/", stop)
    save = page.get_by_role("button", name="Save draft")
    save.click()
    eventually(page, lambda: sent)
    save.click()
    page.wait_for_timeout(100)
    assert sent == ["POST"]
    page.clock.run_for(10_000)
    problems.expect("dialog: beforeunload")
    page.evaluate("() => { setTimeout(() => location.assign('/')) }")
    page.clock.run_for(100)
    eventually(page, lambda: any("beforeunload" in text for text in problems.found))
    page.unroute("**/guideline/edit/")
    save.click()
    expect(page.get_by_role("status").filter(has_text="The draft is saved.")).to_be_visible()
    assert Guideline.objects.get().title == "House rules"


def test_a_project_without_prompts_offers_to_import_them(open_page: OpenPage, project: Project, manager: User) -> None:
    page = open_page(manager)
    page.goto("/p/alpha/")
    expect(page.get_by_role("heading", name="No prompts yet")).to_be_visible()
    page.get_by_role("link", name="Import prompts").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Import")
    factories.make_prompt(project, "One?")
    page.goto("/p/alpha/")
    expect(page.get_by_role("row").filter(has_text="Brainstorming")).to_be_visible()
    expect(page.get_by_role("heading", name="No prompts yet")).to_have_count(0)


def test_moments_are_shown_alike_in_the_readers_zone(open_page: OpenPage, project: Project, manager: User) -> None:
    at = datetime(2026, 11, 20, 20, 30, tzinfo=UTC)
    User.objects.filter(pk=manager.pk).update(is_staff=True)  # for the console
    Guideline.objects.create(project=project, number=1, title="House rules", body=SPEC, published_at=at)
    factories.make_prompt(project, "One?")
    Prompt.objects.update(created_at=at)
    factories.make_checkpoint()
    Checkpoint.objects.update(created_at=at)
    page = open_page(manager, timezone_id="Asia/Tokyo", locale="en-US")
    for path, shown in (
        ("/p/alpha/guideline/", "Nov 21, 2026, 05:30 AM"),
        ("/p/alpha/", "version 1 · published Nov 21, 2026"),
        ("/p/alpha/prompts/", "Nov 21, 2026"),
        (reverse("training:checkpoints"), "Nov 21, 2026, 05:30 AM"),
    ):
        page.goto(path)
        expect(page.get_by_role("main")).to_contain_text(shown)


def test_a_good_file_says_what_it_brought(open_page: OpenPage, project: Project, manager: User) -> None:
    factories.make_prompt(project, "Known?")
    page = open_page(manager)
    page.goto("/p/alpha/import/")
    upload(page, "good.jsonl", [{"prompt": "One?"}, {"prompt": "Two?"}, {"prompt": "Known?"}])
    notice = page.get_by_role("main")
    expect(notice).to_contain_text("2 records imported from good.jsonl.")
    expect(notice).to_contain_text("1 was here already and was left as it is.")
    page.get_by_role("link", name="See the prompts").click()
    expect(page.get_by_role("article")).to_have_count(3)
    assert Prompt.objects.count() == 3
    page.get_by_label("Words").fill("Two")
    page.keyboard.press("Enter")
    expect(page.get_by_role("article")).to_have_count(1)


def test_demonstrations_are_imported_with_their_prompts(open_page: OpenPage, project: Project, manager: User) -> None:
    page = open_page(manager)
    page.goto("/p/alpha/import/")
    upload(page, "d.jsonl", [{"instruction": "Say hi", "output": "Hi."}], "Demonstrations (prompts with answers)")
    expect(page.get_by_role("main")).to_contain_text("1 record imported from d.jsonl.")
    assert Prompt.objects.get().demonstrations.get().messages[-1]["content"] == "Hi."


def test_a_manager_adds_people_and_takes_them_out(
    open_page: OpenPage, project: Project, manager: User, outsider: User
) -> None:
    page = open_page(manager)
    page.goto("/p/alpha/members/")
    page.get_by_label("User name").fill("nobody")
    page.get_by_role("button", name="Add or change").click()
    expect(page.get_by_role("alert")).to_contain_text("There is no user of this name")
    page.get_by_label("User name").fill("outsider")
    page.get_by_label("Role").select_option("Reviewer")
    page.get_by_role("button", name="Add or change").click()
    row = page.get_by_role("row").filter(has_text="outsider")
    expect(row).to_contain_text("Reviewer")
    member = Membership.objects.get(user=outsider)
    assert (member.role, member.is_active) == ("reviewer", True)
    row.get_by_role("button", name="Remove").click()
    expect(row).to_contain_text("left")
    member.refresh_from_db()
    assert not member.is_active
    row.get_by_role("button", name="Let in again").click()
    expect(row).to_contain_text("active")
    member.refresh_from_db()
    assert member.is_active


def test_the_data_page_shows_a_row_and_downloads_them_all(
    open_page: OpenPage, project: Project, manager: User, contractor: User
) -> None:
    ranking = factories.make_ranking(contractor, project, [[2], [0, 1]], [3])
    page = open_page(manager)
    page.goto("/p/alpha/data/")
    shown = json.loads(page.locator("pre", has_text='"chosen"').inner_text())
    assert shown["chosen"] == [{"role": "assistant", "content": "Answer 2"}]
    assert shown["prompt"] == ranking.prompt.messages and shown["simulated"] is False
    with page.expect_download() as download:
        page.get_by_role("button", name="Download JSON Lines").click()
    assert download.value.suggested_filename == "alpha-comparisons-conversational.jsonl"
    rows = [json.loads(line) for line in download.value.path().read_text(encoding="utf-8").splitlines()]
    assert rows[0] == shown
    assert [row["comparison_id"] for row in rows] == list(Comparison.objects.values_list("id", flat=True))
    pairs = {(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in rows}
    answers = {(f"Answer {a}", f"Answer {b}") for a, b in ((2, 0), (2, 1), (2, 3), (0, 3), (1, 3))}
    assert pairs == answers


def test_the_data_page_shows_the_command_for_the_chosen_format(
    open_page: OpenPage, project: Project, manager: User, contractor: User
) -> None:
    factories.make_ranking(contractor, project, [[1], [0]])
    page = open_page(manager)
    page.goto("/p/alpha/data/")
    page.get_by_label("plain").check()
    page.get_by_label("with simulated labels").check()
    page.get_by_role("button", name="Show command and example").click()
    expect(page.locator("#curl")).to_contain_text("/comparisons/export/?fmt=plain&include_simulated=true")
    expect(page.locator("pre", has_text='"chosen"')).to_contain_text('"chosen": "Answer 1"')
    expect(page.get_by_label("plain")).to_be_checked()


def test_a_contractor_is_told_that_the_managers_pages_are_not_open(
    open_page: OpenPage, project: Project, contractor: User, problems: Problems
) -> None:
    page = open_page(contractor)
    problems.expect("403 (Forbidden)")
    for path in ("guideline/edit/", "prompts/", "import/", "members/", "data/"):
        answer = page.goto(f"/p/alpha/{path}")
        assert answer is not None and answer.status == 403
        expect(page.get_by_role("heading", level=1)).to_have_text("This page is not open to you")
        expect(page.get_by_role("main")).to_contain_text("Your role in this project does not allow that.")
    page.get_by_role("link", name="To your projects").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your projects")
    expect(page.get_by_role("link", name="Alpha")).to_be_visible()
    page.goto("/p/alpha/")
    expect(page.get_by_role("navigation", name="Project").get_by_role("link")).to_have_text(
        ["Overview", "Guideline", "My work"]
    )
