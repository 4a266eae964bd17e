"""Trainer processes: success, failure, cancel, loss, and no orphans. The trainers here are small scripts."""

import json
import os
import signal
import socket
import sys
import textwrap
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.db import OperationalError, connections
from django.utils import timezone

from hone.accounts.models import Project
from tests import factories
from training import launcher, runs
from training.models import Checkpoint, Metric, Run

pytestmark = pytest.mark.django_db(transaction=True)

BEGIN = """
import json, os, signal, subprocess, sys, time
def event(**e):
    with open("events.jsonl", "a") as f: f.write(json.dumps({"time": time.time(), **e}) + "\\n")
def result(**r):
    with open("result.json", "w") as f: json.dump(r, f)
def succeed(**r):
    os.makedirs("checkpoint", exist_ok=True)
    for name in ("config.json", "model.safetensors"): open("checkpoint/" + name, "w").write("{}")
    result(status="succeeded", checkpoint=os.path.abspath("checkpoint"), **r)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(launcher, "HEARTBEAT_SECONDS", 0.1)
    launcher._shutting_down.clear()


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Makes every run execute this script instead of a trainer."""

    def use(script: str) -> None:
        path = tmp_path / "trainer.py"
        path.write_text(BEGIN + textwrap.dedent(script))
        monkeypatch.setattr(runs, "command", lambda run: [sys.executable, str(path)])

    return use


def until(ready: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def in_thread(run: Run) -> threading.Thread:
    def work() -> None:
        try:
            launcher.execute(run.pk)
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_success_stores_metrics_and_checkpoint(project: Project, woken: list[int], trainer: Any) -> None:
    trainer("""
        event(type="status", message="Training.")
        for step in (1, 2): event(type="metrics", step=step, total_steps=2, metrics={"loss": 1 / step})
        succeed(metrics={"heldout_loss": 0.5})
    """)
    run = factories.make_run(project)
    launcher.execute(run.pk)
    run.refresh_from_db()
    assert (run.state, run.step, run.total_steps, run.status, run.error) == ("succeeded", 2, 2, "Training.", "")
    assert list(Metric.objects.values_list("step", "name", "value")) == [(1, "loss", 1.0), (2, "loss", 0.5)]
    made = Checkpoint.objects.get(run=run)
    assert (made.kind, made.size_bytes, made.parent) == ("sft", 4, run.model)


def test_exit_code_zero_without_a_result_is_a_failure(project: Project, woken: list[int], trainer: Any) -> None:
    trainer("pass")
    run = factories.make_run(project)
    launcher.execute(run.pk)
    run.refresh_from_db()
    assert run.state == "failed" and "no valid result" in run.error


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("result(status='succeeded')", "names no checkpoint"),
        ("result(status='succeeded', checkpoint='/nowhere')", "no checkpoint folder /nowhere"),
        ("succeed(); os.remove('checkpoint/config.json')", "no config.json"),
        ("succeed(); os.remove('checkpoint/model.safetensors')", "no safetensors"),
    ],
)
def test_a_success_without_its_checkpoint_is_a_failure(
    project: Project, woken: list[int], trainer: Any, script: str, words: str
) -> None:
    trainer(script)
    run = factories.make_run(project)
    launcher.execute(run.pk)
    run.refresh_from_db()
    assert run.state == "failed" and words in run.error
    assert not Checkpoint.objects.filter(run=run).exists()


def leave_result(run: Run) -> None:
    """What a trainer leaves that had ended when its worker or the database went away."""
    folder = run.folder / "checkpoint"
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_text("{}")
    (run.folder / "resume" / "step-00000002").mkdir(parents=True)
    event = {"type": "metrics", "step": 2, "total_steps": 2, "time": 1.0, "metrics": {"loss": 0.5}}
    (run.folder / "events.jsonl").write_text(json.dumps(event) + "\n")
    result = {"status": "succeeded", "checkpoint": str(folder), "metrics": {}}
    (run.folder / "result.json").write_text(json.dumps(result))


def test_a_run_that_had_ended_when_its_worker_was_lost_is_not_trained_again(
    project: Project, woken: list[int], trainer: Any
) -> None:
    trainer("open('started', 'w').close(); sys.exit(1)")
    run = factories.make_run(project)
    leave_result(run)
    launcher.execute(run.pk)
    run.refresh_from_db()
    assert (run.state, run.step) == ("succeeded", 2) and not (run.folder / "started").exists()
    assert Checkpoint.objects.filter(run=run).count() == 1 and Metric.objects.count() == 1
    assert not (run.folder / "resume").exists(), "states are cleared once the run is accepted"


