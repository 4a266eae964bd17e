"""python -m training.demo [--model smollm2|tiny] [--prompts FILE] [--address HOST:PORT] [--exit]

Starts embedded PostgreSQL and Valkey, the web server, workers and beat; runs one whole round with scripted
contractors; opens the second ranking round for a person; and serves until Ctrl-C. A second call finds its data
and goes on where the first one stopped.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from hone.supervisor import Supervisor, commands, ends_like_ctrl_c, free_address, wait_for


def main() -> int:
    arguments = _arguments()
    ends_like_ctrl_c()
    supervisor = Supervisor(var=Path(os.environ.get("HONE_VAR", "var")).resolve())
    try:
        return _demo(supervisor, arguments)
    except KeyboardInterrupt:
        return 0
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave half of them running
        print("\nStopping …", flush=True)
        supervisor.stop()
        print("Every process is stopped. The data stays in", supervisor.var, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description="One whole round of the loop on this machine.")
    parser.add_argument("--model", choices=["smollm2", "tiny"], default="smollm2")
    parser.add_argument("--prompts", type=Path, default=None, help="a prompt file of your own")
    parser.add_argument("--address", default="127.0.0.1:8000", help="host:port of the site")
    parser.add_argument("--exit", action="store_true", help="end when the second round is open, for tests")
    arguments = parser.parse_args()
    if arguments.prompts is not None and not arguments.prompts.is_file():
        parser.error(f"PROMPTS: there is no file {arguments.prompts}.")
    return arguments


def _demo(supervisor: Supervisor, arguments: argparse.Namespace) -> int:
    from rich.console import Console

    console = Console(highlight=False)
    began = time.monotonic()
    with console.status("Starting PostgreSQL and Valkey …"):
        os.environ.update(supervisor.start_services())
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hone.settings")
    os.environ.setdefault("LOG_LEVEL", "WARNING")
    try:
        with console.status("Preparing the database and static files …"):
            supervisor.manage("migrate", "--no-input")
            supervisor.manage("collectstatic", "--no-input", "--verbosity", "0")
    except subprocess.CalledProcessError:
        console.print(f"[red]The database could not be prepared; see {supervisor.log('manage')}.")
        return 1
    import django

    django.setup()
    from rich.markup import escape

    from labeling.importing import ImportRefused
    from training.demo import loop, material

    # Before anything else is started: a file that cannot be read is told at once.
    try:
        with console.status("Importing the labeling spec, prompts and accounts …"):
            found = _imported(arguments)
    except ImportRefused as error:
        console.print(f"[red]{error.file} was not imported: nothing of it is usable until these lines are mended.")
        for fault in error.faults[:10]:
            console.print(f"  line {fault.line}: {fault.reason}")
        return 1
    except material.AccountTaken as error:
        console.print(f"[red]The demo was not started:[/] {escape(str(error))}")
        return 1
    host, _, port = arguments.address.rpartition(":")
    address = free_address(host or "127.0.0.1", int(port))
    for command in commands(address=address):
        supervisor.run(command)
    site = site_at(address)
    with console.status("Starting the site …"):
        wait_for(lambda: _answers(f"{site}/health/"), seconds=60, what="The site")
    try:
        with console.status("Preparing the base model …"):
            start = material.base_model(arguments.model)
    except subprocess.CalledProcessError as error:
        console.print(f"[red]The base model could not be prepared:\n{(error.stderr or '')[-2000:]}")
        return 1
    console.print(
        f"[green]✓[/] {found.project.prompts.count()} prompts, {len(found.answers)} known answers, "
        f"base model {start.name}"
    )
    console.print(f"[green]✓[/] Hone is at [bold]{site}/[/] (first start took {time.monotonic() - began:.0f} s)")
    code = loop.run(console=console, supervisor=supervisor, site=site, found=found, start=start, model=arguments.model)
    if code or arguments.exit:
        return code
    _print_logins(console, site, found)
    supervisor.watch()
    return 0


def site_at(address: str) -> str:
    """Where this machine reaches the site: one that listens on every address is asked on the loopback one.

    The wildcard itself is nobody's name, and no allowed host.
    """
    host, _, port = address.rpartition(":")
    return f"http://{'127.0.0.1' if host in ('', '0.0.0.0', '[::]', '::', '*') else host}:{port}"


def _imported(arguments: argparse.Namespace) -> Any:
    from django.utils.text import slugify

    from training.demo import material

    slug = "demo" if arguments.model == "smollm2" else "demo-tiny"
    name = "Demo" if arguments.model == "smollm2" else "Demo, tiny model"
    if arguments.prompts:
        slug = f"{slug}-{slugify(arguments.prompts.stem)}"[:60]
        name = f"{name}: {arguments.prompts.stem}"[:120]
    return material.prepare(slug=slug, name=name, prompts=arguments.prompts)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _print_logins(console: Any, site: str, found: Any) -> None:
    from training.demo.material import LEAD, PERSON, REVIEWER

    console.print()
    console.print(f"Open [bold]{site}/p/{found.project.slug}/rank/[/] and rank the new model's answers:")
    for username, role in (
        (PERSON, "contractor"),
        (REVIEWER, "reviewer"),
        (LEAD, "ML lead, console and admin"),
    ):
        console.print(f"  {role:28} {username:8} password {found.logins[username].password}")
    console.print(f"Console: {site}/console/   API: {site}/api/v1/docs/   Ctrl-C stops everything.")


if __name__ == "__main__":
    sys.exit(main())
