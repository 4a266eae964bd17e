"""Next item + submit over HTTP against Label Studio, as bench.labeling asks it of Hone, and both in turn.

    python -m bench.labeling_peer --items 10000 --annotators 32 --seconds 20 [--folder DIR] [--json]

Label Studio runs in an environment of its own under DIR (made there at the first run, some minutes), behind gunicorn
with four workers, which was measured as its fastest server, on the same embedded PostgreSQL as Hone. Its project asks
to rank four answers, two people an item. Hone is measured before and after it; `ratio` is Label Studio's server CPU a
cycle by Hone's (the mean of both).
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from bench import labeling

VERSION = "1.23.2"
WORKERS = 4
DATABASE = "label_studio"
# Run by Label Studio's own Python: its tables, a project with items, and people who are logged in.
_FILL = """
import json, os, sys, time
import label_studio
sys.path.insert(0, os.path.dirname(label_studio.__file__))  # as its own manage.py does
import django
django.setup()
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.core.management import call_command
call_command("migrate", "--no-input", verbosity=0)
from organizations.models import Organization
from projects.models import Project
from tasks.models import Task
from users.models import User
items, annotators, answers, slots = map(int, sys.argv[1:])
people = [User.objects.create_user(f"annotator-{n}@example.com", "annotator") for n in range(annotators)]
team = Organization.create_organization(created_by=people[0], title="bench")
for person in people:
    team.add_user(person)
    person.active_organization = team
    person.save()
project = Project.objects.create(
    title="bench", organization=team, created_by=people[0], maximum_annotations=slots,
    label_config='<View><Text name="prompt" value="$prompt"/><List name="answers" value="$answers"/>'
    '<Ranker name="rank" toName="answers"/></View>',
)
text = "some words that people would read here. " * 6
data = [
    {"prompt": f"Question {n}: how does this work, and why?",
     "answers": [{"id": str(k), "title": f"Answer {k}", "body": f"{text} Item {n}"} for k in range(answers)]}
    for n in range(items)
]
Task.objects.bulk_create(
    [Task(project=project, data=row, overlap=slots, inner_id=n + 1) for n, row in enumerate(data)], batch_size=2000
)
project.update_tasks_counters_and_task_states(
    tasks_queryset=project.tasks.all(), maximum_annotations_changed=True, overlap_cohort_percentage_changed=False,
    tasks_number_changed=True,
)
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("VACUUM ANALYZE")
    cursor.execute("CHECKPOINT")
cookies = []
for person in people:
    session = SessionStore()
    session[SESSION_KEY], session[HASH_SESSION_KEY] = str(person.pk), person.get_session_auth_hash()
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session["organization_pk"], session["last_login"] = team.pk, time.time()
    session.save()
    cookies.append(f"{settings.SESSION_COOKIE_NAME}={session.session_key}")
print("FILLED", json.dumps({"project": project.pk, "cookies": cookies}))
"""
_OVER_ASSIGNED = """
SELECT count(*) FROM (SELECT task_id FROM task_completion GROUP BY task_id
  HAVING count(*) > %s OR count(*) > count(DISTINCT completed_by_id)) AS broken
"""


@dataclass
class Annotator(labeling.Annotator):
    """As Hone's, by the requests of Label Studio's own page."""

    project: int = 0

    def ask(self, connection: Any) -> tuple[int, Any]:
        return self.send(connection, "GET", f"/api/projects/{self.project}/next/")

    def submit(self, connection: Any, work: dict[str, Any]) -> tuple[int, Any]:
        order = [str(number) for number in range(labeling.ANSWERS)]
        random.shuffle(order)
        ranked = {"from_name": "rank", "to_name": "answers", "type": "ranker", "value": {"ranker": {"rank": order}}}
        body = {"result": [ranked], "lead_time": 30}
        path = f"/api/tasks/{work['id']}/annotations/?project={self.project}"
        return self.send(connection, "POST", path, body)


def install(folder: Path) -> Path:
    """Label Studio's own Python, installed where it is missing."""
    python = folder / "bin" / "python"
    if not (folder / "bin" / "gunicorn").exists():
        venv.create(folder, with_pip=True)
        wanted = [f"label-studio=={VERSION}", "gunicorn"]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
    return python


