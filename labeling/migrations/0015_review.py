"""Reviews with their comments and rules; slots that go back to their author; more than one label a slot over time."""

import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_token_id"),
        ("labeling", "0014_cannot_judge_and_masking"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Review",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(choices=[("write", "Write"), ("rank", "Rank")], max_length=8)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "waiting"),
                            ("leased", "in review"),
                            ("approved", "approved"),
                            ("returned", "returned"),
                            ("resubmitted", "corrected"),
                            ("rejected", "rejected"),
                            ("dropped", "given up"),
                        ],
                        default="waiting",
                        max_length=12,
                    ),
                ),
                ("marks", models.JSONField(default=list, help_text="why it is here, [labeling.models.review.Mark, …]")),
                ("round", models.PositiveSmallIntegerField(default=1)),
                ("lease_token", models.UUIDField(blank=True, null=True)),
                ("leased_at", models.DateTimeField(blank=True, null=True)),
                ("lease_expires_at", models.DateTimeField(blank=True, null=True)),
                ("draft", models.JSONField(blank=True, help_text="what draft_by has written so far", null=True)),
                ("remark", models.TextField(blank=True)),
                (
                    "reject_reason",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("wrong", "It is wrong or not true"),
                            ("off_task", "It does not do what the prompt asks"),
                            ("guideline", "It breaks the guideline"),
                            ("careless", "No care was taken"),
                            ("copied", "It is copied, or written by a machine"),
                            ("unsafe", "It is harmful, or holds personal data"),
                            ("other", "Another reason"),
                        ],
                        max_length=12,
                    ),
                ),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                (
                    "ended_at",
                    models.DateTimeField(
                        blank=True, help_text="when returned work was corrected or given up", null=True
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.CreateModel(
            name="ReviewComment",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("text", models.PositiveSmallIntegerField(help_text="index of the message, or of the completion")),
                ("start", models.PositiveIntegerField(help_text="in characters (code points) of that text")),
                ("end", models.PositiveIntegerField()),
                ("quote", models.TextField(help_text="what stood there")),
                ("body", models.TextField()),
            ],
            options={
                "ordering": ["review", "id"],
            },
        ),
        migrations.CreateModel(
            name="ReviewRules",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "demonstrations_percent",
                    models.PositiveSmallIntegerField(
                        default=0,
                        validators=[django.core.validators.MaxValueValidator(100)],
                        verbose_name="demonstrations that are reviewed, percent",
                    ),
                ),
                (
                    "rankings_percent",
                    models.PositiveSmallIntegerField(
                        default=0,
                        validators=[django.core.validators.MaxValueValidator(100)],
                        verbose_name="rankings that are reviewed, percent",
                    ),
                ),
                (
                    "newcomer_labels",
                    models.PositiveSmallIntegerField(
                        default=0,
                        help_text="So many are all reviewed, whatever the share. 0: none.",
                        validators=[django.core.validators.MaxValueValidator(1000)],
                        verbose_name="first labels of each person",
                    ),
                ),
                ("on_note", models.BooleanField(default=False, verbose_name="a note by the author")),
                (
                    "on_findings",
                    models.BooleanField(
                        default=False, verbose_name="remarks of the writing rules that stood at submit"
                    ),
                ),
                ("on_unmoved", models.BooleanField(default=False, verbose_name="a ranking in the order shown")),
                (
                    "fast_seconds",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="Active time on the item. Empty: time is no reason.",
                        null=True,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(3600),
                        ],
                        verbose_name="done in fewer seconds than",
                    ),
                ),
                (
                    "is_blind",
                    models.BooleanField(
                        default=True,
                        help_text="Reviewers see a number in the author's place; managers see the name.",
                        verbose_name="blind review",
                    ),
                ),
                (
                    "overdue_days",
                    models.PositiveSmallIntegerField(
                        default=7,
                        help_text="It never leaves its author by itself. Once it is overdue, a manager may ask somebody else.",
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(365),
                        ],
                        verbose_name="returned work is overdue after, days",
                    ),
                ),
                (
                    "only_reviewed",
                    models.BooleanField(
                        default=False,
                        help_text="Labels that wait for their review then stay out of exports and new snapshots until it is done.",
                        verbose_name="export only what is approved or was not sampled",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "review rules",
            },
        ),
        migrations.RemoveConstraint(
            model_name="slot",
            name="slot_state_consistent",
        ),
        migrations.RemoveIndex(
            model_name="slot",
            name="slot_held",
        ),
        migrations.AddField(
            model_name="retraction",
            name="cause",
            field=models.CharField(
                choices=[
                    ("lead", "retracted"),
                    ("returned", "returned by a reviewer"),
                    ("rejected", "rejected by a reviewer"),
                ],
                db_default="lead",
                default="lead",
                max_length=8,
            ),
        ),
        migrations.AlterField(
            model_name="demonstration",
            name="slot",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="demonstrations",
                related_query_name="demonstration",
                to="labeling.slot",
            ),
        ),
        migrations.AlterField(
            model_name="ranking",
            name="slot",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="rankings",
                related_query_name="ranking",
                to="labeling.slot",
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
                    ("returned", "Returned"),
                ],
                default="open",
                max_length=10,
            ),
        ),
        migrations.AddConstraint(
            model_name="demonstration",
            constraint=models.UniqueConstraint(
                condition=models.Q(("retraction", None)), fields=("slot",), name="demonstration_one_a_slot"
            ),
        ),
        migrations.AddConstraint(
            model_name="ranking",
            constraint=models.UniqueConstraint(
                condition=models.Q(("retraction", None)), fields=("slot",), name="ranking_one_a_slot"
            ),
        ),
        migrations.AddConstraint(
            model_name="retraction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("cause", "lead"),
                    models.Q(("cause__in", ["returned", "rejected"]), ("undone_at", None)),
                    _connector="OR",
                ),
                name="retraction_by_review_stays",
            ),
        ),
        migrations.AddField(
            model_name="review",
            name="author",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="review",
            name="demonstration",
            field=models.OneToOneField(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="review",
                to="labeling.demonstration",
            ),
        ),
        migrations.AddField(
            model_name="review",
            name="draft_by",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="review",
            name="preferred",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                help_text="who returned it, and should see it again",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="review",
            name="previous",
            field=models.OneToOneField(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="following",
                to="labeling.review",
            ),
        ),
        migrations.AddField(
            model_name="review",
            name="project",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="reviews", to="accounts.project"
            ),
        ),
        migrations.AddField(
            model_name="review",
            name="ranking",
            field=models.OneToOneField(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="review",
                to="labeling.ranking",
            ),
        ),
        migrations.AddField(
            model_name="review",
            name="reviewer",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="reviews",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="review",
            name="slot",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="reviews", to="labeling.slot"
            ),
        ),
        migrations.AddField(
            model_name="slot",
            name="review",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="labeling.review",
            ),
        ),
        migrations.AddIndex(
            model_name="slot",
            index=models.Index(
                condition=models.Q(("state__in", ["leased", "returned"])),
                fields=["holder", "project", "kind"],
                name="slot_in_hand",
            ),
        ),
        migrations.AddIndex(
            model_name="slot",
            index=models.Index(condition=models.Q(("review__isnull", False)), fields=["review"], name="slot_corrected"),
        ),
        migrations.AddConstraint(
            model_name="slot",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("holder", None),
                        ("lease_token", None),
                        ("review", None),
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
                    models.Q(
                        ("holder__isnull", False),
                        ("review", None),
                        ("state", "submitted"),
                        ("submitted_at__isnull", False),
                    ),
                    models.Q(
                        ("holder__isnull", False),
                        ("lease_token", None),
                        ("review__isnull", False),
                        ("state", "returned"),
                        ("submitted_at", None),
                    ),
                    _connector="OR",
                ),
                name="slot_state_consistent",
            ),
        ),
        migrations.AddField(
            model_name="reviewcomment",
            name="review",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="comments", to="labeling.review"
            ),
        ),
        migrations.AddField(
            model_name="reviewrules",
            name="project",
            field=models.OneToOneField(
                on_delete=django.db.models.deletion.CASCADE, related_name="review_rules", to="accounts.project"
            ),
        ),
        migrations.AddIndex(
            model_name="review",
            index=models.Index(
                condition=models.Q(("state", "waiting")), fields=["project", "created_at", "id"], name="review_next"
            ),
        ),
        migrations.AddIndex(
            model_name="review",
            index=models.Index(
                condition=models.Q(("preferred__isnull", False), ("state", "waiting")),
                fields=["project", "preferred", "created_at", "id"],
                name="review_again",
            ),
        ),
        migrations.AddIndex(
            model_name="review",
            index=models.Index(fields=["project", "state", "-id"], name="review_list"),
        ),
        migrations.AddIndex(
            model_name="review",
            index=models.Index(
                condition=models.Q(("state", "leased")), fields=["lease_expires_at"], name="review_lease_expiry"
            ),
        ),
        migrations.AddConstraint(
            model_name="review",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("demonstration__isnull", False), ("kind", "write"), ("ranking", None)),
                    models.Q(("demonstration", None), ("kind", "rank"), ("ranking__isnull", False)),
                    _connector="OR",
                ),
                name="review_of_one_label",
            ),
        ),
        migrations.AddConstraint(
            model_name="review",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("reviewer", None), models.Q(("reviewer", models.F("author")), _negated=True), _connector="OR"
                ),
                name="review_not_by_author",
            ),
        ),
        migrations.AddConstraint(
            model_name="review",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("decided_at", None), ("lease_token", None), ("reviewer", None), ("state", "waiting")),
                    models.Q(
                        ("decided_at", None),
                        ("lease_expires_at__isnull", False),
                        ("lease_token__isnull", False),
                        ("reviewer__isnull", False),
                        ("state", "leased"),
                    ),
                    models.Q(
                        ("decided_at__isnull", False),
                        ("reviewer__isnull", False),
                        ("state__in", ["approved", "returned", "resubmitted", "rejected", "dropped"]),
                    ),
                    _connector="OR",
                ),
                name="review_state_consistent",
            ),
        ),
        migrations.AddConstraint(
            model_name="review",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        (
                            "reject_reason__in",
                            ["wrong", "off_task", "guideline", "careless", "copied", "unsafe", "other"],
                        ),
                        ("state", "rejected"),
                    ),
                    models.Q(models.Q(("state", "rejected"), _negated=True), ("reject_reason", "")),
                    _connector="OR",
                ),
                name="review_rejected_for_a_reason",
            ),
        ),
        migrations.AddConstraint(
            model_name="review",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "leased")), fields=("project", "reviewer"), name="review_held_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="review",
            constraint=models.CheckConstraint(condition=models.Q(("round__gte", 1)), name="review_round_from_one"),
        ),
        migrations.AddConstraint(
            model_name="reviewcomment",
            constraint=models.CheckConstraint(
                condition=models.Q(("start__lte", models.F("end"))), name="review_comment_span"
            ),
        ),
        migrations.AddConstraint(
            model_name="reviewcomment",
            constraint=models.CheckConstraint(
                condition=models.Q(("body", ""), _negated=True), name="review_comment_says_something"
            ),
        ),
        migrations.AddConstraint(
            model_name="reviewrules",
            constraint=models.CheckConstraint(
                condition=models.Q(("demonstrations_percent__lte", 100), ("rankings_percent__lte", 100)),
                name="review_rules_percent",
            ),
        ),
        migrations.AddConstraint(
            model_name="reviewrules",
            constraint=models.CheckConstraint(
                condition=models.Q(("fast_seconds", None), ("fast_seconds__gte", 1), _connector="OR"),
                name="review_rules_seconds",
            ),
        ),
        migrations.AddConstraint(
            model_name="reviewrules",
            constraint=models.CheckConstraint(
                condition=models.Q(("overdue_days__gte", 1)), name="review_rules_overdue"
            ),
        ),
    ]
