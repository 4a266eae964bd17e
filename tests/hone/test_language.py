"""Which language one is answered in, and where the choice is kept."""

import json

import pytest
from django.db import IntegrityError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from hone.accounts.models import ApiToken, Project, User
from tests import factories

pytestmark = pytest.mark.django_db
CHINESE = {"accept-language": "zh-CN,zh;q=0.9,en;q=0.8"}


def language_of(answer: object) -> str:
    page = answer.content.decode()  # type: ignore[attr-defined]
    return page.partition('<html lang="')[2].partition('"')[0]


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("zh-CN", "zh-hans"),
        ("zh", "zh-hans"),
        ("zh-SG,en", "zh-hans"),
        ("de,fr;q=0.5", "en"),
        ("en-GB", "en"),
        ("", "en"),
    ],
)
def test_the_first_visit_is_answered_as_the_browser_asks(client: Client, asked: str, answered: str) -> None:
    page = client.get("/login/", headers={"accept-language": asked})
    assert language_of(page) == page.headers["content-language"] == answered
    assert "Accept-Language" in page.headers["vary"] and "Cookie" in page.headers["vary"]


def test_a_choice_on_the_log_in_page_is_kept_by_this_browser(client: Client) -> None:
    answer = client.post("/language/", {"language": "zh-hans", "next": "/login/?next=/account/"})
    assert answer.status_code == 302 and answer.headers["location"] == "/login/?next=/account/"
    cookie = client.cookies["django_language"]
    assert cookie.value == "zh-hans" and cookie["httponly"] and cookie["samesite"] == "Lax"
    assert language_of(client.get("/login/")) == "zh-hans"


def test_a_users_choice_goes_with_them_to_another_browser(client: Client, contractor: User) -> None:
    client.force_login(contractor)
    client.post("/language/", {"language": "zh-hans", "next": "/"})
    contractor.refresh_from_db()
    assert contractor.language == "zh-hans"
    other = Client(headers={"accept-language": "en"})
    assert language_of(other.get("/login/")) == "en"
    other.force_login(contractor)
    assert language_of(other.get("/account/")) == "zh-hans"


def test_the_users_own_choice_goes_before_the_browsers(client: Client, contractor: User) -> None:
    User.objects.filter(pk=contractor.pk).update(language="en")
    client.post("/language/", {"language": "zh-hans"})
    client.force_login(contractor)
    assert language_of(client.get("/account/", headers=CHINESE)) == "en"


@pytest.mark.parametrize("code", ["", "xx", "zh-hans'", "\x00", "de"])
def test_a_language_that_there_is_not_changes_nothing(client: Client, contractor: User, code: str) -> None:
    client.force_login(contractor)
    assert client.post("/language/", {"language": code, "next": "/"}).status_code == 302
    contractor.refresh_from_db()
    assert contractor.language == "" and "django_language" not in client.cookies
    assert language_of(client.get("/account/")) == "en"


def test_a_language_that_there_is_not_cannot_be_stored(contractor: User) -> None:
    with pytest.raises(IntegrityError):
        User.objects.filter(pk=contractor.pk).update(language="de")


@pytest.mark.parametrize("next_page", ["https://evil.example/", "//evil.example/", "javascript:alert(1)"])
def test_the_choice_leads_to_no_other_site(client: Client, next_page: str) -> None:
    answer = client.post("/language/", {"language": "en", "next": next_page})
    assert answer.headers["location"] == "/"


def test_a_choice_needs_a_post_and_the_sites_own_form() -> None:
    client = Client(enforce_csrf_checks=True)
    assert client.get("/language/?language=zh-hans").status_code == 405
    assert client.post("/language/", {"language": "zh-hans"}).status_code == 403
    assert "django_language" not in client.cookies


def test_the_api_answers_a_browsers_session_in_the_users_language(contractor: User, project: Project) -> None:
    User.objects.filter(pk=contractor.pk).update(language="zh-hans")
    client = Client(headers={"accept-language": "en"})
    client.force_login(contractor)
    answer = client.put("/api/v1/work/0/draft/", {}, content_type="application/json")
    assert answer.status_code in (400, 404)
    answer = client.post("/api/v1/projects/none/work/rank/next/", {}, content_type="application/json")
    assert answer.json()["detail"] == "您的项目中没有这个项目。"


@pytest.mark.parametrize(
    ("asked", "said"), [("zh-CN", "您的项目中没有这个项目。"), ("en", "There is no such project among yours.")]
)
def test_the_api_answers_a_token_as_the_request_asks(contractor: User, asked: str, said: str) -> None:
    User.objects.filter(pk=contractor.pk).update(language="zh-hans")  # a script says itself what it wants
    _row, token = ApiToken.objects.create(user=contractor, name="t")
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Token {token}")
    answer = api.post("/api/v1/projects/none/work/rank/next/", {}, headers={"accept-language": asked})
    assert answer.status_code == 404 and answer.json()["detail"] == said


def test_numbers_that_machines_read_are_the_same_in_every_language(
    client: Client, contractor: User, project: Project
) -> None:
    factories.make_batch(project)
    client.force_login(contractor)
    pages = {}
    for asked in ("en", "zh-CN"):
        page = client.get("/p/alpha/rank/", headers={"accept-language": asked}).content.decode()
        work = json.loads(
            page.partition('<script id="work-data" type="application/json">')[2].partition("</script>")[0]
        )
        del work["lease_expires_at"], work["prompt"]["category"]  # a moment, and a word for people
        pages[asked] = work
    assert pages["en"]["limits"]["max_chars"] == 20_000 and pages["en"] == pages["zh-CN"]


def test_the_language_costs_no_query(client: Client, contractor: User, project: Project) -> None:
    client.force_login(contractor)
    counts = []
    for language in ("", "zh-hans"):
        User.objects.filter(pk=contractor.pk).update(language=language)
        with CaptureQueriesContext(connection) as queries:
            client.get("/account/")
        counts.append(len(queries))
    assert counts[0] == counts[1]
    with CaptureQueriesContext(connection) as queries:
        Client().get("/login/")
    assert not queries.captured_queries
