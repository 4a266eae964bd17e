"""Hone's Django project: settings, accounts, audit, embedded services and the console's shell."""

# Every process that sends a task needs the configured Celery application, the web server too.
from hone.celery import app as celery_app

__all__ = ["celery_app"]