def test_a_result_without_its_checkpoint_is_trained_again_from_the_kept_states(
    project: Project, woken: list[int], trainer: Any
) -> None:
    trainer("open('started', 'w').write(' '.join(os.listdir('resume'))); succeed()")
    run = factories.make_run(project)
    leave_result(run)
    (run.folder / "checkpoint" / "model.safetensors").unlink()
    launcher.execute(run.pk)
    run.refresh_from_db()
    assert run.state == "succeeded" and (run.folder / "started").read_text() == "step-00000002"


def test_a_trainer_that_cannot_be_started_says_so(
    project: Project, woken: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "command", lambda run: ["/nowhere/python", "-m", "x"])
    run = factories.make_run(project)
    launcher.execute(run.pk)
    run.refresh_from_db()
    assert run.state == "failed"
    assert run.error == "The trainer could not be started: /nowhere/python: No such file or directory."


def test_a_folder_that_cannot_be_written_says_so(project: Project, woken: list[int], trainer: Any) -> None:
    trainer("succeed()")
    run = factories.make_run(project)
    run.folder.parent.mkdir(parents=True)
    run.folder.write_text("in the way")
    launcher.execute(run.pk)
    run.refresh_from_db()
    assert run.state == "failed"
    assert run.error.startswith(f"The trainer could not be started: {run.folder}: ")


def test_a_trainer_that_dies_leaves_its_sentence_and_its_log(project: Project, woken: list[int], trainer: Any) -> None:
    trainer("""
        for n in range(80): print("line", n)
        result(status="failed", error="The data file is empty.")
        sys.exit(1)
    """)
    run = factories.make_run(project)
    launcher.execute(run.pk)
    run.refresh_from_db()
    assert (run.state, run.error) == ("failed", "The data file is empty.")
    tail = launcher.log_tail(run).splitlines()
    assert len(tail) == 50 and tail[-1] == "line 79"


def test_a_trainer_killed_from_outside_is_tried_three_times(project: Project, woken: list[int], trainer: Any) -> None:
    trainer("os.kill(os.getpid(), signal.SIGKILL)")
    run = factories.make_run(project)
    for attempt in (1, 2):
        launcher.execute(run.pk)
        run.refresh_from_db()
        assert (run.state, run.attempt) == ("queued", attempt)
    assert woken == [run.pk, run.pk]
    launcher.execute(run.pk)
    run.refresh_from_db()
    assert run.state == "failed" and "SIGKILL" in run.error and "3 times" in run.error


def test_cancel_lets_the_trainer_save_and_ends_it(project: Project, woken: list[int], trainer: Any) -> None:
    trainer("""
        def save(*_):
            open("saved", "w").close(); result(status="cancelled"); sys.exit(3)
        signal.signal(signal.SIGTERM, save)
        event(type="metrics", step=1, total_steps=9, metrics={"loss": 1.0})
        while True: time.sleep(0.05)
    """)
    run = factories.make_run(project)
    thread = in_thread(run)
    until(lambda: Run.objects.get(pk=run.pk).step == 1)
    runs.cancel(run_id=run.pk, actor=None)
    thread.join(20)
    run.refresh_from_db()
    assert run.state == "cancelled" and (run.folder / "saved").exists()
    runs.resume(run_id=run.pk, actor=None)
    run.refresh_from_db()
    assert run.state == "queued" and not run.cancel_requested and woken == [run.pk]


def test_a_queued_run_is_cancelled_at_once(project: Project, woken: list[int]) -> None:
    run = factories.make_run(project)
    assert runs.cancel(run_id=run.pk, actor=None).state == "cancelled"
    launcher.execute(run.pk)
    assert not run.folder.exists()
    with pytest.raises(runs.NotPossible):
        runs.cancel(run_id=run.pk, actor=None)


