"""An imported conversation is in a project once."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("labeling", "0004_earlier_rows")]
    operations = [
        migrations.AddConstraint(
            model_name="demonstration",
            constraint=models.UniqueConstraint(
                condition=models.Q(("slot", None), models.Q(("content_hash", ""), _negated=True)),
                fields=("project", "content_hash"),
                name="demonstration_imported_once",
            ),
        ),
    ]
