"""A gold item and a repeat in a browser: like any other for who ranks them, a score for the lead."""

import random
import re

import pytest
from playwright.sync_api import Page, expect

from hone.accounts.models import Project, User
from labeling import hidden
from labeling.models import HiddenChecks, Item, QualityReport, Ranking, Slot
from labeling.quality import measuring
from tests import factories
from tests.e2e.steps import PHONE, OpenPage, eventually, expect_nothing_wide, expect_order

pytestmark = pytest.mark.browser


def shape(page: Page) -> str:
    """The page's elements with their classes and attributes' names; texts and numbers left out."""
    found: str = page.evaluate(
        """() => [...document.querySelectorAll("main *, header *")]
            .map((box) => box.tagName + "." + box.className + "[" + [...box.attributes].map((a) => a.name).sort() + "]")
            .join("\\n")"""
    )
    return re.sub(r"\d+", "0", found)


def test_checks_look_like_any_other_and_the_lead_sees_the_score(
    open_page: OpenPage, project: Project, manager: User, contractor: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = factories.make_batch(project, items=1, answers=3)
    [gold] = Item.objects.filter(batch=batch)
    Slot.objects.filter(item=gold).delete()
    hidden.set_gold(item=gold, tiers=[[0], [1, 2]], unacceptable=[], source="manager", actor=manager)
    factories.make_batch(project, items=4, answers=3)
    monkeypatch.setattr(random.Random, "random", lambda self: 0.9)
    HiddenChecks.objects.create(project=project, gold_percent=30, repeat_percent=20, repeat_distance=1)
    page = open_page(contractor)
    page.goto("/p/alpha/rank/")
    seen = []
    # A draw of 0 is below the gold rate, 0.4 between it and the repeats', 0.9 above both.
    for kind, draw_of_next in (("", 0.0), ("gold", 0.9), ("", 0.4), ("repeat", 0.9)):
        expect_order(page, free="ABC")
        slot = Slot.objects.get(holder=contractor, state="leased")
        assert slot.hidden == kind and slot.order_shown is not None
        seen.append(shape(page))
        monkeypatch.setattr(random.Random, "random", lambda self, draw=draw_of_next: draw)
        letter = {index: "ABC"[slot.order_shown.index(index)] for index in range(3)}
        for index, tier in ((0, "1"), (1, "2"), (2, "2")):  # a tie, so that it is never the order shown
            page.keyboard.press(letter[index].lower())
            page.keyboard.press(tier)
        expect_order(page, t1=letter[0], t2="".join(sorted(letter[1] + letter[2])), t3="", free="")
        page.keyboard.press("Control+Enter")
        made = eventually(page, lambda slot=slot: Ranking.objects.filter(slot=slot).first())
        assert made.hidden == kind and made.tiers == [[0], [1, 2]]
    expect_order(page, free="ABC")
    assert len(set(seen[1:])) == 1  # the first came with the page, the others in its place
    report = QualityReport.objects.create(project=project)
    measuring.measure(report.pk)
    lead = open_page(manager)
    lead.goto(f"/p/alpha/people/{contractor.pk}/")
    tiles = lead.locator("#checks .tile")
    expect(tiles.nth(0)).to_contain_text("100 %")
    expect(tiles.nth(1)).to_contain_text("100 %")
    for path in ("settings/checks/", f"items/{gold.pk}/gold/", "quality/"):
        lead.goto(f"/p/alpha/{path}")
        expect(lead.get_by_role("heading", level=1)).to_be_visible()
        for size, scheme in ((PHONE, "dark"), ({"width": 1280, "height": 900}, "light")):
            lead.set_viewport_size(size)  # type: ignore[arg-type]
            lead.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            expect_nothing_wide(lead)
