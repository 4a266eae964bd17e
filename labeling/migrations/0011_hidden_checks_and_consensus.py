"""Hidden checks among the slots and rankings, gold items, and each comparison's posterior probability."""

import django.core.validators
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_token_id"),
        ("labeling", "0009_guideline_reading_and_lanes"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="GoldItem",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("tiers", models.JSONField(help_text="[[completion index, …], …], best first; all acceptable ones")),
                ("unacceptable", models.JSONField(blank=True, default=list)),
                (
                    "source",
                    models.CharField(
                        choices=[("manager", "set by hand"), ("consensus", "taken from consensus")], max_length=10
                    ),
                ),
                ("is_active", models.BooleanField(default=True)),
                ("set_at", models.DateTimeField(auto_now=True)),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.CreateModel(
            name="HiddenChecks",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "gold_percent",
                    models.PositiveSmallIntegerField(
                        default=0,
                        help_text="Of the items handed out to a person, the share that has a known order. 0 to 30.",
                        validators=[django.core.validators.MaxValueValidator(30)],
                        verbose_name="gold items, percent",
                    ),
                ),
                (
                    "repeat_percent",
                    models.PositiveSmallIntegerField(
                        default=0,
                        help_text="The share that the person has ranked before, with the answers in a new order. 0 to 20.",
                        validators=[django.core.validators.MaxValueValidator(20)],
                        verbose_name="hidden repeats, percent",
                    ),
                ),
                (
                    "repeat_distance",
                    models.PositiveSmallIntegerField(
                        default=20,
                        help_text="So many rankings of their own must lie between the first time and the second.",
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(10000),
                        ],
                        verbose_name="labels before a repeat",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "hidden checks",
            },
        ),
        migrations.RemoveConstraint(
            model_name="slot",
            name="slot_index_once",
        ),
        migrations.RemoveConstraint(
            model_name="slot",
            name="slot_holder_once",
        ),
        migrations.RemoveConstraint(
            model_name="slot",
            name="slot_state_consistent",
        ),
        migrations.AddField(
            model_name="comparison",
            name="posterior",
            field=models.FloatField(
                blank=True,
                help_text="how probable it is that chosen is better, by all labels (quality.consensus)",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="comparison",
            name="posterior_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="ranking",
            name="hidden",
            field=models.CharField(
                blank=True,
                choices=[("gold", "Gold item"), ("repeat", "Hidden repeat")],
                db_default="",
                default="",
                max_length=6,
            ),
        ),
        migrations.AddField(
            model_name="slot",
            name="hidden",
            field=models.CharField(
                blank=True,
                choices=[("gold", "Gold item"), ("repeat", "Hidden repeat")],
                db_default="",
                default="",
                max_length=6,
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
            model_name="ranking",
            index=models.Index(
                condition=models.Q(("hidden", ""), _negated=True), fields=["project"], name="ranking_hidden"
            ),
        ),
        migrations.AddConstraint(
            model_name="slot",
            constraint=models.UniqueConstraint(
                condition=models.Q(("hidden", "")), fields=("item", "index"), name="slot_index_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="slot",
            constraint=models.UniqueConstraint(
                condition=models.Q(("holder__isnull", False)),
                fields=("item", "holder", "hidden"),
                name="slot_holder_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="slot",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("holder", None), ("lease_token", None), ("state", "open"), ("submitted_at", None)),
                    models.Q(
                        ("holder__isnull", False),
                        ("lease_expires_at__isnull", False),
                        ("lease_token__isnull", False),
                        ("state", "leased"),
                        ("submitted_at", None),
                    ),
                    models.Q(("holder__isnull", False), ("state", "submitted"), ("submitted_at__isnull", False)),
                    models.Q(("holder", None), ("lease_token", None), ("state", "withdrawn"), ("submitted_at", None)),
                    _connector="OR",
                ),
                name="slot_state_consistent",
            ),
        ),
        migrations.AddConstraint(
            model_name="slot",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("hidden", ""),
                    models.Q(
                        ("hidden__in", ["gold", "repeat"]), ("kind", "rank"), models.Q(("state", "open"), _negated=True)
                    ),
                    _connector="OR",
                ),
                name="slot_hidden_is_somebodys",
            ),
        ),
        migrations.AddField(
            model_name="golditem",
            name="item",
            field=models.OneToOneField(
                on_delete=django.db.models.deletion.CASCADE, related_name="gold", to="labeling.item"
            ),
        ),
        migrations.AddField(
            model_name="golditem",
            name="project",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="gold_items", to="accounts.project"
            ),
        ),
        migrations.AddField(
            model_name="golditem",
            name="set_by",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="hiddenchecks",
            name="project",
            field=models.OneToOneField(
                on_delete=django.db.models.deletion.CASCADE, related_name="hidden_checks", to="accounts.project"
            ),
        ),
        migrations.AddConstraint(
            model_name="golditem",
            constraint=models.CheckConstraint(
                condition=models.Q(("source__in", ["manager", "consensus"])), name="gold_source_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="hiddenchecks",
            constraint=models.CheckConstraint(
                condition=models.Q(("gold_percent__lte", 30), ("repeat_distance__gte", 1), ("repeat_percent__lte", 20)),
                name="hidden_checks_in_bounds",
            ),
        ),
    ]
