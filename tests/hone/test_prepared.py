"""Hand-written statements: Django's errors, its transaction and its values; and the sessions that are read by one."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib import import_module
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.contrib.sessions.backends import db as signed
from django.db import IntegrityError, NotSupportedError, OperationalError, connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from hone import prepared
from hone.accounts import access
from hone.accounts.backends import Backend
from hone.accounts.models import Project, Session, User
from hone.accounts.tasks import forget_expired_sessions
from labeling.models import Prompt, Slot
from labeling.statements import PROJECT_OF_SLOT
from tests import factories

pytestmark = pytest.mark.django_db


def test_a_refused_statement_raises_djangos_error(project: Project) -> None:
    again = "INSERT INTO accounts_membership (user_id, project_id, role, is_active, created_at)"
    with pytest.raises(IntegrityError), transaction.atomic():
        prepared.rows(f"{again} VALUES (NULL, %(project)s, 'manager', true, now())", {"project": project.pk})
    assert Project.objects.filter(pk=project.pk).exists()


def test_a_statement_is_part_of_djangos_transaction(project: Project) -> None:
    with transaction.atomic():
        prepared.rows("UPDATE accounts_project SET name = 'Other' WHERE id = %(id)s", {"id": project.pk})
        transaction.set_rollback(True)
    project.refresh_from_db()
    assert project.name == "Alpha"


def test_a_statement_is_planned_once_a_connection(project: Project) -> None:
    sql = "SELECT name FROM accounts_project WHERE id = %(id)s AND 'counted' = 'counted'"
    assert [prepared.row(sql, {"id": project.pk}) for _ in range(2)] == [{"name": "Alpha"}] * 2
    assert prepared.row(sql, {"id": 0}) is None
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%%''counted''%%'")
        assert cursor.fetchone() == (1,)


def test_an_instance_reads_json_and_loads_what_was_left_out(project: Project) -> None:
    made = factories.make_prompt(project, "Why?")
    row = prepared.row("SELECT id, messages FROM labeling_prompt WHERE id = %(id)s", {"id": made.pk})
    assert row is not None
    prompt = prepared.instance(Prompt, row)
    assert prompt == made and prompt.messages == [{"role": "user", "content": "Why?"}]
    assert prompt.get_deferred_fields() and prompt.content_hash == made.content_hash


def test_a_statement_is_among_the_queries_that_django_logs(project: Project) -> None:
    with CaptureQueriesContext(connection) as queries:
        prepared.row("SELECT name FROM accounts_project WHERE id = %(id)s", {"id": project.pk})
    assert [query["sql"] for query in queries] == ["SELECT name FROM accounts_project WHERE id = %(id)s"]


@pytest.fixture
def elsewhere() -> Iterator[psycopg.Connection[Any]]:
    """A second connection to the tests' database, as a migration or an administrator has."""
    connection.ensure_connection()
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": None}, autocommit=True) as second:
        yield second


def own_pid() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [pid] = cursor.fetchone()
    return int(pid)


@pytest.mark.django_db(transaction=True)
class TestADatabaseThatChanges:
    def test_a_request_after_a_restart_is_answered(
        self, elsewhere: psycopg.Connection[Any], project: Project, contractor: User
    ) -> None:
        client = Client()
        client.force_login(contractor)
        client.get("/")
        elsewhere.execute("SELECT pg_terminate_backend(%s, 5000)", [own_pid()])
        # What request_started does, which Django's test client leaves out.
        connection.close_if_unusable_or_obsolete()
        assert client.get("/").status_code == 200

    @pytest.mark.parametrize("sql", ["SELECT 1 AS one", "WITH x AS (SELECT 1 AS one) SELECT one FROM x"])
    def test_a_statement_after_a_restart_is_run_once(self, elsewhere: psycopg.Connection[Any], sql: str) -> None:
        """One that reads is tried again; before any other the connection is looked at, as Django does it."""
        pid = own_pid()
        elsewhere.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        connection.close_if_unusable_or_obsolete()
        assert prepared.rows(sql, {}) == [{"one": 1}] and own_pid() != pid
        # Later in the same request nothing is tried twice: what went before may have set something.
        elsewhere.execute("SELECT pg_terminate_backend(%s, 5000)", [own_pid()])
        with pytest.raises(OperationalError):
            prepared.rows(sql, {})
        connection.close()

    @pytest.fixture
    def migrated(self, elsewhere: psycopg.Connection[Any]) -> Iterator[Callable[[], None]]:
        """Adds a column to both tables, as a newer release's migration would, and takes it away at the end."""
        tables = ("accounts_user", "accounts_project")

        def migrate() -> None:
            for table in tables:
                elsewhere.execute(f"ALTER TABLE {table} ADD COLUMN added integer")

        yield migrate
        connection.close()
        for table in tables:
            elsewhere.execute(f"ALTER TABLE {table} DROP COLUMN IF EXISTS added")

    def test_a_new_column_changes_nothing_for_requests_in_a_transaction(
        self, migrated: Callable[[], None], project: Project, contractor: User
    ) -> None:
        factories.make_batch(project)
        slot = Slot.objects.first()
        assert slot is not None

        def ask() -> None:
            with transaction.atomic():
                assert Backend().get_user(contractor.pk) == contractor
                assert access.project_for(contractor, "alpha") == project
                found = prepared.row(PROJECT_OF_SLOT, {"slot": slot.pk, "user": contractor.pk})
                assert access.admit(contractor, found) == project

        ask()
        migrated()
        ask()

    def test_a_result_of_another_type_is_prepared_anew(self, migrated: Callable[[], None], project: Project) -> None:
        sql = "SELECT * FROM accounts_project WHERE id = %(id)s"
        for _ in range(2):
            prepared.row(sql, {"id": project.pk})
        migrated()
        found = prepared.row(sql, {"id": project.pk})
        assert found is not None and "added" in found

    def test_in_a_transaction_it_fails_and_the_next_request_begins_anew(
        self, migrated: Callable[[], None], project: Project
    ) -> None:
        sql = "SELECT * FROM accounts_project WHERE id = %(id)s"
        prepared.row(sql, {"id": project.pk})
        migrated()
        before = connection.connection
        with pytest.raises(NotSupportedError), transaction.atomic():
            prepared.row(sql, {"id": project.pk})
        connection.close_if_unusable_or_obsolete()
        with transaction.atomic():
            assert prepared.row(sql, {"id": project.pk}) is not None
        assert connection.connection is not before


