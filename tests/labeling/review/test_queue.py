"""Who gets which review, and for how long; races with real connections."""

import re
import threading
import uuid
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from hone.accounts.models import Project, User
from labeling import retraction, tasks
from labeling.models import Demonstration, Review, ReviewComment, ReviewRules, Slot
from labeling.review import deciding, queue, statements
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def all_reviewed(project: Project) -> None:
    ReviewRules.objects.create(project=project, demonstrations_percent=100, rankings_percent=100)


@pytest.fixture
def second(project: Project) -> User:
    return factories.make_member(project, "reviewer", username="second")


def take(project: Project, user: User) -> Review:
    found = queue.next_review(project=project, user=user)
    assert found is not None and found.lease_token is not None
    return found


def expire(review: Review) -> None:
    Review.objects.filter(pk=review.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))


class TestNext:
    def test_the_oldest_comes_first_and_two_reviewers_get_two_labels(
        self, project: Project, contractor: User, reviewer: User, second: User
    ) -> None:
        first, other = (factories.make_demonstration(contractor, project) for _ in range(2))
        assert take(project, reviewer).demonstration == first
        assert take(project, second).demonstration == other
        third = factories.make_member(project, "manager")
        assert queue.next_review(project=project, user=third) is None

    def test_nobody_reviews_their_own_work(self, project: Project, reviewer: User, second: User) -> None:
        factories.make_demonstration(reviewer, project)
        assert queue.next_review(project=project, user=reviewer) is None
        found = take(project, second)
        with pytest.raises(IntegrityError), transaction.atomic():
            Review.objects.filter(pk=found.pk).update(reviewer=reviewer)

    def test_the_open_page_gets_its_own_review_again_and_longer(
        self, project: Project, contractor: User, reviewer: User
    ) -> None:
        for _ in range(2):
            factories.make_demonstration(contractor, project)
        found = take(project, reviewer)
        Review.objects.filter(pk=found.pk).update(lease_expires_at=timezone.now() + timedelta(seconds=5))
        again = take(project, reviewer)
        assert (again.pk, again.lease_token) == (found.pk, found.lease_token)
        assert again.lease_expires_at is not None
        assert again.lease_expires_at > timezone.now() + timedelta(seconds=200)

    def test_a_lease_that_ran_out_goes_to_the_next_reviewer_by_tick_or_when_nothing_else_waits(
        self, project: Project, contractor: User, reviewer: User, second: User
    ) -> None:
        factories.make_demonstration(contractor, project)
        found = take(project, reviewer)
        expire(found)
        taken = take(project, second)
        assert taken.pk == found.pk and taken.reviewer == second
        with pytest.raises(queue.LeaseLost):
            queue.renew(review_id=found.pk, user=reviewer, lease_token=found.lease_token or uuid.uuid4())
        expire(taken)
        tasks.free_expired_leases()
        row = Review.objects.get()
        assert row.state == "waiting" and row.reviewer is None and row.lease_token is None

    def test_their_own_lease_that_ran_out_is_theirs_again_with_the_draft(
        self, project: Project, contractor: User, reviewer: User, second: User
    ) -> None:
        factories.make_demonstration(contractor, project)
        found = take(project, reviewer)
        assert found.lease_token is not None
        token = found.lease_token
        queue.save_draft(review_id=found.pk, user=reviewer, lease_token=token, content={"remark": "Hm\x00"})
        expire(found)
        again = take(project, reviewer)
        assert again.lease_token != token and again.draft == {"remark": "Hm"} and again.draft_by == reviewer

    def test_a_label_that_a_lead_retracted_waits_until_it_is_restored(
        self, project: Project, contractor: User, reviewer: User, manager: User
    ) -> None:
        factories.make_demonstration(contractor, project)
        held = take(project, reviewer)
        values = {"author": contractor, "since": None, "reason": "r", "ask_again": False}
        made = retraction.retract(project=project, actor=manager, **values)  # type: ignore[arg-type]
        assert queue.waiting_by_project([project], user=reviewer) == {project.pk: 0}
        assert queue.next_review(project=project, user=reviewer) is None
        retraction.undo(retraction=made, actor=manager)
        assert queue.waiting_by_project([project], user=reviewer) == {project.pk: 1}
        assert take(project, reviewer).pk == held.pk
        assert queue.waiting_by_project([project], user=reviewer) == {project.pk: 1}

    def test_a_label_that_its_author_may_take_back_counts_and_comes_when_it_is_final(
        self, project: Project, contractor: User, reviewer: User
    ) -> None:
        made = [
            factories.make_demonstration(contractor, project),
            factories.make_ranking(contractor, project, [[0, 1]]),
        ]
        slots = Slot.objects.filter(pk__in=[label.slot_id for label in made])
        slots.update(final_at=timezone.now() + timedelta(seconds=10))
        assert queue.waiting_by_project([project], user=reviewer) == {project.pk: 0}
        assert queue.next_review(project=project, user=reviewer) is None
        slots.update(final_at=timezone.now() - timedelta(seconds=1))
        assert queue.waiting_by_project([project], user=reviewer) == {project.pk: 2}
        assert take(project, reviewer).demonstration == made[0]

    @pytest.mark.slow
    def test_three_thousand_waiting_cost_one_walk_into_the_index(
        self, project: Project, contractor: User, reviewer: User, second: User
    ) -> None:
        made = factories.make_demonstration(contractor, project)
        values = {"project": project, "author": contractor, "prompt": made.prompt, "messages": made.messages}
        labels = Demonstration.objects.bulk_create(Demonstration(**values) for _ in range(3000))
        common = {"project": project, "kind": "write", "author": contractor, "slot": made.slot}
        Review.objects.bulk_create(
            Review(**common, demonstration=label, preferred=None if label.pk % 10 else second) for label in labels
        )
        asked = {"project": project.pk, "user": reviewer.pk}
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE labeling_review, labeling_demonstration, labeling_slot")
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS) {statements.TAKE}", asked)
            plan = "\n".join(row[0] for row in cursor.fetchall())
        _, queue_of_all = plan.split("CTE front")  # before it: the reader's own few, which may be sorted
        assert "review_again" in plan and "review_next" in queue_of_all and "SubPlan" in plan, plan
        assert "Sort" not in queue_of_all, plan
        assert "hashed" not in plan and "Seq Scan on labeling_review" not in plan, plan
        hit = re.search(r"Buffers: shared hit=(\d+)", plan)
        assert hit is not None and int(hit[1]) < 100

    def test_a_hand_out_costs_the_same_however_many_wait(
        self, project: Project, contractor: User, reviewer: User, second: User
    ) -> None:
        costs = []
        for user in (reviewer, second):
            for _ in range(4):
                factories.make_demonstration(contractor, project)
            with CaptureQueriesContext(connection) as queries:
                take(project, user)
            costs.append(len(queries))
        assert costs[0] == costs[1]


