"""Returned work: first to its author, corrected as a new label, declined, overdue."""

import random
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from hone.accounts.models import Project, User
from labeling import assignment, queries, responses, waiting
from labeling.models import Demonstration, HiddenChecks, Ranking, Review, ReviewRules, Skip, Slot, WritingRules
from labeling.review import queue, returning
from labeling.work import payload
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def second(project: Project) -> User:
    return factories.make_member(project, "reviewer", username="second")


@pytest.fixture
def returned(project: Project, contractor: User, reviewer: User) -> Review:
    found = factories.make_review(contractor, project, reviewer, "One.\n\nTwo.")
    comment = {"message": 1, "start": 6, "end": 9, "body": "Two of what?"}
    return factories.give_verdict(found, reviewer, "return", comments=[comment], remark="Nearly")


def hold(project: Project, user: User, kind: str = "write") -> Slot:
    slot = assignment.next_slot(project=project, user=user, kind=kind)
    assert slot is not None and slot.lease_token is not None
    return slot


def expire(slot: Slot) -> None:
    Slot.objects.filter(pk=slot.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))


class TestHandOut:
    def test_the_order_is_work_in_hand_then_returned_work_then_the_rest(
        self, project: Project, contractor: User, reviewer: User
    ) -> None:
        found = factories.make_review(contractor, project, reviewer)
        factories.make_batch(project, "write", items=3)
        mine = hold(project, contractor)
        begun = Slot.objects.filter(state="open").first()
        assert begun is not None
        begun.item.drafts.create(author=contractor, content={"messages": []})
        factories.give_verdict(found, reviewer, "return")
        assert hold(project, contractor).pk == mine.pk
        expire(mine)  # and nobody took it
        assert hold(project, contractor).pk == mine.pk
        factories.write_next(contractor, project, "Done")
        assert hold(project, contractor).pk == found.slot_id
        factories.write_next(contractor, project, "Corrected")
        assert hold(project, contractor).pk == begun.pk

    def test_it_counts_as_open_to_its_author_alone(
        self, project: Project, contractor: User, second: User, returned: Review
    ) -> None:
        assert waiting.count(project=project, user=contractor, kind="write") == 1
        assert waiting.is_any(project=project, user=contractor, kind="write")
        assert waiting.count(project=project, user=second, kind="write") == 0
        assert queries.counts(project)["write_open"] == 1

    def test_a_lease_on_it_that_runs_out_leaves_it_with_its_author(
        self, project: Project, contractor: User, second: User, returned: Review
    ) -> None:
        slot = hold(project, contractor)
        assert slot.state == "leased"
        expire(slot)
        assignment.free_expired()
        row = Slot.objects.get(pk=slot.pk)
        assert row.state == "returned" and row.holder == contractor and row.review == returned
        assert assignment.next_slot(project=project, user=second, kind="write") is None
        assert hold(project, contractor).pk == slot.pk

    def test_the_page_gets_the_text_the_comments_and_the_remark(
        self, project: Project, contractor: User, returned: Review
    ) -> None:
        work = payload(slot=hold(project, contractor), user=contractor)
        assert work["draft"]["messages"][-1]["content"] == "One.\n\nTwo."
        back = work["returned"]
        assert back["remark"] == "Nearly" and [row["body"] for row in back["comments"]] == ["Two of what?"]
        pieces = back["texts"][1]["pieces"]
        assert [(piece["text"], piece["numbers"]) for piece in pieces] == [
            ("One.\n\n", []),
            ("Two", [1]),
            (".", []),
        ]

    def test_what_the_author_typed_since_comes_before_what_they_had_submitted(
        self, project: Project, contractor: User, returned: Review
    ) -> None:
        slot = hold(project, contractor)
        responses.save_draft(slot_id=slot.pk, user=contractor, content={"messages": [], "note": "n"})
        assert payload(slot=hold(project, contractor), user=contractor)["draft"] == {"messages": [], "note": "n"}

    def test_a_ranking_comes_back_with_its_order_and_comments_by_letter(
        self, project: Project, contractor: User, reviewer: User
    ) -> None:
        ReviewRules.objects.create(project=project, rankings_percent=100)
        made = factories.make_ranking(contractor, project, [[2], [0, 1]], [3])
        found = queue.next_review(project=project, user=reviewer)
        assert found is not None
        comment = {"answer": "C", "start": 0, "end": 6, "body": "Best?"}
        factories.give_verdict(found, reviewer, "return", comments=[comment])
        slot = hold(project, contractor, "rank")
        work = payload(slot=slot, user=contractor)
        assert slot.order_shown == made.order_shown
        assert work["draft"]["tiers"] == [factories.letters(slot, 2), sorted(factories.letters(slot, 0, 1))]
        assert work["draft"]["unacceptable"] == factories.letters(slot, 3)
        [about] = [row for row in work["returned"]["texts"] if row["comments"]]
        assert about["answer"] == "C" and about["comments"][0]["quote"] == "Answer"

    def test_a_verdict_comes_back_with_its_reason_and_no_time(
        self, project: Project, contractor: User, reviewer: User
    ) -> None:
        ReviewRules.objects.create(project=project, rankings_percent=100)
        factories.make_batch(project)
        slot = hold(project, contractor, "rank")
        assert slot.lease_token is not None
        answer = {"verdict": "all_bad", "note": "None of them answers", "active_seconds": 5}
        Slot.objects.update(leased_at=timezone.now() - timedelta(seconds=60))
        key = uuid.uuid4()
        responses.submit(slot_id=slot.pk, user=contractor, lease_token=slot.lease_token, client_key=key, answer=answer)
        found = queue.next_review(project=project, user=reviewer)
        assert found is not None
        factories.give_verdict(found, reviewer, "return")
        draft = payload(slot=hold(project, contractor, "rank"), user=contractor)["draft"]
        assert (draft["verdict"], draft["note"]) == ("all_bad", "None of them answers")
        assert "active_seconds" not in draft


