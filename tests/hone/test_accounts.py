"""Who may reach what: log-in, throttling, roles, tokens."""

from typing import Any

import pytest
from axes.helpers import get_client_ip_address
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.test import Client, RequestFactory
from django.urls import reverse
from rest_framework.test import APIClient

from hone.accounts import access
from hone.accounts.models import ApiToken, Membership, Project, User
from hone.audit.models import Event
from tests import factories

pytestmark = pytest.mark.django_db


def test_login_and_logout(client: Client) -> None:
    factories.make_user("ada")
    answer = client.post(reverse("hone:login"), {"username": "ada", "password": "correct horse"})
    assert answer.status_code == 302 and answer["Location"] == "/"
    assert client.get("/").status_code == 200
    client.post(reverse("hone:logout"))
    assert client.get("/")["Location"].startswith(reverse("hone:login"))


def test_sixth_attempt_is_refused_even_with_the_right_password(client: Client) -> None:
    factories.make_user("ada")
    for _ in range(5):
        client.post(reverse("hone:login"), {"username": "ada", "password": "wrong"})
    answer = client.post(reverse("hone:login"), {"username": "ada", "password": "correct horse"})
    assert answer.status_code == 429
    assert "_auth_user_id" not in client.session


def test_another_name_from_the_same_address_still_logs_in(client: Client) -> None:
    factories.make_user("ada")
    factories.make_user("bo")
    for _ in range(6):
        client.post(reverse("hone:login"), {"username": "ada", "password": "wrong"})
    answer = client.post(reverse("hone:login"), {"username": "bo", "password": "correct horse"})
    assert answer.status_code == 302


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "", "10.0.0.9"),
        (0, "203.0.113.5", "10.0.0.9"),
        (1, "203.0.113.5", "203.0.113.5"),
        (1, "198.51.100.1, 203.0.113.5", "203.0.113.5"),
        (2, "198.51.100.1,203.0.113.5 , 10.0.0.8", "203.0.113.5"),
        (2, "2001:db8::1, 10.0.0.8", "2001:db8::1"),
        (1, "", "10.0.0.9"),
        (2, "203.0.113.5", "10.0.0.9"),
        (1, "unknown", "10.0.0.9"),
        (1, "a\x00b", "10.0.0.9"),
    ],
)
def test_the_address_is_what_our_outermost_proxy_saw(
    rf: RequestFactory, settings: Any, proxies: int, forwarded: str, address: str
) -> None:
    settings.PROXY_COUNT = proxies
    headers = {"HTTP_X_FORWARDED_FOR": forwarded} if forwarded else {}
    assert get_client_ip_address(rf.get("/", REMOTE_ADDR="10.0.0.9", **headers)) == address


def test_behind_a_proxy_one_client_does_not_close_a_name_for_the_others(client: Client, settings: Any) -> None:
    settings.PROXY_COUNT = 1
    factories.make_user("ada")
    for number in range(6):  # what the client writes itself into the header changes nothing
        forged = {"HTTP_X_FORWARDED_FOR": f"192.0.2.{number}, 203.0.113.5"}
        client.post(reverse("hone:login"), {"username": "ada", "password": "wrong"}, **forged)
    login = {"username": "ada", "password": "correct horse"}
    assert client.post(reverse("hone:login"), login, HTTP_X_FORWARDED_FOR="203.0.113.5").status_code == 429
    assert client.post(reverse("hone:login"), login, HTTP_X_FORWARDED_FOR="203.0.113.6").status_code == 302


@pytest.mark.parametrize(
    ("role", "roles", "outcome"),
    [
        ("manager", access.MANAGERS, None),
        ("reviewer", access.LEADS, None),
        ("contractor", access.ANYONE, None),
        ("contractor", access.LEADS, PermissionDenied),
        ("reviewer", access.MANAGERS, PermissionDenied),
        (None, access.ANYONE, Http404),
    ],
)
def test_project_for_answers_by_role(
    project: Project, role: str | None, roles: tuple[str, ...], outcome: type[Exception] | None
) -> None:
    user = factories.make_member(project, role) if role else factories.make_user()
    if outcome is None:
        assert access.project_for(user, project.slug, roles=roles) == project
    else:
        with pytest.raises(outcome):
            access.project_for(user, project.slug, roles=roles)


def test_an_inactive_membership_opens_nothing(project: Project, contractor: User) -> None:
    Membership.objects.filter(user=contractor).update(is_active=False)
    with pytest.raises(Http404):
        access.project_for(contractor, project.slug)


def test_token_is_shown_once_and_stored_as_a_digest(client: Client, manager: User) -> None:
    client.force_login(manager)
    page = client.post(reverse("hone:account"), {"name": "nightly"})
    token = page.context["new_token"]
    stored = ApiToken.objects.get()
    assert stored.name == "nightly" and token not in stored.digest and token.startswith("hone_")
    assert token not in client.get(reverse("hone:account")).content.decode()
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Token {token}")
    assert api.get("/api/v1/projects/").status_code == 200
    client.post(reverse("hone:token_delete", args=[stored.token_key]))
    assert api.get("/api/v1/projects/").status_code == 401


@pytest.mark.django_db(transaction=True)
def test_a_token_that_cannot_be_recorded_is_neither_made_nor_deleted(
    client: Client, manager: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no")

    token, _secret = ApiToken.objects.create(user=manager, name="first")
    monkeypatch.setattr("hone.accounts.views.record", fail)
    client.force_login(manager)
    client.raise_request_exception = False
    assert client.post(reverse("hone:account"), {"name": "second"}).status_code == 500
    assert client.post(reverse("hone:token_delete", args=[token.token_key])).status_code == 500
    assert list(ApiToken.objects.all()) == [token]


@pytest.mark.django_db(transaction=True)
def test_a_token_that_cannot_be_deleted_is_not_recorded_as_deleted(
    client: Client, manager: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no")

    token, _secret = ApiToken.objects.create(user=manager, name="first")
    monkeypatch.setattr(ApiToken, "delete", fail)
    client.force_login(manager)
    client.raise_request_exception = False
    assert client.post(reverse("hone:token_delete", args=[token.token_key])).status_code == 500
    assert not Event.objects.exists()


def test_a_token_key_with_odd_characters_is_404(client: Client, manager: User) -> None:
    client.force_login(manager)
    assert client.post("/account/tokens/%00/delete/").status_code == 404


def test_nobody_deletes_another_persons_token(client: Client, manager: User, outsider: User) -> None:
    token, _ = ApiToken.objects.create(user=manager, name="mine")
    client.force_login(outsider)
    assert client.post(reverse("hone:token_delete", args=[token.token_key])).status_code == 404
    assert ApiToken.objects.filter(pk=token.pk).exists()
