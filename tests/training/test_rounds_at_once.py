"""Rounds that two processes move in the same moment: real connections, real locks."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, connections, transaction

from hone.accounts.models import Project, User
from labeling import retraction
from labeling.models import Comparison, Retraction
from tests import factories
from training import rounds, runs, snapshots, tasks
from training.models import Round, Run, Snapshot, Stage

pytestmark = pytest.mark.django_db(transaction=True)


others: list["Other"] = []


class Other(threading.Thread):
    """Does something on a connection of its own; `join_now` gives its error, if it had one."""

    def __init__(self, action: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self.action = action
        self.error: Exception | None = None
        others.append(self)

    def run(self) -> None:
        try:
            self.action()
        except Exception as error:
            self.error = error
        finally:
            connections.close_all()

    def join_now(self) -> Exception | None:
        self.join(20)
        assert not self.is_alive()
        return self.error


def until_somebody_waits_for_a_lock() -> None:
    deadline = time.monotonic() + 20
    waiting = "SELECT 1 FROM pg_locks WHERE NOT granted"  # pg_stat_activity does not change within a transaction
    with connection.cursor() as cursor:
        while cursor.execute(waiting).fetchone() is None:
            assert time.monotonic() < deadline, "nobody waits for a lock"
            time.sleep(0.02)


@pytest.fixture
def found(project: Project, lead: User, woken: list[int]) -> Iterator[Round]:
    """A round that waits for people to write, with sampling after it."""
    for _ in range(4):
        factories.make_prompt(project)
    recipe = rounds.Recipe(
        name="",
        start=factories.make_checkpoint(name="base"),
        stages={"write": {"prompts": 2}, "sample": {"prompts": 2}, "rank": {}},
    )
    yield rounds.start(project=project, recipe=recipe, actor=lead)
    while others:  # of a test that failed: no connection may be at work when the tables are emptied
        others.pop().join(20)


def test_a_click_does_not_hold_the_stage_while_it_waits_for_the_round(found: Round, lead: User) -> None:
    """Else `advance`, which holds the round and now wants the stage, and the click would wait for each other."""
    stage = found.stages.get(kind="write")
    click = Other(lambda: rounds.continue_past_gate(stage_id=stage.pk, actor=lead))
    with transaction.atomic():
        Round.objects.select_for_update().get(pk=found.pk)
        click.start()
        until_somebody_waits_for_a_lock()
        Stage.objects.select_for_update(nowait=True).get(pk=stage.pk)
    assert click.join_now() is None
    stage.refresh_from_db()
    assert stage.state == "done"


def test_ticks_and_a_click_in_the_same_moment_launch_one_run(found: Round, lead: User) -> None:
    stage = found.stages.get(kind="write")
    both = [
        Other(lambda: rounds.continue_past_gate(stage_id=stage.pk, actor=lead)),
        *(Other(lambda: rounds.advance(found.pk)) for _ in range(4)),
    ]
    with transaction.atomic():
        Round.objects.select_for_update().get(pk=found.pk)
        for other in both:
            other.start()
        until_somebody_waits_for_a_lock()
    assert [other.join_now() for other in both] == [None] * 5
    tasks.advance_rounds()
    assert Run.objects.filter(stage__round=found).count() == 1
    assert dict(found.stages.values_list("kind", "state")) == {"write": "done", "sample": "running", "rank": "pending"}


def test_the_tick_passes_over_a_round_that_somebody_else_is_moving(found: Round, lead: User) -> None:
    Stage.objects.filter(round=found, kind="write").update(state="done")
    tick = Other(tasks.advance_rounds)
    with transaction.atomic():
        Round.objects.select_for_update().get(pk=found.pk)
        tick.start()
        assert tick.join_now() is None
    assert not Run.objects.exists()
    tasks.advance_rounds()
    assert Run.objects.count() == 1


def test_a_round_is_cancelled_although_its_run_ends_in_that_moment(found: Round, lead: User) -> None:
    Stage.objects.filter(round=found, kind="write").update(state="done")
    rounds.advance(found.pk)
    run = Run.objects.get()
    assert runs.claim(run.pk, host="here", boot_id="x") is not None
    click = Other(lambda: rounds.cancel(round_id=found.pk, actor=lead))
    with transaction.atomic():
        Run.objects.filter(pk=run.pk).update(state="succeeded")
        click.start()
        until_somebody_waits_for_a_lock()
    assert click.join_now() is None
    found.refresh_from_db()
    run.refresh_from_db()
    assert (found.state, run.state) == ("cancelled", "succeeded")
    # Resumed, the round takes what the run has made and goes on.
    rounds.resume(round_id=found.pk, actor=lead)
    assert found.stages.get(kind="sample").state == "done"


def test_a_retraction_does_not_wait_until_the_data_is_frozen(
    project: Project, lead: User, contractor: User, woken: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Freezing may take a minute; the posteriors that were written before it are nobody's then."""
    for _ in range(3):
        factories.make_ranking(contractor, project, [[0], [1], [2]])
    recipe = rounds.Recipe(name="", start=factories.make_checkpoint(), stages={"reward": {}}, heldout_percent=0)
    made = rounds.start(project=project, recipe=recipe, actor=lead)
    freeze, taken_back = snapshots.freeze_rankings, list[Retraction]()

    def slowly(**options: Any) -> Snapshot:
        frozen = freeze(**options)

        def take_back() -> None:
            values = {"since": None, "reason": "x", "ask_again": False, "actor": lead}
            taken_back.append(retraction.retract(project=project, author=contractor, **values))

        other = Other(take_back)
        other.start()
        assert other.join_now() is None
        return frozen

    monkeypatch.setattr(snapshots, "freeze_rankings", slowly)
    rounds.advance(made.pk)
    stage = made.stages.get()
    assert stage.state == "running", stage.params
    assert taken_back[0].rankings == 3 and Comparison.objects.filter(posterior=None).count() == 0
    assert Snapshot.objects.get(runs__stage=stage).manifest["label_ids"]


def test_a_round_starts_while_somebody_writes_into_the_project(project: Project, lead: User) -> None:
    """Whoever adds a prompt or submits refers to the project's row, and holds nobody up who only numbers rounds."""
    recipe = rounds.Recipe(name="", start=factories.make_checkpoint(), stages={"reward": {}})
    start = Other(lambda: rounds.start(project=project, recipe=recipe, actor=lead))
    with transaction.atomic():
        factories.make_prompt(project)
        connection.check_constraints()  # as a commit does, which may take a while
        start.start()
        assert start.join_now() is None
    assert Round.objects.get().number == 1
