"""Two people's acts at one moment lock in one order (docs/architecture.md): neither waits for the other in turn."""

import threading
import time
from collections.abc import Callable

import pytest
from django.db import connection, connections, transaction

from hone.accounts.models import Membership, Project, User
from labeling import assignment, lanes, members, retraction
from labeling.models import Slot
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)


class Other(threading.Thread):
    """Another connection that does `act`; what it raised is in `failure`."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__()
        self.act, self.failure = act, None
        self.start()

    def run(self) -> None:
        try:
            self.act()
        except BaseException as error:
            self.failure = error
        finally:
            connections.close_all()

    def ends_well(self) -> bool:
        self.join(30)
        assert self.failure is None, self.failure
        return not self.is_alive()


def until_somebody_waits() -> None:
    """Another connection waits for a lock that this one holds."""
    with connection.cursor() as cursor:
        for _ in range(500):
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()")
            if cursor.fetchone()[0]:
                return
            time.sleep(0.01)
    raise AssertionError("nobody waited")


def test_taking_a_member_out_while_their_labels_are_retracted(
    project: Project, manager: User, contractor: User
) -> None:
    """The retraction holds the person and then wants the project, to open the items again."""
    factories.make_batch(project)
    factories.submit_next(project, contractor)
    member = Membership.objects.get(user=contractor, project=project)
    with transaction.atomic():
        assignment.lock_person(contractor)  # as a retraction that has begun
        other = Other(lambda: members.deactivate(member=member, actor=manager))
        until_somebody_waits()
        retraction.retract(project=project, author=contractor, since=None, reason="x", ask_again=True, actor=manager)
    assert other.ends_well()
    member.refresh_from_db()
    assert not member.is_active and Slot.objects.filter(state="open").count() == 1
