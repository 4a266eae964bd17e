"""The Content-Security-Policy of every page: strict where people work, and never open to another host."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from hone.accounts.models import Project, User
from tests import factories, sitemap

pytestmark = pytest.mark.django_db


def policy_of(answer: Any) -> dict[str, list[str]]:
    parts = answer.headers["content-security-policy"].split(";")
    return {words[0]: words[1:] for part in parts if (words := part.split())}


STRICT = {
    "default-src": ["'self'"],
    "script-src": ["'self'"],
    "style-src": ["'self'"],
    "connect-src": ["'self'"],
    "object-src": ["'none'"],
    "base-uri": ["'none'"],
    "form-action": ["'self'"],
    "frame-ancestors": ["'none'"],
    "img-src": ["'self'", "data:"],
}


@pytest.mark.slow
def test_every_page_of_the_site_is_strict(
    client: Client, project: Project, contractor: User, reviewer: User, lead: User, woken: list[int]
) -> None:
    rows = sitemap.filled(project, contractor, reviewer, lead)
    client.force_login(lead)
    paths = sitemap.addresses(rows)
    assert {"labeling:rank", "labeling:write", "hone:home", "training:run"} <= set(paths)
    for path in [*paths.values(), "/nowhere/", "/p/none/"]:
        assert policy_of(client.get(path)) == STRICT, path
    client.logout()
    assert policy_of(client.get("/login/")) == STRICT


def test_refused_requests_are_strict_too(client: Client, project: Project, contractor: User) -> None:
    client.force_login(contractor)
    assert policy_of(client.get("/p/alpha/members/")) == STRICT
    assert policy_of(Client(enforce_csrf_checks=True).post("/login/", {})) == STRICT


@pytest.mark.parametrize("path", ["/api/v1/projects/", "/api/v1/docs/", "/api/v1/docs/?script="])
def test_the_api_allows_inline_styles_and_no_inline_script(client: Client, contractor: User, path: str) -> None:
    client.force_login(contractor)
    assert policy_of(client.get(path)) == STRICT | {"style-src": ["'self'", "'unsafe-inline'"]}


def test_the_documentation_has_no_inline_script(client: Client, contractor: User) -> None:
    client.force_login(contractor)
    page = client.get(reverse("api:docs")).content.decode()
    assert page.count("<script") == page.count("<script src=") >= 4


def test_the_administration_reaches_no_other_host(client: Client) -> None:
    client.force_login(factories.make_user("root", is_staff=True, is_superuser=True))
    policy = policy_of(client.get(reverse("admin:index")))
    assert {name: policy[name] for name in STRICT if name not in ("script-src", "style-src")} == {
        name: STRICT[name] for name in STRICT if name not in ("script-src", "style-src")
    }
    assert policy["script-src"] == ["'self'", "'unsafe-inline'", "'unsafe-eval'"]
    assert policy["style-src"] == ["'self'", "'unsafe-inline'"]
