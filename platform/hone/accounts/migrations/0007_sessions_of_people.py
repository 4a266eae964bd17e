"""Sessions that know their user. Those of before are taken over: nobody is logged out at work."""

from django.conf import settings
from django.db import migrations, models

# Whose they are is known when they are next saved; until then the user is read by itself. The old table stays for a
# web server that still runs the release before this one.
TAKE_OVER = """
DO $$ BEGIN
  IF to_regclass('django_session') IS NOT NULL THEN
    INSERT INTO accounts_session (session_key, session_data, expire_date)
    SELECT session_key, session_data, expire_date FROM django_session WHERE expire_date > now();
  END IF;
END $$
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0006_qualification")]

    operations = [
        migrations.CreateModel(
            name="Session",
            fields=[
                (
                    "session_key",
                    models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="session key"),
                ),
                ("session_data", models.TextField(verbose_name="session data")),
                ("expire_date", models.DateTimeField(db_index=True, verbose_name="expire date")),
                (
                    "user",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=models.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={"verbose_name": "session", "verbose_name_plural": "sessions", "abstract": False},
        ),
        migrations.RunSQL(TAKE_OVER, migrations.RunSQL.noop),
    ]
