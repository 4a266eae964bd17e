"""What people held of the first release, after all migrations of accounts: their tokens and their sessions."""

from collections.abc import Iterator

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from knox.auth import TokenAuthentication
from knox.models import get_digest_token
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from hone.accounts.models import ApiToken, Session, User

FIRST = ("accounts", "0001_initial")
# As it stood before sessions knew their user.
DJANGOS_SESSIONS = """
CREATE TABLE django_session (session_key varchar(40) PRIMARY KEY, session_data text, expire_date timestamptz);
INSERT INTO django_session VALUES ('going-on', 'data', now() + interval '1 hour'), ('ended', 'data', now())
"""


@pytest.fixture
def empty_database(transactional_db: None) -> Iterator[None]:
    """Without a table, in place of the tests' own."""
    own = connection.settings_dict["NAME"]
    other = f"{own}_empty"
    with connection.cursor() as cursor:
        cursor.execute(f'CREATE DATABASE "{other}" TEMPLATE template0')
    connection.close()
    connection.settings_dict["NAME"] = other
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["NAME"] = own
        with connection.cursor() as cursor:
            cursor.execute(f'DROP DATABASE "{other}" WITH (FORCE)')


@pytest.mark.slow
def test_tokens_and_sessions_of_the_first_release_still_work(empty_database: None) -> None:
    executor = MigrationExecutor(connection)
    executor.migrate([FIRST])
    apps = executor.loader.project_state([FIRST]).apps
    person = apps.get_model("accounts", "User").objects.create(username="annotator")
    digest, secret = get_digest_token()
    apps.get_model("accounts", "ApiToken").objects.create(
        digest=digest, token_key=secret[:15], user_id=person.pk, name="old"
    )
    with connection.cursor() as cursor:
        cursor.execute(DJANGOS_SESSIONS)
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes("accounts"))
    # Nor is anybody logged out who was not before.
    assert [*Session.objects.values_list("session_key", "session_data", "user")] == [("going-on", "data", None)]
    request = Request(APIRequestFactory().get("/", HTTP_AUTHORIZATION=f"Token {secret}"))
    user, token = TokenAuthentication().authenticate(request)
    assert (user.username, token.name) == ("annotator", "old")
    assert ApiToken.objects.get().pk and ApiToken.objects.create(user=User.objects.get(), name="new")[0].pk
