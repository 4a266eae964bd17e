"""A published guideline never changes: the database refuses, whatever code tries."""

from django.db import migrations

FORWARD = """
CREATE OR REPLACE FUNCTION labeling_guideline_is_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.published_at IS NOT NULL THEN
        RAISE EXCEPTION 'guideline version % is published and never changes', OLD.number
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER labeling_guideline_final BEFORE UPDATE OR DELETE ON labeling_guideline
    FOR EACH ROW EXECUTE FUNCTION labeling_guideline_is_final();
"""
BACKWARD = """
DROP TRIGGER IF EXISTS labeling_guideline_final ON labeling_guideline;
DROP FUNCTION IF EXISTS labeling_guideline_is_final();
"""


class Migration(migrations.Migration):
    dependencies = [("labeling", "0001_initial")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
