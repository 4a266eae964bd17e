"""Hand-written statements that PostgreSQL parses and plans once a connection.

For the few requests that everybody waits for, where compiling a query costs more than running it. A statement runs on
Django's own connection and in its transaction; its parameters are named, and JSON columns arrive as text, as
Django's own models receive them. Statements name their columns: a migration that adds one while they are prepared
would change the result of `SELECT *`, which PostgreSQL refuses.
"""

import functools
import re
import time
from collections.abc import Mapping
from typing import Any, TypeVar

import psycopg
from django.db import DEFAULT_DB_ALIAS, connection, connections, models
from django.db.models.base import ModelState
from psycopg.rows import dict_row

M = TypeVar("M", bound=models.Model)
_KEPT = "_hone_prepared"  # the connection's attribute that holds its cursor


def rows(sql: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The statement's rows; none for one that returns nothing. Raises Django's database errors."""
    database: Any = connections[DEFAULT_DB_ALIAS]  # looked up once: `connection` would do so at each attribute
    may_be_dead = _may_be_dead(database)
    if may_be_dead and not sql.lstrip().startswith("SELECT"):
        database.close_if_health_check_failed()  # as Django's cursor does
        may_be_dead = False
    database.ensure_connection()
    begun = time.monotonic()
    try:
        with database.wrap_database_errors:
            try:
                found = _run(database.connection, sql, parameters)
            except psycopg.OperationalError:
                # The server was restarted since the last request: what only reads is asked once more.
                if not (may_be_dead and database.connection.broken):
                    raise
                database.close()
                database.ensure_connection()
                found = _run(database.connection, sql, parameters)
            except psycopg.errors.FeatureNotSupported:
                # "Cached plan must not change result type": a migration changed a table under a prepared statement.
                if database.in_atomic_block:
                    database.close_at = time.monotonic()  # the next request begins with a connection of its own
                    raise
                _run(database.connection, "DEALLOCATE ALL", None, prepare=False)
                found = _run(database.connection, sql, parameters)
        database.health_check_done = True
        return found
    finally:
        if database.queries_logged:
            database.queries_log.append({"sql": sql, "time": f"{time.monotonic() - begun:.3f}"})


def _may_be_dead(database: Any) -> bool:
    """Whether nobody has spoken to the server since the request began, as when Django's cursor asks it a SELECT 1."""
    is_asked: bool = database.health_check_enabled and not database.health_check_done
    return is_asked and database.connection is not None and not database.in_atomic_block


def _run(
    connection: psycopg.Connection[Any], sql: str, parameters: Mapping[str, Any] | None, *, prepare: bool = True
) -> list[dict[str, Any]]:
    numbered, names = _numbered(sql)
    cursor = _cursor(connection)
    cursor.execute(numbered, [parameters[name] for name in names] if parameters else None, prepare=prepare)
    # `description` would make an object of every column to say the same.
    return cursor.fetchall() if cursor.pgresult is not None and cursor.pgresult.nfields else []


def _cursor(connection: psycopg.Connection[Any]) -> psycopg.RawCursor[dict[str, Any]]:
    """One for the connection's life: making it takes a third of a statement's time in Python.

    Not Django's, which puts the values into the text and so leaves nothing to prepare; and not psycopg's own, which
    reads a statement of more than 4,096 characters anew each time.
    """
    kept: psycopg.RawCursor[dict[str, Any]] | None = getattr(connection, _KEPT, None)
    if kept is None:
        kept = psycopg.RawCursor(connection, row_factory=dict_row)
        setattr(connection, _KEPT, kept)
    return kept


@functools.cache
def _numbered(sql: str) -> tuple[str, list[str]]:
    """The statement as PostgreSQL takes it, with $1 for the first name that stands in it as %(name)s."""
    names = list(dict.fromkeys(_NAME.findall(sql)))
    return _NAME.sub(lambda found: f"${names.index(found[1]) + 1}", sql).replace("%%", "%"), names


_NAME = re.compile(r"%\((\w+)\)s")


def columns(model: type[models.Model], table: str) -> str:
    """The model's columns, for a SELECT in which `table` is its name."""
    return ", ".join(f'{table}."{field.column}"' for field in model._meta.concrete_fields)


def row(sql: str, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    """The statement's first row, or None."""
    return next(iter(rows(sql, parameters)), None)


def instance(model: type[M], values: Mapping[str, Any]) -> M:
    """A model's row from columns of these names; what is not among them is read when it is asked for.

    As Model.from_db makes it, but without the signals, for which a request that reads twenty rows pays dearly.
    """
    names, converters = _reading(model, frozenset(values))
    row = model.__new__(model)
    row._state = ModelState()
    row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS
    found = row.__dict__
    for name in names:
        found[name] = values[name]
    for name, convert in converters:
        found[name] = convert(found[name], None, connection)
    return row


@functools.cache
def _reading(model: type[models.Model], given: frozenset[str]) -> tuple[list[str], list[tuple[str, Any]]]:
    """The model's columns among the given ones, and what turns which of them into its value."""
    fields = [field for field in model._meta.concrete_fields if field.attname in given]
    converters = [(field.attname, to) for field in fields for to in field.get_db_converters(connection)]
    return [field.attname for field in fields], converters


def parts(statements: Mapping[str, str]) -> str:
    """What follows WITH: each statement under its name."""
    return ", ".join(f"{name} AS ({sql})" for name, sql in statements.items())


def insert(
    row: models.Model,
    *,
    also: Mapping[str, str],
    show: str,
    values: Mapping[str, Any],
) -> dict[str, Any]:
    """Stores a new instance as its `save` would, without the signals, and sets its key. Raises IntegrityError.

    `also` are other statements that run with it, by name: they find the new key as `made.id`, the new row's values
    under the names of their columns, and `values`. Returns what `show` selects from `made` and those.
    """
    sql, fields = _inserting(type(row), tuple(also.items()), show)
    of_row = {field.column: field.get_db_prep_save(field.pre_save(row, add=True), connection) for field in fields}
    [made] = rows(sql, {**of_row, **values})
    row.pk = made.pop("made_id")
    row._state.adding, row._state.db = False, connection.alias
    return made


@functools.cache
def _inserting(model: type[models.Model], also: tuple[tuple[str, str], ...], show: str) -> tuple[str, list[Any]]:
    fields = [field for field in model._meta.concrete_fields if not field.primary_key]
    names = ", ".join(f'"{field.column}"' for field in fields)
    values = ", ".join(f"%({field.column})s" for field in fields)
    made = {"made": f'INSERT INTO "{model._meta.db_table}" ({names}) VALUES ({values}) RETURNING id'}
    return f"WITH {parts({**made, **dict(also)})} SELECT id AS made_id, {show} FROM made", fields
