"""Next item + submit over HTTP against the production web server and PostgreSQL on this machine.

    python -m bench.labeling --items 1000000 --annotators 32 --seconds 20 [--json]

Annotators without think time, each with a session of their own, ask for the next ranking and submit it. Everything
runs in a folder of its own that is removed at the end. One cycle is both requests. `server_cpu_ms` counts the web
server and PostgreSQL with all their processes, not the client.
"""

import argparse
import http.client
import json
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

SLOTS = 2
ANSWERS = 4
PROJECT = "bench"


@dataclass
class Annotator:
    """One client: its session, and what it measured. Times in seconds."""

    cookie: str
    csrf: str
    cycles: list[float] = field(default_factory=list)
    nexts: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def work(self, host: str, port: int, start: threading.Barrier, seconds: float) -> None:
        """One cycle to warm up, then as many as fit; ends at the first answer that is not work done."""
        connection = http.client.HTTPConnection(host, port, timeout=60)
        try:
            ready = self._cycle(connection, measured=False)
            start.wait()
            end = time.perf_counter() + seconds
            while ready and time.perf_counter() < end:
                ready = self._cycle(connection)
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.errors.append(f"connection: {error}")
            start.abort()
        finally:
            connection.close()

    def _cycle(self, connection: http.client.HTTPConnection, *, measured: bool = True) -> bool:
        began = time.perf_counter()
        status, work = self.ask(connection)
        between = time.perf_counter()
        if status != 200 or not work:
            self.errors.append(f"next: {status} {work}")
            return False
        status, answer = self.submit(connection, work)
        if status != 201:
            self.errors.append(f"submit: {status} {answer}")
            return False
        if measured:
            self.cycles.append(time.perf_counter() - began)
            self.nexts.append(between - began)
        return True

    def ask(self, connection: http.client.HTTPConnection) -> tuple[int, Any]:
        """The next item: status and answer."""
        return self.send(connection, "POST", f"/api/v1/projects/{PROJECT}/work/rank/next/", {})

    def submit(self, connection: http.client.HTTPConnection, work: dict[str, Any]) -> tuple[int, Any]:
        """An order of the item's answers, drawn at random: status and answer."""
        letters = [answer["letter"] for answer in work["answers"]]
        random.shuffle(letters)
        body = {
            "lease_token": work["lease_token"],
            "client_key": str(uuid.uuid4()),
            "tiers": [[letter] for letter in letters],
            "unacceptable": [],
            "active_seconds": 30,
        }
        return self.send(connection, "POST", f"/api/v1/work/{work['slot']}/submit/", body)

    def send(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: dict[str, Any] | None = None
    ) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json", "Cookie": self.cookie, "X-CSRFToken": self.csrf}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        content = response.read()
        return response.status, json.loads(content) if content else None


def fill(items: int, annotators: int) -> list[Annotator]:
    """A project with this many open ranking items (two slots, four answers each) and its logged-in people."""
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.db import connection
    from django.middleware.csrf import _get_new_csrf_string

    from bench.filling import multiply
    from hone.accounts.models import Membership, Project, User
    from hone.accounts.sessions import SessionStore
    from labeling.batches import NewItem, open_batch
    from labeling.models import Guideline, GuidelineReading, Prompt

    project = Project.objects.create(slug=PROJECT, name="Bench", lease_seconds=300)
    guideline = Guideline.objects.create(
        project=project, number=1, title="Spec", body="# Spec\n\nBe truthful.", published_at="2026-01-01T00:00Z"
    )
    # One item through Django, the others after its pattern. Each text is new: what the server keeps of one item must
    # not help with the next.
    text = "some words that people would read here. " * 6
    prompt = Prompt.objects.create(project=project, messages=[{"role": "user", "content": "0"}], content_hash="first")
    new = NewItem(prompt=prompt, answers=[f"Answer {n}: {text}" for n in range(ANSWERS)])
    batch = open_batch(project=project, kind="rank", name="bench", items=[new], slots_per_item=SLOTS)
    item = batch.items.get()
    multiply(
        prompt,
        f"SELECT n FROM generate_series(1, {items - 1}) AS n",
        messages="""jsonb_build_array(jsonb_build_object('role', 'user', 'content',
                      'Question ' || n || ': how does this work, and why?'))""",
        content_hash="lpad(to_hex(n), 64, '0')",
    )
    multiply(
        item,
        f"SELECT id AS new FROM labeling_prompt WHERE project_id = {project.pk} AND id <> {prompt.pk}",
        prompt_id="new",
    )
    rest = f"SELECT id AS new, random() AS drawn FROM labeling_item WHERE project_id = {project.pk} AND id <> {item.pk}"
    for completion in item.completions.all():
        multiply(completion, rest, item_id="new", text="template.text || ' Item ' || new")
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMP TABLE bench_items AS {rest}")
    for slot in item.slots.all():  # an item's slots share their draw
        multiply(slot, "SELECT * FROM bench_items", item_id="new", draw="drawn")
    with connection.cursor() as cursor:
        # As autovacuum and the checkpointer have done to a project that grew slowly: cycles pay for their own writing
        # alone, not for what this filling left to be written.
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")
    people = []
    for number in range(annotators):
        user = User.objects.create(username=f"annotator-{number}")
        Membership.objects.create(project=project, user=user)
        GuidelineReading.objects.create(user=user, guideline=guideline, confirmed_at=guideline.published_at)
        session = SessionStore()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = "hone.accounts.backends.Backend"
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session.save()
        token = _get_new_csrf_string()
        people.append(Annotator(cookie=f"sessionid={session.session_key}; csrftoken={token}", csrf=token))
    return people


