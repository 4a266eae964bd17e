"""A slot keeps the guideline that was shown; imported conversations are there once; two dead parts go."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
        ("labeling", "0002_published_is_final"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RemoveIndex(model_name="prompt", name="prompt_messages"),
        migrations.RemoveField(model_name="batch", name="closed_at"),
        migrations.AddField(
            model_name="slot",
            name="guideline",
            field=models.ForeignKey(
                blank=True,
                help_text="the version shown",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="labeling.guideline",
            ),
        ),
        migrations.AddIndex(
            model_name="demonstration",
            index=models.Index(fields=["project", "content_hash"], name="demonstration_by_hash"),
        ),
    ]