class TestCorrecting:
    def test_the_correction_is_a_new_label_and_waits_for_its_reviewer_first(
        self, project: Project, contractor: User, reviewer: User, returned: Review
    ) -> None:
        made = factories.write_next(contractor, project, "One.\n\nTwo apples.")
        old, new = Demonstration.objects.order_by("id")
        assert new == made and new.slot_id == old.slot_id
        assert old.messages[-1]["content"] == "One.\n\nTwo." and old.retraction is not None and new.retraction is None
        slot = Slot.objects.get(pk=new.slot_id)
        assert slot.state == "submitted" and slot.review is None
        first, again = Review.objects.order_by("id")
        assert (first.state, again.state, again.round, again.previous) == ("resubmitted", "waiting", 2, first)
        assert again.marks == ["corrected"] and again.preferred == reviewer
        other = factories.make_demonstration(factories.make_member(project), project)
        Review.objects.filter(demonstration=other).update(created_at=timezone.now() - timedelta(hours=1))
        assert queue.next_review(project=project, user=reviewer) == again

    def test_another_reviewer_gets_it_when_nothing_else_waits(
        self, project: Project, contractor: User, second: User, returned: Review
    ) -> None:
        factories.write_next(contractor, project, "Better")
        other = factories.make_demonstration(factories.make_member(project), project)
        taken = queue.next_review(project=project, user=second)
        assert taken is not None and taken.demonstration == other
        factories.give_verdict(taken, second, "approve")
        again = queue.next_review(project=project, user=second)
        assert again is not None and again.round == 2

    def test_a_returned_correction_goes_round_again(
        self, project: Project, contractor: User, reviewer: User, returned: Review
    ) -> None:
        for number in (2, 3):
            made = factories.write_next(contractor, project, f"Try {number}")
            found = queue.next_review(project=project, user=reviewer)
            assert found is not None and found.round == number and found.demonstration == made
            factories.give_verdict(found, reviewer, "return" if number == 2 else "approve")
        assert Demonstration.objects.filter(retraction=None).count() == 1
        assert list(Review.objects.order_by("id").values_list("state", flat=True)) == [
            "resubmitted",
            "resubmitted",
            "approved",
        ]

    def test_a_corrected_prompt_of_ones_own_is_no_copy_of_itself(
        self, project: Project, contractor: User, reviewer: User
    ) -> None:
        from labeling.batches import NewItem, open_batch

        WritingRules.objects.create(project=project, duplicates="block", similarity=80)
        ReviewRules.objects.create(project=project, demonstrations_percent=100)
        open_batch(project=project, kind="write", name="W", items=[NewItem(prompt=None)])

        def submit(text: str) -> Any:
            slot = hold(project, contractor)
            turns = [
                {"role": "user", "content": "How do I cook rice so that it does not stick together?"},
                {"role": "assistant", "content": text},
            ]
            token = slot.lease_token
            key = uuid.uuid4()
            assert token is not None
            answer = {"messages": turns}
            return responses.submit(slot_id=slot.pk, user=contractor, lease_token=token, client_key=key, answer=answer)

        submit("Rinse it.")
        found = queue.next_review(project=project, user=reviewer)
        assert found is not None
        factories.give_verdict(found, reviewer, "return")
        assert submit("Rinse it twice.").label.messages[-1]["content"] == "Rinse it twice."


