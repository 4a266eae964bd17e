"""Whether a project's contractors qualify first, and where each of them stands."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0005_language")]

    operations = [
        migrations.AddField(
            model_name="project",
            name="asks_qualification",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Before their first item, contractors pass the project's qualification test.",
                verbose_name="contractors qualify first",
            ),
        ),
        migrations.AddField(
            model_name="membership",
            name="qualified_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="qualified"),
        ),
        migrations.AddField(
            model_name="membership",
            name="extra_attempts",
            field=models.PositiveSmallIntegerField(db_default=0, default=0, verbose_name="extra attempts"),
        ),
    ]
