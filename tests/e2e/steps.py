"""What the browser tests do again and again: log in, rank by letters, touch, wait for a row."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.utils import timezone
from playwright.sync_api import Locator, Page, expect

from hone.accounts.models import User
from labeling import assignment
from labeling.models import Slot

PASSWORD = "correct horse"  # of every user that tests.factories makes
WAIT_MS = 15_000  # what an expectation may take on a loaded machine; where it is met at once it costs nothing
DESK = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
LETTERS = "ABCDEFGHI"

OpenPage = Callable[..., Page]


def log_in(page: Page, username: str, password: str = PASSWORD) -> None:
    """Through the log-in page, as a person does."""
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def eventually(page: Page, check: Callable[[], Any]) -> Any:
    """The check's first true value: for rows that the page gives no sign of."""
    until = time.monotonic() + WAIT_MS / 1000
    while not (found := check()):
        assert time.monotonic() < until, "it never came true"
        page.wait_for_timeout(20)
    return found


def expire(slot: Slot) -> None:
    """The lease on it runs out now."""
    Slot.objects.filter(pk=slot.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))


def lose(slot: Slot, to: User) -> None:
    """The lease runs out, the tick frees it, and somebody else takes the slot."""
    expire(slot)
    assignment.free_expired()
    taken = assignment.next_slot(project=slot.project, user=to, kind=slot.kind)
    assert taken is not None and taken.pk == slot.pk


def expect_saved(page: Page) -> None:
    expect(page.locator(".saved")).to_contain_text("Saved")


def indexes(slot: Slot, letters: str) -> list[int]:
    """The completions behind these letters, sorted as a tier is stored."""
    assert slot.order_shown is not None
    return sorted(slot.order_shown[LETTERS.index(letter)] for letter in letters)


def zone(page: Page, name: str) -> Locator:
    """A tier ("1" to "9"), "x" for unacceptable, "" for not placed."""
    return page.locator(f'[data-zone-box="{name}"]')


def chip(page: Page, letter: str) -> Locator:
    return page.locator(f'.zone-chips [data-drag="{letter}"]')


def expect_order(page: Page, **zones: str) -> None:
    """`expect_order(page, t1="BD", x="C", free="A")`: the strip shows these letters there, and no others."""
    names = {"x": "x", "free": ""}
    for key, letters in zones.items():
        box = zone(page, names.get(key, key[1:]))
        expect(box.locator("[data-drag]")).to_have_count(len(letters))
        for letter in letters:
            expect(box.locator(f'[data-drag="{letter}"]')).to_be_visible()


def middle(place: Locator) -> tuple[float, float]:
    box = place.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(page: Page, letter: str, to: Locator) -> None:
    """With the mouse."""
    page.mouse.move(*middle(chip(page, letter)))
    page.mouse.down()
    page.mouse.move(*middle(to), steps=6)
    page.mouse.up()


def swipe(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """One finger put down, moved and lifted, as the touch screen reports it."""
    touch = page.context.new_cdp_session(page)
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": start[0], "y": start[1]}]})
    steps = 8
    for step in range(1, steps + 1):
        at = [start[axis] + (end[axis] - start[axis]) * step / steps for axis in (0, 1)]
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": at[0], "y": at[1]}]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    touch.detach()


def expect_nothing_wide(page: Page) -> None:
    """No sideways scrolling of the page, and nothing cut off at its edge."""
    wide = page.evaluate(
        """() => {
            const width = document.documentElement.clientWidth;
            const scrolls = (box) => box && box !== document.body
                && (getComputedStyle(box).overflowX !== "visible" || scrolls(box.parentElement));
            const wide = [...document.body.querySelectorAll("*")].filter((box) => {
                const at = box.getBoundingClientRect();
                return at.width > 1 && (at.right > width + 1 || at.left < -1)
                    && box.checkVisibility({ visibilityProperty: true }) && !scrolls(box.parentElement);
            });
            if (document.documentElement.scrollWidth > width) wide.push(document.documentElement);
            return wide.map((box) => `${box.tagName} ${box.className} to ${box.getBoundingClientRect().right}`);
        }"""
    )
    assert not wide, "\n".join(wide)
