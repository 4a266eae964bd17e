"""The report of a project: which rankings count, in which groups, and when it is computed again."""

import time
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from hone.accounts.models import Project, User
from labeling import assignment, responses, retraction, tasks
from labeling.models import QualityReport, Ranking, Slot
from labeling.quality import measuring, report
from tests import factories

pytestmark = pytest.mark.django_db


def rank(user: User, project: Project, order: list[list[int]], unacceptable: list[int] | None = None) -> Ranking:
    """The user's next item, ranked so, after half a minute."""
    slot = assignment.next_slot(project=project, user=user, kind="rank")
    assert slot is not None and slot.lease_token is not None
    Slot.objects.filter(pk=slot.pk).update(leased_at=timezone.now() - timedelta(seconds=30))
    answer = {**factories.rank_answer(slot, order, unacceptable), "active_seconds": 30}
    done = responses.submit(
        slot_id=slot.pk, user=user, lease_token=slot.lease_token, client_key=uuid.uuid4(), answer=answer
    )
    assert isinstance(done.label, Ranking)
    return done.label


def measured(project: Project, *, include_simulated: bool = False) -> dict[str, Any]:
    return report.body(project=project, include_simulated=include_simulated)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The reports that were asked for, without a broker."""
    sent: list[int] = []
    monkeypatch.setattr(tasks.measure_quality, "apply_async", lambda args, **_: sent.append(args[0]))
    return sent


@pytest.fixture
def second(project: Project) -> User:
    return factories.make_member(project, username="second")


def test_a_project_without_a_ranking_says_so(project: Project) -> None:
    found = measured(project)
    assert (found["rankings"], found["people"], found["pairs"], found["habits"]) == (0, 0, [], [])
    assert found["agreement"]["without_ties"] is None and found["by_week"] == []


def test_two_people_on_one_item(project: Project, contractor: User, second: User) -> None:
    factories.make_guideline(project)
    factories.make_batch(project, answers=3, slots=2)
    rank(contractor, project, [[0], [1], [2]])
    rank(second, project, [[0], [2]], unacceptable=[1])
    found = measured(project)
    share = found["agreement"]["without_ties"]
    assert (share["value"], share["n"], share["items"]) == (pytest.approx(2 / 3), 3, 1)
    assert found["agreement"]["tau_b"] == pytest.approx(1 / 3)
    [category] = found["by_category"]
    assert category["category"] == "open_qa" and category["without_ties"] == share
    [version] = found["by_version"]
    assert version["version"] == 1
    [week] = found["by_week"]
    today = timezone.now().date()
    assert week["week"] == (today - timedelta(days=today.weekday())).isoformat()
    [pair] = found["pairs"]
    assert (pair["a"], pair["b"], pair["n"]) == (*sorted([contractor.pk, second.pk]), 3)
    assert {row["person"]: row["rankings"] for row in found["habits"]} == {contractor.pk: 1, second.pk: 1}
    assert found["habits"][0]["seconds"] == 30 and found["habits"][0]["agreement"]["n"] == 3


def test_people_under_two_versions_agree_in_the_whole_but_in_no_version(
    project: Project, contractor: User, second: User
) -> None:
    factories.make_batch(project, answers=2, slots=2)
    rank(contractor, project, [[0], [1]])
    factories.make_guideline(project)
    rank(second, project, [[0], [1]])
    found = measured(project)
    assert found["agreement"]["without_ties"]["value"] == 1 and found["by_version"] == []


def test_a_habit_is_of_the_order_and_the_lengths_that_were_shown(project: Project, contractor: User) -> None:
    from labeling.batches import NewItem, open_batch

    prompt = factories.make_prompt(project)
    item = NewItem(prompt=prompt, answers=["short", "the longest of all", "much longer"])
    open_batch(project=project, kind="rank", name="R", items=[item])
    slot = assignment.next_slot(project=project, user=contractor, kind="rank")
    assert slot is not None and slot.order_shown is not None
    made = rank(contractor, project, [[index] for index in slot.order_shown])
    [habits] = measured(project)["habits"]
    assert habits["earlier"]["value"] == 1 and habits["unmoved"]["value"] == 1
    chars = [len(item.answers[index]) for index in made.order_shown]
    longer = sum(a > b for n, a in enumerate(chars) for b in chars[n + 1 :])
    assert habits["longer"]["value"] == pytest.approx(longer / 3)


def test_simulated_and_retracted_rankings_are_left_out(
    project: Project, manager: User, contractor: User, second: User
) -> None:
    robot = factories.make_member(project, is_simulated=True)
    factories.make_batch(project, answers=2, slots=3)
    for user in (contractor, second, robot):
        rank(user, project, [[0], [1]])
    assert measured(project)["rankings"] == 2
    assert measured(project, include_simulated=True)["rankings"] == 3
    retraction.retract(project=project, author=second, since=None, reason="No", ask_again=False, actor=manager)
    found = measured(project)
    assert found["rankings"] == 1 and found["agreement"]["without_ties"] is None


def test_answers_that_nobody_ranked_are_not_read(project: Project, contractor: User) -> None:
    factories.make_batch(project, answers=2)
    rank(contractor, project, [[0], [1]])
    factories.make_batch(project, answers=9, items=3)
    rows = report._read(project, include_simulated=False)
    assert rows.judged.ranks.shape == (1, 2)
    with CaptureQueriesContext(connection) as captured:
        measured(project)
    [lengths] = [query["sql"] for query in captured if "LENGTH(" in query["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(lengths[lengths.index("SELECT") :])  # of a server-side cursor's declaration
        assert len(cursor.fetchall()) == 2


def test_a_ranking_without_an_acceptable_answer_counts_as_no_tie(project: Project, contractor: User) -> None:
    factories.make_batch(project, answers=2, items=2)
    rank(contractor, project, [], unacceptable=[0, 1])
    assert measured(project)["habits"][0]["tied"] is None
    rank(contractor, project, [[0, 1]])
    tied = measured(project)["habits"][0]["tied"]
    assert (tied["value"], tied["n"]) == (1, 1)


def test_a_wider_ranking_that_is_submitted_meanwhile_is_read_too(
    project: Project, contractor: User, second: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    factories.make_batch(project, answers=2)
    rank(contractor, project, [[0], [1]])
    chunks = report._chunks

    def submitted_just_before(rows: Any) -> Any:
        factories.make_batch(project, answers=4)
        rank(second, project, [[3], [1], [0], [2]])
        return chunks(rows)

    monkeypatch.setattr(report, "_chunks", submitted_just_before)
    monkeypatch.setattr(report, "_CHUNK", 1)  # a chunk for each of the two widths
    rows = report._read(project, include_simulated=False)
    assert rows.judged.ranks.tolist() == [[0, 1, -1, -1], [2, 1, 3, 0]]
    monkeypatch.setattr(report, "_chunks", chunks)
    assert measured(project)["rankings"] == 2


def test_another_projects_rankings_do_not_count(project: Project, contractor: User) -> None:
    other = factories.make_project("other")
    factories.make_ranking(factories.make_member(other), other, [[0], [1]])
    assert measured(project)["rankings"] == 0


def test_the_same_number_of_queries_for_more_rankings(project: Project, contractor: User, second: User) -> None:
    def queries() -> int:
        factories.make_batch(project, items=3, answers=2, slots=2)
        for user in (contractor, second):
            for _ in range(3):
                rank(user, project, [[0], [1]])
        with CaptureQueriesContext(connection) as caught:
            measured(project)
        return len(caught)

    assert queries() == queries()


class TestWhenItIsMeasured:
    def test_the_first_look_asks_and_the_task_answers(
        self, project: Project, contractor: User, asked: list[int], django_capture_on_commit_callbacks: Any
    ) -> None:
        factories.make_ranking(contractor, project, [[0], [1]])
        with django_capture_on_commit_callbacks(execute=True):
            found = measuring.report_of(project)
            measuring.report_of(project)  # while it is under way
        assert asked == [found.pk] and found.body is None and found.asked_at
        tasks.measure_quality(found.pk)
        found = measuring.report_of(project)
        assert found.body["rankings"] == 1 and found.made_at and found.asked_at is None

    @pytest.mark.parametrize(("minutes", "changed", "asks"), [(9, True, False), (11, False, False), (11, True, True)])
    def test_it_is_asked_for_again_when_old_and_something_changed(
        self,
        project: Project,
        contractor: User,
        asked: list[int],
        django_capture_on_commit_callbacks: Any,
        minutes: int,
        changed: bool,
        asks: bool,
    ) -> None:
        factories.make_ranking(contractor, project, [[0], [1]])
        made = QualityReport.objects.create(project=project)
        tasks.measure_quality(made.pk)
        QualityReport.objects.update(made_at=timezone.now() - timedelta(minutes=minutes))
        if changed:
            factories.make_ranking(contractor, project, [[0], [1]])
        with django_capture_on_commit_callbacks(execute=True):
            measuring.report_of(project)
        assert asked == [made.pk] * asks

    def test_retracting_and_restoring_change_it(self, project: Project, manager: User, contractor: User) -> None:
        factories.make_ranking(contractor, project, [[0], [1]])
        seen = [measuring._basis(project, include_simulated=False)]
        taken = retraction.retract(
            project=project, author=contractor, since=None, reason="No", ask_again=False, actor=manager
        )
        seen.append(measuring._basis(project, include_simulated=False))
        retraction.undo(retraction=taken, actor=manager)
        seen.append(measuring._basis(project, include_simulated=False))
        assert len(set(seen)) == 3

    def test_a_task_that_was_lost_is_asked_for_again(
        self, project: Project, asked: list[int], django_capture_on_commit_callbacks: Any
    ) -> None:
        late = timezone.now() - timedelta(minutes=6)
        made = QualityReport.objects.create(project=project, asked_at=late)
        with django_capture_on_commit_callbacks(execute=True):
            measuring.ask(made)
        assert asked == [made.pk]

    def test_a_task_that_was_lost_is_under_way_no_longer(self, project: Project, contractor: User) -> None:
        """Asked for by hand, lost, and no label since: nothing else would ever ask, and the button stayed disabled."""
        report_row = QualityReport.objects.create(project=project, asked_at=timezone.now())
        assert measuring.is_under_way(report_row)
        report_row.asked_at = timezone.now() - measuring.ANSWERS_WITHIN - timedelta(seconds=1)
        assert not measuring.is_under_way(report_row)
        report_row.asked_at = None
        assert not measuring.is_under_way(report_row)


@pytest.mark.slow
def test_many_rankings_take_seconds() -> None:
    """20 people, 50,000 items of four answers, each ranked by two: far under the minute that a task may take."""
    import random

    import numpy as np

    from labeling.quality.agreement import Columns, by_two, pair_up, summary

    rng = np.random.default_rng(0)
    people = np.array([random.Random(n).sample(range(20), 2) for n in range(50_000)])
    ranks = np.argsort(rng.random((100_000, 4)), axis=1).astype(np.int16)
    began = time.perf_counter()
    pairs = pair_up(Columns(np.repeat(np.arange(50_000), 2), people.reshape(-1), ranks))
    found = summary(pairs)
    between = by_two(pairs)
    assert time.perf_counter() - began < 30
    assert found.without_ties and found.without_ties.n == 300_000 and len(between) == 190
    assert abs(found.without_ties.value - 0.5) < 0.01 and abs(found.alpha or 1) < 0.01 and abs(found.tau_b or 1) < 0.01
