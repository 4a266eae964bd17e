"""Celery tasks of the labeling side: thin, and safe to run twice."""

from celery import shared_task

from labeling import booking
from labeling.assignment import free_expired
from labeling.checks import duplicates
from labeling.quality import measuring
from labeling.review import queue


@shared_task
def free_expired_leases() -> None:
    free_expired()
    queue.free_expired()


@shared_task
def remember_prompts() -> None:
    while duplicates.remember_waiting():
        pass


@shared_task
def measure_quality(report_id: int) -> None:
    measuring.measure(report_id)


@shared_task
def book_earnings() -> None:
    booking.book_all()
