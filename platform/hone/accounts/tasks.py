"""Celery tasks of the accounts."""

from celery import shared_task

from hone.accounts.sessions import SessionStore


@shared_task
def forget_expired_sessions() -> None:
    SessionStore.clear_expired()
