"""A real browser against a real server: one Chromium a session, a fresh context a test, and no silent errors.

Every context is watched. An error in its console, an uncaught exception, a request that failed, one to another host
or a dialog fails the test when it ends, unless the test has announced it to `problems`.
"""

import contextlib
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from django.core.servers.basehttp import WSGIRequestHandler
from django.core.signals import request_finished, request_started
from django.test import Client
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Page,
    Playwright,
    Request,
    expect,
    sync_playwright,
)
from playwright.sync_api import Error as PlaywrightError
from pytest_django.live_server_helper import LiveServer

from hone.accounts.models import Project, User
from tests import factories
from tests.e2e.steps import DESK, WAIT_MS, OpenPage

# Headers and body leave the test server as two small packets: without this each answer waits 40 ms for the first's ACK.
WSGIRequestHandler.disable_nagle_algorithm = True
# Playwright's sync API keeps an event loop in this thread, in which Django would refuse to touch the database.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# In which a context closes, a few tenths of a second on an idle machine.
CLOSE_S = 30


class Problems:
    """What went wrong in the test's browser contexts, apart from what the test said would."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.expected: list[str] = []

    def expect(self, *texts: str) -> None:
        """From here on, problems with one of these words are part of the test."""
        self.expected += texts

    def watch(self, context: BrowserContext, home: str) -> None:
        host = urlsplit(home).netloc

        def console(message: ConsoleMessage) -> None:
            if message.type == "error":
                self.found.append(f"console: {message.text} ({message.location.get('url', '')})")

        def request(sent: Request) -> None:
            address = urlsplit(sent.url)
            if address.scheme in {"http", "https", "ws", "wss"} and address.netloc != host:
                self.found.append(f"another host: {sent.url}")

        def failed(sent: Request) -> None:
            # Leaving a page aborts what is still under way, and a download is an aborted navigation.
            if sent.failure != "net::ERR_ABORTED":
                self.found.append(f"failed: {sent.failure} {sent.method} {sent.url}")

        def dialog(shown: Dialog) -> None:
            self.found.append(f"dialog: {shown.type} {shown.message}")
            shown.dismiss()

        context.on("console", console)
        context.on("weberror", lambda error: self.found.append(f"exception: {error.error}"))
        context.on("request", request)
        context.on("requestfailed", failed)
        context.on("dialog", dialog)

    def unexpected(self) -> list[str]:
        return [text for text in self.found if not any(known in text for known in self.expected)]


class Requests:
    """Counts the requests that the server works on, so that a test's rows are removed only when it is idle."""

    def __init__(self) -> None:
        self.open = 0
        self.changed = threading.Condition()

    def count(self, by: int) -> None:
        with self.changed:
            self.open += by
            self.changed.notify_all()

    def wait_for_none(self) -> None:
        with self.changed:
            while True:
                assert self.changed.wait_for(lambda: self.open <= 0, timeout=15), "the server is still at work"
                # What a closed page has sent last may be in the socket still.
                if not self.changed.wait_for(lambda: self.open > 0, timeout=0.05):
                    return


class Chromium:
    """The session's browser. Where it does not close a context it is ended, and the next test gets a new one.

    Seen once in some thousands of tests on a busy machine: a test had passed, and waited for the end of its context
    until its time was up. What a page does when it is left is not lost with it, as contexts are closed after that.
    """

    def __init__(self, playwright: Playwright, path: str) -> None:
        self.playwright, self.path = playwright, path
        self.browser = self._launch()

    def _launch(self) -> Browser:
        return self.playwright.chromium.launch(executable_path=self.path, args=FLAGS)

    def new_context(self, **options: Any) -> BrowserContext:
        if not self.browser.is_connected():
            self.browser = self._launch()
        return self.browser.new_context(**options)

    def close(self, context: BrowserContext) -> None:
        late = threading.Event()

        def end() -> None:
            late.set()
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if process.name().startswith("chrom"):
                        process.kill()

        timer = threading.Timer(CLOSE_S, end)
        timer.start()
        try:
            context.close()
        except PlaywrightError:
            if not late.is_set():
                raise
            print(f"Chromium did not close a context in {CLOSE_S} s and was ended.", file=sys.stderr)
        finally:
            timer.cancel()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
    if not os.access(path, os.X_OK):
        missing = f"no Chromium at {path}: apt-get install chromium, or set CHROMIUM"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        chromium = Chromium(playwright, path)
        yield chromium
        chromium.browser.close()


@pytest.fixture
def requests(live_server: LiveServer) -> Iterator[Requests]:
    counter = Requests()

    def started(**_: Any) -> None:
        counter.count(1)

    def finished(**_: Any) -> None:
        counter.count(-1)

    request_started.connect(started)
    request_finished.connect(finished)
    yield counter
    request_started.disconnect(started)
    request_finished.disconnect(finished)


@pytest.fixture
def problems() -> Problems:
    return Problems()


@pytest.fixture
def open_page(
    chromium: Chromium, live_server: LiveServer, requests: Requests, problems: Problems
) -> Iterator[OpenPage]:
    """`open_page(user)`: a page in a context of its own, logged in where a user is given; addresses are relative.

    The log-in page has its own tests: here the session's cookie is made without it, which saves two page loads.
    """
    contexts: list[BrowserContext] = []

    def open_(user: User | None = None, **options: Any) -> Page:
        context = chromium.new_context(
            **{"base_url": live_server.url, "viewport": DESK, "reduced_motion": "reduce", **options}
        )
        context.set_default_timeout(WAIT_MS)
        contexts.append(context)
        problems.watch(context, live_server.url)
        if user:
            client = Client()
            client.force_login(user, backend="hone.accounts.backends.Backend")
            context.add_cookies(
                [{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}]
            )
        return context.new_page()

    yield open_
    for context in contexts:
        chromium.close(context)
    requests.wait_for_none()
    assert not problems.unexpected(), "\n".join(["the browser had problems:", *problems.unexpected()])


@pytest.fixture
def write_page(open_page: OpenPage, project: Project, contractor: User) -> Page:
    """The write page with one item of its own, and a clock that the test moves."""
    factories.make_batch(project, "write")
    page = open_page(contractor)
    page.clock.install()
    page.goto("/p/alpha/write/")
    return page
