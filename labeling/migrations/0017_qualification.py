"""A project's qualification test and the attempts at it."""

import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0006_qualification"),
        ("labeling", "0016_imported_once_standing"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Qualification",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "pass_percent",
                    models.PositiveSmallIntegerField(
                        default=80,
                        help_text="Of the mean over all questions. 1 to 100.",
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(100),
                        ],
                        verbose_name="pass mark, percent",
                    ),
                ),
                (
                    "attempts",
                    models.PositiveSmallIntegerField(
                        default=3,
                        help_text="How often a person may try. 1 to 10.",
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(10),
                        ],
                        verbose_name="attempts",
                    ),
                ),
                (
                    "version",
                    models.PositiveIntegerField(default=1, help_text="one more with each change of the questions"),
                ),
                (
                    "questions",
                    models.JSONField(
                        blank=True, default=list, help_text="as in a guideline's quiz, see labeling.quizzes"
                    ),
                ),
                (
                    "rankings",
                    models.JSONField(blank=True, default=list, help_text="see labeling.qualification_questions"),
                ),
                ("updated_at", models.DateTimeField(auto_now=True)),
                (
                    "project",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, related_name="qualification", to="accounts.project"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("attempts__gte", 1),
                            ("attempts__lte", 10),
                            ("pass_percent__gte", 1),
                            ("pass_percent__lte", 100),
                        ),
                        name="qualification_in_bounds",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="QualificationAttempt",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "number",
                    models.PositiveSmallIntegerField(help_text="of the person's attempts in the project, from 1"),
                ),
                ("version", models.PositiveIntegerField(help_text="of the test")),
                ("asked", models.JSONField(help_text="{pass_percent, questions, rankings} at the time")),
                (
                    "answers",
                    models.JSONField(
                        help_text="{questions: [[option, …], …], rankings: [[tier of each answer, …], …]}"
                    ),
                ),
                ("percent", models.PositiveSmallIntegerField(help_text="the mean over all questions, rounded down")),
                ("passed", models.BooleanField()),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "project",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="qualification_attempts",
                        to="accounts.project",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="qualification_attempts",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
                "constraints": [
                    models.UniqueConstraint(fields=("project", "user", "number"), name="qualification_attempt_once"),
                    models.CheckConstraint(
                        condition=models.Q(("number__gte", 1), ("percent__lte", 100)),
                        name="qualification_attempt_in_bounds",
                    ),
                ],
            },
        ),
    ]
