"""Taking back one's own label within seconds: it goes, the work comes back, and nothing is built on it meanwhile."""

import threading
import time
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.db.models.functions import Now
from django.utils import timezone
from rest_framework.test import APIClient

from hone.accounts.models import Project, User
from hone.audit.models import Event
from labeling import ahead, assignment, export, ranking_forms, responses, retraction, settling
from labeling.batches import NewItem, open_batch
from labeling.messages import content_hash
from labeling.models import Comparison, Demonstration, Draft, Prompt, Ranking, ReviewRules, Slot
from labeling.review import queue
from labeling.take_back import NotTakenBack, take_back
from tests import factories
from training import rounds, snapshots, stage_data
from training.models import Snapshot

pytestmark = pytest.mark.django_db
KEY = uuid.UUID(int=7)


def take(project: Project, user: User, kind: str = "rank") -> Slot:
    slot = assignment.next_slot(project=project, user=user, kind=kind)
    assert slot is not None and slot.lease_token is not None
    return slot


def submit(slot: Slot, user: User, answer: dict[str, Any] | None = None, key: uuid.UUID = KEY) -> Any:
    assert slot.lease_token is not None
    if answer is None:
        answer = factories.rank_answer(slot, [[2, 0], [1]], [3])
    done = responses.submit(
        slot_id=slot.pk,
        user=user,
        lease_token=slot.lease_token,
        client_key=key,
        answer=answer,
        open_for=settling.OPEN_SECONDS,
    )
    return done.label


def back(slot: Slot, user: User, key: uuid.UUID = KEY) -> Slot:
    return take_back(slot_id=slot.pk, user=user, client_key=key, project=slot.project)


def window_ends() -> None:
    """For every label that was submitted so far."""
    Slot.objects.filter(final_at__isnull=False).update(final_at=Now())


def test_a_ranking_goes_and_its_item_comes_back_as_it_was(project: Project, contractor: User) -> None:
    guideline = factories.make_guideline(project)
    form = {"scales": [{"key": "q", "label": "Q", "low": 1, "high": 7}], "flags": [{"key": "bad", "label": "Bad"}]}
    ranking_forms.change(project=project, form={**form, "reason": "optional"}, actor=contractor)
    factories.make_batch(project)
    slot = take(project, contractor)
    answer = {
        **factories.rank_answer(slot, [[2, 0], [1]], [3]),
        "ratings": {letter: {"q": n + 1} for n, letter in enumerate("ABCD")},
        "flags": {"B": ["bad"]},
        "reason": "because",
        "note": "n",
        "active_seconds": 31,
    }
    Slot.objects.update(leased_at=timezone.now() - timedelta(seconds=40))
    label = submit(slot, contractor, answer)
    newer = factories.make_guideline(project)
    again = back(slot, contractor)
    assert not Ranking.objects.exists() and not Comparison.objects.exists()
    row = Slot.objects.get()
    assert (row.state, row.holder, row.submitted_at, row.final_at) == ("leased", contractor, None, None)
    assert (row.order_shown, row.guideline, row.ranking_form) == (slot.order_shown, guideline, slot.ranking_form)
    assert again.lease_token == row.lease_token and again.guideline == guideline != newer
    draft = Draft.objects.get(author=contractor).content
    assert set(draft["tiers"][0]) == set(answer["tiers"][0])
    for field in ("unacceptable", "ratings", "reason", "note", "active_seconds"):
        assert draft[field] == answer[field], field
    assert draft["flags"]["B"] == ["bad"]
    event = Event.objects.get(verb="rank.taken_back")
    assert event.target == f"ranking:{label.pk}" and event.actor == contractor
    assert event.detail["content"] == draft and event.detail["guideline"] == guideline.pk
    other = factories.rank_answer(again, [[0], [1], [2], [3]])
    other["ratings"] = answer["ratings"]
    assert submit(again, contractor, other, key=uuid.uuid4()).tiers == [[0], [1], [2], [3]]
    assert not Draft.objects.exists()


def test_a_demonstration_goes_with_the_prompt_that_was_written_with_it(project: Project, contractor: User) -> None:
    open_batch(project=project, kind="write", name="b", items=[NewItem(prompt=None)])
    slot = take(project, contractor, "write")
    messages = [{"role": "user", "content": "A question of mine"}, {"role": "assistant", "content": "So."}]
    submit(slot, contractor, {"messages": messages, "category": "chat", "language": "fr"})
    assert Prompt.objects.count() == 1
    back(slot, contractor)
    assert not Demonstration.objects.exists() and not Prompt.objects.exists()
    draft = Draft.objects.get().content
    assert (draft["messages"], draft["category"], draft["language"]) == (messages, "chat", "fr")


