"""A run's life as rows: launch, claim, heartbeat, cancel, resume, end. What happens to processes is in launcher.py.

Every write of a worker names its fence; after a reaper raised the fence, a worker that was thought lost writes
nothing any more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from hone.accounts.models import Project, User
from hone.audit.models import events_of, record
from training.models import Checkpoint, Run, RunInput, Snapshot, Stage
from training.trainers.config import ConfigError, build, fields_that_may_change
from training.trainers.inputs import ENDPOINT, ENDPOINT_MODEL

LEASE = timedelta(seconds=30)
MAX_ATTEMPTS = 3
WAKE_AGAIN = timedelta(seconds=60)


class NotPossible(Exception):
    """The run is not in a state that allows this; the text is a sentence for the lead."""


class LostRun(Exception):
    """Another worker or the reaper took the run over: stop the process and write nothing."""


@transaction.atomic
def launch(
    *,
    project: Project,
    kind: str,
    params: dict[str, Any],
    model: Checkpoint,
    snapshot: Snapshot,
    actor: User | None,
    stage: Stage | None = None,
    inputs: Mapping[str, Checkpoint | Snapshot] | None = None,
) -> Run:
    """Writes the queued run and wakes a worker once the transaction is committed."""
    run = Run.objects.create(
        project=project,
        kind=kind,
        params=params,
        model=model,
        snapshot=snapshot,
        created_by=actor,
        stage=stage,
    )
    RunInput.objects.bulk_create(
        RunInput(run=run, name=name, **{"checkpoint" if isinstance(found, Checkpoint) else "snapshot": found})
        for name, found in (inputs or {}).items()
    )
    record("run.launched", run, actor=actor, kind=kind, snapshot=snapshot.pk, model=model.name)
    wake(run.pk)
    return run


def wake(run_id: int) -> None:
    """Sends the run to a worker after commit. Sent twice, the second message finds nothing to claim.

    Robust: with the broker away the run stays queued, and the tick sends it when the broker is back.
    """
    from training.tasks import execute_run

    Run.objects.filter(pk=run_id).update(woken_at=Now())
    transaction.on_commit(lambda: execute_run.apply_async((run_id,), expires=WAKE_AGAIN.seconds), robust=True)


@transaction.atomic
def claim(run_id: int, *, host: str, boot_id: str) -> Run | None:
    """Takes a queued run for this worker, or answers None when it is not queued (any more)."""
    run = Run.objects.select_for_update().filter(pk=run_id, state=Run.State.QUEUED).first()
    if run is None:
        return None
    run.state = Run.State.RUNNING
    run.attempt += 1
    run.fence += 1
    run.host, run.boot_id = host, boot_id
    run.process_group = run.process_started = None
    run.started_at = run.started_at or timezone.now()
    run.ended_at = None
    run.error = ""
    run.lease_expires_at = Now() + LEASE
    run.save()
    run.refresh_from_db()
    return run


def update(run: Run, **fields: Any) -> None:
    """Writes these columns if the fence still holds. Raises LostRun otherwise."""
    changed = Run.objects.filter(pk=run.pk, fence=run.fence, state=Run.State.RUNNING).update(**fields)
    if not changed:
        raise LostRun
    for name, value in fields.items():
        setattr(run, name, value)


def heartbeat(run: Run) -> bool:
    """Renews the worker's lease; answers whether a cancel was asked for. Raises LostRun."""
    update(run, lease_expires_at=Now() + LEASE)
    return Run.objects.values_list("cancel_requested", flat=True).get(pk=run.pk)


@transaction.atomic
def cancel(*, run_id: int, actor: User | None) -> Run:
    """A queued run ends at once; a running one saves its state first. Raises NotPossible when it has ended."""
    run = Run.objects.select_for_update().get(pk=run_id)
    if run.has_ended:
        raise NotPossible(_("This run has ended already."))
    if run.state == Run.State.QUEUED:
        run.state, run.ended_at = Run.State.CANCELLED, timezone.now()
    run.cancel_requested = True
    run.save(update_fields=["state", "ended_at", "cancel_requested"])
    record("run.cancelled", run, actor=actor)
    return run


@transaction.atomic
def resume(*, run_id: int, actor: User | None, params: Mapping[str, Any] | None = None) -> Run:
    """Queues a failed or cancelled run again; its trainer goes on from the last whole state it saved.

    `params` are others from here on; the audit event keeps what they were (`changes`). Raises NotPossible when the run
    did not end that way, ConfigError where a parameter may not change or has a fault.
    """
    run = Run.objects.select_for_update().get(pk=run_id)
    if not run.can_be_resumed:
        raise NotPossible(_("Only a failed or cancelled run can be resumed."))
    changed = _changed(run, params or {})
    run.params |= {name: after for name, (_before, after) in changed.items()}
    run.state = Run.State.QUEUED
    run.attempt = 0
    run.cancel_requested = False
    run.error, run.ended_at = "", None
    run.save(update_fields=["state", "attempt", "cancel_requested", "error", "ended_at", "params"])
    record("run.resumed", run, actor=actor, step=run.step, changed=changed)
    wake(run.pk)
    return run


