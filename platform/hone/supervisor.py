"""Starts Hone's processes for one machine, keeps them running, and ends every one of them.

`python -m hone.supervisor` is what `make serve` runs; `make demo` uses the Supervisor class and adds the round.
In production the compose file starts the same commands as services instead.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hone import embedded, env

STOP_SECONDS = 20.0
# A trainer may take two minutes to save its state (training.launcher.GRACE_SECONDS); its worker outlives it.
TRAINER_STOP_SECONDS = 135.0


@dataclass(frozen=True)
class Command:
    """A long-running process: its name (also of its log file) and argument vector."""

    name: str
    argv: list[str]


def commands(*, address: str) -> list[Command]:
    """The processes of one installation, as the compose file also starts them."""
    python = sys.executable
    host, port = address.rsplit(":", 1)
    celery = [python, "-m", "celery", "-A", "hone.celery"]
    # Threads: a task only watches a trainer in a process of its own, and a shutdown signal reaches every task.
    worker = [
        *celery,
        "worker",
        "--loglevel",
        "INFO",
        "--pool",
        "threads",
        "--without-mingle",
        "--without-gossip",
    ]
    return [
        Command(
            "web",
            [python, "-m", "granian", "--interface", "wsgi", "--host", host.strip("[]"), "--port", port]
            + ["--workers", "2", "--blocking-threads", "3", "--respawn-failed-workers", "--workers-kill-timeout", "15"]
            + ["--no-ws", "--access-log", "hone.wsgi:application"],
        ),
        Command("worker", [*worker, "-Q", "default", "--concurrency", "2", "-n", "default@%h"]),
        Command("trainer", [*worker, "-Q", "train", "--concurrency", "1", "-n", "train@%h"]),
        Command("beat", [*celery, "beat", "--loglevel", "INFO"]),
    ]


@dataclass
class Supervisor:
    """Embedded servers plus child processes, each child in a session of its own with its output in a file."""

    var: Path
    environment: dict[str, str] = field(default_factory=dict)
    services: embedded.Services | None = None
    _children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _commands: dict[str, Command] = field(default_factory=dict)
    _started: dict[str, float] = field(default_factory=dict)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def start_services(self) -> dict[str, str]:
        """Starts the servers that the environment does not name already; returns the children's environment."""
        self.environment = {**os.environ, "HONE_VAR": str(self.var), **self.environment}
        if not (env.text("DATABASE_URL") and env.text("BROKER_URL")):
            self.services = embedded.start(self.var)
            self.environment = {**self.services.environment, **self.environment}
        return self.environment

    def manage(self, *arguments: str) -> None:
        """Runs `manage.py` with these arguments; raises CalledProcessError with its output in the log."""
        with self.log("manage").open("ab") as output:
            subprocess.run(
                [sys.executable, "-m", "django", *arguments],
                env={**self.environment, "DJANGO_SETTINGS_MODULE": "hone.settings"},
                check=True,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def log(self, name: str) -> Path:
        folder = self.var / "log"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.log"

    def run(self, command: Command) -> None:
        self._commands[command.name] = command
        self._started[command.name] = time.monotonic()
        with self.log(command.name).open("ab") as output:
            self._children[command.name] = subprocess.Popen(
                command.argv,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=embedded.end_with_parent,
            )

    def watch(self) -> None:
        """Restarts children that ended, until stop() is called."""
        while not self._stopping.wait(1.0):
            self.restart_ended()

    def restart_ended(self) -> None:
        """Starts children again that have ended, each at most once a second."""
        now = time.monotonic()
        for name, child in list(self._children.items()):
            if child.poll() is not None and now - self._started[name] > 1.0 and not self._stopping.is_set():
                self._signal(name, signal.SIGKILL)  # web workers would outlive their killed parent, and go on listening
                self.run(self._commands[name])

    def stop(self) -> None:
        """Ends every child's process group (TERM, then KILL), then the servers. Safe to call twice."""
        self._stopping.set()
        for name in self._children:
            self._signal(name, signal.SIGTERM)
        began = time.monotonic()
        # The trainer's worker comes last: it waits for the trainer to save its state.
        for name, child in sorted(self._children.items(), key=lambda item: item[0] == "trainer"):
            patience = TRAINER_STOP_SECONDS if name == "trainer" else STOP_SECONDS
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(max(0.1, began + patience - time.monotonic()))
            self._signal(name, signal.SIGKILL)
        self._children.clear()
        if self.services is not None:
            self.services.stop()
            self.services = None

    def _signal(self, name: str, number: signal.Signals) -> None:
        child = self._children.get(name)
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, number)


def free_address(host: str, port: int, *, attempts: int = 20) -> str:
    """`host:port`, with the first port from `port` on that nobody listens at."""
    for candidate in range(port, port + attempts):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((host, candidate))
                return f"{host}:{candidate}"
    raise RuntimeError(f"No free port between {port} and {port + attempts - 1} on {host}.")


def wait_for(ready: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Polls until `ready()`; raises RuntimeError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not answer within {seconds:.0f} s; see the files in var/log.")
        time.sleep(0.2)


def ends_like_ctrl_c() -> None:
    """Makes SIGTERM and SIGHUP end the program as Ctrl-C does, so that every `finally` runs."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)


def main() -> None:
    ends_like_ctrl_c()
    host, port = env.address("HONE_ADDRESS", "127.0.0.1:8000")
    supervisor = Supervisor(var=Path(os.environ.get("HONE_VAR", "var")).resolve())
    try:
        supervisor.start_services()
        supervisor.manage("migrate", "--no-input")
        supervisor.manage("collectstatic", "--no-input", "--verbosity", "0")
        address = free_address(host, port)
        for command in commands(address=address):
            supervisor.run(command)
        print(
            f"Hone is at http://{address}/ (Ctrl-C stops it; logs are in {supervisor.var / 'log'})",
            flush=True,
        )
        supervisor.watch()
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave half of them running
        supervisor.stop()


if __name__ == "__main__":
    main()
