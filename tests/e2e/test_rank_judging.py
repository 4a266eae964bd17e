"""The rank page's ways to judge with care: no judgement, an order left as shown, hidden names, like answers."""

import json
import re

import pytest
from playwright.sync_api import Page, expect

from hone.accounts.models import Project, User
from labeling import assignment
from labeling.batches import NewItem, open_batch
from labeling.models import Draft, ModelNames, Ranking, Skip, Slot
from tests import factories
from tests.e2e.conftest import Problems
from tests.e2e.steps import (
    PHONE,
    OpenPage,
    drag,
    eventually,
    expect_nothing_wide,
    expect_order,
    expect_saved,
    expire,
    zone,
)

pytestmark = pytest.mark.browser

NOTHING = "Nothing to rank right now"
SHARED = (
    "## What to know first\n\nBefore anything else, wash your hands, read the whole recipe, and set out everything "
    "that it asks for, since looking for the salt with dough on your fingers is no fun at all.\n\n"
    "- flour, sifted twice\n- water, as warm as your hand\n- yeast that is not too old"
)


def open_item(project: Project, *answers: str) -> Slot:
    batch = open_batch(project=project, kind="rank", name="R", items=[NewItem(factories.make_prompt(project), answers)])
    return Slot.objects.get(item__batch=batch)


def rank_page(open_page: OpenPage, user: User, **options: object) -> Page:
    page = open_page(user, **options)
    page.goto("/p/alpha/rank/")
    return page


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def expect_next_page(page: Page) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text(NOTHING)


