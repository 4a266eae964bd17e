"""Rankings that say “cannot be judged”, items that are withdrawn, and the names of models that raters do not see."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import labeling.models.model_names


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_token_id"),
        ("labeling", "0013_ahead_and_take_back"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="ModelNames",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "handling",
                    models.CharField(
                        choices=[
                            ("off", "Show answers as they are"),
                            ("mask", "Hide the names: people see ▒▒▒ in their place"),
                            ("aside", "Set such answers aside before items are opened"),
                        ],
                        default="off",
                        max_length=5,
                        verbose_name="answers that name a model",
                    ),
                ),
                (
                    "where",
                    models.CharField(
                        choices=[
                            ("self", "Where an answer says it of itself: “I am …”, “made by …”"),
                            ("any", "Wherever a name stands"),
                        ],
                        default="self",
                        max_length=4,
                        verbose_name="which names count",
                    ),
                ),
                (
                    "names",
                    models.TextField(
                        default=labeling.models.model_names.default_names,
                        help_text="One a line. Whole words, capitals or not; Chinese, Japanese and Thai inside longer text too.",
                        max_length=20000,
                        verbose_name="names",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "model names",
            },
        ),
        migrations.RemoveConstraint(
            model_name="slot",
            name="slot_state_consistent",
        ),
        migrations.AddField(
            model_name="batch",
            name="answers_set_aside",
            field=models.PositiveIntegerField(
                db_default=0, default=0, help_text="answers not shown because they name their model"
            ),
        ),
        migrations.AddField(
            model_name="item",
            name="withdrawn",
            field=models.CharField(
                blank=True,
                choices=[("lead", "by a lead"), ("identity", "its answers name their model")],
                db_default="",
                default="",
                help_text="why, '' while it stands",
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="item",
            name="withdrawn_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="item",
            name="withdrawn_by",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="ranking",
            name="verdict",
            field=models.CharField(
                blank=True,
                choices=[
                    ("all_bad", "All answers are equally bad"),
                    ("prompt", "The prompt makes no sense"),
                    ("knowledge", "It needs knowledge that nobody here has"),
                    ("broken", "The answers are broken, or all the same"),
                    ("harmful", "The prompt or the answers are harmful"),
                    ("other", "Another reason"),
                ],
                db_default="",
                default="",
                help_text="why there is no order, or ''",
                max_length=12,
            ),
        ),
        migrations.AlterField(
            model_name="slot",
            name="state",
            field=models.CharField(
                choices=[
                    ("open", "Open"),
                    ("leased", "Leased"),
                    ("submitted", "Submitted"),
                    ("withdrawn", "Withdrawn"),
                ],
                default="open",
                max_length=10,
            ),
        ),
        migrations.AddIndex(
            model_name="item",
            index=models.Index(
                condition=models.Q(("withdrawn_at__isnull", False)),
                fields=["project", "-withdrawn_at"],
                name="item_withdrawn",
            ),
        ),
        migrations.AddIndex(
            model_name="ranking",
            index=models.Index(
                condition=models.Q(("verdict", ""), _negated=True), fields=["project", "item"], name="ranking_verdict"
            ),
        ),
        migrations.AddConstraint(
            model_name="item",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("withdrawn", ""), ("withdrawn_at", None), ("withdrawn_by", None)),
                    models.Q(("withdrawn", "lead"), ("withdrawn_at__isnull", False), ("withdrawn_by__isnull", False)),
                    models.Q(("withdrawn", "identity"), ("withdrawn_at__isnull", False), ("withdrawn_by", None)),
                    _connector="OR",
                ),
                name="item_withdrawn_consistent",
            ),
        ),
        migrations.AddConstraint(
            model_name="ranking",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("verdict", ""),
                    models.Q(
                        ("moved", False),
                        ("tiers", []),
                        ("unacceptable", []),
                        ("verdict__in", ["all_bad", "prompt", "knowledge", "broken", "harmful", "other"]),
                    ),
                    _connector="OR",
                ),
                name="ranking_verdict_without_order",
            ),
        ),
        migrations.AddConstraint(
            model_name="slot",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("holder", None),
                        ("lease_token", None),
                        ("state__in", ["open", "withdrawn"]),
                        ("submitted_at", None),
                    ),
                    models.Q(
                        ("holder__isnull", False),
                        ("lease_expires_at__isnull", False),
                        ("lease_token__isnull", False),
                        ("state", "leased"),
                        ("submitted_at", None),
                    ),
                    models.Q(("holder__isnull", False), ("state", "submitted"), ("submitted_at__isnull", False)),
                    _connector="OR",
                ),
                name="slot_state_consistent",
            ),
        ),
        migrations.AddField(
            model_name="modelnames",
            name="project",
            field=models.OneToOneField(
                on_delete=django.db.models.deletion.CASCADE, related_name="model_names", to="accounts.project"
            ),
        ),
        migrations.AddConstraint(
            model_name="modelnames",
            constraint=models.CheckConstraint(
                condition=models.Q(("handling__in", ["off", "mask", "aside"]), ("where__in", ["self", "any"])),
                name="model_names_known",
            ),
        ),
    ]
