"""Events are only ever added."""

import pytest
from django.db import IntegrityError, transaction

from hone.accounts.models import Project, User
from hone.audit.models import Event, record

pytestmark = pytest.mark.django_db


def test_record_names_actor_verb_and_target(project: Project, manager: User) -> None:
    record("project.tested", project, actor=manager, why="because")
    event = Event.objects.get(verb="project.tested")
    assert (event.verb, event.target, event.detail) == (
        "project.tested",
        f"project:{project.pk}",
        {"why": "because"},
    )


def test_the_database_refuses_to_change_or_delete_an_event(project: Project) -> None:
    record("project.tested", project)
    event = Event.objects.get(verb="project.tested")
    with pytest.raises(IntegrityError), transaction.atomic():
        Event.objects.filter(pk=event.pk).update(verb="other")
    with pytest.raises(IntegrityError), transaction.atomic():
        event.delete()
    assert Event.objects.get(pk=event.pk).verb == "project.tested"
