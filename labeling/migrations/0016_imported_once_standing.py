"""An imported conversation that was retracted may be imported again."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("labeling", "0015_review")]
    operations = [
        migrations.RemoveConstraint(model_name="demonstration", name="demonstration_imported_once"),
        migrations.AddConstraint(
            model_name="demonstration",
            constraint=models.UniqueConstraint(
                condition=models.Q(("retraction", None), ("slot", None), models.Q(("content_hash", ""), _negated=True)),
                fields=("project", "content_hash"),
                name="demonstration_imported_once",
            ),
        ),
    ]
