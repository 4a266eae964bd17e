"""Hand-written statements that PostgreSQL parses and plans once a connection.

For the few requests that everybody waits for, where compiling a query costs more than running it. A statement runs on
Django's own connection and in its transaction; its parameters are named, and JSON columns arrive as text, as
Django's own models receive them.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import psycopg
from django.db import connection, models
from psycopg.rows import dict_row

M = TypeVar("M", bound=models.Model)


def rows(sql: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The statement's rows; none for one that returns nothing. Raises Django's database errors."""
    connection.ensure_connection()
    # Not Django's cursor, which puts the values into the text and so leaves nothing to prepare.
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection, row_factory=dict_row) as cursor:
        cursor.execute(sql, parameters, prepare=True)
        return cursor.fetchall() if cursor.description else []


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
