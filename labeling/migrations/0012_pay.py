"""Pay rates and a ledger that is only ever added to; drafts say since when, labels what time was claimed."""

import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

FORWARD = """
CREATE OR REPLACE FUNCTION labeling_ledger_is_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'entries of the ledger are never changed or deleted' USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE OR REPLACE TRIGGER labeling_ledger_final BEFORE UPDATE OR DELETE ON labeling_ledgerentry
    FOR EACH ROW EXECUTE FUNCTION labeling_ledger_is_final();

CREATE OR REPLACE FUNCTION labeling_used_rate_is_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM labeling_ledgerentry WHERE rate_id = OLD.id) THEN
        RAISE EXCEPTION 'pay rate % was paid by and never changes', OLD.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER labeling_used_rate_final BEFORE UPDATE OR DELETE ON labeling_payrate
    FOR EACH ROW EXECUTE FUNCTION labeling_used_rate_is_final();
"""
BACKWARD = """
DROP TRIGGER IF EXISTS labeling_used_rate_final ON labeling_payrate;
DROP FUNCTION IF EXISTS labeling_used_rate_is_final();
DROP TRIGGER IF EXISTS labeling_ledger_final ON labeling_ledgerentry;
DROP FUNCTION IF EXISTS labeling_ledger_is_final();
"""
# Nobody knows when the drafts that are there were begun; a day ago takes no time away from anybody.
EARLIER_DRAFTS = "UPDATE labeling_draft SET begun_at = saved_at - interval '1 day'"


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_work_rules"),
        ("labeling", "0011_hidden_checks_and_consensus"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Ledger",
            fields=[
                (
                    "project",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="ledger",
                        serialize=False,
                        to="accounts.project",
                    ),
                ),
                ("rankings_through", models.BigIntegerField(default=0)),
                ("rankings_seen", models.BigIntegerField(default=0)),
                ("demonstrations_through", models.BigIntegerField(default=0)),
                ("demonstrations_seen", models.BigIntegerField(default=0)),
                ("seen_xid", models.BigIntegerField(default=0)),
            ],
        ),
        migrations.AddField(
            model_name="demonstration",
            name="claimed_seconds",
            field=models.PositiveIntegerField(
                blank=True, help_text="what the page said, where it was more than can have passed", null=True
            ),
        ),
        migrations.AddField(
            model_name="draft",
            name="begun_at",
            field=models.DateTimeField(
                db_default=django.db.models.functions.datetime.Now(),
                help_text="when the item was handed out first: the draft outlives that lease",
            ),
        ),
        migrations.AddField(
            model_name="ranking",
            name="claimed_seconds",
            field=models.PositiveIntegerField(
                blank=True, help_text="what the page said, where it was more than can have passed", null=True
            ),
        ),
        migrations.CreateModel(
            name="PayRate",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "basis",
                    models.CharField(
                        choices=[
                            ("piece", "For each piece"),
                            ("hourly", "By the hour in use"),
                            ("nothing", "Nothing"),
                            ("project", "As everybody in the project"),
                        ],
                        max_length=8,
                        verbose_name="paid",
                    ),
                ),
                (
                    "currency",
                    models.CharField(
                        blank=True,
                        help_text="Three letters of ISO 4217, such as EUR",
                        max_length=3,
                        verbose_name="currency",
                    ),
                ),
                (
                    "per_demonstration",
                    models.DecimalField(
                        blank=True, decimal_places=4, max_digits=14, null=True, verbose_name="for a demonstration"
                    ),
                ),
                (
                    "per_ranking",
                    models.DecimalField(
                        blank=True, decimal_places=4, max_digits=14, null=True, verbose_name="for a ranking"
                    ),
                ),
                (
                    "per_hour",
                    models.DecimalField(
                        blank=True, decimal_places=4, max_digits=14, null=True, verbose_name="for an hour"
                    ),
                ),
                (
                    "seconds_cap",
                    models.PositiveIntegerField(
                        blank=True,
                        null=True,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(86400),
                        ],
                        verbose_name="counted at most, seconds an item",
                    ),
                ),
                (
                    "effective_from",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), verbose_name="valid from"
                    ),
                ),
                ("made_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "made_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="pay_rates", to="accounts.project"
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["-effective_from", "-id"],
            },
        ),
        migrations.CreateModel(
            name="LedgerEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("earned", "Earned"),
                            ("reversal", "Taken back or given back"),
                            ("correction", "Correction"),
                            ("bonus", "Bonus"),
                            ("payout", "Paid out"),
                        ],
                        max_length=10,
                    ),
                ),
                ("amount", models.DecimalField(decimal_places=4, max_digits=14)),
                ("currency", models.CharField(max_length=3)),
                ("seconds", models.PositiveIntegerField(blank=True, help_text="counted, at an hourly rate", null=True)),
                (
                    "cause",
                    models.CharField(
                        blank=True, help_text="what a reversal belongs to, as retraction:7", max_length=40
                    ),
                ),
                ("reason", models.TextField(blank=True)),
                (
                    "at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), help_text="when it was earned or decided"
                    ),
                ),
                ("written_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "up_to",
                    models.DateTimeField(blank=True, help_text="of a payout: the balance of which moment", null=True),
                ),
                (
                    "actor",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "corrects",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="corrections",
                        to="labeling.ledgerentry",
                    ),
                ),
                (
                    "demonstration",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="labeling.demonstration",
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="accounts.project",
                    ),
                ),
                (
                    "ranking",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="labeling.ranking",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "rate",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="entries",
                        to="labeling.payrate",
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.AddIndex(
            model_name="payrate",
            index=models.Index(fields=["project", "user", "-effective_from", "-id"], name="pay_rate_valid"),
        ),
        migrations.AddConstraint(
            model_name="payrate",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("basis", "piece"),
                        ("currency__regex", "^[A-Z]{3}$"),
                        ("per_demonstration__gte", 0),
                        ("per_hour", None),
                        ("per_ranking__gte", 0),
                        ("seconds_cap", None),
                    ),
                    models.Q(
                        ("basis", "hourly"),
                        ("currency__regex", "^[A-Z]{3}$"),
                        ("per_demonstration", None),
                        ("per_hour__gte", 0),
                        ("per_ranking", None),
                    ),
                    models.Q(
                        ("basis__in", ["nothing", "project"]),
                        ("per_demonstration", None),
                        ("per_hour", None),
                        ("per_ranking", None),
                        ("seconds_cap", None),
                    ),
                    _connector="OR",
                ),
                name="pay_rate_complete",
            ),
        ),
        migrations.AddConstraint(
            model_name="payrate",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("basis", "project"), _negated=True), ("user__isnull", False), _connector="OR"
                ),
                name="pay_rate_project_for_one",
            ),
        ),
        migrations.AddIndex(
            model_name="ledgerentry",
            index=models.Index(fields=["project", "user", "-id"], name="ledger_of_person"),
        ),
        migrations.AddIndex(
            model_name="ledgerentry",
            index=models.Index(
                condition=models.Q(("ranking__isnull", False)), fields=["ranking"], name="ledger_of_ranking"
            ),
        ),
        migrations.AddIndex(
            model_name="ledgerentry",
            index=models.Index(
                condition=models.Q(("demonstration__isnull", False)),
                fields=["demonstration"],
                name="ledger_of_demonstration",
            ),
        ),
        migrations.AddIndex(
            model_name="ledgerentry",
            index=models.Index(
                condition=models.Q(("corrects__isnull", False)), fields=["corrects"], name="ledger_corrections"
            ),
        ),
        migrations.AddConstraint(
            model_name="ledgerentry",
            constraint=models.UniqueConstraint(
                condition=models.Q(("kind", "earned")), fields=("ranking",), name="ledger_ranking_earned_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="ledgerentry",
            constraint=models.UniqueConstraint(
                condition=models.Q(("kind", "earned")),
                fields=("demonstration",),
                name="ledger_demonstration_earned_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="ledgerentry",
            constraint=models.CheckConstraint(
                condition=models.Q(("ranking", None), ("demonstration", None), _connector="OR"), name="ledger_one_label"
            ),
        ),
        migrations.AddConstraint(
            model_name="ledgerentry",
            constraint=models.CheckConstraint(
                condition=models.Q(("currency__regex", "^[A-Z]{3}$")), name="ledger_has_currency"
            ),
        ),
        migrations.AddConstraint(
            model_name="ledgerentry",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("amount__gte", 0),
                        ("corrects", None),
                        ("kind", "earned"),
                        ("rate__isnull", False),
                        ("up_to", None),
                        models.Q(("ranking__isnull", False), ("demonstration__isnull", False), _connector="OR"),
                    ),
                    models.Q(
                        ("actor__isnull", False),
                        ("corrects__isnull", False),
                        ("kind__in", ["reversal", "correction"]),
                        ("up_to", None),
                        models.Q(("reason", ""), _negated=True),
                    ),
                    models.Q(
                        ("actor__isnull", False),
                        ("amount__gt", 0),
                        ("corrects", None),
                        ("kind", "bonus"),
                        ("up_to", None),
                        ("demonstration", None),
                        ("ranking", None),
                        models.Q(("reason", ""), _negated=True),
                    ),
                    models.Q(
                        ("actor__isnull", False),
                        ("amount__lt", 0),
                        ("corrects", None),
                        ("kind", "payout"),
                        ("up_to__isnull", False),
                        ("demonstration", None),
                        ("ranking", None),
                    ),
                    _connector="OR",
                ),
                name="ledger_kind_complete",
            ),
        ),
        migrations.RunSQL(EARLIER_DRAFTS, migrations.RunSQL.noop),
        migrations.RunSQL(FORWARD, BACKWARD),
    ]
