"""The whole loop as a user starts it: real servers, workers and trainers on the tiny model, with processes killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[2]


class Demo:
    """`python -m training.demo --model tiny` in a folder of its own."""

    def __init__(self, var: Path, *arguments: str) -> None:
        self.var = var
        self.output = var / "output.txt"
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("DATABASE_URL", "BROKER_URL", "HONE_TEST_VAR")
        }
        environment |= {"HONE_VAR": str(var), "COLUMNS": "160", "OMP_NUM_THREADS": "1"}
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "training.demo", "--model", "tiny", "--address", "127.0.0.1:8300", *arguments],
                cwd=ROOT,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # What runs in the background of a shell ignores it, and hands that on.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        url = json.loads((self.var / "services.json").read_text())["DATABASE_URL"]
        with psycopg.connect(url) as connection:
            return connection.execute(query).fetchall()

    def find(self, *words: str) -> list[psutil.Process]:
        """This demo's processes whose command line holds all the words."""
        found = []
        for process in psutil.process_iter(["cmdline", "environ", "status"]):
            line = " ".join(process.info["cmdline"] or [])
            mine = str(self.var) in line or (process.info["environ"] or {}).get("HONE_VAR") == str(self.var)
            if mine and process.info["status"] != psutil.STATUS_ZOMBIE and all(word in line for word in words):
                found.append(process)
        return found

    def until(self, ready: Callable[[], Any], seconds: float = 300.0) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            assert self.process.poll() is None, self.said()[-3000:]
            assert time.monotonic() < deadline, self.said()[-3000:]
            try:
                if found := ready():
                    return found
            except (psycopg.Error, OSError, ValueError):
                pass  # not up yet
            time.sleep(0.2)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()


@pytest.fixture
def var() -> Iterator[Path]:
    """A folder that all may enter: as root, PostgreSQL runs as a user of its own, and pytest closes its own folders."""
    folder = Path(tempfile.mkdtemp(prefix="hone-demo-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_one_round_with_processes_killed_in_the_middle_and_a_second_start(var: Path) -> None:
    demo = Demo(var)
    try:
        # The web process dies while contractors write: no submitted label is lost, none is counted twice.
        demo.until(lambda: demo.rows("SELECT 1 FROM labeling_demonstration"))
        before = demo.rows("SELECT id FROM labeling_demonstration ORDER BY id")
        for process in demo.find("granian"):
            process.kill()
        running = "SELECT 1 FROM training_run WHERE state = 'running'"
        demo.until(lambda: demo.rows(f"{running} AND kind = 'sft' AND step > 0"))
        assert set(before) <= set(demo.rows("SELECT id FROM labeling_demonstration"))

        # The worker dies in mid-training: its trainer stops, the reaper queues the run, a new worker resumes it.
        [trainer] = demo.find("training.trainers.sft")
        for process in demo.find("celery", "-Q train"):
            process.kill()
        psutil.wait_procs([trainer], timeout=60)
        assert not trainer.is_running() or trainer.status() == psutil.STATUS_ZOMBIE
        demo.until(lambda: demo.rows("SELECT 1 FROM training_run WHERE kind = 'sft' AND attempt > 1"))

        # The trainer itself dies.
        demo.until(lambda: demo.rows(f"{running} AND kind = 'reward'"))
        demo.until(lambda: demo.find("training.trainers.reward"))[0].kill()

        # PostgreSQL ends every connection.
        demo.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = 'hone'"
        )

        demo.until(lambda: "Ctrl-C stops everything" in demo.said(), 600)
        assert demo.rows("SELECT state FROM training_round ORDER BY number") == [("done",), ("waiting",)]
        assert demo.rows("SELECT count(*) FROM training_run WHERE state = 'succeeded'") == [(6,)]
        # Nobody labeled anything twice, everything is marked, and round 2 waits for a person.
        assert demo.rows("SELECT count(*) - count(DISTINCT slot_id) FROM labeling_demonstration") == [(0,)]
        assert demo.rows("SELECT count(*) FROM labeling_ranking WHERE NOT simulated") == [(0,)]
        [(open_slots,)] = demo.rows("SELECT count(*) FROM labeling_slot WHERE kind = 'rank' AND state = 'open'")
        assert open_slots == 16
        checkpoints = [kind for (kind,) in demo.rows("SELECT kind FROM training_checkpoint ORDER BY id")]
        assert checkpoints == ["base", "sft", "reward", "policy"]
        labels = demo.rows("SELECT count(*) FROM labeling_comparison")
    finally:
        demo.stop()
    assert demo.process.returncode == 0, demo.said()[-3000:]
    assert demo.find() == [], "Ctrl-C leaves no process"

    # A second start finds everything and goes on without a new round.
    again = Demo(var)
    try:
        again.until(lambda: again.said().count("Ctrl-C stops everything") == 2, 120)
        assert again.rows("SELECT count(*) FROM training_round") == [(2,)]
        assert again.rows("SELECT count(*) FROM labeling_comparison") == labels
    finally:
        again.stop()
    assert again.find() == []


def test_a_prompt_file_that_cannot_be_read_names_its_lines_and_leaves_nothing(var: Path) -> None:
    file = var / "mine.jsonl"
    file.write_text('{"prompt": "fine"}\n{"prompt": \n')
    demo = Demo(var, "--prompts", str(file), "--exit")
    try:
        assert demo.process.wait(180) == 1
    finally:
        demo.stop()
    assert "mine.jsonl" in demo.said() and "line 2" in demo.said()
    assert demo.find() == []