def _changed(run: Run, params: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What these parameters change: before and after by name. Raises ConfigError."""
    if not params:
        return {}  # a run that goes on as it is is its trainer's to judge
    specs = {spec.name: spec for spec in fields_that_may_change(run.kind)}
    if fixed := [name for name in params if name not in specs]:
        raise ConfigError({name: f"{name} stays as it was when a run goes on." for name in fixed})
    build(run.kind, {**run.params, **params})
    before = {name: run.params.get(name, specs[name].default) for name in params}
    return {name: [before[name], params[name]] for name in params if params[name] != before[name]}


@dataclass(frozen=True, kw_only=True)
class Change:
    """A parameter that was another after a resume: who changed it, when, and the last step that was logged before."""

    at: datetime
    actor: User | None
    step: int
    name: str
    before: Any
    after: Any


def changes(run: Run) -> list[Change]:
    """What was changed when the run was resumed, the oldest first."""
    resumed = events_of(run).filter(verb="run.resumed").select_related("actor").order_by("id")
    return [
        Change(at=event.at, actor=event.actor, step=event.detail["step"], name=name, before=before, after=after)
        for event in resumed
        for name, (before, after) in event.detail.get("changed", {}).items()
    ]


@transaction.atomic
def take_over_lost() -> list[Run]:
    """Raises the fence of every run whose worker's lease ran out, and answers with them for the reaper to end.

    They keep the state "running" and a fresh lease while the reaper ends their processes.
    """
    lost = list(
        Run.objects.select_for_update(skip_locked=True).filter(state=Run.State.RUNNING, lease_expires_at__lte=Now())
    )
    for run in lost:
        run.fence += 1
        run.lease_expires_at = Now() + LEASE
        run.save(update_fields=["fence", "lease_expires_at"])
    return lost


@transaction.atomic
def requeue(run: Run, *, why: str, counts: bool = True) -> None:
    """Back to the queue; cancelled where that was asked for; failed after three attempts that count. Raises LostRun."""
    # The lock lets a cancel be clicked before, and then it counts, or after, and then it ends a queued run.
    row = Run.objects.select_for_update().only("cancel_requested").get(pk=run.pk)
    end: dict[str, Any] = {"ended_at": timezone.now(), "lease_expires_at": None}
    if row.cancel_requested:
        return update(run, **end, state=Run.State.CANCELLED)
    if counts and run.attempt >= MAX_ATTEMPTS:
        return update(run, **end, error=f"{why} It was tried {run.attempt} times.", state=Run.State.FAILED)
    attempt = run.attempt if counts else max(0, run.attempt - 1)
    update(run, status=why, attempt=attempt, state=Run.State.QUEUED)
    wake(run.pk)


def wake_queued() -> None:
    """Sends queued runs again whose message has expired: one lost with the broker delays a run, and no more."""
    waiting = Run.objects.filter(state=Run.State.QUEUED, woken_at__lte=Now() - WAKE_AGAIN)
    for run_id in waiting.values_list("pk", flat=True):
        wake(run_id)


def config(run: Run) -> dict[str, Any]:
    """What the trainer reads as config.json."""
    envelope: dict[str, Any] = {
        "stage": run.kind,
        "run_dir": str(run.folder),
        "model": run.model.path,
        "data": run.snapshot.path,
        "output_dir": str(run.folder / "checkpoint"),
        "resume": True,
        "params": run.params,
        "inputs": {given.name: given.path for given in run.inputs.select_related("checkpoint", "snapshot")},
    }
    if run.params.get("engine") == "endpoint":
        # Whoever runs the site names the server: a recipe must not make workers ask any address.
        named = {ENDPOINT: settings.SAMPLER_ENDPOINT, ENDPOINT_MODEL: settings.SAMPLER_ENDPOINT_MODEL}
        envelope["inputs"] |= {name: value for name, value in named.items() if value}
    return envelope


def trainer_python() -> str:
    import sys

    return settings.TRAINER_PYTHON or sys.executable


def command(run: Run) -> list[str]:
    """The exact command of a run, as the console also shows it."""
    return [
        trainer_python(),
        "-m",
        f"training.trainers.{run.kind}",
        "--config",
        str(run.folder / "config.json"),
    ]