class TestCannotJudge:
    def test_by_keys_alone(self, open_page: OpenPage, project: Project, contractor: User) -> None:
        factories.make_batch(project)
        page = rank_page(open_page, contractor)
        press(page, "b", "1", "j")
        dialog = page.get_by_role("dialog", name="These answers cannot be judged")
        expect(dialog).to_contain_text("skip it instead")
        expect(dialog.get_by_role("radio").first).to_be_focused()
        press(page, "ArrowDown", "ArrowDown", "ArrowDown")
        page.get_by_label("In your words").fill("Two of them end in the middle.")
        press(page, "Control+Enter")
        expect_next_page(page)
        row = Ranking.objects.get()
        assert (row.verdict, row.note, row.tiers) == ("broken", "Two of them end in the middle.", [])
        assert not Skip.objects.exists() and Slot.objects.get().state == "submitted"

    def test_by_touch_on_a_phone(self, open_page: OpenPage, project: Project, contractor: User) -> None:
        factories.make_batch(project)
        page = rank_page(open_page, contractor, viewport=PHONE, has_touch=True, is_mobile=True)
        page.get_by_role("button", name="Cannot judge").tap()
        expect_nothing_wide(page)
        page.get_by_role("button", name="Submit without an order").tap()  # the browser asks for a reason
        assert not Ranking.objects.exists()
        page.get_by_text("The prompt makes no sense").tap()
        page.get_by_role("button", name="Submit without an order").tap()
        expect_next_page(page)
        assert Ranking.objects.get().verdict == "prompt"

    def test_the_reason_waits_in_the_draft_and_going_back_leaves_the_order(
        self, open_page: OpenPage, project: Project, contractor: User
    ) -> None:
        factories.make_batch(project)
        page = rank_page(open_page, contractor)
        press(page, "c", "1", "j")
        page.get_by_label("It needs knowledge that nobody here has").check()
        page.get_by_label("In your words").fill("Ask a chemist")
        press(page, "Escape")
        expect(page.get_by_role("button", name="Cannot judge")).to_be_visible()
        expect_saved(page)
        assert Draft.objects.get().content["verdict"] == "knowledge"
        page.reload()
        expect_order(page, t1="C", free="ABD")
        press(page, "j")
        expect(page.get_by_label("It needs knowledge that nobody here has")).to_be_checked()
        expect(page.get_by_label("In your words")).to_have_value("Ask a chemist")
        press(page, "Escape", "a", "2", "b", "3", "d", "4", "Control+Enter")
        expect_next_page(page)
        assert Ranking.objects.get().verdict == "" and len(Ranking.objects.get().tiers) == 4

    def test_keys_work_at_once_when_it_has_closed(
        self, open_page: OpenPage, project: Project, contractor: User
    ) -> None:
        """Until the next frame the focus is still in the closed dialog's field: no key may be lost to it."""
        factories.make_batch(project)
        page = rank_page(open_page, contractor)
        press(page, "j")
        page.get_by_label("In your words").focus()
        page.evaluate("""() => {
            const field = document.activeElement;
            field.closest("dialog").close();
            for (const key of ["c", "2"]) {
                field.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
            }
        }""")
        expect_order(page, t2="C", free="ABD")

    def test_a_lost_lease_keeps_page_and_draft(
        self, open_page: OpenPage, project: Project, contractor: User, problems: Problems
    ) -> None:
        factories.make_batch(project)
        page = rank_page(open_page, contractor)
        press(page, "j")
        page.get_by_label("All answers are equally bad").check()
        expect_saved(page)
        expire(Slot.objects.get())
        problems.expect("409 (Conflict)")
        page.get_by_role("button", name="Submit without an order").click()
        expect(page.get_by_text("Your reservation of this item has ended.")).to_be_visible()
        assert not Ranking.objects.exists() and Draft.objects.get().content["verdict"] == "all_bad"
        page.get_by_role("button", name="Take it up again").click()
        expect(page.locator("[data-lease-lost]")).to_be_hidden()
        press(page, "j", "Control+Enter")
        expect_next_page(page)
        assert Ranking.objects.get().verdict == "all_bad"

    def test_a_manager_withdraws_and_restores_what_two_people_cannot_judge(
        self, open_page: OpenPage, project: Project, manager: User, contractor: User, reviewer: User
    ) -> None:
        factories.make_batch(project, slots=3)
        for user in (contractor, reviewer):
            page = rank_page(open_page, user)
            press(page, "j", "ArrowDown", "Control+Enter")
            expect_next_page(page)
        page = open_page(manager, viewport=PHONE)
        page.goto("/p/alpha/quality/")
        page.get_by_role("link", name="1 item to look at").click()
        expect_nothing_wide(page)
        page.get_by_role("button", name="Withdraw item").click()
        expect(page.get_by_text("The item is withdrawn; 1 open place is closed.")).to_be_visible()
        assert assignment.next_slot(project=project, user=manager, kind="rank") is None
        page.get_by_role("button", name="Restore item").click()
        expect(page.get_by_text("The item is restored; 1 place is open again.")).to_be_visible()
        expect_nothing_wide(page)
        assert assignment.next_slot(project=project, user=manager, kind="rank") is not None


class TestOrderLeftAsShown:
    """Asked about once, where four answers or more were placed one after the other as they stand."""

    QUESTION = "The order is the one in which the answers were shown"

    def test_the_key_that_submits_is_the_answer_as_well(
        self, open_page: OpenPage, project: Project, contractor: User
    ) -> None:
        factories.make_batch(project)
        page = rank_page(open_page, contractor)
        press(page, "a", "1", "b", "2", "c", "3", "d", "4", "Control+Enter")
        expect(page.get_by_role("dialog", name=self.QUESTION)).to_be_visible()
        expect(page.get_by_role("button", name="Look again")).to_be_focused()
        press(page, "Enter")
        expect(page.get_by_role("dialog")).to_have_count(0)
        assert not Ranking.objects.exists()
        press(page, "Control+Enter", "Control+Enter")
        expect_next_page(page)
        assert Ranking.objects.get().moved is False

    @pytest.mark.parametrize(
        ("answers", "keys"),
        [
            (4, "d4b2a1c3"),  # another sequence than the page's
            (4, "a1b3c3b2d4"),  # one of them moved again
            (2, "a1b2"),  # half of all orders of two are the shown one
            (3, "a1b2c3"),
        ],
    )
    def test_not_asked_where_it_says_nothing(
        self, open_page: OpenPage, project: Project, contractor: User, answers: int, keys: str
    ) -> None:
        factories.make_batch(project, answers=answers)
        page = rank_page(open_page, contractor)
        press(page, *keys, "Control+Enter")
        expect_next_page(page)
        assert Ranking.objects.get().moved is False

    def test_asked_of_a_draft_of_which_nobody_knows_how_it_came_about(
        self, open_page: OpenPage, project: Project, contractor: User
    ) -> None:
        factories.make_batch(project)
        page = rank_page(open_page, contractor)
        press(page, *"d4c3b2a1")
        expect_saved(page)
        page.reload()
        expect_order(page, t1="A", t4="D", free="")
        press(page, "Control+Enter")
        expect(page.get_by_role("dialog", name=self.QUESTION)).to_be_visible()

    def test_asked_of_an_order_dragged_by_mouse(self, open_page: OpenPage, project: Project, contractor: User) -> None:
        factories.make_batch(project)
        page = rank_page(open_page, contractor)
        for letter, place in zip("ABCD", "1234", strict=True):
            drag(page, letter, zone(page, place))
        page.get_by_role("button", name="Submit").click()
        page.get_by_role("button", name="Submit as it is").click()
        expect_next_page(page)
        assert Ranking.objects.count() == 1