def _tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_seconds(root: int) -> float:
    """Of the process and all below it, those that ended included."""
    used = 0.0
    for process in _tree(root):
        try:
            used += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return used


def memory_mb(roots: list[int]) -> float:
    """Proportional set size: PostgreSQL's shared memory counts once."""
    total = 0
    for process in {process.pid: process for root in roots for process in _tree(root)}.values():
        try:
            total += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total / 2**20


def over_assigned() -> int:
    """Items with more submissions than places, or with two by one person. The constraints should make it 0."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM (SELECT item_id FROM labeling_ranking GROUP BY item_id"
            " HAVING count(*) > %s OR count(*) > count(DISTINCT author_id)) AS broken",
            [SLOTS],
        )
        return int(cursor.fetchone()[0])


def measure(items: int, annotators: int, seconds: float, var: Path) -> dict[str, Any]:
    """One run: fills the database, starts the web server as in production, and lets the annotators work."""
    import os

    from hone.supervisor import Supervisor, commands, free_address, wait_for

    supervisor = Supervisor(var=var, environment={"LOG_LEVEL": "WARNING"})
    try:
        environment = supervisor.start_services()
        os.environ.update(environment)
        os.environ["DJANGO_SETTINGS_MODULE"] = "hone.settings"
        supervisor.manage("migrate", "--no-input")
        supervisor.manage("collectstatic", "--no-input", "--verbosity", "0")
        import django

        django.setup()
        people = fill(items, annotators)
        address = free_address("127.0.0.1", 8700)
        host, port = address.rsplit(":", 1)
        web = next(command for command in commands(address=address) if command.name == "web")
        supervisor.run(web)
        wait_for(lambda: answers(host, int(port), "/health/"), seconds=60, what="The web server")
        roots = {"web": supervisor._children["web"].pid, "database": postmaster(var)}
        found = drive(people, host, int(port), seconds, roots=roots)
        return {"items": items, "annotators": annotators, **found, "over_assigned": over_assigned()}
    finally:
        supervisor.stop()


def postmaster(var: Path) -> int:
    """The embedded PostgreSQL's process."""
    return int((var / "postgres" / "postmaster.pid").read_text().split()[0])


def drive(
    people: Sequence[Annotator], host: str, port: int, seconds: float, *, roots: dict[str, int]
) -> dict[str, Any]:
    """Lets the annotators work; CPU and memory are those of the `roots` and what is below them."""
    barrier = threading.Barrier(len(people) + 1)
    threads = [threading.Thread(target=p.work, args=(host, port, barrier, seconds)) for p in people]
    for thread in threads:
        thread.start()
    barrier.wait()
    began, before = time.perf_counter(), {name: cpu_seconds(root) for name, root in roots.items()}
    for thread in threads:
        thread.join()
    took, after = time.perf_counter() - began, {name: cpu_seconds(root) for name, root in roots.items()}
    # Once, at the end: reading the pages of all processes meanwhile would take a tenth of a core.
    memory = memory_mb([*roots.values()])
    cycles = sorted(cycle for person in people for cycle in person.cycles)
    errors = [error for person in people for error in person.errors]
    for error in errors[:5]:
        print(error, file=sys.stderr)
    used = {name: 1000 * (after[name] - before[name]) / max(1, len(cycles)) for name in roots}
    return {
        "cycles": len(cycles),
        "tasks_per_s": round(len(cycles) / took, 1),
        "server_cpu_ms": round(sum(used.values()), 2),
        **{f"{name}_cpu_ms": round(milliseconds, 2) for name, milliseconds in used.items()},
        "p50_ms": _ms(cycles, 50),
        "p95_ms": _ms(cycles, 95),
        "p99_ms": _ms(cycles, 99),
        "next_p50_ms": _ms(sorted(n for person in people for n in person.nexts), 50),
        "errors": len(errors),
        "rss_mb": round(memory),
    }


def answers(host: str, port: int, path: str) -> bool:
    """Whether the server answers this path with 200."""
    try:
        connection = http.client.HTTPConnection(host, port, timeout=2)
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False


def _ms(values: list[float], percent: int) -> float:
    if len(values) < 2:
        return 0.0
    return round(1000 * statistics.quantiles(values, n=100, method="inclusive")[percent - 1], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--annotators", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--json", action="store_true", help="print one last line of JSON")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hone-bench-"))
    folder.chmod(0o755)  # as root, PostgreSQL runs as a user of its own
    try:
        found = measure(options.items, options.annotators, options.seconds, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name, value in found.items():
        print(f"{name:>16}  {value:,}")
    if options.json:
        print(json.dumps(found))
    if found["errors"] or found["over_assigned"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
