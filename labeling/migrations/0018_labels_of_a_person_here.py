"""An index of a person's labels by project and kind, in place of one over all projects."""

from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0006_qualification"),
        ("labeling", "0017_qualification"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddIndex(
            model_name="slot",
            index=models.Index(
                condition=models.Q(("state", "submitted")),
                fields=["holder", "project", "kind", "submitted_at"],
                name="slot_done_here",
            ),
        ),
        migrations.RemoveIndex(model_name="slot", name="slot_done"),
    ]
