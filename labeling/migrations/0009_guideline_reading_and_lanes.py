"""Readings of guideline versions with their quizzes, and lanes: what an item asks of whoever takes it.

The trigger of 0002 keeps a published version's quiz as it keeps its text: it refuses every update of the row.
"""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_work_rules"),
        ("labeling", "0008_quality_and_retraction"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="GuidelineReading",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("opened_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("confirmed_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.CreateModel(
            name="Lane",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=160)),
                ("language", models.CharField(blank=True, max_length=8)),
                (
                    "skills",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=24), blank=True, default=list, size=None
                    ),
                ),
            ],
            options={
                "ordering": ["name"],
            },
        ),
        migrations.CreateModel(
            name="QuizAttempt",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "answers",
                    models.JSONField(
                        help_text="[[option, …], …]: the options chosen for each question, by their index"
                    ),
                ),
                ("score", models.PositiveSmallIntegerField(help_text="questions answered rightly")),
                ("passed", models.BooleanField()),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.RemoveIndex(
            model_name="slot",
            name="slot_next_open",
        ),
        migrations.AddField(
            model_name="guideline",
            name="is_minor",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Nobody has to read it before going on.",
                verbose_name="minor change",
            ),
        ),
        migrations.AddField(
            model_name="guideline",
            name="quiz",
            field=models.JSONField(
                blank=True,
                help_text="{pass_percent, questions: […]}, see labeling.quizzes; null: none is asked",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="prompt",
            name="skills",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=24),
                blank=True,
                db_default=[],
                default=list,
                help_text="what a person must have to be handed its items, sorted; see labeling.lanes",
                size=None,
            ),
        ),
        migrations.AddField(
            model_name="slot",
            name="lane",
            field=models.CharField(
                blank=True, db_default="", default="", help_text="see labeling.lanes", max_length=160
            ),
        ),
        migrations.AddIndex(
            model_name="slot",
            index=models.Index(
                condition=models.Q(("state", "open")),
                fields=["project", "kind", "lane", "-priority", "draw", "index"],
                name="slot_next_open",
            ),
        ),
        migrations.AddField(
            model_name="guidelinereading",
            name="guideline",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="readings", to="labeling.guideline"
            ),
        ),
        migrations.AddField(
            model_name="guidelinereading",
            name="user",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="guideline_readings",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="lane",
            name="project",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="lanes", to="accounts.project"
            ),
        ),
        migrations.AddField(
            model_name="quizattempt",
            name="reading",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="attempts", to="labeling.guidelinereading"
            ),
        ),
        migrations.AddConstraint(
            model_name="guidelinereading",
            constraint=models.UniqueConstraint(fields=("user", "guideline"), name="guideline_reading_once"),
        ),
        migrations.AddConstraint(
            model_name="lane",
            constraint=models.UniqueConstraint(fields=("project", "name"), name="lane_once"),
        ),
        migrations.AddConstraint(
            model_name="lane",
            constraint=models.CheckConstraint(
                condition=models.Q(("name", ""), _negated=True), name="lane_requires_something"
            ),
        ),
    ]
