"""Celery tasks of the training side: thin, and safe to run twice."""

from celery import shared_task

from training import launcher, rounds, runs
from training.models import Round, Run


@shared_task
def execute_run(run_id: int) -> None:
    launcher.execute(run_id)
    run = Run.objects.select_related("stage").get(pk=run_id)
    if run.stage_id:
        rounds.advance(run.stage.round_id)  # type: ignore[union-attr]


@shared_task
def reap_lost_runs() -> None:
    launcher.reap()
    runs.wake_queued()


@shared_task
def advance_rounds() -> None:
    active = Round.objects.filter(state__in=[Round.State.RUNNING, Round.State.WAITING])
    for round_id in active.values_list("pk", flat=True):
        rounds.advance(round_id)
