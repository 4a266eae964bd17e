"""What a project matches people by, whether new guideline versions are read first, and what people bring."""

import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_token_id"),
    ]

    operations = [
        migrations.AddField(
            model_name="membership",
            name="languages",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=8),
                blank=True,
                db_default=[],
                default=list,
                size=None,
                verbose_name="languages",
            ),
        ),
        migrations.AddField(
            model_name="membership",
            name="skills",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=24),
                blank=True,
                db_default=[],
                default=list,
                size=None,
                verbose_name="skills",
            ),
        ),
        # Off where people work already, so that nobody is stopped by the upgrade; on in projects made from now on.
        migrations.AddField(
            model_name="project",
            name="confirm_guideline",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Before their next item, people confirm that they have read a version that is new to them.",
                verbose_name="new guideline versions are read first",
            ),
        ),
        migrations.AlterField(
            model_name="project",
            name="confirm_guideline",
            field=models.BooleanField(
                db_default=True,
                default=True,
                help_text="Before their next item, people confirm that they have read a version that is new to them.",
                verbose_name="new guideline versions are read first",
            ),
        ),
        migrations.AddField(
            model_name="project",
            name="match_languages",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Items go to people who have the prompt's language, or any language.",
                verbose_name="match languages",
            ),
        ),
    ]
