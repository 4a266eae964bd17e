"""Rows from before 0003: held slots get the version that was current then, and repeated imports are marked."""

from django.db import migrations

HELD = """
UPDATE labeling_slot SET guideline_id = (
    SELECT id FROM labeling_guideline
    WHERE project_id = labeling_slot.project_id AND published_at <= labeling_slot.leased_at
    ORDER BY number DESC LIMIT 1
) WHERE state = 'leased' AND guideline_id IS NULL;
"""
# A repeat loses its hash rather than itself: snapshots may name its id.
REPEATED = """
UPDATE labeling_demonstration SET content_hash = '' WHERE slot_id IS NULL AND EXISTS (
    SELECT FROM labeling_demonstration AS first
    WHERE first.project_id = labeling_demonstration.project_id AND first.slot_id IS NULL
      AND first.content_hash = labeling_demonstration.content_hash AND first.id < labeling_demonstration.id
);
"""


class Migration(migrations.Migration):
    dependencies = [("labeling", "0003_the_version_shown")]
    operations = [
        migrations.RunSQL(HELD, migrations.RunSQL.noop),
        migrations.RunSQL(REPEATED, migrations.RunSQL.noop),
    ]
