"""Hand-written statements that PostgreSQL parses and plans once a connection.

For the few requests that everybody waits for, where compiling a query costs more than running it. A statement runs on
Django's own connection and in its transaction; its parameters are named, and JSON columns arrive as text, as
Django's own models receive them. Statements name their columns: a migration that adds one while they are prepared
would change the result of `SELECT *`, which PostgreSQL refuses.
"""

import time
from collections.abc import Mapping
from typing import Any, TypeVar

import psycopg
from django.db import connection, models
from psycopg.rows import dict_row

M = TypeVar("M", bound=models.Model)


def rows(sql: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The statement's rows; none for one that returns nothing. Raises Django's database errors."""
    connection.close_if_health_check_failed()  # as Django's cursor does: the server may have been restarted
    connection.ensure_connection()
    begun = time.monotonic()
    try:
        with connection.wrap_database_errors:
            try:
                return _run(sql, parameters)
            except psycopg.errors.FeatureNotSupported:
                # "Cached plan must not change result type": a migration changed a table under a prepared statement.
                if connection.in_atomic_block:
                    connection.close_at = time.monotonic()  # the next request begins with a connection of its own
                    raise
                _run("DEALLOCATE ALL", None, prepare=False)
                return _run(sql, parameters)
    finally:
        if connection.queries_logged:
            connection.queries_log.append({"sql": sql, "time": f"{time.monotonic() - begun:.3f}"})


def _run(sql: str, parameters: Mapping[str, Any] | None, *, prepare: bool = True) -> list[dict[str, Any]]:
    # Not Django's cursor, which puts the values into the text and so leaves nothing to prepare.
    with psycopg.Cursor(connection.connection, row_factory=dict_row) as cursor:
        cursor.execute(sql, parameters, prepare=prepare)
        return cursor.fetchall() if cursor.description else []


def columns(model: type[models.Model], table: str) -> str:
    """The model's columns, for a SELECT in which `table` is its name."""
    return ", ".join(f'{table}."{field.column}"' for field in model._meta.concrete_fields)


def row(sql: str, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    """The statement's first row, or None."""
    return next(iter(rows(sql, parameters)), None)


def instance(model: type[M], values: Mapping[str, Any]) -> M:
    """A model's row from columns of these names; what is not among them is read when it is asked for."""
    fields = [field for field in model._meta.concrete_fields if field.attname in values]
    return model.from_db(
        connection.alias, {field.attname for field in fields}, [_converted(field, values) for field in fields]
    )


def _converted(field: Any, values: Mapping[str, Any]) -> Any:
    value = values[field.attname]
    for convert in field.get_db_converters(connection):
        value = convert(value, None, connection)
    return value
