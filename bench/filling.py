"""Many rows for a benchmark, made inside PostgreSQL: a million through Django would take longer than all the rest."""

from django.db import connection, models


def multiply(template: models.Model, rows: str, **columns: str) -> int:
    """Copies of the template's row, one for each row of the SQL in `rows`, which is named `made`; returns how many.

    `columns` maps a column to the SQL that it gets instead of the template's value. The template's row stays.
    """
    table = template._meta.db_table
    names = [str(field.column) for field in template._meta.concrete_fields if not field.primary_key]
    values = [columns.pop(name, f"template.{name}") for name in names]
    assert not columns, f"{table} has no {', '.join(columns)}"
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values)}"
            f" FROM {table} AS template, ({rows}) AS made WHERE template.id = %s",
            [template.pk],
        )
        return cursor.rowcount
