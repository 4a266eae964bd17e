"""Celery tasks of the training side: thin, and safe to run twice."""

import logging

from celery import shared_task

from training import launcher, rounds, runs
from training.models import Round, Run

logger = logging.getLogger(__name__)


@shared_task
def execute_run(run_id: int) -> None:
    launcher.execute(run_id)
    run = Run.objects.select_related("stage").get(pk=run_id)
    if run.stage_id:
        rounds.advance(run.stage.round_id, wait=False)  # type: ignore[union-attr]


@shared_task
def reap_lost_runs() -> None:
    launcher.reap()
    runs.wake_queued()


@shared_task
def advance_rounds() -> None:
    active = Round.objects.filter(state__in=[Round.State.RUNNING, Round.State.WAITING]).order_by("id")
    for round_id in active.values_list("pk", flat=True):
        try:
            rounds.advance(round_id, wait=False)
        except Exception:
            # One round that cannot be moved must not hold up the others.
            logger.exception("round %s could not be moved on", round_id)
