"""What the hand-out statement reads: little, whatever the project holds and whatever the person has done."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from hone.accounts.models import Project, User
from labeling import assignment, queries, statements, statements_hidden
from labeling.models import Batch, Lane, Slot
from tests import factories

ITEMS, SLOTS = 50_000, 4

FILL = """
WITH asked AS (
  INSERT INTO labeling_prompt
    (project_id, messages, category, language, source, content_hash, simulated, is_banded, created_at)
  SELECT %(project)s, '[{"role": "user", "content": "Why?"}]', 'other', 'en', '', n::text, false, true, now()
    FROM generate_series(1, %(items)s) AS n RETURNING id
), made AS (
  INSERT INTO labeling_item (project_id, batch_id, kind, prompt_id, priority, created_at)
  SELECT %(project)s, %(batch)s, 'rank', id, 0, now() FROM asked RETURNING id
)
INSERT INTO labeling_slot (item_id, project_id, kind, lane, priority, index, draw, state)
SELECT made.id, %(project)s, 'rank', {lane}, 0, index, ((made.id * 7919) %% 104729)::float / 104729, 'open'
  FROM made, generate_series(0, %(slots)s - 1) AS index
"""
# One slot of each of the first items of the hand-out order; their other slots stay open.
DO_FIRST = """
UPDATE labeling_slot SET state = 'submitted', holder_id = %(user)s, submitted_at = now() - (1 - draw) * interval '1 day'
 WHERE id IN (SELECT id FROM labeling_slot WHERE index = 0 ORDER BY draw LIMIT %(done)s)
"""


def fill(project: Project, *, items: int = ITEMS, lane: str = "''") -> None:
    """`lane` is an SQL expression of the item's."""
    batch = Batch.objects.create(project=project, kind="rank", name="many")
    with connection.cursor() as cursor:
        values = {"project": project.pk, "batch": batch.pk, "items": items, "slots": SLOTS}
        # Entries of rows that other tests rolled back stay in an index, and would be counted.
        cursor.execute("REINDEX TABLE labeling_slot")
        cursor.execute(FILL.replace("{lane}", lane), values)
        cursor.execute("ANALYZE labeling_prompt, labeling_item, labeling_slot")