def test_a_prompt_that_somebody_else_wrote_as_well_stays(project: Project, contractor: User, reviewer: User) -> None:
    items = [NewItem(prompt=None), NewItem(prompt=None)]
    open_batch(project=project, kind="write", name="b", items=items)
    messages = [{"role": "user", "content": "A common question"}, {"role": "assistant", "content": "So."}]
    mine = take(project, contractor, "write")
    submit(mine, contractor, {"messages": messages})
    theirs = take(project, reviewer, "write")
    submit(theirs, reviewer, {"messages": messages}, key=uuid.uuid4())
    back(mine, contractor)
    assert Prompt.objects.get().demonstrations.get().author == reviewer


def test_a_given_prompt_stays(project: Project, contractor: User) -> None:
    factories.make_batch(project, "write")
    slot = take(project, contractor, "write")
    assert slot.item.prompt is not None
    messages = [*slot.item.prompt.messages, {"role": "assistant", "content": "So."}]
    submit(slot, contractor, {"messages": messages})
    Prompt.objects.update(author=contractor)
    back(slot, contractor)
    assert Prompt.objects.exists() and not Demonstration.objects.exists()


def test_what_is_in_hand_waits_behind_it_and_what_waited_goes_back(project: Project, contractor: User) -> None:
    factories.make_batch(project, items=4)
    first = take(project, contractor)
    second = ahead.fetch(slot_id=first.pk, user=contractor, lease_token=first.lease_token, project=project)  # type: ignore[arg-type]
    submit(first, contractor)
    assert second is not None and second.lease_token is not None
    responses.save_draft(slot_id=second.pk, user=contractor, content={"tiers": [["A"]]})
    third = ahead.fetch(slot_id=second.pk, user=contractor, lease_token=second.lease_token, project=project)
    assert third is not None
    again = back(first, contractor)
    assert take(project, contractor).pk == first.pk
    behind = Slot.objects.get(is_ahead=True)
    assert behind.pk == second.pk and behind.lease_token == second.lease_token
    assert Slot.objects.get(pk=third.pk).state == "open"
    assert Draft.objects.get(item=second.item).content == {"tiers": [["A"]]}
    submit(again, contractor, key=uuid.uuid4())
    assert take(project, contractor).pk == second.pk


def test_the_same_request_twice_finds_the_first_ones_lease(project: Project, contractor: User) -> None:
    factories.make_batch(project)
    slot = take(project, contractor)
    submit(slot, contractor)
    first, second = back(slot, contractor), back(slot, contractor)
    assert first.lease_token == second.lease_token and Event.objects.filter(verb="rank.taken_back").count() == 1


def test_the_time_worked_before_it_counts_for_what_is_submitted_then(project: Project, contractor: User) -> None:
    factories.make_batch(project)
    slot = take(project, contractor)
    Slot.objects.update(leased_at=timezone.now() - timedelta(seconds=200))
    submit(slot, contractor, {**factories.rank_answer(slot, [[0], [1], [2], [3]]), "active_seconds": 180})
    again = back(slot, contractor)
    answer = {**factories.rank_answer(again, [[1], [0], [2], [3]]), "active_seconds": 190}
    label = submit(again, contractor, answer, key=uuid.uuid4())
    assert (label.active_seconds, label.claimed_seconds) == (190, None)


def test_the_time_of_a_lost_lease_counts_as_well(project: Project, contractor: User) -> None:
    factories.make_batch(project)
    slot = take(project, contractor)
    Slot.objects.update(leased_at=timezone.now() - timedelta(seconds=100))
    answer = factories.rank_answer(slot, [[0], [1], [2], [3]])
    responses.save_draft(slot_id=slot.pk, user=contractor, content={"tiers": answer["tiers"]})
    Slot.objects.update(leased_at=timezone.now())  # taken up again since
    submit(slot, contractor, {**answer, "active_seconds": 90})
    label = submit(back(slot, contractor), contractor, {**answer, "active_seconds": 93}, key=uuid.uuid4())
    assert 90 <= label.active_seconds <= 93