def test_a_worker_that_is_told_to_stop_puts_its_run_back(project: Project, woken: list[int], trainer: Any) -> None:
    trainer("""
        signal.signal(signal.SIGTERM, lambda *_: (result(status="cancelled"), sys.exit(3)))
        event(type="status", message="ready")
        while True: time.sleep(0.05)
    """)
    run = factories.make_run(project)
    thread = in_thread(run)
    until(lambda: Run.objects.get(pk=run.pk).status == "ready")
    launcher._shutting_down.set()
    thread.join(20)
    run.refresh_from_db()
    assert (run.state, run.attempt) == ("queued", 0)
    assert "goes on from its saved state" in run.status


def test_a_trainer_killed_after_a_planned_stop_is_not_blamed_on_memory(
    project: Project, woken: list[int], trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "GRACE_SECONDS", 0.2)
    trainer("""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        event(type="status", message="ready")
        while True: time.sleep(0.05)
    """)
    run = factories.make_run(project)
    thread = in_thread(run)
    until(lambda: Run.objects.get(pk=run.pk).status == "ready")
    launcher._shutting_down.set()
    thread.join(20)
    run.refresh_from_db()
    assert (run.state, run.attempt) == ("queued", 0)
    assert "Its worker was stopped" in run.status and "memory" not in run.status


