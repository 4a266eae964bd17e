"""Submitting, saving and skipping: the answer and the rows."""

import threading
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from hone.accounts.models import Project, User
from hone.audit.models import Event
from labeling import assignment, item_keys, responses
from labeling.models import Comparison, Demonstration, Draft, Prompt, Ranking, Skip, Slot
from tests import factories


def take(project: Project, user: User, kind: str) -> Slot:
    slot = assignment.next_slot(project=project, user=user, kind=kind)
    assert slot is not None
    return slot


def send(slot: Slot, user: User, answer: dict[str, Any], key: uuid.UUID | None = None) -> responses.Submitted:
    assert slot.lease_token is not None
    return responses.submit(
        slot_id=slot.pk,
        user=user,
        lease_token=slot.lease_token,
        client_key=key or uuid.uuid4(),
        answer=answer,
    )


@pytest.mark.django_db
class TestRanking:
    def test_a_ranking_becomes_comparisons_in_the_same_transaction(self, project: Project, contractor: User) -> None:
        guideline = factories.make_guideline(project)
        factories.make_batch(project)
        slot = take(project, contractor, "rank")
        send(slot, contractor, factories.rank_answer(slot, [[2], [0, 1]], unacceptable=[3]))
        ranking = Ranking.objects.get()
        assert (ranking.tiers, ranking.unacceptable) == ([[2], [0, 1]], [3])
        assert ranking.order_shown == slot.order_shown
        assert ranking.guideline == guideline and not ranking.simulated
        pairs = set(Comparison.objects.values_list("chosen__index", "rejected__index", "margin"))
        assert pairs == {(2, 0, 1), (2, 1, 1), (2, 3, 2), (0, 3, 1), (1, 3, 1)}
        assert Slot.objects.get(pk=slot.pk).state == "submitted"
        assert Event.objects.filter(verb="rank.submitted", actor=contractor).exists()

    def test_the_label_keeps_the_version_that_was_shown_not_the_one_published_meanwhile(
        self, project: Project, contractor: User
    ) -> None:
        shown = factories.make_guideline(project)
        factories.make_batch(project)
        slot = take(project, contractor, "rank")
        factories.make_guideline(project, body="## Another")
        assert take(project, contractor, "rank").guideline == shown, "another tab shows the same"
        send(slot, contractor, factories.rank_answer(slot, [[0], [1], [2], [3]]))
        assert Ranking.objects.get().guideline == shown

    def test_a_new_lease_shows_the_newest_version(self, project: Project, contractor: User) -> None:
        factories.make_guideline(project)
        factories.make_batch(project)
        slot = take(project, contractor, "rank")
        Slot.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
        newest = factories.make_guideline(project, body="## Another")
        assignment.free_expired()
        assert Slot.objects.get(pk=slot.pk).guideline is None
        assert take(project, contractor, "rank").guideline == newest

    def test_a_simulated_contractors_rows_are_all_marked(self, project: Project) -> None:
        robot = factories.make_member(project, username="robot", is_simulated=True)
        ranking = factories.make_ranking(robot, project, [[0], [1]])
        assert ranking.simulated
        assert set(Comparison.objects.values_list("simulated", flat=True)) == {True}

    def test_comparisons_copy_what_their_ranking_names_and_hold_on_to_it(
        self, project: Project, contractor: User
    ) -> None:
        """PostgreSQL checks the ranking alone, so this is all that keeps the copies right."""
        factories.make_ranking(contractor, project, [[0], [1], [2, 3]])
        ranking = Ranking.objects.get()
        for comparison in Comparison.objects.select_related("chosen", "rejected"):
            assert (comparison.project_id, comparison.prompt_id) == (ranking.project_id, ranking.prompt_id)
            assert comparison.chosen.item_id == comparison.rejected.item_id == ranking.item_id
            with pytest.raises(ProtectedError):
                comparison.rejected.delete()
        assert Comparison.objects.count() == 5

    @pytest.mark.parametrize(
        ("tiers", "unacceptable", "words"),
        [
            ([["A"], ["B"], ["C"]], [], "Not placed yet: D"),
            ([["A"], ["B"], ["C"], ["D"]], ["A"], "A is placed twice"),
            ([["A"], ["B"], ["C"], ["D"], ["E"]], [], "no answer E"),
            ([["A"], ["B"], ["C"], [7]], [], "no answer 7"),
            ("A>B", [], "list of lists"),
            ([["A"], "BCD"], [], "list of lists"),
        ],
    )
    def test_a_bad_order_is_refused_and_nothing_is_written(
        self, project: Project, contractor: User, tiers: Any, unacceptable: Any, words: str
    ) -> None:
        factories.make_batch(project)
        slot = take(project, contractor, "rank")
        with pytest.raises(responses.Invalid) as refused:
            send(slot, contractor, {"tiers": tiers, "unacceptable": unacceptable})
        assert words in refused.value.errors["tiers"][0]
        assert not Ranking.objects.exists() and not Comparison.objects.exists()
        assert Slot.objects.get(pk=slot.pk).state == "leased"

    def test_nobody_submits_a_ranking_of_answers_to_a_prompt_that_they_demonstrated_meanwhile(
        self, project: Project, contractor: User
    ) -> None:
        factories.make_batch(project)
        slot = take(project, contractor, "rank")
        responses.save_draft(slot_id=slot.pk, user=contractor, content={"tiers": [["A"]]})
        assert slot.item.prompt is not None
        slot.item.prompt.demonstrations.create(project=project, author=contractor, messages=[])
        with pytest.raises(responses.Invalid) as refused:
            send(slot, contractor, factories.rank_answer(slot, [[0], [1], [2], [3]]))
        assert "cannot rank" in refused.value.errors["tiers"][0]
        assert not Ranking.objects.exists() and Draft.objects.exists()

    def test_all_tied_is_a_ranking_without_comparisons(self, project: Project, contractor: User) -> None:
        factories.make_batch(project)
        slot = take(project, contractor, "rank")
        send(slot, contractor, factories.rank_answer(slot, [[0, 1, 2, 3]]))
        assert Ranking.objects.count() == 1 and not Comparison.objects.exists()

    def test_moved_says_whether_the_order_differs_from_the_one_shown(self, project: Project, contractor: User) -> None:
        factories.make_batch(project)
        slot = take(project, contractor, "rank")
        send(slot, contractor, {"tiers": [["A"], ["B"], ["C"], ["D"]]})
        assert not Ranking.objects.get().moved