class TestReturnedWorkInHand:
    """It is its author's alone, also when they take back what they submitted before."""

    @pytest.fixture
    def laid_aside(self, project: Project, contractor: User, reviewer: User) -> tuple[Slot, Slot]:
        """What was taken back, and the returned work that was in hand."""
        factories.make_batch(project)
        ReviewRules.objects.create(project=project, rankings_percent=100)
        old = factories.submit_next(project, contractor)
        factories.make_batch(project)
        slot = take(project, contractor)
        found = queue.next_review(project=project, user=reviewer)
        assert found is not None
        factories.give_verdict(found, reviewer, "return")
        submit(slot, contractor)
        returned = take(project, contractor)
        assert returned.pk == old.pk
        return back(slot, contractor), returned

    def test_nobody_else_is_handed_it(self, project: Project, reviewer: User, laid_aside: tuple[Slot, Slot]) -> None:
        assert assignment.next_slot(project=project, user=reviewer, kind="rank") is None
        row = Slot.objects.get(pk=laid_aside[1].pk)
        assert (row.state, row.is_ahead, row.holder) == ("returned", False, laid_aside[1].holder)

    def test_it_comes_next(self, project: Project, contractor: User, laid_aside: tuple[Slot, Slot]) -> None:
        again, returned = laid_aside
        factories.make_batch(project)
        submit(again, contractor, key=uuid.uuid4())
        assert take(project, contractor).pk == returned.pk

    def test_it_comes_before_new_work_where_the_item_in_hand_is_lost(
        self, project: Project, contractor: User, laid_aside: tuple[Slot, Slot]
    ) -> None:
        again, returned = laid_aside
        factories.make_batch(project)
        Slot.objects.filter(pk=again.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
        assignment.free_expired()
        assert take(project, contractor).pk == returned.pk

    def test_an_old_tab_that_skips_it_has_lost_it(self, contractor: User, laid_aside: tuple[Slot, Slot]) -> None:
        returned = laid_aside[1]
        assert returned.lease_token is not None
        with pytest.raises(assignment.LeaseLost):
            responses.skip(
                slot_id=returned.pk, user=contractor, lease_token=returned.lease_token, reason="other", note=""
            )
        assert Slot.objects.get(pk=returned.pk).state == "returned"


class TestRefused:
    def refused(self, slot: Slot, user: User, key: uuid.UUID = KEY) -> str:
        before = list(Slot.objects.order_by("pk").values())
        with pytest.raises(NotTakenBack) as found:
            back(slot, user, key)
        assert list(Slot.objects.order_by("pk").values()) == before
        return found.value.code

    def test_when_the_time_is_over(self, project: Project, contractor: User) -> None:
        factories.make_batch(project)
        slot = take(project, contractor)
        submit(slot, contractor)
        window_ends()
        assert self.refused(slot, contractor) == "too_late" and Ranking.objects.exists()

    def test_when_it_was_taken_back_and_its_lease_has_ended(self, project: Project, contractor: User) -> None:
        factories.make_batch(project)
        slot = take(project, contractor)
        submit(slot, contractor)
        back(slot, contractor)
        Slot.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
        assert self.refused(slot, contractor) == "too_late" and not Ranking.objects.exists()

    def test_when_it_was_final_from_the_start(self, project: Project, contractor: User) -> None:
        slot = Slot.objects.get(ranking=factories.make_ranking(contractor, project, [[0], [1]]))
        key = Ranking.objects.get().client_key
        assert self.refused(slot, contractor, key) == "too_late"

    def test_to_everybody_else_and_under_another_key(self, project: Project, contractor: User, manager: User) -> None:
        factories.make_batch(project)
        slot = take(project, contractor)
        submit(slot, contractor)
        assert self.refused(slot, manager) == "not_yours"
        assert self.refused(slot, contractor, uuid.uuid4()) == "not_yours"

    def test_when_a_lead_retracted_it(self, project: Project, contractor: User, manager: User) -> None:
        factories.make_batch(project)
        slot = take(project, contractor)
        submit(slot, contractor)
        retraction.retract(project=project, author=contractor, since=None, reason="r", ask_again=False, actor=manager)
        assert self.refused(slot, contractor) == "not_yours"


class TestNothingIsBuiltOnIt:
    """Until it is final a label is in no snapshot, in no export, and opens no gate."""

    def test_a_snapshot_leaves_it_out_until_it_is_final(self, project: Project, contractor: User) -> None:
        old = factories.make_ranking(contractor, project, [[0], [1]])
        factories.make_batch(project)
        submit(take(project, contractor), contractor)
        frozen = snapshots.freeze_rankings(project=project, include_simulated=False, heldout_percent=0)
        assert frozen.manifest["label_ids"] == [old.pk]
        assert len(b"".join(export.comparison_lines(project=project, fmt="plain")).splitlines()) == 1
        window_ends()
        frozen = snapshots.freeze_rankings(project=project, include_simulated=False, heldout_percent=0)
        assert len(frozen.manifest["label_ids"]) == 2
        assert len(b"".join(export.comparison_lines(project=project, fmt="plain")).splitlines()) == 6

    def test_imported_demonstrations_are_final(self, project: Project, contractor: User) -> None:
        prompt = factories.make_prompt(project)
        messages = [*prompt.messages, {"role": "assistant", "content": "x"}]
        prompt.demonstrations.create(
            project=project, author=contractor, messages=messages, content_hash=content_hash(messages)
        )
        factories.make_batch(project, "write")
        slot = take(project, contractor, "write")
        assert slot.item.prompt is not None
        submit(slot, contractor, {"messages": [*slot.item.prompt.messages, {"role": "assistant", "content": "y"}]})
        frozen = snapshots.freeze_demonstrations(project=project, include_simulated=False, heldout_percent=0)
        assert frozen.rows == 1

    def test_a_prompt_that_may_go_is_not_sampled(self, project: Project, contractor: User) -> None:
        other = factories.make_prompt(project)
        open_batch(project=project, kind="write", name="b", items=[NewItem(prompt=None)])
        slot = take(project, contractor, "write")
        messages = [{"role": "user", "content": "Mine?"}, {"role": "assistant", "content": "So."}]
        submit(slot, contractor, {"messages": messages})
        assert list(stage_data.prompts_to_sample(project)) == [other]
        window_ends()
        assert stage_data.prompts_to_sample(project).count() == 2

    def test_a_round_waits_until_it_is_final(self, project: Project, contractor: User) -> None:
        factories.make_prompt(project)
        recipe = rounds.Recipe(name="r", start=factories.make_checkpoint(), stages={"write": {"auto": True}})
        found = rounds.start(project=project, recipe=recipe, actor=None)
        slot = take(project, contractor, "write")
        assert slot.item.prompt is not None
        submit(slot, contractor, {"messages": [*slot.item.prompt.messages, {"role": "assistant", "content": "y"}]})
        rounds.advance(found.pk)
        assert found.stages.get().state == "waiting"
        back(slot, contractor)
        window_ends()
        rounds.advance(found.pk)
        assert found.stages.get().state == "waiting"
        again = take(project, contractor, "write")
        assert again.item.prompt is not None
        submit(again, contractor, {"messages": [*again.item.prompt.messages, {"role": "assistant", "content": "z"}]})
        window_ends()
        rounds.advance(found.pk)
        assert found.stages.get().state == "done"


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_freeze_waits_for_a_taking_back_that_was_allowed_before_it(project: Project, contractor: User) -> None:
    """The window ends while the taking back is under way: without the lock the freeze would read a label that goes."""
    stays = factories.make_ranking(contractor, project, [[0], [1]])
    factories.make_batch(project)
    slot = take(project, contractor)
    submit(slot, contractor)
    Slot.objects.filter(pk=slot.pk).update(final_at=Now() + timedelta(seconds=1))
    frozen: list[Snapshot] = []

    def freeze() -> None:
        try:
            frozen.append(snapshots.freeze_rankings(project=project, include_simulated=False, heldout_percent=0))
        finally:
            connections.close_all()

    thread = threading.Thread(target=freeze)
    with transaction.atomic():
        back(slot, contractor)
        time.sleep(1.2)
        thread.start()
        thread.join(0.5)
        assert not frozen, "it read while the label was going"
    thread.join(20)
    assert frozen[0].manifest["label_ids"] == [stays.pk] and Ranking.objects.get() == stays


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_freezes_and_takings_back_at_once_agree_on_every_label(project: Project) -> None:
    """20 people whose windows end within half a second, taken back and frozen meanwhile: no frozen label is gone."""
    people = [factories.make_member(project, username=f"p{n}") for n in range(20)]
    factories.make_batch(project, items=21)
    held = []
    for number, user in enumerate(people):
        slot = take(project, user)
        submit(slot, user, key=uuid.UUID(int=number))
        held.append((slot, user, uuid.UUID(int=number)))
    factories.submit_next(project, people[0])  # one that is final, so that there is something to freeze
    for number, (slot, _user, _key) in enumerate(held):
        Slot.objects.filter(pk=slot.pk).update(final_at=Now() + timedelta(seconds=0.2 + number * 0.03))
    outcomes: list[str] = []
    frozen: list[Snapshot] = []
    barrier = threading.Barrier(22)

    def run(act: Any) -> None:
        try:
            barrier.wait(30)
            act()
        finally:
            connections.close_all()

    def one(slot: Slot, user: User, key: uuid.UUID) -> None:
        time.sleep(0.05 + 0.03 * key.int)
        try:
            back(slot, user, key)
            outcomes.append("back")
        except NotTakenBack as error:
            outcomes.append(error.code)

    def freeze() -> None:
        for _ in range(6):
            frozen.append(snapshots.freeze_rankings(project=project, include_simulated=False, heldout_percent=0))

    acts: list[Any] = [lambda held=held: one(*held) for held in held] + [freeze, freeze]
    threads = [threading.Thread(target=run, args=[act]) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(outcomes) == 20 and set(outcomes) <= {"back", "too_late"} and len(frozen) == 12
    assert Ranking.objects.count() == 21 - outcomes.count("back")
    standing = set(Ranking.objects.values_list("pk", flat=True))
    assert all(set(snapshot.manifest["label_ids"]) <= standing for snapshot in frozen)


def test_the_turnstile_is_let_go_at_once(project: Project) -> None:
    settling.now(project)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks JOIN pg_database ON oid = database"
            " WHERE locktype = 'advisory' AND datname = current_database()"
        )
        assert cursor.fetchone()[0] == 0


class TestApi:
    def begin(self, api: APIClient, user: User, project: Project) -> dict[str, Any]:
        api.force_authenticate(user)
        factories.make_batch(project)
        work = api.post("/api/v1/projects/alpha/work/rank/next/").json()
        body = {
            "lease_token": work["lease_token"],
            "client_key": str(KEY),
            "tiers": [["B"], ["A", "C"], ["D"]],
            "may_take_back": True,
        }
        assert api.post(f"/api/v1/work/{work['slot']}/submit/", body).status_code == 201
        return work

    def test_submit_and_take_back(self, api: APIClient, project: Project, contractor: User) -> None:
        work = self.begin(api, contractor, project)
        answer = api.post(f"/api/v1/work/{work['slot']}/take-back/", {"client_key": str(KEY)})
        assert answer.status_code == 200 and answer.json()["slot"] == work["slot"]
        assert answer.json()["answers"] == work["answers"] and not Ranking.objects.exists()
        assert answer.json()["draft"]["tiers"] == [["B"], ["A", "C"], ["D"]]

    def test_too_late_is_409_with_a_sentence(self, api: APIClient, project: Project, contractor: User) -> None:
        work = self.begin(api, contractor, project)
        window_ends()
        answer = api.post(f"/api/v1/work/{work['slot']}/take-back/", {"client_key": str(KEY)})
        assert answer.status_code == 409 and answer.json()["code"] == "too_late"
        assert answer.json()["detail"] == "The time to take it back is over: it stays submitted."
        assert Ranking.objects.exists()

    @pytest.mark.parametrize(
        ("who", "status"), [("manager", 409), ("reviewer", 409), ("contractor", 200), ("outsider", 404)]
    )
    def test_who_may(
        self, request: pytest.FixtureRequest, api: APIClient, project: Project, contractor: User, who: str, status: int
    ) -> None:
        work = self.begin(api, contractor, project)
        api.force_authenticate(request.getfixturevalue(who))
        path = f"/api/v1/work/{work['slot']}/take-back/"
        assert api.post(path, {"client_key": str(KEY)}).status_code == status
        assert Ranking.objects.exists() is (status != 200)

    @pytest.mark.parametrize("body", [{}, {"client_key": "no"}, {"client_key": [1]}])
    def test_a_body_without_a_key_is_400(
        self, api: APIClient, project: Project, contractor: User, body: dict[str, Any]
    ) -> None:
        work = self.begin(api, contractor, project)
        answer = api.post(f"/api/v1/work/{work['slot']}/take-back/", body)
        assert answer.status_code == 400 and "client_key" in answer.json()["errors"] and Ranking.objects.exists()