@pytest.mark.slow
def test_a_worker_that_cannot_renew_its_lease_ends_its_trainer_in_time(
    project: Project, woken: list[int], trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The query that renews the lease hangs: the trainer is ended meanwhile, and nothing is written."""
    trainer("""
        open("pid", "w").write(str(os.getpid()))
        while True: time.sleep(0.05)
    """)
    released = threading.Event()

    def hangs(run: Run) -> bool:
        released.wait(20)
        raise OperationalError

    monkeypatch.setattr(launcher, "LEASE_MARGIN_SECONDS", 29.0)  # so the lease is good for a second
    monkeypatch.setattr(runs, "heartbeat", hangs)
    run = factories.make_run(project)
    thread = in_thread(run)
    try:
        until(lambda: (run.folder / "pid").exists() and (run.folder / "pid").read_text())
        pid = int((run.folder / "pid").read_text())
        until(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, 10)
    finally:
        released.set()
        thread.join(20)
    run.refresh_from_db()
    assert (run.state, run.error) == ("running", ""), "the reaper takes it from here"


def test_what_a_trainer_leaves_behind_is_killed(project: Project, woken: list[int], trainer: Any) -> None:
    trainer("""
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        open("child", "w").write(str(child.pid))
        succeed()
    """)
    run = factories.make_run(project)
    launcher.execute(run.pk)
    child = int((run.folder / "child").read_text())
    until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)


def test_a_worker_whose_fence_moved_ends_its_trainer_and_writes_nothing(
    project: Project, woken: list[int], trainer: Any
) -> None:
    trainer("""
        event(type="status", message="ready")
        open("pid", "w").write(str(os.getpid()))
        while True: time.sleep(0.05)
    """)
    run = factories.make_run(project)
    thread = in_thread(run)
    until(lambda: (run.folder / "pid").exists() and Run.objects.get(pk=run.pk).status == "ready")
    Run.objects.filter(pk=run.pk).update(fence=99, status="somebody else's")
    thread.join(20)
    assert not thread.is_alive()
    run.refresh_from_db()
    assert (run.fence, run.state, run.status) == (99, "running", "somebody else's")
    assert not psutil.pid_exists(int((run.folder / "pid").read_text()))


def test_a_run_is_claimed_once(project: Project, woken: list[int]) -> None:
    run = factories.make_run(project)
    assert runs.claim(run.pk, host="a", boot_id="x") is not None
    assert runs.claim(run.pk, host="b", boot_id="y") is None


def start_orphan(run: Run) -> Any:
    """A process group as a killed worker leaves it, on the run's row with an expired lease."""
    import subprocess

    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    Run.objects.filter(pk=run.pk).update(
        state="running",
        attempt=1,
        fence=1,
        host=socket.gethostname(),
        boot_id=launcher.boot_id(),
        process_group=process.pid,
        process_started=psutil.Process(process.pid).create_time(),
        lease_expires_at=timezone.now() - timedelta(seconds=1),
    )
    return process


def test_the_reaper_ends_an_orphan_and_queues_its_run(project: Project, woken: list[int]) -> None:
    run = factories.make_run(project)
    process = start_orphan(run)
    launcher.reap()
    assert process.wait(10) == -signal.SIGKILL
    run.refresh_from_db()
    assert run.state == "queued" and run.fence == 2 and woken == [run.pk]


def test_the_reaper_never_signals_a_recycled_process_id(project: Project, woken: list[int]) -> None:
    run = factories.make_run(project)
    process = start_orphan(run)
    Run.objects.filter(pk=run.pk).update(process_started=1.0)
    try:
        launcher.reap()
        assert process.poll() is None
        assert Run.objects.get(pk=run.pk).state == "queued"
    finally:
        process.kill()
        process.wait()


def test_the_reaper_ends_a_lost_run_that_was_being_cancelled(project: Project, woken: list[int]) -> None:
    run = factories.make_run(project)
    start_orphan(run).kill()
    runs.cancel(run_id=run.pk, actor=None)
    launcher.reap()
    run.refresh_from_db()
    assert run.state == "cancelled" and run.ended_at is not None and woken == []


@pytest.mark.parametrize("is_ours", [True, False])
def test_the_reaper_ends_what_a_leader_that_is_gone_has_left(project: Project, woken: list[int], is_ours: bool) -> None:
    import subprocess

    run = factories.make_run(project)
    script = "import subprocess as s, sys; print(s.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid)"
    leader = subprocess.Popen([sys.executable, "-c", script], start_new_session=True, stdout=subprocess.PIPE)
    assert leader.stdout is not None
    child = psutil.Process(int(leader.stdout.readline()))
    leader.wait(10)
    Run.objects.filter(pk=run.pk).update(
        state="running",
        host=socket.gethostname(),
        boot_id=launcher.boot_id(),
        process_group=leader.pid,
        # A process that started long before the leader is nobody's of that run.
        process_started=child.create_time() + (-0.5 if is_ours else 60.0),
        lease_expires_at=timezone.now() - timedelta(seconds=1),
    )
    try:
        launcher.reap()
        gone = lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE  # noqa: E731
        if is_ours:
            until(gone)
        else:
            assert not gone()
    finally:
        child.kill()
        leader.stdout.close()
    assert Run.objects.get(pk=run.pk).state == "queued"


def test_the_reaper_leaves_live_leases_alone(project: Project, woken: list[int]) -> None:
    run = factories.make_run(project)
    assert runs.claim(run.pk, host="elsewhere", boot_id="x")
    launcher.reap()
    assert Run.objects.get(pk=run.pk).state == "running"


def test_trainers_are_told_which_reward_functions_are_allowed(settings: Any) -> None:
    settings.REWARD_FUNCTIONS = "rewards.ours:kindness"
    assert launcher.environment()["HONE_REWARD_FUNCTIONS"] == "rewards.ours:kindness"


def test_trainers_see_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "hush")
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:p@h/d")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    seen = launcher.environment()
    assert "hush" not in json.dumps(seen) and "DATABASE_URL" not in seen
    assert seen["CUDA_VISIBLE_DEVICES"] == "0" and seen["HONE_PARENT_PID"] == str(os.getpid())
    assert (seen["NO_COLOR"], seen["TERM"]) == ("1", "dumb")


def test_the_log_is_shown_without_colours_and_control_characters(project: Project) -> None:
    run = factories.make_run(project)
    run.folder.mkdir(parents=True)
    text = "\x1b[1;31mred\x1b[0m\x1b]0;title\x07 \x1b(Bplain\x08\x00\ttab\r\n10%\r20%\x1b[K\nProgress 再\n"
    run.log_path.write_text(text)
    assert launcher.log_tail(run) == "red plain\ttab\n10%\n20%\nProgress 再"


def test_a_broken_database_connection_does_not_end_the_trainer(
    project: Project, woken: list[int], trainer: Any
) -> None:
    """The server ends the worker's connection in mid-run; the run goes on and its result is stored."""
    from django.db import connection

    trainer("""
        event(type="status", message="ready")
        while not os.path.exists("go"): time.sleep(0.05)
        event(type="metrics", step=1, total_steps=1, metrics={"loss": 1.0})
        succeed()
    """)
    run = factories.make_run(project)
    thread = in_thread(run)
    until(lambda: Run.objects.get(pk=run.pk).status == "ready")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert cursor.fetchone()[0] >= 1
    (run.folder / "go").touch()
    thread.join(30)
    run.refresh_from_db()
    assert (run.state, run.step) == ("succeeded", 1)