def environment(database_url: str, data: Path) -> dict[str, str]:
    """What it needs to run offline on this PostgreSQL, and nothing of ours."""
    url = urlsplit(database_url)
    host = url.hostname or parse_qs(url.query)["host"][0]
    return {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
        "DJANGO_SETTINGS_MODULE": "core.settings.label_studio",
        "DJANGO_DB": "default",
        "POSTGRE_NAME": DATABASE,
        "POSTGRE_USER": url.username or "postgres",
        "POSTGRE_PASSWORD": url.password or "",
        "POSTGRE_HOST": host,
        "POSTGRE_PORT": str(url.port or 5432),
        "LABEL_STUDIO_BASE_DATA_DIR": str(data),
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
        # The embedded PostgreSQL lacks both, so an annotation here goes into fewer indexes than it would.
        "SKIP_TRIGRAM_EXTENSION": "full",
        "SKIP_BTREE_GIN_EXTENSION": "full",
    }


def measure(python: Path, items: int, annotators: int, seconds: float, var: Path) -> dict[str, Any]:
    """One run of Label Studio, with the same numbers as labeling.measure."""
    import psycopg

    from hone import embedded
    from hone.supervisor import free_address, wait_for

    services = embedded.start(var)
    server: subprocess.Popen[bytes] | None = None
    try:
        with psycopg.connect(services.database_url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {DATABASE}")
        own = environment(services.database_url, var)
        sizes = map(str, (items, annotators, labeling.ANSWERS, labeling.SLOTS))
        filled = subprocess.run([python, "-c", _FILL, *sizes], env=own, capture_output=True, text=True)
        if filled.returncode:
            raise SystemExit(filled.stderr[-3000:])
        made = json.loads(filled.stdout.rpartition("FILLED ")[2])
        people = [Annotator(cookie=cookie, csrf="", project=made["project"]) for cookie in made["cookies"]]
        host, port = free_address("127.0.0.1", 8800).rsplit(":", 1)
        [code] = python.parent.parent.glob("lib/python*/site-packages/label_studio")
        command = [
            str(python.parent / "gunicorn"),
            "--workers",
            str(WORKERS),
            "--bind",
            f"{host}:{port}",
            "--chdir",
            str(code),
        ]
        with (var / "server.log").open("wb") as log:
            server = subprocess.Popen(
                [*command, "--timeout", "120", "core.wsgi:application"], env=own, stdout=log, stderr=log
            )
        wait_for(lambda: labeling.answers(host, int(port), "/version"), seconds=120, what="Label Studio")
        time.sleep(5)  # for its other workers
        found = labeling.drive(
            people, host, int(port), seconds, roots={"web": server.pid, "database": labeling.postmaster(var)}
        )
        with psycopg.connect(services.database_url, dbname=DATABASE) as connection:
            [broken] = connection.execute(_OVER_ASSIGNED, [labeling.SLOTS]).fetchall()
        return {"items": items, "annotators": annotators, **found, "over_assigned": broken[0]}
    finally:
        if server is not None:
            server.terminate()
            server.wait()
        services.stop()


def _in_turn(options: argparse.Namespace) -> dict[str, Any]:
    asked = ["--items", str(options.items), "--annotators", str(options.annotators), "--seconds", str(options.seconds)]

    def hone() -> dict[str, Any]:
        command = [sys.executable, "-m", "bench.labeling", *asked, "--json"]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found: dict[str, Any] = json.loads(told.splitlines()[-1])
        return found

    python = install(options.folder)
    before = hone()
    with tempfile.TemporaryDirectory(prefix="hone-bench-") as folder:
        Path(folder).chmod(0o755)  # as root, PostgreSQL runs as a user of its own
        peer = measure(python, options.items, options.annotators, options.seconds, Path(folder))
    after = hone()
    ours = (before["server_cpu_ms"] + after["server_cpu_ms"]) / 2
    return {"ratio": round(peer["server_cpu_ms"] / ours, 1), "hone": [before, after], "label_studio": peer}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--annotators", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--folder", type=Path, default=Path("var/bench/label-studio"), help="its environment")
    parser.add_argument("--json", action="store_true", help="print one last line of JSON")
    options = parser.parse_args()
    options.folder = options.folder.absolute()
    found = _in_turn(options)
    first, second = found["hone"]
    print(f"{'':>16}  {'Hone':>10} {'Label Studio':>13} {'Hone':>10}")
    for name in first:
        print(f"{name:>16}  {first[name]:>10,} {found['label_studio'].get(name, 0):>13,} {second[name]:>10,}")
    print(f"Label Studio takes {found['ratio']} times the server CPU for a cycle.")
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
