"""What holds on every page: a phone's width, one heading, a title, a strict policy, and harmless texts."""

import re
from datetime import timedelta
from decimal import Decimal

import pytest
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page, Response, expect

from hone.accounts import invitations
from hone.accounts.models import Project, User
from labeling import pay, payouts
from labeling.batches import NewItem, open_batch
from labeling.models import Demonstration
from tests import factories, report_files
from tests.e2e.conftest import Problems
from tests.e2e.steps import PHONE, OpenPage, expect_nothing_wide, expect_order

pytestmark = pytest.mark.browser

WORD = "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichen"
PATHS = {
    "home": "/",
    "project": "/p/alpha/",
    "rank": "/p/alpha/rank/",
    "write": "/p/alpha/write/",
    "guideline": "/p/alpha/guideline/",
    "guideline edit": "/p/alpha/guideline/edit/",
    "prompts": "/p/alpha/prompts/",
    "import": "/p/alpha/import/",
    "members": "/p/alpha/members/",
    "data": "/p/alpha/data/",
    "quality": "/p/alpha/quality/",
    "my work": "/p/alpha/me/",
    "all my work": "/me/",
    "pay": "/p/alpha/pay/",
    "pay rates": "/p/alpha/settings/pay/",
    "a person's pay": "/p/alpha/pay/{person}/",
    "invitations": "/p/alpha/invitations/",
    "invitation": "/join/",
    "account": "/account/",
    "password": "/account/password/",
    "login": "/login/",
    "403": "/p/alpha/members/",
    "404": "/p/nowhere/",
    "console": "/console/",
    "round form": "/console/p/alpha/rounds/new/",
    "runs": "/console/runs/",
    "run": "/console/runs/{run}/",
    "run with a report": "/console/runs/{evaluation}/",
    "samples": "/console/runs/{evaluation}/samples/",
    "samples by step": "/console/runs/{pretraining}/samples/",
    "run with a corpus": "/console/runs/{pretraining}/",
    "checkpoints": "/console/checkpoints/",
    "checkpoint": "/console/checkpoints/{checkpoint}/",
}


@pytest.fixture
def filled(project: Project, manager: User, contractor: User) -> Project:
    """Something on every page, with words that are wider than a phone."""
    project.name, project.description = f"Alpha {WORD}", WORD * 3
    project.save()
    factories.make_guideline(
        project, body=f"# Spec\n\n## {WORD}\n\n`{WORD * 3}`\n\n| {WORD} | {WORD} |\n|-|-|\n| a | b |"
    )
    rate = {"currency": "EUR", "per_demonstration": Decimal(1), "per_ranking": Decimal("123456.1234")}
    pay.set_rate(project=project, actor=manager, basis="piece", **rate)
    factories.make_ranking(contractor, project, [[0], [1, 2]], [3])
    for reason in (WORD * 3, "T"):
        payouts.close(project=project, actor=manager, reason=reason)
        pay.bonus(project=project, user=contractor, amount=Decimal(7), currency="EUR", reason=WORD * 3, actor=manager)
    until = timezone.now() + timedelta(days=1)
    invitations.invite(project=project, role="reviewer", note=WORD * 3, max_uses=3, expires_at=until, actor=manager)
    factories.make_member(project, username=WORD)
    prompt = factories.make_prompt(project, f"What is a {WORD * 3}?", source=WORD)
    answers = [f"{WORD * 3}\n\n```\n{WORD * 3}\n```" for _ in range(4)]
    open_batch(project=project, kind="rank", name="R", items=[NewItem(prompt=prompt, answers=answers)])
    open_batch(project=project, kind="write", name="W", items=[NewItem(prompt=prompt)])
    return project


@pytest.mark.parametrize("name", PATHS)
def test_page_fits_a_phone_and_has_a_heading_and_a_title(
    open_page: OpenPage, filled: Project, manager: User, contractor: User, lead: User, problems: Problems, name: str
) -> None:
    path = PATHS[name]
    who = {"login": None, "403": contractor}.get(name, lead if path.startswith("/console/") else manager)
    status = int(name) if name.isdigit() else 200
    if status != 200:
        problems.expect(f"{status} (")
    run = factories.make_run(filled, model=factories.make_checkpoint(name=WORD, project=filled))
    evaluation = factories.make_run(filled, kind="evaluate", model=run.model, state="succeeded")
    pretraining = factories.make_run(filled, kind="pretrain", state="succeeded")
    page = open_page(who, viewport=PHONE, has_touch=True)
    if "evaluation" in path:
        long = {"reference": f"/{WORD}/{WORD * 3}", "reward_model": f"/{WORD}"}
        report_files.evaluate(evaluation, texts=[WORD * 3, HOSTILE], question=WORD * 2, **long)
    elif "pretraining" in path:
        report_files.corpus(pretraining, words=WORD * 3)
    keys = {"run": run.pk, "checkpoint": run.model.pk, "evaluation": evaluation.pk, "pretraining": pretraining.pk}
    answer = page.goto(path.format(person=contractor.pk, **keys))
    assert answer is not None and answer.status == status
    expect_whole(page, answer)


def test_the_page_of_a_closed_name_does_too(
    open_page: OpenPage, manager: User, client: Client, problems: Problems
) -> None:
    for _ in range(5):
        client.post("/login/", {"username": manager.username, "password": "wrong"})
    page = open_page(viewport=PHONE)
    page.goto("/login/")
    page.get_by_label("Username").fill(manager.username)
    page.get_by_label("Password").fill("correct horse")
    problems.expect("429 (")
    with page.expect_response("**/login/") as answered:
        page.get_by_role("button", name="Log in").click()
    assert answered.value.status == 429
    expect_whole(page, answered.value)