class TestHiddenNames:
    def test_nothing_on_the_page_names_the_model(self, open_page: OpenPage, project: Project, contractor: User) -> None:
        ModelNames.objects.create(project=project, handling="mask")
        slot = open_item(project, "I am **ChatGPT**.\n\n```\nimport ChatGPT\n```", "I am not sure.")
        page = rank_page(open_page, contractor)
        slot.refresh_from_db()
        assert slot.order_shown is not None
        name = "AB"[slot.order_shown.index(0)]
        answer = page.get_by_role("article", name=f"Answer {name}")
        expect(answer.get_by_role("img", name="name hidden")).to_have_count(2)
        expect(answer.locator("strong")).to_have_text("▒▒▒")
        expect(answer.locator("pre code")).to_have_text("import ▒▒▒\n")
        assert "ChatGPT" not in page.content()
        press(page, "v")
        expect(page.get_by_role("dialog").locator("[data-diff]").nth("AB".index(name))).to_contain_text("I am **▒▒▒**")

    def test_a_manager_chooses_it_and_sees_mistakes_at_the_field(
        self, open_page: OpenPage, project: Project, manager: User
    ) -> None:
        page = open_page(manager)
        page.goto("/p/alpha/settings/")
        section = page.get_by_role("region", name="Model names in answers")
        section.get_by_label("Hide the names").check()
        section.get_by_role("textbox", name="names").fill("X")
        section.get_by_role("button", name="Save").click()
        expect(section).to_contain_text("“X” is too short")
        expect(section.get_by_label("Hide the names")).to_be_checked()
        assert not ModelNames.objects.exists()
        section.get_by_role("button", name="Put the standard list here").click()
        expect(section.get_by_role("textbox", name="names")).to_have_value(re.compile("ChatGPT"))
        assert not ModelNames.objects.exists()
        section.get_by_role("button", name="Save").click()
        expect(page.get_by_text("The choice about model names is saved.")).to_be_visible()
        assert ModelNames.objects.get().handling == "mask" and "通义千问" in ModelNames.objects.get().listed
        page.set_viewport_size(PHONE)
        expect_nothing_wide(page)


