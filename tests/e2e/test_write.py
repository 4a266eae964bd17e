"""The write page: a given prompt or the contractor's own, more turns, the preview, and errors at their field."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from hone.accounts.models import Project, User
from labeling.batches import NewItem, open_batch
from labeling.models import Demonstration, Draft, Prompt, Slot
from tests import factories
from tests.e2e.conftest import Problems
from tests.e2e.steps import OpenPage, eventually, expect_saved

pytestmark = pytest.mark.browser

NOTHING = "Nothing to write right now"


@pytest.fixture
def prompt(project: Project) -> Prompt:
    """The one prompt that waits for an answer."""
    prompt = factories.make_prompt(project, "How do I cook rice?")
    open_batch(project=project, kind="write", name="Batch", items=[NewItem(prompt=prompt)])
    return prompt


@pytest.fixture
def own_prompt(project: Project) -> Slot:
    """An item for which the contractor writes the prompt too."""
    open_batch(project=project, kind="write", name="Batch", items=[NewItem(prompt=None)])
    return Slot.objects.get()


def writing_page(open_page: OpenPage, user: User, **options: Any) -> Page:
    page = open_page(user, **options)
    page.goto("/p/alpha/write/")
    expect(page.get_by_role("textbox").first).to_be_visible()
    return page


def submit(page: Page) -> None:
    page.get_by_role("button", name="Submit").click()


def expect_next_page(page: Page) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text(NOTHING)


def test_a_given_prompt_is_answered_in_two_turns(open_page: OpenPage, contractor: User, prompt: Prompt) -> None:
    page = writing_page(open_page, contractor)
    expect(page.get_by_role("region", name="Conversation")).to_contain_text("How do I cook rice?")
    page.get_by_label("Response").fill("Rinse it **well**.")
    page.get_by_role("button", name="Add a turn").click()
    expect(page.get_by_label("User, turn 2")).to_be_focused()
    page.keyboard.type("And then?")
    page.get_by_label("Response, turn 2").fill("Boil it.\n\nTwelve minutes.")
    submit(page)
    expect_next_page(page)
    done = Demonstration.objects.get()
    assert done.messages == [
        {"role": "user", "content": "How do I cook rice?"},
        {"role": "assistant", "content": "Rinse it **well**."},
        {"role": "user", "content": "And then?"},
        {"role": "assistant", "content": "Boil it.\n\nTwelve minutes."},
    ]
    assert done.prompt == prompt and done.author == contractor
    assert not Draft.objects.exists() and Slot.objects.get().state == "submitted"


def test_the_preview_shows_the_markdown_and_keeps_the_text(
    open_page: OpenPage, contractor: User, prompt: Prompt
) -> None:
    page = writing_page(open_page, contractor)
    page.get_by_label("Response").fill("Rinse it **well**.\n\n| a | b |\n|---|---|\n| 1 | 2 |")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator(".editor-preview strong")).to_have_text("well")
    expect(page.locator(".editor-preview td")).to_have_text(["1", "2"])
    page.get_by_role("button", name="Write", exact=True).click()
    expect(page.get_by_label("Response")).to_be_focused()
    expect(page.get_by_label("Response")).to_have_value("Rinse it **well**.\n\n| a | b |\n|---|---|\n| 1 | 2 |")


def test_prompt_and_response_of_ones_own(open_page: OpenPage, contractor: User, own_prompt: Slot) -> None:
    page = writing_page(open_page, contractor)
    page.get_by_role("button", name="System message").click()
    page.get_by_label("System", exact=True).fill("You are a cook.")
    page.get_by_label("User").fill("Quels légumes en mars ?")
    page.get_by_label("Response").fill("Des poireaux.")
    page.get_by_label("Kind of prompt").select_option("Brainstorming")
    page.get_by_role("combobox", name="Language").fill("fr")
    page.keyboard.press("Control+Enter")
    expect_next_page(page)
    done = Demonstration.objects.select_related("prompt").get()
    assert done.prompt.messages == [
        {"role": "system", "content": "You are a cook."},
        {"role": "user", "content": "Quels légumes en mars ?"},
    ]
    assert done.messages == [*done.prompt.messages, {"role": "assistant", "content": "Des poireaux."}]
    assert (done.prompt.category, done.prompt.language, done.prompt.author) == ("brainstorming", "fr", contractor)


def test_an_empty_text_is_named_at_its_field(open_page: OpenPage, contractor: User, own_prompt: Slot) -> None:
    page = writing_page(open_page, contractor)
    page.get_by_label("User").fill("A question")
    submit(page)
    response = page.get_by_label("Response", exact=True)
    expect(page.get_by_role("alert").filter(has_text="Not submitted yet")).to_be_focused()
    expect(response).to_have_attribute("aria-invalid", "true")
    expect(response).to_have_accessible_description(re.compile("This is empty"))
    expect(page.get_by_label("User")).to_have_attribute("aria-invalid", "false")
    page.get_by_role("link", name="Response: This is empty.").click()
    expect(response).to_be_focused()
    assert not Demonstration.objects.exists()


def test_a_text_over_the_limit_is_refused_before_it_is_sent(
    open_page: OpenPage, contractor: User, project: Project, prompt: Prompt
) -> None:
    Project.objects.update(max_chars=100)
    page = writing_page(open_page, contractor)
    page.get_by_label("Response").fill("😀" * 101)
    expect(page.locator(".editor-foot")).to_contain_text("101 of 100 characters")
    expect(page.locator(".editor-foot")).to_contain_text("1 over the limit")
    submit(page)
    expect(page.locator(".editor .error")).to_have_text("At most 100 characters are allowed; this has 101.")
    page.get_by_label("Response").fill("😀" * 100)
    submit(page)
    expect_next_page(page)
    assert Demonstration.objects.get().messages[-1]["content"] == "😀" * 100


def test_what_the_server_refuses_is_said_at_the_field_and_the_text_kept(
    open_page: OpenPage, contractor: User, prompt: Prompt, problems: Problems
) -> None:
    page = writing_page(open_page, contractor)
    Project.objects.update(max_chars=100)  # a manager changes the limit meanwhile
    page.get_by_label("Response").fill("y" * 150)
    problems.expect("400 (Bad Request)")
    submit(page)
    expect(page.locator(".editor .error")).to_have_text("150 characters; at most 100 are allowed.")
    expect(page.get_by_label("Response")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Response")).to_have_value("y" * 150)
    assert not Demonstration.objects.exists() and Slot.objects.get().state == "leased"
    page.get_by_label("Response").fill("y" * 100)
    submit(page)
    expect_next_page(page)
    assert Demonstration.objects.get().messages[-1]["content"] == "y" * 100


def test_a_removed_turn_comes_back_by_undo(open_page: OpenPage, contractor: User, prompt: Prompt) -> None:
    page = writing_page(open_page, contractor)
    page.get_by_label("Response").fill("First.")
    page.get_by_role("button", name="Add a turn").click()
    page.get_by_label("User, turn 2").fill("More?")
    page.get_by_label("Response, turn 2").fill("Second.")
    page.get_by_role("button", name="Remove this turn").click()
    expect(page.locator(".editor")).to_have_count(1)
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_label("User, turn 2")).to_have_value("More?")
    expect(page.get_by_label("Response, turn 2")).to_have_value("Second.")
    submit(page)
    expect_next_page(page)
    assert [turn["content"] for turn in Demonstration.objects.get().messages[1:]] == ["First.", "More?", "Second."]


def add_turn(page: Page, number: int, question: str, answer: str) -> None:
    page.get_by_role("button", name="Add a turn").click()
    page.get_by_label(f"User, turn {number}").fill(question)
    page.get_by_label(f"Response, turn {number}").fill(answer)


def test_undo_brings_a_turn_back_beside_what_was_written_since(
    open_page: OpenPage, contractor: User, prompt: Prompt
) -> None:
    page = writing_page(open_page, contractor)
    page.get_by_label("Response").fill("1")
    add_turn(page, 2, "2?", "2")
    add_turn(page, 3, "3?", "3")
    page.get_by_role("button", name="Remove this turn").first.click()
    expect(page.get_by_label("Response, turn 1")).to_be_focused()
    add_turn(page, 3, "4?", "4")
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_label("User, turn 2")).to_be_focused()
    submit(page)
    expect_next_page(page)
    turns = [turn["content"] for turn in Demonstration.objects.get().messages[1:]]
    assert turns == ["1", "2?", "2", "3?", "3", "4?", "4"]


def test_undo_of_a_removed_system_message_keeps_a_newer_one(
    open_page: OpenPage, contractor: User, own_prompt: Slot
) -> None:
    page = writing_page(open_page, contractor)
    system = page.get_by_label("System", exact=True)
    for text in ("You are a cook.", "Be brief."):
        page.get_by_role("button", name="System message").click()
        system.fill(text)
        if text == "You are a cook.":
            page.get_by_role("button", name="Remove this turn").click()
            expect(page.get_by_label("User")).to_be_focused()
    page.get_by_role("button", name="Undo").click()
    expect(system).to_have_value("You are a cook.\n\nBe brief.")


def test_the_offer_to_undo_stays_while_it_is_used(open_page: OpenPage, contractor: User, prompt: Prompt) -> None:
    page = open_page(contractor)
    page.clock.install()
    page.goto("/p/alpha/write/")
    page.get_by_label("Response").fill("1")
    add_turn(page, 2, "2?", "2")
    page.get_by_role("button", name="Remove this turn").click()
    undo = page.get_by_role("button", name="Undo")
    undo.focus()
    page.clock.run_for(30_000)
    expect(undo).to_be_focused()
    page.get_by_label("Response").focus()
    page.clock.run_for(11_000)
    expect(undo).to_have_count(0)


def test_an_older_preview_never_covers_a_newer_one(open_page: OpenPage, contractor: User, prompt: Prompt) -> None:
    page = writing_page(open_page, contractor)
    held: list[Route] = []
    page.route("**/preview/", lambda route: held.append(route), times=1)
    for text in ("older", "newer"):
        page.get_by_label("Response").fill(text)
        page.get_by_role("button", name="Preview").click()
        if text == "older":
            eventually(page, lambda: held)
            page.get_by_role("button", name="Write", exact=True).click()
    expect(page.locator(".editor-preview")).to_have_text("newer")
    with page.expect_response("**/preview/"):
        held[0].continue_()
    page.wait_for_timeout(100)
    expect(page.locator(".editor-preview")).to_have_text("newer")


def test_a_draft_of_two_turns_survives_closing_the_page(open_page: OpenPage, contractor: User, prompt: Prompt) -> None:
    page = writing_page(open_page, contractor)
    page.get_by_label("Response").fill("First.")
    page.get_by_role("button", name="Add a turn").click()
    page.get_by_label("User, turn 2").fill("More?")
    page.get_by_text("Note for the reviewer").first.click()
    page.get_by_label("Note for the reviewer").fill("not done")
    expect_saved(page)
    page.context.close()
    page = writing_page(open_page, contractor)
    expect(page.get_by_label("Response, turn 1")).to_have_value("First.")
    expect(page.get_by_label("User, turn 2")).to_have_value("More?")
    expect(page.get_by_label("Note for the reviewer")).to_have_value("not done")
    assert Draft.objects.get().author == contractor and not Demonstration.objects.exists()


def test_control_s_saves_the_draft_now(open_page: OpenPage, contractor: User, prompt: Prompt) -> None:
    page = open_page(contractor)
    page.clock.install()
    page.goto("/p/alpha/write/")
    page.clock.pause_at(page.evaluate("Date.now() + 1000"))  # so that it does not save by itself
    page.get_by_label("Response").fill("Half a thought")
    page.keyboard.press("Control+S")  # as it comes with Caps Lock on
    expect_saved(page)
    assert Draft.objects.get().content["messages"] == [{"role": "assistant", "content": "Half a thought"}]
