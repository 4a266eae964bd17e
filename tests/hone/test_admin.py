"""The Django admin: every table can be looked at, and only accounts can be changed there."""

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.test import Client
from django.urls import reverse
from knox.models import get_digest_token
from rest_framework.test import APIClient

from hone.accounts.models import ApiToken, Project, Session, User
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


# As it stood before sessions knew their user.
DJANGOS_SESSIONS = """
CREATE TABLE django_session (session_key varchar(40) PRIMARY KEY, session_data text, expire_date timestamptz);
INSERT INTO django_session VALUES ('going-on', 'data', now() + interval '1 hour'), ('ended', 'data', now())
"""


@pytest.mark.django_db(transaction=True)
def test_tokens_and_sessions_of_the_first_release_still_work(contractor: User, api: APIClient) -> None:
    executor = MigrationExecutor(connection)
    executor.migrate([("accounts", "0001_initial")])
    try:
        old = executor.loader.project_state([("accounts", "0001_initial")]).apps.get_model("accounts", "ApiToken")
        digest, secret = get_digest_token()
        old.objects.create(digest=digest, token_key=secret[:15], user_id=contractor.pk, name="old")
        with connection.cursor() as cursor:
            cursor.execute(DJANGOS_SESSIONS)
    finally:
        call_command("migrate", verbosity=0)
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS django_session")
    # Nor is anybody logged out who was not before.
    assert [*Session.objects.values_list("session_key", "session_data", "user")] == [("going-on", "data", None)]
    api.credentials(HTTP_AUTHORIZATION=f"Token {secret}")
    assert api.get("/api/v1/projects/").status_code == 200
    assert ApiToken.objects.get().pk and ApiToken.objects.create(user=contractor, name="new")[0].pk


def test_staff_without_rights_see_no_tables(client: Client, lead: User) -> None:
    client.force_login(lead)
    assert client.get(reverse("admin:labeling_prompt_changelist")).status_code == 403
