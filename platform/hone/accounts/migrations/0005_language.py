"""The language in which somebody wants the site; empty for what the browser asks."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0004_invitations")]

    operations = [
        migrations.AddField(
            model_name="user",
            name="language",
            field=models.CharField(
                blank=True,
                choices=[("en", "English"), ("zh-hans", "简体中文")],
                default="",
                help_text="Empty: as the browser asks.",
                max_length=16,
                verbose_name="language",
            ),
            preserve_default=False,
        ),
        migrations.AddConstraint(
            model_name="user",
            constraint=models.CheckConstraint(
                condition=models.Q(("language__in", ["", "en", "zh-hans"])), name="user_language_known"
            ),
        ),
    ]