class TestSameBeginning:
    def answers(self, project: Project) -> None:
        open_item(project, *(f"{SHARED}\n\nThen {way}.\n\nServe it." for way in ("bake", "fry", "boil")))

    def test_it_is_folded_opened_by_key_and_remembered(
        self, open_page: OpenPage, project: Project, contractor: User
    ) -> None:
        self.answers(project)
        page = rank_page(open_page, contractor)
        buttons = page.get_by_role("button", name="Same beginning, 52 words")
        expect(buttons).to_have_count(3)
        hidden = page.locator(".answer .same-text")
        expect(hidden.first).to_be_hidden()
        expect(page.get_by_role("article", name="Answer A").get_by_text("Then")).to_be_visible()
        press(page, "o")
        for n in range(3):
            expect(buttons.nth(n)).to_have_attribute("aria-expanded", "true")
            expect(hidden.nth(n)).to_be_visible()
            expect(hidden.nth(n).get_by_role("listitem")).to_have_count(3)
        page.reload()
        expect(hidden.first).to_be_visible()
        buttons.nth(1).focus()
        press(page, "Enter")
        expect(hidden.first).to_be_hidden()
        expect(buttons.nth(1)).to_be_focused()
        page.reload()
        expect(hidden.first).to_be_hidden()

    def test_two_that_are_compared_fold_theirs(self, open_page: OpenPage, project: Project, contractor: User) -> None:
        open_item(project, *(f"{SHARED}\n\nThen {way}." for way in ("bake", "fry")), "Something else.")
        page = rank_page(open_page, contractor)
        expect(page.locator(".answer .same-toggle")).to_have_count(0)
        slot = Slot.objects.get()
        assert slot.order_shown is not None
        press(page, "v", *("ABC"[slot.order_shown.index(index)].lower() for index in (0, 1)))
        dialog = page.get_by_role("dialog", name="Differences")
        expect(dialog.locator(".same-text").first).to_be_hidden()
        expect(dialog.locator("del")).to_have_text("bake")
        dialog.get_by_role("button", name="Same beginning").first.click()
        expect(dialog.locator(".same-text").nth(1)).to_contain_text("yeast that is not too old")
        press(page, "o")
        expect(dialog.locator(".same-text").first).to_be_hidden()
        expect_nothing_wide(page)

    @pytest.mark.parametrize(
        "answers",
        [
            ["A short start.\n\nOne.", "A short start.\n\nTwo."],
            [SHARED, f"{SHARED}, not at all"],  # the last block differs, and what is left before it is short
            ["One and the same.", "One and the same."],
        ],
    )
    def test_short_beginnings_stay_open(
        self, open_page: OpenPage, project: Project, contractor: User, answers: list[str]
    ) -> None:
        open_item(project, *answers)
        page = rank_page(open_page, contractor)
        expect_order(page, free="AB")
        expect(page.locator(".same-toggle")).to_have_count(0)


class TestLongAnswers:
    def test_answers_scroll_together_by_key(self, open_page: OpenPage, project: Project, contractor: User) -> None:
        open_item(project, *("\n\n".join(f"Paragraph {n} of {size}." for n in range(size)) for size in (60, 120)))
        page = rank_page(open_page, contractor)
        press(page, "s")
        expect(page.get_by_role("button", name="Sync")).to_have_attribute("aria-pressed", "true")
        first, second = (page.get_by_role("article", name=f"Answer {letter}") for letter in "AB")
        first.evaluate("card => { card.scrollTop = (card.scrollHeight - card.clientHeight) / 2; }")
        share = "card => card.scrollTop / (card.scrollHeight - card.clientHeight)"
        eventually(page, lambda: page.evaluate("document.querySelector('[data-letter=B]').scrollTop > 0"))
        assert abs(second.evaluate(share) - 0.5) < 0.02
        press(page, "s")
        page.wait_for_timeout(150)  # the leader of the last scroll has stepped back
        first.evaluate("card => { card.scrollTop = 0; }")
        page.wait_for_timeout(100)
        assert abs(second.evaluate(share) - 0.5) < 0.02

    def test_a_diff_of_long_texts_never_stalls(self, open_page: OpenPage, project: Project, contractor: User) -> None:
        """Chinese, one line of 10,000 characters, and texts whose sentences are as many as their words."""
        factories.make_batch(project)
        page = rank_page(open_page, contractor)
        took = page.evaluate(
            """async () => {
                const { diff } = await import("/static/hone/js/diff.js");
                const chinese = "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少？";
                const numbers = (n, by) => Array.from({ length: n }, (_, i) => `${i * by}. `).join("");
                const pairs = [
                    [chinese.repeat(800), chinese.repeat(790) + "不同"],
                    [Array.from(chinese.repeat(800)).reverse().join(""), chinese.repeat(800)],
                    ["x".repeat(10000), "x".repeat(9999) + "y"],
                    [numbers(20000, 3), numbers(20000, 5)],
                    ["a b ".repeat(20000), "b c ".repeat(20000)],
                ];
                return pairs.map(([a, b]) => {
                    const begin = performance.now();
                    const parts = diff(a, b);
                    const of = (kind) => parts.filter(([what]) => what === "same" || what === kind);
                    const side = (kind) => of(kind).map(([, text]) => text).join("");
                    return { ms: performance.now() - begin, whole: side("gone") === a && side("new") === b };
                });
            }"""
        )
        assert all(one["whole"] for one in took)
        assert max(one["ms"] for one in took) < 3000, took

    def test_a_diff_of_chinese_marks_words(self, open_page: OpenPage, project: Project, contractor: User) -> None:
        open_item(project, "今天天气很好，我们去公园。", "今天天气很冷，我们去公园。")
        page = rank_page(open_page, contractor)
        press(page, "v")
        marks = page.get_by_role("dialog").locator("del, ins")
        assert sorted(marks.all_text_contents()) == sorted(["很好", "很冷"])


