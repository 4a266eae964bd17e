"""Measured reports, and labels that a lead took back."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

OPTIONAL_USER = {
    "blank": True,
    "null": True,
    "on_delete": django.db.models.deletion.PROTECT,
    "related_name": "+",
    "to": settings.AUTH_USER_MODEL,
}
USER = {"on_delete": django.db.models.deletion.PROTECT, "related_name": "+", "to": settings.AUTH_USER_MODEL}


def mark(model: str) -> list[migrations.operations.base.Operation]:
    """The column and an index of the few rows that have it; neither rewrites the table."""
    return [
        migrations.AddField(
            model_name=model,
            name="retraction",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="labeling.retraction",
            ),
        ),
        migrations.AddIndex(
            model_name=model,
            index=models.Index(
                condition=models.Q(("retraction__isnull", False)), fields=["retraction"], name=f"{model}_retracted"
            ),
        ),
    ]


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
        ("labeling", "0007_writing_rules"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="QualityReport",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("include_simulated", models.BooleanField(default=False)),
                ("body", models.JSONField(blank=True, null=True)),
                ("basis", models.CharField(blank=True, max_length=120)),
                ("made_at", models.DateTimeField(blank=True, null=True)),
                ("asked_at", models.DateTimeField(blank=True, null=True)),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="quality_reports",
                        to="accounts.project",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("project", "include_simulated"), name="quality_report_once")
                ]
            },
        ),
        migrations.CreateModel(
            name="Retraction",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("since", models.DateTimeField(blank=True, null=True)),
                ("reason", models.TextField()),
                ("demonstrations", models.PositiveIntegerField(default=0)),
                ("rankings", models.PositiveIntegerField(default=0)),
                ("comparisons", models.PositiveIntegerField(default=0)),
                ("slots_opened", models.PositiveIntegerField(default=0)),
                ("made_at", models.DateTimeField(auto_now_add=True)),
                ("undone_at", models.DateTimeField(blank=True, null=True)),
                ("author", models.ForeignKey(**USER)),
                ("made_by", models.ForeignKey(**USER)),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="retractions",
                        to="accounts.project",
                    ),
                ),
                ("undone_by", models.ForeignKey(**OPTIONAL_USER)),
            ],
            options={
                "ordering": ["-id"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("undone_at", None), ("undone_by", None)),
                            models.Q(("undone_at__isnull", False), ("undone_by__isnull", False)),
                            _connector="OR",
                        ),
                        name="retraction_undone_by_somebody",
                    )
                ],
            },
        ),
        *mark("comparison"),
        *mark("demonstration"),
        *mark("ranking"),
    ]
