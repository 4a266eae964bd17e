"""What was trained on labels that a lead has taken back since: labeling marks the labels, snapshots name their ids."""

from collections.abc import Sequence

from django.db import connection

from training.models import Snapshot

# The ids lie in each manifest's list; only projects in which a retraction stands are opened.
_COUNT = """
SELECT snapshot.id, count(*)
FROM training_snapshot AS snapshot
CROSS JOIN LATERAL jsonb_array_elements_text(snapshot.manifest -> 'label_ids') AS label(id)
JOIN {table} AS taken ON taken.id = label.id::bigint AND taken.retraction_id IS NOT NULL
WHERE snapshot.kind = %s
  AND snapshot.project_id IN (SELECT project_id FROM labeling_retraction WHERE undone_at IS NULL)
GROUP BY snapshot.id
"""
_TABLES: Sequence[tuple[str, str]] = (
    (Snapshot.Kind.DEMONSTRATIONS, "labeling_demonstration"),
    (Snapshot.Kind.RANKINGS, "labeling_ranking"),
)


def by_snapshot() -> dict[int, int]:
    """How many of a snapshot's labels are taken back, for the snapshots that have one."""
    found: dict[int, int] = {}
    with connection.cursor() as cursor:
        for kind, table in _TABLES:
            cursor.execute(_COUNT.format(table=table), [kind])
            found.update(cursor.fetchall())
    return found