def test_the_page_keeps_every_weak_order_of_four_in_its_draft_and_sends_its_tiers(
    open_page: OpenPage, project: Project, contractor: User
) -> None:
    """order.js: all ways to put four letters into tiers, below the line, or nowhere, and its draft's way back."""
    factories.make_batch(project)
    page = rank_page(open_page, contractor)
    faults = page.evaluate(
        """async () => {
            const { Order } = await import("/static/hone/js/order.js");
            const letters = ["A", "B", "C", "D"];
            const zones = ["", "1", "2", "3", "4", "x"];
            const faults = [];
            for (let n = 0; n < zones.length ** 4; n += 1) {
                const zone = letters.map((_, at) => zones[Math.floor(n / zones.length ** at) % zones.length]);
                const one = new Order(letters);
                letters.forEach((letter, at) => one.place(letter, zone[at]));
                const other = new Order(letters);
                other.restore(JSON.parse(JSON.stringify(one.draft())));
                const all = zones.slice(1, 5).map((tier) => letters.filter((_, at) => zone[at] === tier));
                const tiers = all.filter((tier) => tier.length);
                const same = JSON.stringify(one.placed) === JSON.stringify(other.placed);
                if (!same || JSON.stringify(other.tiers()) !== JSON.stringify(tiers)) faults.push(zone);
                // What the server kept of a refused submit closes up the empty tiers, and means the same.
                const sent = new Order(letters);
                sent.restore({ tiers: one.tiers(), unacceptable: one.unacceptable() });
                if (JSON.stringify(sent.tiers()) !== JSON.stringify(tiers)) faults.push(zone);
                while (one.undo());
                if (one.missing().length !== 4) faults.push(zone);
            }
            return faults;
        }"""
    )
    assert json.dumps(faults) == "[]"


def test_direction_marks_in_an_answer_turn_nothing_else_round(
    open_page: OpenPage, project: Project, contractor: User
) -> None:
    """An override that is never closed ends with its block: what follows, and the page around it, reads as before."""
    open_item(
        project,
        "\u202eevil \u2067more\n\nThe next block reads on.",
        "Plain \u202e`code` and text\n\n- \u202eitem\n- next",
    )
    page = rank_page(open_page, contractor)
    expect_order(page, free="AB")
    order = page.evaluate(
        """() => {
            const texts = [];
            const walk = document.createTreeWalker(document.querySelector("[data-rank]"), NodeFilter.SHOW_TEXT);
            while (walk.nextNode()) {
                const node = walk.currentNode;
                const one = node.textContent.trim();
                const isWanted = /^(The next block reads on\\.|next|Skip|not placed)$/.test(one);
                if (isWanted && node.parentElement.checkVisibility()) {
                    const range = document.createRange();
                    const at = node.textContent.indexOf(one);
                    const left = (n) => {
                        range.setStart(node, n);
                        range.setEnd(node, n + 1);
                        return range.getBoundingClientRect().left;
                    };
                    texts.push([one, left(at) < left(at + one.length - 1)]);
                }
            }
            return texts;
        }"""
    )
    assert {text for text, _ in order} == {"The next block reads on.", "next", "Skip", "not placed"}
    assert all(forward for _, forward in order), order
    expect_nothing_wide(page)
