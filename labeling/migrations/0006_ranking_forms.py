"""Ranking forms, the copy that a slot shows, and what a ranking keeps of the answers to it."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_token_id"),
        ("labeling", "0005_imported_once"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="RankingForm",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "scales",
                    models.JSONField(
                        blank=True,
                        default=list,
                        help_text="[{key, label, low, high, low_label, high_label, optional}, …]",
                    ),
                ),
                ("flags", models.JSONField(blank=True, default=list, help_text="[{key, label, help}, …]")),
                (
                    "strength",
                    models.BooleanField(default=False, help_text="two answers: how much better the better one is"),
                ),
                ("ties", models.BooleanField(default=True, help_text="two answers may share a tier")),
                (
                    "reason",
                    models.CharField(
                        choices=[("off", "Do not ask"), ("optional", "May be given"), ("required", "Must be given")],
                        default="off",
                        max_length=8,
                    ),
                ),
                ("updated_at", models.DateTimeField(auto_now=True)),
            ],
        ),
        migrations.AddField(
            model_name="ranking",
            name="flags",
            field=models.JSONField(blank=True, default=dict, help_text="{completion index: [flag key, …]}"),
        ),
        migrations.AddField(
            model_name="ranking",
            name="form",
            field=models.JSONField(
                blank=True, help_text="a copy of the ranking form shown; null: an order alone", null=True
            ),
        ),
        migrations.AddField(
            model_name="ranking",
            name="ratings",
            field=models.JSONField(blank=True, default=dict, help_text="{completion index: {scale key: value}}"),
        ),
        migrations.AddField(
            model_name="ranking",
            name="reason",
            field=models.TextField(blank=True),
        ),
        migrations.AddField(
            model_name="ranking",
            name="strength",
            field=models.PositiveSmallIntegerField(
                blank=True,
                help_text="of two answers, how much better: 1 negligibly or unsure … 4 significantly",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="slot",
            name="ranking_form",
            field=models.JSONField(blank=True, help_text="a copy of the form shown; null: an order alone", null=True),
        ),
        migrations.AddConstraint(
            model_name="ranking",
            constraint=models.CheckConstraint(
                condition=models.Q(("strength", None), ("strength__range", (1, 4)), _connector="OR"),
                name="ranking_strength_known",
            ),
        ),
        migrations.AddField(
            model_name="rankingform",
            name="project",
            field=models.OneToOneField(
                on_delete=django.db.models.deletion.CASCADE, related_name="ranking_form", to="accounts.project"
            ),
        ),
        migrations.AddConstraint(
            model_name="rankingform",
            constraint=models.CheckConstraint(
                condition=models.Q(("reason__in", ["off", "optional", "required"])), name="ranking_form_reason_known"
            ),
        ),
    ]