@pytest.mark.django_db
class TestDemonstration:
    def test_the_answer_follows_the_given_prompt(self, project: Project, contractor: User) -> None:
        factories.make_batch(project, "write")
        slot = take(project, contractor, "write")
        assert slot.item.prompt is not None
        messages = [*slot.item.prompt.messages, {"role": "assistant", "content": "Because.\r\nIt is."}]
        send(slot, contractor, {"messages": messages})
        made = Demonstration.objects.get()
        assert made.messages[-1]["content"] == "Because.\nIt is."
        assert made.prompt == slot.item.prompt and made.author == contractor

    def test_a_multi_turn_demonstration_is_one_row(self, project: Project, contractor: User) -> None:
        factories.make_batch(project, "write")
        slot = take(project, contractor, "write")
        assert slot.item.prompt is not None
        turns = [("assistant", "One."), ("user", "And?"), ("assistant", "Two.")]
        messages = [*slot.item.prompt.messages, *({"role": r, "content": c} for r, c in turns)]
        send(slot, contractor, {"messages": messages})
        assert len(Demonstration.objects.get().messages) == 4

    def test_a_changed_prompt_is_refused(self, project: Project, contractor: User) -> None:
        factories.make_batch(project, "write")
        slot = take(project, contractor, "write")
        messages = [{"role": "user", "content": "Other"}, {"role": "assistant", "content": "Because."}]
        with pytest.raises(responses.Invalid) as refused:
            send(slot, contractor, {"messages": messages})
        assert "given prompt was changed" in refused.value.errors["messages"][0]

    def test_a_contractor_may_write_the_prompt_too(self, project: Project, contractor: User) -> None:
        from labeling.batches import NewItem, open_batch

        open_batch(project=project, kind="write", name="Free", items=[NewItem(prompt=None)])
        slot = take(project, contractor, "write")
        messages = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]
        send(slot, contractor, {"messages": messages, "category": "chat", "language": "en"})
        made = Prompt.objects.get()
        assert made.author == contractor and made.category == "chat" and made.messages == messages[:1]

    @pytest.mark.parametrize(
        ("answer", "words"),
        [
            ("", "Nothing is written here yet"),
            ("   \n", "Nothing is written here yet"),
            ("x" * 20_001, "at most 20000"),
        ],
    )
    def test_empty_and_overlong_answers_are_refused(
        self, project: Project, contractor: User, answer: str, words: str
    ) -> None:
        factories.make_batch(project, "write")
        slot = take(project, contractor, "write")
        assert slot.item.prompt is not None
        with pytest.raises(responses.Invalid) as refused:
            send(slot, contractor, {"messages": [*slot.item.prompt.messages, {"role": "assistant", "content": answer}]})
        assert words in refused.value.errors["messages.1.content"][0]
        assert not Demonstration.objects.exists()

    def test_a_given_prompt_may_be_longer_than_what_a_person_may_write(
        self, project: Project, contractor: User
    ) -> None:
        factories.make_batch(project, "write")
        project.max_chars = 5
        project.save()
        slot = take(project, contractor, "write")
        assert slot.item.prompt is not None
        given = slot.item.prompt.messages
        with pytest.raises(responses.Invalid) as refused:
            send(slot, contractor, {"messages": [*given, {"role": "assistant", "content": "123456"}]})
        assert "at most 5" in refused.value.errors["messages.1.content"][0]
        send(slot, contractor, {"messages": [*given, {"role": "assistant", "content": "12345"}]})

    def test_only_role_and_content_are_kept(self, project: Project, contractor: User) -> None:
        """A page shows `html` as it is, so no message may bring its own."""
        factories.make_batch(project, "write")
        slot = take(project, contractor, "write")
        assert slot.item.prompt is not None
        answer = {"role": "assistant", "content": "a", "html": "<script>"}
        send(slot, contractor, {"messages": [*slot.item.prompt.messages, answer]})
        assert Demonstration.objects.get().messages[-1] == {"role": "assistant", "content": "a"}

    @pytest.mark.parametrize("role", [["assistant"], {"a": 1}, None, 7, "robot" * 1000])
    def test_odd_roles_are_refused_with_a_sentence(self, project: Project, contractor: User, role: Any) -> None:
        factories.make_batch(project, "write")
        slot = take(project, contractor, "write")
        with pytest.raises(responses.Invalid) as refused:
            send(slot, contractor, {"messages": [{"role": role, "content": "x"}]})
        assert len(refused.value.errors["messages.0.content"][0]) < 200

    def test_nul_characters_are_dropped(self, project: Project, contractor: User) -> None:
        factories.make_batch(project, "write")
        slot = take(project, contractor, "write")
        assert slot.item.prompt is not None
        send(slot, contractor, {"messages": [*slot.item.prompt.messages, {"role": "assistant", "content": "a\x00b"}]})
        assert Demonstration.objects.get().messages[-1]["content"] == "ab"