class TestGivingUp:
    def decline(self, project: Project, user: User) -> Slot:
        slot = hold(project, user)
        token = slot.lease_token
        assert token is not None
        responses.skip(slot_id=slot.pk, user=user, lease_token=token, reason="expertise", note="Not my field")
        return slot

    def test_declined_work_goes_to_somebody_else_and_never_back(
        self, project: Project, contractor: User, second: User, returned: Review
    ) -> None:
        old = self.decline(project, contractor)
        assert Review.objects.get().state == "dropped" and Skip.objects.get().reason == "expertise"
        assert assignment.next_slot(project=project, user=contractor, kind="write") is None
        slot = hold(project, second)
        assert slot.item_id == old.item_id and slot.pk != old.pk and slot.review_id is None
        assert payload(slot=slot, user=second)["returned"] is None
        assert queries.batch_progress(slot.item.batch_id)["total"] == 1

    def test_it_can_be_declined_after_its_hidden_repeat_was(
        self, project: Project, contractor: User, reviewer: User, second: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ReviewRules.objects.create(project=project, rankings_percent=100)
        HiddenChecks.objects.create(project=project, repeat_percent=20, repeat_distance=1)
        monkeypatch.setattr(random.Random, "random", lambda self: 0.0)
        factories.make_batch(project, items=2)
        first = factories.submit_next(project, contractor)
        factories.submit_next(project, contractor)
        factories.make_batch(project)
        repeat = hold(project, contractor, "rank")
        assert (repeat.hidden, repeat.item_id) == ("repeat", first.item_id) and repeat.lease_token is not None
        responses.save_draft(slot_id=repeat.pk, user=contractor, content={"tiers": [["C"], ["A"]]})
        why: dict[str, Any] = {"user": contractor, "note": ""}
        responses.skip(slot_id=repeat.pk, lease_token=repeat.lease_token, reason="broken", **why)
        found = queue.next_review(project=project, user=reviewer)
        assert found is not None and found.slot_id == first.pk
        factories.give_verdict(found, reviewer, "return")
        slot = hold(project, contractor, "rank")
        assert slot.pk == first.pk and slot.lease_token is not None
        assert payload(slot=slot, user=contractor)["draft"]["tiers"] != [["C"], ["A"]], "those letters are the repeat's"
        responses.skip(slot_id=slot.pk, lease_token=slot.lease_token, reason="expertise", **why)
        assert Skip.objects.get(item=first.item_id).reason == "expertise"
        assert Review.objects.get(slot=first).state == "dropped"
        assert Slot.objects.get(pk=first.pk).state == "submitted"
        assert Slot.objects.filter(item=first.item_id, state="open").count() == 1

    def test_nobody_may_free_it_before_its_time(self, project: Project, manager: User, returned: Review) -> None:
        with pytest.raises(returning.NotOverdue):
            returning.free(review=returned, actor=manager)
        assert Review.objects.get().state == "returned"

    @pytest.mark.parametrize("why", ["overdue", "left"])
    def test_overdue_work_and_that_of_somebody_who_left_can_be_freed(
        self, project: Project, manager: User, contractor: User, second: User, returned: Review, why: str
    ) -> None:
        if why == "overdue":
            Review.objects.update(decided_at=timezone.now() - timedelta(days=8))
        else:
            project.memberships.filter(user=contractor).update(is_active=False)
        returning.free(review=returned, actor=manager)
        assert Review.objects.get().state == "dropped"
        assert hold(project, second).item_id == returned.slot.item_id
        assert assignment.next_slot(project=project, user=contractor, kind="write") is None
        with pytest.raises(returning.NotReturned):
            returning.free(review=returned, actor=manager)

    def test_work_that_its_author_has_open_is_not_taken_away(
        self, project: Project, manager: User, contractor: User, returned: Review
    ) -> None:
        Review.objects.update(decided_at=timezone.now() - timedelta(days=8))
        slot = hold(project, contractor)
        with pytest.raises(returning.InHand):
            returning.free(review=returned, actor=manager)
        expire(slot)
        returning.free(review=returned, actor=manager)

    def test_answers_to_a_prompt_that_the_author_wrote_meanwhile_go_to_somebody_else(
        self, project: Project, contractor: User, reviewer: User, second: User
    ) -> None:
        ReviewRules.objects.create(project=project, rankings_percent=100)
        made = factories.make_ranking(contractor, project, [[0], [1]])
        found = queue.next_review(project=project, user=reviewer)
        assert found is not None
        factories.give_verdict(found, reviewer, "return")
        made.prompt.demonstrations.create(project=project, author=contractor, messages=[])
        assert assignment.next_slot(project=project, user=contractor, kind="rank") is None
        assert Review.objects.get().state == "dropped"
        assert hold(project, second, "rank").item_id == made.item_id
        assert Ranking.objects.count() == 1
