"""Slots that wait behind the one in hand, and the seconds in which a label may be taken back."""

from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("labeling", "0012_pay"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]
    operations = [
        migrations.AddField(
            model_name="slot",
            name="is_ahead",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="slot",
            name="final_at",
            field=models.DateTimeField(
                blank=True,
                help_text="until then its author may take the label back; null: final from the start",
                null=True,
            ),
        ),
        migrations.AddConstraint(
            model_name="slot",
            constraint=models.CheckConstraint(
                condition=models.Q(("is_ahead", False), ("state", "leased"), _connector="OR"),
                name="slot_ahead_is_leased",
            ),
        ),
        migrations.AddConstraint(
            model_name="slot",
            constraint=models.CheckConstraint(
                condition=models.Q(("final_at", None), ("state", "submitted"), _connector="OR"),
                name="slot_final_is_submitted",
            ),
        ),
        migrations.AddConstraint(
            model_name="slot",
            constraint=models.UniqueConstraint(
                condition=models.Q(("is_ahead", True)), fields=("holder", "project", "kind"), name="slot_ahead_once"
            ),
        ),
        migrations.AddIndex(
            model_name="slot",
            index=models.Index(condition=models.Q(("is_ahead", True)), fields=["project", "kind"], name="slot_ahead"),
        ),
        migrations.AddIndex(
            model_name="slot",
            index=models.Index(
                condition=models.Q(("final_at__isnull", False)), fields=["project", "final_at"], name="slot_final"
            ),
        ),
    ]
