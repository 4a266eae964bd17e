"""A pytest plugin (`-p tests.servers`, in pyproject.toml): real PostgreSQL and Valkey for the test run.

It is imported before Django's settings are read. With DATABASE_URL and BROKER_URL set, those servers are used.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path


def start() -> None:
    """Starts the embedded servers in a folder that is removed at the end, and names them in the environment."""
    if os.environ.get("HONE_TEST_VAR"):
        return
    # Readable by all: as root, PostgreSQL runs as a user of its own.
    folder = Path(tempfile.mkdtemp(prefix="hone-tests-"))
    folder.chmod(0o755)
    (folder / "static").mkdir()  # whitenoise warns about a missing one at every client
    os.environ["HONE_TEST_VAR"] = os.environ["HONE_VAR"] = str(folder)
    os.environ.setdefault("LOG_LEVEL", "WARNING")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if os.environ.get("DATABASE_URL") and os.environ.get("BROKER_URL"):
        return
    from hone import embedded

    services = embedded.start(folder)
    atexit.register(services.stop)
    os.environ.update(services.environment)


start()
