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
from psycopg.rows import dict_row

M = TypeVar("M", bound=models.Model)


def rows(sql: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The statement's rows; none for one that returns nothing. Raises Django's database errors."""
    database = connections[DEFAULT_DB_ALIAS]  # looked up once: `connection` would do so at each attribute
    database.close_if_health_check_failed()  # as Django's cursor does: the server may have been restarted
    database.ensure_connection()
    begun = time.monotonic()
    try:
        with database.wrap_database_errors:
            try:
                return _run(database.connection, sql, parameters)
            except psycopg.errors.FeatureNotSupported:
                # "Cached plan must not change result type": a migration changed a table under a prepared statement.
                if database.in_atomic_block:
                    database.close_at = time.monotonic()  # the next request begins with a connection of its own
                    raise
                _run(database.connection, "DEALLOCATE ALL", None, prepare=False)
                return _run(database.connection, sql, parameters)
    finally:
        if database.queries_logged:
            database.queries_log.append({"sql": sql, "time": f"{time.monotonic() - begun:.3f}"})


def _run(
    connection: psycopg.Connection[Any], sql: str, parameters: Mapping[str, Any] | None, *, prepare: bool = True
) -> list[dict[str, Any]]:
    # Not Django's cursor, which puts the values into the text and so leaves nothing to prepare; and not psycopg's own,
    # which reads a statement of more than 4,096 characters anew each time.
    numbered, names = _numbered(sql)
    with psycopg.RawCursor(connection, row_factory=dict_row) as cursor:
        cursor.execute(numbered, [parameters[name] for name in names] if parameters else None, prepare=prepare)
        # `description` would make an object of every column to say the same.
        return cursor.fetchall() if cursor.pgresult is not None and cursor.pgresult.nfields else []


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
    """A model's row from columns of these names; what is not among them is read when it is asked for."""
    names, converters = _reading(model, frozenset(values))
    found = [values[name] for name in names]
    for place, convert in converters:
        found[place] = convert(found[place], None, connection)
    return model.from_db(connection.alias, names, found)


@functools.cache
def _reading(model: type[models.Model], given: frozenset[str]) -> tuple[list[str], list[tuple[int, Any]]]:
    """The model's columns among the given ones in its own order, and what turns which of them into its value."""
    fields = [field for field in model._meta.concrete_fields if field.attname in given]
    converters = [(n, convert) for n, field in enumerate(fields) for convert in field.get_db_converters(connection)]
    return [field.attname for field in fields], converters


def parts(statements: Mapping[str, str]) -> str:
    """What follows WITH: each statement under its name."""
    return ", ".join(f"{name} AS ({sql})" for name, sql in statements.items())


def insert(
    row: models.Model,
    *,
    also: Mapping[str, str] | None = None,
    show: str = "id",
    values: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Stores a new instance as its `save` would, without the signals, and sets its key. Raises IntegrityError.

    `also` are other statements that run with it, by name: they find the new key as `made.id`, the new row's values
    under the names of their columns, and `values`. Returns what `show` selects from `made` and those.
    """
    sql, fields = _inserting(type(row), tuple((also or {}).items()), show)
    of_row = {field.column: field.get_db_prep_save(field.pre_save(row, add=True), connection) for field in fields}
    [made] = rows(sql, {**of_row, **(values or {})})
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
