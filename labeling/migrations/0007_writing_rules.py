"""Rules for what people write, the warnings kept with a label, and the index of prompts that are alike."""

import django.core.validators
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_token_id"),
        ("labeling", "0006_ranking_forms"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="PromptBand",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "project", "band", "prompt", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("band", models.BigIntegerField()),
                # Here, not added afterwards as makemigrations would: the primary key is made of them.
                (
                    "project",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="accounts.project",
                    ),
                ),
                (
                    "prompt",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="bands",
                        to="labeling.prompt",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="WritingRules",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "min_chars",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="A shorter response is refused. Empty: any length.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                        verbose_name="shortest response, characters",
                    ),
                ),
                (
                    "max_chars",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="A longer response is refused. Empty: the project's own limit for every text.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                        verbose_name="longest response, characters",
                    ),
                ),
                (
                    "language",
                    models.CharField(
                        choices=[
                            ("off", "Do not look"),
                            ("warn", "Warn, and record it with the label"),
                            ("block", "Refuse the submission"),
                        ],
                        default="off",
                        help_text="Short texts and code are not judged.",
                        max_length=5,
                        verbose_name="another language than the prompt's",
                    ),
                ),
                (
                    "words_action",
                    models.CharField(
                        choices=[
                            ("off", "Do not look"),
                            ("warn", "Warn, and record it with the label"),
                            ("block", "Refuse the submission"),
                        ],
                        default="off",
                        max_length=5,
                        verbose_name="forbidden words",
                    ),
                ),
                (
                    "words",
                    models.TextField(
                        blank=True,
                        help_text="One a line. Whole words, capitals or not; Chinese, Japanese and Thai inside longer text too.",
                        max_length=20000,
                        verbose_name="words and phrases",
                    ),
                ),
                (
                    "personal",
                    models.CharField(
                        choices=[
                            ("off", "Do not look"),
                            ("warn", "Warn, and record it with the label"),
                            ("block", "Refuse the submission"),
                        ],
                        default="off",
                        help_text="E-mail addresses, phone numbers, bank cards and IBANs.",
                        max_length=5,
                        verbose_name="personal data",
                    ),
                ),
                (
                    "phone_regions",
                    models.CharField(
                        blank=True,
                        help_text="Two letters each, such as US, GB. Numbers that begin with + are found in any case.",
                        max_length=60,
                        verbose_name="countries of phone numbers",
                    ),
                ),
                (
                    "duplicates",
                    models.CharField(
                        choices=[
                            ("off", "Do not look"),
                            ("warn", "Warn, and record it with the label"),
                            ("block", "Refuse the submission"),
                        ],
                        default="off",
                        help_text="For items in which people write the prompt too.",
                        max_length=5,
                        verbose_name="a prompt like an earlier one",
                    ),
                ),
                (
                    "similarity",
                    models.PositiveSmallIntegerField(
                        default=85,
                        validators=[
                            django.core.validators.MinValueValidator(60),
                            django.core.validators.MaxValueValidator(100),
                        ],
                        verbose_name="alike from, percent",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "writing rules",
            },
        ),
        migrations.AddField(
            model_name="demonstration",
            name="findings",
            field=models.JSONField(
                blank=True,
                default=list,
                help_text="warnings that stood when it was submitted (labeling.checks), [] for none",
            ),
        ),
        migrations.AddField(
            model_name="prompt",
            name="is_banded",
            field=models.BooleanField(default=False, editable=False, help_text="its PromptBand rows are written"),
        ),
        migrations.AddIndex(
            model_name="prompt",
            index=models.Index(condition=models.Q(("is_banded", False)), fields=["id"], name="prompt_without_bands"),
        ),
        migrations.AddField(
            model_name="writingrules",
            name="project",
            field=models.OneToOneField(
                on_delete=django.db.models.deletion.CASCADE, related_name="writing_rules", to="accounts.project"
            ),
        ),
        migrations.AddConstraint(
            model_name="writingrules",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("min_chars", None), ("max_chars", None), ("min_chars__lte", models.F("max_chars")), _connector="OR"
                ),
                name="writing_rules_min_below_max",
            ),
        ),
        migrations.AddConstraint(
            model_name="writingrules",
            constraint=models.CheckConstraint(
                condition=models.Q(("similarity__gte", 60), ("similarity__lte", 100)), name="writing_rules_similarity"
            ),
        ),
        migrations.AddConstraint(
            model_name="writingrules",
            constraint=models.CheckConstraint(
                condition=models.Q(("language__in", ["off", "warn", "block"])), name="writing_rules_language"
            ),
        ),
        migrations.AddConstraint(
            model_name="writingrules",
            constraint=models.CheckConstraint(
                condition=models.Q(("words_action__in", ["off", "warn", "block"])), name="writing_rules_words_action"
            ),
        ),
        migrations.AddConstraint(
            model_name="writingrules",
            constraint=models.CheckConstraint(
                condition=models.Q(("personal__in", ["off", "warn", "block"])), name="writing_rules_personal"
            ),
        ),
        migrations.AddConstraint(
            model_name="writingrules",
            constraint=models.CheckConstraint(
                condition=models.Q(("duplicates__in", ["off", "warn", "block"])), name="writing_rules_duplicates"
            ),
        ),
    ]