def store(key: str | None) -> Any:
    return import_module(settings.SESSION_ENGINE).SessionStore(key)


class TestSessions:
    def test_who_logs_out_is_out_in_every_tab(self, contractor: User) -> None:
        first, second = Client(), Client()
        first.force_login(contractor)
        second.cookies["sessionid"] = first.cookies["sessionid"].value
        assert second.get("/").status_code == 200
        first.post("/logout/")
        assert second.get("/").status_code == 302

    def test_a_session_that_names_djangos_own_backend_goes_on(self, contractor: User) -> None:
        client = Client()
        client.force_login(contractor, backend="django.contrib.auth.backends.ModelBackend")
        assert client.get("/").status_code == 200

    def test_an_expired_or_unknown_session_is_empty(self, contractor: User) -> None:
        client = Client()
        client.force_login(contractor)
        key = client.cookies["sessionid"].value
        assert store(key).load()["_auth_user_id"] == str(contractor.pk)
        Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
        assert store(key).load() == {} and store("0" * 32).load() == {}
        assert client.get("/").status_code == 302

    def test_a_session_and_its_person_are_one_look(self, contractor: User) -> None:
        client = Client()
        client.force_login(contractor)
        assert Session.objects.get().user == contractor
        with CaptureQueriesContext(connection) as caught:
            assert client.get("/language/").status_code == 405
        assert [query for query in caught if "accounts_user" in query["sql"]] == caught.captured_queries[:1]

    def test_a_session_of_before_finds_its_person_by_itself(self, contractor: User) -> None:
        client = Client()
        client.force_login(contractor)
        Session.objects.update(user=None)
        assert client.get("/").status_code == 200

    def test_a_session_that_django_signed_goes_on_and_one_of_another_user_does_not(
        self, contractor: User, reviewer: User
    ) -> None:
        client = Client()
        client.force_login(contractor)
        row = Session.objects.get()
        kept = json.loads(row.session_data)
        Session.objects.update(session_data=signed.SessionStore().encode(kept))
        assert client.get("/").status_code == 200
        # Whoever writes another person's number into a session lacks what signs that person's log-in.
        Session.objects.update(session_data=json.dumps({**kept, "_auth_user_id": str(reviewer.pk)}), user=reviewer)
        assert client.get("/").status_code == 302

    def test_a_session_is_never_anothers(self, contractor: User, reviewer: User) -> None:
        client = Client()
        client.force_login(contractor)
        Session.objects.update(user=reviewer)  # as no code of ours would
        assert str(client.get("/").context["user"]) == str(contractor)
        # Who was read with a session is not found again without it.
        store(client.cookies["sessionid"].value).load()
        client.get("/")
        User.objects.filter(pk=contractor.pk).update(display_name="Changed")
        found = Backend().get_user(contractor.pk)
        assert found is not None and found.display_name == "Changed"

    def test_expired_sessions_are_forgotten(self, contractor: User) -> None:
        for _ in range(2):
            Client().force_login(contractor)
        gone = Session.objects.first()
        assert gone is not None
        Session.objects.filter(pk=gone.pk).update(expire_date=timezone.now() - timedelta(seconds=1))
        forget_expired_sessions()
        assert Session.objects.exclude(pk=gone.pk).count() == Session.objects.count() == 1