def expect_whole(page: Page, answer: Response) -> None:
    expect(page).to_have_title(re.compile(r"\w.* · Hone$"))
    expect(page.locator("h1:not(.prose h1)")).to_have_count(1)  # a shown text may have headings of its own
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy and "script-src 'self'" in policy and "style-src 'self'" in policy
    expect_nothing_wide(page)


HOSTILE = "\n\n".join(
    [
        "<script>window.hacked = 1; alert(1)</script></script><script>window.hacked = 2</script>",
        '<img src="x" onerror="window.hacked = 3"> <svg onload="window.hacked = 4"> <iframe src="//evil.example">',
        "![pixel](http://evil.example/pixel.png) [link](javascript:window.hacked=5) <http://evil.example/>",
        '" onfocus="window.hacked = 6" autofocus=" \' `{{ 7 * 7 }}` {% csrf_token %} <!-- --> ]]> </textarea>',
        "x" * 10_000,
        "مرحبا بالعالم، هذا نص من اليمين إلى اليسار",
        "👩‍👩‍👧‍👦 🏳️‍🌈 e\u0301 \u202edetrevni\u202c \u2028 \ufeff",
        "\x01\x07\x08\x1b[31m\x7f\x9f",
    ]
)


def expect_harmless(page: Page) -> None:
    """No script of the text has run, it made no elements, and all of it can be read."""
    assert page.evaluate("window.hacked") is None
    made = "img, iframe, script:not([type$=json]), [onfocus], [onerror], [onload], [onclick], a[href^='javascript' i]"
    assert page.locator(f"main :is({made})").count() == 0
    expect_nothing_wide(page)


def test_hostile_samples_are_only_text(open_page: OpenPage, project: Project, lead: User) -> None:
    evaluation = factories.make_run(project, kind="evaluate", state="succeeded")
    pretraining = factories.make_run(project, kind="pretrain", state="succeeded")
    paths = {"reference": "/m/0", "reward_model": "/m/1"}
    report_files.evaluate(evaluation, texts=[HOSTILE], question=HOSTILE, **paths)
    report_files.corpus(pretraining, words=HOSTILE)
    page = open_page(lead)
    addresses = [f"/console/runs/{run.pk}/{part}" for run in (evaluation, pretraining) for part in ("", "samples/")]
    for address in addresses:
        page.goto(address)
        page.locator("main details").evaluate_all("(folds) => { for (const fold of folds) fold.open = true; }")
        if address != addresses[0]:
            expect(page.get_by_role("main")).to_contain_text("<script>window.hacked = 1; alert(1)</script>")
        expect_harmless(page)
        page.set_viewport_size(PHONE)
        expect_harmless(page)


def test_hostile_answers_are_only_text_on_the_rank_page(
    open_page: OpenPage, project: Project, contractor: User
) -> None:
    prompt = factories.make_prompt(project, f"{HOSTILE}\n\nPrompt")
    answers = [f"{HOSTILE}\n\nAnswer {n}" for n in range(2)]
    open_batch(project=project, kind="rank", name="R", items=[NewItem(prompt=prompt, answers=answers)])
    page = open_page(contractor)
    page.goto("/p/alpha/rank/")
    expect_order(page, free="AB")
    answer = page.get_by_role("article", name="Answer A")
    expect(answer).to_contain_text("<script>window.hacked = 1; alert(1)</script>")
    expect(answer).to_contain_text("x" * 10_000)
    expect(answer.get_by_text("مرحبا بالعالم")).to_have_css("direction", "rtl")
    expect(answer.get_by_text(re.compile("^Answer"))).to_have_css("direction", "ltr")
    expect_harmless(page)
    page.keyboard.press("v")
    expect(page.get_by_role("dialog").locator("[data-diff]").first).to_contain_text("<script>window.hacked = 1")
    expect_harmless(page)
    page.keyboard.press("Escape")
    page.set_viewport_size(PHONE)
    expect_harmless(page)


def test_hostile_text_is_written_previewed_and_stored_as_it_is(
    open_page: OpenPage, project: Project, manager: User
) -> None:
    prompt = factories.make_prompt(project, f"{HOSTILE}\n\nPrompt")
    open_batch(project=project, kind="write", name="W", items=[NewItem(prompt=prompt)])
    page = open_page(manager, viewport=PHONE)
    page.goto("/p/alpha/write/")
    expect(page.get_by_role("region", name="Conversation")).to_contain_text("<script>window.hacked = 1")
    page.get_by_label("Response").fill(HOSTILE)
    page.get_by_role("button", name="Preview").click()
    expect(page.locator(".editor-preview")).to_contain_text("<script>window.hacked = 1")
    expect_harmless(page)
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing to write right now")
    assert Demonstration.objects.get().messages[-1]["content"] == HOSTILE
    page.goto("/p/alpha/prompts/")
    expect(page.get_by_role("article")).to_contain_text("<script>window.hacked = 1")
    page.locator("summary").filter(has_text="script").click()
    expect_harmless(page)


def test_a_hostile_guideline_and_its_rows_are_only_text(
    open_page: OpenPage, project: Project, manager: User, contractor: User
) -> None:
    factories.make_guideline(project, body=f"# Spec\n\n## <b onclick=x>Heading</b>\n\n{HOSTILE}\n\n## Two")
    project.name = project.description = HOSTILE[:100]
    project.save()
    page = open_page(manager)
    for path in ("/p/alpha/guideline/", "/p/alpha/guideline/edit/", "/p/alpha/", "/"):
        page.goto(path)
        expect(page.get_by_role("main")).to_contain_text("window.hacked = 1")
        expect_harmless(page)
