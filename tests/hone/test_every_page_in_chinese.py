"""Every page as a Chinese reader gets it: nothing on it is still English."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from django.test import Client
from django.utils import translation

from hone.accounts.models import Project, User
from tests import factories, sitemap
from tests.translation import catalogue

pytestmark = pytest.mark.django_db

# Names and terms that Chinese text writes in Latin letters too.
SAME = re.compile(
    r"JSON Lines|Llama 2|DPO|SFT|LoRA (?:alpha|dropout)|InstructGPT|config\.json|safetensors|IBAN|Ctrl ↵|SHA-256"
)
SHOWN = {"placeholder", "title", "aria-label", "alt"}
WORDS = re.compile(r"[A-Za-z]{2,}(?:['’][a-z]+)?(?:,? [A-Za-z]{2,})+")


class Shown(HTMLParser):
    """Texts and attributes that are read, and the strings that scripts read."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[tuple[int, str]] = []
        self.unread = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        bag = dict(attrs).get("id") in ("strings", "curve-strings")
        self.unread += tag in ("script", "style", "code", "kbd", "select", "textarea")
        for name, value in attrs:
            if name in SHOWN or (
                name.startswith("data-") and (bag or name in ("data-label", "data-say", "data-copied"))
            ):
                self.texts.append((self.getpos()[0], value or ""))

    def handle_endtag(self, tag: str) -> None:
        self.unread -= tag in ("script", "style", "code", "kbd", "select", "textarea")

    def handle_data(self, data: str) -> None:
        if not self.unread:
            self.texts.append((self.getpos()[0], " ".join(data.split())))


@pytest.fixture
def english() -> set[str]:
    """What the catalogue translates into something else."""
    return {
        entry.msgid
        for entry in catalogue.read()
        if entry.msgid != (entry.msgstr or entry.msgstr_plural.get(0)) and re.search("[A-Za-z]{2}", entry.msgid)
    }


@pytest.fixture
def rows(
    project: Project, contractor: User, reviewer: User, lead: User, woken: list[int], settings: Any
) -> dict[str, Any]:
    project.name = "项目"
    project.save()
    return sitemap.filled(project, contractor, reviewer, lead)


def left_in_english(page: str, english: set[str]) -> list[str]:
    found = Shown()
    found.feed(page)
    return [
        f"line {line}: {text}"
        for line, text in found.texts
        if text in english or WORDS.search(SAME.sub(" ", re.sub(r"\{\w+\}", "◆", text)))
    ]


def look(client: Client, address: str, english: set[str], wrong: list[str]) -> None:
    answer = client.get(address, headers={"accept-language": "zh-CN,zh;q=0.9,en;q=0.1"})
    if answer.status_code in (301, 302, 405):
        return
    assert answer.status_code == 200, (address, answer.status_code)
    page = answer.content.decode()
    assert answer.headers["content-language"] == "zh-hans"
    if "<html" in page:
        assert 'lang="zh-hans"' in page, address
    wrong += [f"{address} {place}" for place in left_in_english(page, english)]


@pytest.mark.slow
@pytest.mark.parametrize("who", ["contractor", "lead"])
def test_no_page_is_left_in_english(
    request: pytest.FixtureRequest, client: Client, rows: dict[str, Any], english: set[str], who: str
) -> None:
    user = request.getfixturevalue(who)
    client.force_login(user)
    wrong: list[str] = []
    for name, address in sitemap.addresses(rows).items():
        if who == "contractor" and client.get(address).status_code in (403, 404):
            continue
        if name != "hone:login":
            look(client, address, english, wrong)
    client.logout()
    look(client, "/login/", english, wrong)
    assert not wrong, "\n".join(["English on Chinese pages:", *wrong])


@pytest.mark.slow
def test_pages_without_rows_are_chinese_too(client: Client, project: Project, lead: User, english: set[str]) -> None:
    project.name = "项目"
    project.save()
    client.force_login(lead)
    wrong: list[str] = []
    for address in sitemap.addresses({"slug": project.slug}).values():
        look(client, address, english, wrong)
    assert not wrong, "\n".join(["English on Chinese pages:", *wrong])


@pytest.mark.parametrize(("path", "status"), [("/nowhere/", 404), ("/p/alpha/members/", 403), ("/p/none/", 404)])
def test_refusals_are_chinese(
    client: Client, project: Project, contractor: User, english: set[str], path: str, status: int
) -> None:
    client.force_login(contractor)
    answer = client.get(path, headers={"accept-language": "zh"})
    assert answer.status_code == status
    assert not left_in_english(answer.content.decode(), english)


def test_forms_that_are_wrong_say_so_in_chinese(
    client: Client, project: Project, manager: User, lead: User, english: set[str]
) -> None:
    factories.make_checkpoint(name="m-0")
    project.name = "项目"
    project.save()
    client.force_login(lead)
    wrong = []
    for path, body in {
        "/p/alpha/settings/writing/": {"min_chars": "x", "phone_regions": "??", "similarity": "200"},
        "/p/alpha/guideline/edit/": {},
        "/p/alpha/members/": {"action": "add", "username": "nobody"},
        "/p/alpha/import/": {},
        "/account/": {"name": ""},
        "/account/password/": {"old_password": "x", "new_password1": "a", "new_password2": "b"},
        "/console/p/alpha/rounds/new/": {"heldout_percent": "200", "use-rank": "on"},
    }.items():
        answer = client.post(path, body, headers={"accept-language": "zh-CN"})
        assert answer.status_code in (200, 400, 422), (path, answer.status_code)
        wrong += [f"{path} {place}" for place in left_in_english(answer.content.decode(), english)]
    assert not wrong, "\n".join(wrong)


def test_the_search_finds_english() -> None:
    with translation.override("zh-hans"):
        page = '<p>Some words left</p><p title="Submit">提交</p><p>好</p><code>a b</code>'
        assert left_in_english(page, {"Submit"}) == ["line 1: Some words left", "line 1: Submit"]