def plan_of(project: Project, user: User, kind: str = "rank") -> dict[str, Any]:
    """The plan as it ran, for parameters that the plan does not know."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        sql = statements.TAKE[kind, Lane.objects.filter(project=project).exists()]
        for number, name in enumerate(("user", "project", "confirm"), start=1):
            sql = sql.replace(f"%({name})s", f"${number}")
        cursor.execute("DEALLOCATE ALL")
        cursor.execute(f"PREPARE take (bigint, bigint, boolean) AS {sql}")
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE take ({user.pk}, {project.pk}, true)")
        [found] = cursor.fetchone()
    return (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def ran(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [node for node in nodes(plan) if node["Actual Loops"]]


def buffers(plan: dict[str, Any]) -> int:
    """8 KiB pages that were looked at."""
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


@pytest.mark.slow
@pytest.mark.django_db
def test_two_hundred_thousand_slots_cost_one_walk_into_the_index(
    project: Project, contractor: User, reviewer: User
) -> None:
    fill(project)
    plan = plan_of(project, contractor)
    slots = [node for node in ran(plan) if node.get("Relation Name") == "labeling_slot"]
    assert "slot_next_open" in {node.get("Index Name") for node in slots}
    assert "Seq Scan" not in {node["Node Type"] for node in slots}
    # Sorted are the person's own drafts and their lanes, of which there is one; never slots.
    assert max(node["Actual Rows"] for node in ran(plan) if node["Node Type"] == "Sort") <= 1
    fresh = buffers(plan)
    assert fresh < 100

    with connection.cursor() as cursor:
        cursor.execute(DO_FIRST, {"user": contractor.pk, "done": 5_000})
        cursor.execute("ANALYZE labeling_slot")
    assert buffers(plan_of(project, contractor)) < fresh + 40
    # What they left open at the front is the next person's.
    theirs = assignment.next_slot(project=project, user=reviewer, kind="rank")
    mine = assignment.next_slot(project=project, user=contractor, kind="rank")
    assert theirs is not None and mine is not None and theirs.draw < mine.draw


@pytest.mark.slow
@pytest.mark.django_db
def test_thousands_of_labels_elsewhere_cost_nothing_here(project: Project, contractor: User) -> None:
    """Where a person goes on from, and the newest label that a draw depends on, are one step into an index."""
    fill(project, items=5_000)
    factories.submit_next(project, contractor)

    def read() -> int:
        newest = {"user": contractor.pk, "project": project.pk}
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE labeling_slot")
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statements_hidden.NEWEST_OF_PERSON}", newest)
            [found] = cursor.fetchone()
        plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
        return buffers(plan) + buffers(plan_of(project, contractor))

    alone = read()
    other = factories.make_project()
    fill(other, items=5_000)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE labeling_slot SET state = 'submitted', holder_id = %s, submitted_at = now() + interval '1 hour'"
            " WHERE project_id = %s AND index = 0",
            [contractor.pk, other.pk],
        )
    # Some pages more, as the indexes are deeper.
    assert read() < alone + 40
    assert queries.done_today_by_project(user=contractor, projects=[project.pk]) == {project.pk: 1}
    assert queries.done_today(project=other, user=contractor) == 5_000


@pytest.mark.django_db
class TestLanes:
    """20,000 slots in 40 lanes of a skill each, and a rare one of a language with a thousandth of them."""

    @pytest.fixture(autouse=True)
    def fill(self, project: Project) -> None:
        skills = [f"skill{n}" for n in range(40)]
        made = [Lane(project=project, name=f"|{skill}", skills=[skill]) for skill in skills]
        Lane.objects.bulk_create([*made, Lane(project=project, name="zh", language="zh")])
        by_number = "CASE WHEN made.id %% 1000 = 0 THEN 'zh' ELSE '|skill' || made.id %% 40 END"
        fill(project, items=5_000, lane=by_number)

    def test_a_rare_lane_is_found_without_stepping_over_the_others(self, project: Project, contractor: User) -> None:
        plan = plan_of(project, contractor)
        walked = [node for node in ran(plan) if node.get("Index Name") == "slot_next_open"]
        assert walked and sum(buffers(node) for node in walked) < 40
        assert buffers(plan) < 200
        slot = assignment.next_slot(project=project, user=contractor, kind="rank")
        assert slot is not None and Slot.objects.get(pk=slot.pk).lane == "zh"

    def test_whoever_may_take_every_lane_pays_for_a_look_at_each(self, project: Project, contractor: User) -> None:
        project.memberships.filter(user=contractor).update(skills=[f"skill{n}" for n in range(40)])
        best = Slot.objects.order_by("-priority", "draw", "index").first()
        first = assignment.next_slot(project=project, user=contractor, kind="rank")
        assert best is not None and first is not None and first.pk == best.pk
        # From here on there is a place to go on from, and three rounds of looks at most.
        done = factories.submit_next(project, contractor)
        plan = plan_of(project, contractor)
        walked = [node for node in ran(plan) if node.get("Index Name") == "slot_next_open"]
        assert walked and sum(buffers(node) for node in walked) < 42 * 3 * 4
        slots = [node for node in ran(plan) if node.get("Relation Name") == "labeling_slot"]
        assert "Seq Scan" not in {node["Node Type"] for node in slots}
        # Only the one that is handed out is locked: others find the heads of all lanes free.
        assert (
            sum(node["Actual Rows"] * node["Actual Loops"] for node in ran(plan) if node["Node Type"] == "LockRows")
            == 1
        )
        second = assignment.next_slot(project=project, user=contractor, kind="rank")
        assert second is not None and second.draw >= done.draw and second.item_id != done.item_id


@pytest.mark.django_db
class TestOrder:
    def submit_all(self, project: Project, user: User, number: int) -> list[Slot]:
        return [factories.submit_next(project, user) for _ in range(number)]

    def test_a_person_goes_on_behind_their_last_item(self, project: Project, contractor: User) -> None:
        factories.make_batch(project, items=6, slots=2)
        done = self.submit_all(project, contractor, 6)
        assert [slot.draw for slot in done] == sorted(slot.draw for slot in done)
        assert len({slot.item_id for slot in done}) == 6
        assert assignment.next_slot(project=project, user=contractor, kind="rank") is None

    def test_what_was_freed_before_it_comes_after_the_rest(
        self, project: Project, contractor: User, reviewer: User
    ) -> None:
        factories.make_batch(project, items=3)
        first = assignment.next_slot(project=project, user=reviewer, kind="rank")
        assert first is not None
        done = self.submit_all(project, contractor, 1)
        assignment.release(first)
        done += self.submit_all(project, contractor, 2)
        assert [slot.pk for slot in done][-1] == first.pk

    def test_an_urgent_item_comes_before_what_follows(self, project: Project, contractor: User) -> None:
        factories.make_batch(project, items=4)
        self.submit_all(project, contractor, 1)
        urgent = factories.make_batch(project, items=1)
        Slot.objects.filter(item__batch=urgent).update(priority=3, draw=0)
        assert self.submit_all(project, contractor, 1)[0].item.batch_id == urgent.pk
        assert self.submit_all(project, contractor, 1)[0].item.batch_id != urgent.pk

    def test_an_item_that_they_began_comes_first_of_all(
        self, project: Project, contractor: User, reviewer: User
    ) -> None:
        factories.make_batch(project, items=5)
        slot = assignment.next_slot(project=project, user=contractor, kind="rank")
        assert slot is not None
        slot.item.drafts.create(author=contractor, content={"tiers": [["A"]]})
        assignment.release(slot)
        Slot.objects.exclude(pk=slot.pk).update(priority=9)
        urgent = assignment.next_slot(project=project, user=reviewer, kind="rank")
        again = assignment.next_slot(project=project, user=contractor, kind="rank")
        assert urgent is not None and urgent.priority == 9
        assert again is not None and again.pk == slot.pk

    def test_their_own_lease_that_ran_out_is_theirs_again_with_a_new_token(
        self, project: Project, contractor: User
    ) -> None:
        factories.make_batch(project, items=5)
        slot = assignment.next_slot(project=project, user=contractor, kind="rank")
        assert slot is not None and slot.lease_expires_at is not None
        Slot.objects.filter(pk=slot.pk).update(lease_expires_at=slot.leased_at)
        newer = factories.make_guideline(project)
        again = assignment.next_slot(project=project, user=contractor, kind="rank")
        assert again is not None and again.pk == slot.pk and again.lease_token != slot.lease_token
        assert again.guideline == newer and Slot.objects.get(pk=slot.pk).guideline == newer
        assert again.lease_expires_at is not None and again.lease_expires_at > slot.lease_expires_at
