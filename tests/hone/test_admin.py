"""The Django admin: every table can be looked at, and only accounts can be changed there."""

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from hone.accounts.models import ApiToken, Project, User
from tests import factories

pytestmark = pytest.mark.django_db

MODELS = sorted(model._meta.label_lower for model in admin.site._registry)


@pytest.fixture
def root(client: Client) -> Client:
    client.force_login(factories.make_user("root", is_staff=True, is_superuser=True))
    return client


@pytest.mark.parametrize("label", MODELS)
def test_every_list_answers(root: Client, project: Project, contractor: User, label: str) -> None:
    factories.make_guideline(project)
    factories.make_ranking(contractor, project, [[0], [1]])
    factories.make_run(project)
    ApiToken.objects.create(user=contractor, name="t")
    assert root.get(reverse(f"admin:{label.replace('.', '_')}_changelist")).status_code == 200


@pytest.mark.parametrize(
    "label", [label for label in MODELS if label.split(".")[0] in ("labeling", "training", "audit")]
)
def test_rows_that_workflows_own_cannot_be_added_by_hand(root: Client, label: str) -> None:
    assert root.get(reverse(f"admin:{label.replace('.', '_')}_add")).status_code == 403


def test_the_digest_of_a_token_is_never_shown(root: Client, contractor: User) -> None:
    token, _secret = ApiToken.objects.create(user=contractor, name="the token's name")
    pages = [reverse("admin:accounts_apitoken_changelist")]
    pages += [reverse(f"admin:accounts_apitoken_{view}", args=[token.pk]) for view in ("change", "delete", "history")]
    for path in pages:
        page = root.get(path, follow=True)
        assert page.status_code == 200 and "the token&#x27;s name" in page.content.decode()
        assert token.digest not in page.content.decode() + path
    root.post(reverse("admin:accounts_apitoken_delete", args=[token.pk]), {"post": "yes"})
    assert not ApiToken.objects.exists() and LogEntry.objects.get().object_id != token.digest


def test_staff_without_rights_see_no_tables(client: Client, lead: User) -> None:
    client.force_login(lead)
    assert client.get(reverse("admin:labeling_prompt_changelist")).status_code == 403
