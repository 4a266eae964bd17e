"""Hand-written statements: Django's errors, its transaction and its values; and the sessions that are read by one."""

from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone

from hone import prepared
from hone.accounts.models import Project, User
from labeling.models import Prompt
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

    def test_an_expired_or_unknown_session_is_empty(self, contractor: User) -> None:
        client = Client()
        client.force_login(contractor)
        key = client.cookies["sessionid"].value
        assert store(key).load()["_auth_user_id"] == str(contractor.pk)
        Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
        assert store(key).load() == {} and store("0" * 32).load() == {}
        assert client.get("/").status_code == 302