@pytest.mark.django_db
class TestLostLease:
    def test_a_submit_on_an_expired_lease_keeps_the_text_as_a_draft(self, project: Project, contractor: User) -> None:
        factories.make_batch(project, "write")
        slot = take(project, contractor, "write")
        assert slot.item.prompt is not None
        messages = [*slot.item.prompt.messages, {"role": "assistant", "content": "An hour's work."}]
        Slot.objects.filter(pk=slot.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
        with pytest.raises(assignment.LeaseLost):
            send(slot, contractor, {"messages": messages, "note": "n"})
        assert not Demonstration.objects.exists()
        draft = Draft.objects.get(author=contractor)
        assert draft.content == {"messages": messages, "note": "n"}

    def test_another_persons_slot_is_refused(self, project: Project, contractor: User, reviewer: User) -> None:
        factories.make_batch(project)
        slot = take(project, contractor, "rank")
        with pytest.raises(assignment.LeaseLost):
            send(slot, reviewer, factories.rank_answer(slot, [[0], [1], [2], [3]]))
        assert not Ranking.objects.exists()
        assert Slot.objects.get(pk=slot.pk).holder == contractor


@pytest.mark.django_db
class TestReplay:
    def test_the_same_key_finds_the_first_result(self, project: Project, contractor: User) -> None:
        factories.make_batch(project)
        slot, key = take(project, contractor, "rank"), uuid.uuid4()
        answer = factories.rank_answer(slot, [[0], [1], [2], [3]])
        first = send(slot, contractor, answer, key)
        again = send(slot, contractor, answer, key)
        assert not first.is_replay and again.is_replay and first.label == again.label
        assert Ranking.objects.count() == 1 and Comparison.objects.count() == 6

    def test_a_second_submit_with_another_key_is_refused(self, project: Project, contractor: User) -> None:
        factories.make_batch(project)
        slot = take(project, contractor, "rank")
        send(slot, contractor, factories.rank_answer(slot, [[0], [1], [2], [3]]))
        with pytest.raises(responses.AlreadySubmitted):
            send(slot, contractor, factories.rank_answer(slot, [[3], [2], [1], [0]]))
        assert Ranking.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_submit_sent_twice_at_once_makes_one_ranking(project: Project, contractor: User) -> None:
    factories.make_batch(project)
    slot, key = take(project, contractor, "rank"), uuid.uuid4()
    answer = factories.rank_answer(slot, [[0], [1], [2], [3]])
    barrier = threading.Barrier(4)
    results: list[responses.Submitted] = []

    def submit() -> None:
        try:
            barrier.wait(30)
            results.append(send(slot, contractor, answer, key))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == 4
    assert [result.is_replay for result in results].count(False) == 1
    assert Ranking.objects.count() == 1


@pytest.mark.django_db
class TestDraftAndSkip:
    def test_a_draft_is_overwritten_and_dropped_by_submit(self, project: Project, contractor: User) -> None:
        factories.make_batch(project)
        slot = take(project, contractor, "rank")
        responses.save_draft(slot_id=slot.pk, user=contractor, content={"tiers": [["A"]]})
        responses.save_draft(slot_id=slot.pk, user=contractor, content={"tiers": [["B"]]})
        assert Draft.objects.get().content == {"tiers": [["B"]]}
        send(slot, contractor, factories.rank_answer(slot, [[0], [1], [2], [3]]))
        assert not Draft.objects.exists()

    def test_a_late_autosave_does_not_bring_a_draft_back(self, project: Project, contractor: User) -> None:
        factories.make_batch(project)
        slot = take(project, contractor, "rank")
        send(slot, contractor, factories.rank_answer(slot, [[0], [1], [2], [3]]))
        with pytest.raises(responses.Invalid):
            responses.save_draft(slot_id=slot.pk, user=contractor, content={"tiers": []})
        assert not Draft.objects.exists()

    def test_a_draft_keeps_everything_that_the_database_can_hold(self, project: Project, contractor: User) -> None:
        factories.make_batch(project)
        slot = take(project, contractor, "rank")
        content = {"no\x00te": "a\x00b \ud83d \ude00", "n": [float("inf"), 1.5, None, True]}
        responses.save_draft(slot_id=slot.pk, user=contractor, content=content)
        assert Draft.objects.get().content == {"note": "ab \ufffd \ufffd", "n": [None, 1.5, None, True]}

    def test_a_draft_of_an_item_that_was_never_theirs_is_refused(
        self, project: Project, contractor: User, reviewer: User
    ) -> None:
        """Begun work comes first, so whoever could begin any item would choose theirs."""
        factories.make_batch(project, items=3)
        wanted = Slot.objects.order_by("-draw")[0]
        of_another = item_keys.of(wanted, user=reviewer)
        for key in (None, "", of_another, ["x"], "ü"):
            with pytest.raises(responses.NotHandedOut):
                responses.save_draft(slot_id=wanted.pk, user=contractor, content={"tiers": []}, item_key=key)
        assert not Draft.objects.exists()
        assert take(project, contractor, "rank").pk != wanted.pk

    def test_a_lost_lease_loses_no_text(self, project: Project, contractor: User, reviewer: User) -> None:
        factories.make_batch(project)
        slot = take(project, contractor, "rank")
        key = item_keys.of(slot, user=contractor)
        with transaction.atomic():
            assignment.release(slot)
        assert take(project, reviewer, "rank").pk == slot.pk
        for sent, kept in (({"tiers": [["A"]]}, False), ({"tiers": [["A"]], "item_key": key}, True)):
            with pytest.raises(assignment.LeaseLost) as lost:
                responses.submit(
                    slot_id=slot.pk, user=contractor, lease_token=uuid.uuid4(), client_key=uuid.uuid4(), answer=sent
                )
            assert lost.value.draft_saved is kept and Draft.objects.exists() is kept
        # From here on the draft itself says it.
        responses.save_draft(slot_id=slot.pk, user=contractor, content={"tiers": [["B"]]})
        assert Draft.objects.get(author=contractor).content == {"tiers": [["B"]]}

    def test_skip_keeps_the_draft_and_opens_the_slot(self, project: Project, contractor: User) -> None:
        factories.make_batch(project)
        slot = take(project, contractor, "rank")
        responses.save_draft(slot_id=slot.pk, user=contractor, content={"note": "half"})
        assert slot.lease_token is not None
        responses.skip(
            slot_id=slot.pk, user=contractor, lease_token=slot.lease_token, reason="expertise", note="chemistry"
        )
        assert Skip.objects.get().reason == "expertise" and Draft.objects.exists()
        assert Slot.objects.get(pk=slot.pk).state == "open"

    def test_skip_wants_a_known_reason(self, project: Project, contractor: User) -> None:
        factories.make_batch(project)
        slot = take(project, contractor, "rank")
        assert slot.lease_token is not None
        with pytest.raises(responses.Invalid):
            responses.skip(slot_id=slot.pk, user=contractor, lease_token=slot.lease_token, reason="bored", note="")
        assert not Skip.objects.exists()


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_draft_that_is_saved_during_a_submit_does_not_come_back(project: Project, contractor: User) -> None:
    factories.make_batch(project)
    slot = take(project, contractor, "rank")
    refused: list[responses.Invalid] = []

    def save() -> None:
        try:
            responses.save_draft(slot_id=slot.pk, user=contractor, content={"tiers": []})
        except responses.Invalid as error:
            refused.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=save)
    with transaction.atomic():
        send(slot, contractor, factories.rank_answer(slot, [[0], [1], [2], [3]]))
        thread.start()
        thread.join(1)  # it cannot end before the submit has
    thread.join(20)
    assert refused and not Draft.objects.exists()