class TestAtOnce:
    @pytest.mark.django_db(transaction=True)
    def test_ten_reviewers_who_ask_at_once_never_share_a_label(self, project: Project, contractor: User) -> None:
        for _ in range(6):
            factories.make_demonstration(contractor, project)
        people = [factories.make_member(project, "reviewer", username=f"racer{n}") for n in range(10)]
        barrier = threading.Barrier(len(people))
        got: list[Review | None] = []
        failures: list[BaseException] = []

        def ask(user: User) -> None:
            try:
                barrier.wait(30)
                got.append(queue.next_review(project=project, user=user))
            except BaseException as error:
                failures.append(error)
            finally:
                connections.close_all()

        threads = [threading.Thread(target=ask, args=[user]) for user in people]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not failures
        taken = [review.pk for review in got if review is not None]
        assert len(taken) == len(set(taken)) == 6

    @pytest.mark.django_db(transaction=True)
    def test_two_tabs_that_decide_at_once_write_one_verdict(
        self, project: Project, contractor: User, reviewer: User
    ) -> None:
        factories.make_demonstration(contractor, project, "Because it is.")
        found = take(project, reviewer)
        token = found.lease_token
        assert token is not None
        comment = {"message": 1, "start": 0, "end": 7, "body": "Why?"}
        done: list[bool] = []

        def decide() -> None:
            try:
                sent = deciding.decide(
                    review_id=found.pk, user=reviewer, lease_token=token, verdict="return", comments=[comment]
                )
                done.append(sent.is_replay)
            finally:
                connections.close_all()

        threads = [threading.Thread(target=decide) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(done) == [False, True, True, True]
        assert ReviewComment.objects.count() == 1 and Review.objects.get().state == "returned"
