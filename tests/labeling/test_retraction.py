"""Labels taken back: where they vanish from, what stays, what asking again opens, and undoing it all."""

import io
import json
import threading
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections, transaction
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from hone.accounts.models import Project, User
from hone.audit.models import Event
from labeling import assignment, importing, queries, responses, retraction
from labeling.models import Comparison, Demonstration, Ranking, Retraction, Slot
from labeling.review import drawing
from tests import factories
from training import estimates, lineage, retracted, snapshots, stage_data
from training.records import DemonstrationRow, RankingRow, read_parquet

pytestmark = pytest.mark.django_db


@pytest.fixture
def other(project: Project) -> User:
    return factories.make_member(project, username="other")


def demonstrate(user: User, project: Project) -> Demonstration:
    factories.make_batch(project, "write")
    slot = assignment.next_slot(project=project, user=user, kind="write")
    assert slot is not None and slot.lease_token is not None and slot.item.prompt is not None
    turns = [*slot.item.prompt.messages, {"role": "assistant", "content": "Because."}]
    done = responses.submit(
        slot_id=slot.pk, user=user, lease_token=slot.lease_token, client_key=uuid.uuid4(), answer={"messages": turns}
    )
    assert isinstance(done.label, Demonstration)
    return done.label


def take_back(author: User, project: Project, actor: User, *, ask_again: bool = False, **values: object) -> Retraction:
    return retraction.retract(
        project=project,
        author=author,
        since=values.get("since"),  # type: ignore[arg-type]
        reason="Machine text",
        ask_again=ask_again,
        actor=actor,
    )


def exported(api: APIClient, project: Project) -> list[int]:
    answer = api.get(f"/api/v1/projects/{project.slug}/comparisons/export/")
    return [json.loads(line)["ranking_id"] for line in b"".join(answer.streaming_content).splitlines()]


def test_retracted_labels_leave_every_door_and_come_back(
    api: APIClient, project: Project, manager: User, contractor: User, other: User
) -> None:
    ranked, kept = (factories.make_ranking(user, project, [[0], [1], [2]]) for user in (contractor, other))
    written, stays = demonstrate(contractor, project), demonstrate(other, project)
    api.force_authenticate(manager)

    def seen() -> dict[str, object]:
        counts = queries.counts(project)
        mix = next(row for row in queries.mix(project) if row["category"] == "open_qa")
        people = {row["user"]: (row["demonstrations"], row["rankings"]) for row in queries.people(project)}
        data = {"rankings": snapshots.freeze_rankings, "demonstrations": snapshots.freeze_demonstrations}
        frozen = {
            name: freeze(project=project, include_simulated=False, heldout_percent=0).manifest["label_ids"]
            for name, freeze in data.items()
        }
        return {
            "counts": [counts[name] for name in ("demonstrations", "rankings", "comparisons")],
            "mix": mix["demonstrations"],
            "wanted": queries.most_wanted(project)["wanted"],
            "people": people[contractor],
            "export": sorted(set(exported(api, project))),
            "list": [row["id"] for row in api.get("/api/v1/projects/alpha/demonstrations/").json()["results"]],
            "frozen": frozen,
            "to write": stage_data.prompts_to_write(project).filter(pk=written.prompt_id).exists(),
        }

    before = seen()
    assert before["wanted"] == 2  # 45.6 % of three are 1.4
    assert before["counts"] == [2, 2, 6] and before["frozen"] == {
        "rankings": [ranked.pk, kept.pk],
        "demonstrations": [written.pk, stays.pk],
    }
    made = take_back(contractor, project, manager)
    assert (made.demonstrations, made.rankings, made.comparisons, made.slots_opened) == (1, 1, 3, 0)
    assert seen() == {
        "counts": [1, 1, 3],
        "mix": 1,
        "wanted": 1,
        "people": (0, 0),
        "export": [kept.pk],
        "list": [stays.pk],
        "frozen": {"rankings": [kept.pk], "demonstrations": [stays.pk]},
        "to write": True,
    }
    assert Ranking.objects.count() == 2 and Comparison.objects.count() == 6  # every row is still there
    assert not Slot.objects.filter(state="open").exists()
    retraction.undo(retraction=made, actor=manager)
    assert seen() == before
    verbs = Event.objects.filter(target=f"retraction:{made.pk}").order_by("id")
    assert [event.verb for event in verbs] == ["labels.retracted", "labels.restored"]
    assert (
        verbs[0].actor == manager and verbs[0].detail["reason"] == "Machine text" and verbs[0].detail["rankings"] == 1
    )


def test_frozen_rows_hold_no_retracted_label(project: Project, manager: User, contractor: User, other: User) -> None:
    factories.make_ranking(contractor, project, [[0], [1]])
    kept = factories.make_ranking(other, project, [[0], [1]])
    demonstrate(contractor, project)
    take_back(contractor, project, manager)
    snapshot = snapshots.freeze_rankings(project=project, include_simulated=False, heldout_percent=0)
    assert [row.id for row in read_parquet(snapshot.path, row_type=RankingRow)] == [f"r{kept.pk}"]
    with pytest.raises(snapshots.NothingToFreeze):
        snapshots.freeze_demonstrations(project=project, include_simulated=False, heldout_percent=0)
    mine = demonstrate(other, project)
    snapshot = snapshots.freeze_demonstrations(project=project, include_simulated=False, heldout_percent=0)
    assert [row.id for row in read_parquet(snapshot.path, row_type=DemonstrationRow)] == [f"d{mine.pk}"]
    rows = estimates._data(project, {"use-rank": False, "sample-prompts": 0}, 2)
    assert rows[estimates.Stage.Kind.REWARD][0] == 1 and rows[estimates.Stage.Kind.SFT][0] == 1


def test_only_those_since_a_moment_and_only_of_this_project(project: Project, manager: User, contractor: User) -> None:
    elsewhere = factories.make_project("elsewhere")
    elsewhere.memberships.create(user=contractor)
    first, second = (factories.make_ranking(contractor, project, [[0], [1]]) for _ in range(2))
    there = factories.make_ranking(contractor, elsewhere, [[0], [1]])
    Ranking.objects.filter(pk=first.pk).update(created_at=timezone.now() - timedelta(days=2))
    since = timezone.now() - timedelta(days=1)
    assert retraction.effect(project=project, author=contractor, since=since) == retraction.Effect(0, 1, 1, 1)
    made = take_back(contractor, project, manager, since=since)
    assert made.rankings == 1
    assert set(Ranking.objects.filter(retraction=None)) == {first, there}
    rest = take_back(contractor, project, manager)  # those that stand: the second keeps its first retraction
    assert rest.rankings == 1 and Ranking.objects.get(pk=second.pk).retraction == made
    with pytest.raises(retraction.NothingToRetract):
        take_back(contractor, project, manager)
    assert Retraction.objects.count() == 2


def test_a_hidden_check_on_an_item_leaves_its_batch_no_label(
    project: Project, manager: User, contractor: User, other: User
) -> None:
    factories.make_batch(project)
    slot = factories.submit_next(project, contractor)
    factories.make_batch(project)
    check = factories.submit_next(project, other)
    Slot.objects.filter(pk=check.pk).update(item=slot.item_id, hidden="gold")
    Ranking.objects.filter(slot=check.pk).update(item=slot.item_id, hidden="gold")
    assert retraction.batches_left_empty(project=project, author=contractor, since=None) == ["Batch"]


class TestAskingAgain:
    def test_somebody_else_is_asked_and_never_the_author(
        self, project: Project, manager: User, contractor: User, other: User
    ) -> None:
        made = factories.make_ranking(contractor, project, [[0], [1]])
        batch = made.item.batch_id
        assert queries.batch_progress(batch) == {"total": 1, "submitted": 1, "simulated": 0, "open": 0}
        taken = take_back(contractor, project, manager, ask_again=True)
        assert taken.slots_opened == 1 and made.item.slots.count() == 2
        assert queries.batch_progress(batch) == {"total": 1, "submitted": 0, "simulated": 0, "open": 0}
        assert assignment.next_slot(project=project, user=contractor, kind="rank") is None
        slot = assignment.next_slot(project=project, user=other, kind="rank")
        assert slot is not None and slot.item == made.item and slot.state == "leased"

    def test_without_it_the_gate_has_neither_the_label_nor_the_place(
        self, project: Project, manager: User, contractor: User
    ) -> None:
        made = factories.make_ranking(contractor, project, [[0], [1]])
        take_back(contractor, project, manager)
        assert queries.batch_progress(made.item.batch_id) == {"total": 0, "submitted": 0, "simulated": 0, "open": 0}

    def test_a_demonstration_is_asked_for_again_and_an_imported_one_is_not(
        self, project: Project, manager: User, contractor: User
    ) -> None:
        written = demonstrate(contractor, project)
        written.prompt.demonstrations.create(project=project, author=contractor, messages=written.messages)
        assert retraction.effect(project=project, author=contractor, since=None) == retraction.Effect(2, 0, 0, 1)
        assert take_back(contractor, project, manager, ask_again=True).slots_opened == 1

    def test_undoing_closes_what_nobody_took(
        self, project: Project, manager: User, contractor: User, other: User
    ) -> None:
        first, second = (factories.make_ranking(contractor, project, [[0], [1]]) for _ in range(2))
        made = take_back(contractor, project, manager, ask_again=True)
        assert assignment.next_slot(project=project, user=other, kind="rank") is not None
        retraction.undo(retraction=made, actor=manager)
        states = Slot.objects.filter(item__in=[first.item, second.item]).values_list("state", flat=True)
        assert sorted(states) == ["leased", "submitted", "submitted"]
        with pytest.raises(retraction.AlreadyUndone):
            retraction.undo(retraction=made, actor=manager)

    def test_places_that_were_open_before_stay_open(self, project: Project, manager: User, contractor: User) -> None:
        batch = factories.make_batch(project, slots=3)
        slot = assignment.next_slot(project=project, user=contractor, kind="rank")
        assert slot is not None and slot.lease_token is not None
        answer = factories.rank_answer(slot, [[0], [1], [2], [3]])
        token = slot.lease_token
        responses.submit(slot_id=slot.pk, user=contractor, lease_token=token, client_key=uuid.uuid4(), answer=answer)
        made = take_back(contractor, project, manager, ask_again=True)
        assert Slot.objects.filter(item__batch=batch, state="open").count() == 3
        retraction.undo(retraction=made, actor=manager)
        assert Slot.objects.filter(item__batch=batch, state="open").count() == 2


def test_what_was_trained_on_retracted_labels_is_found(project: Project, manager: User, contractor: User) -> None:
    ids = [factories.make_ranking(contractor, project, [[0], [1]]).pk for _ in range(3)]
    before = snapshots.freeze_rankings(project=project, include_simulated=False, heldout_percent=0)
    assert retracted.by_snapshot() == {}
    Ranking.objects.filter(pk=ids[0]).update(created_at=timezone.now() - timedelta(days=2))
    made = take_back(contractor, project, manager, since=timezone.now() - timedelta(days=1))
    after = snapshots.freeze_rankings(project=project, include_simulated=False, heldout_percent=0)
    assert retracted.by_snapshot() == {before.pk: 2}
    assert lineage.labels_of(before)["retracted"] == 2 and lineage.labels_of(after)["retracted"] == 0
    assert before.manifest["label_ids"] == ids  # it never changes
    retraction.undo(retraction=made, actor=manager)
    assert retracted.by_snapshot() == {}


@pytest.mark.django_db(transaction=True)
def test_a_submit_that_is_under_way_is_taken_back_with_its_comparisons(
    project: Project, manager: User, contractor: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The retraction waits for the submit's lock on the person: no label slips between its counts and its marks."""
    factories.make_ranking(contractor, project, [[0], [1]])
    written, go_on = threading.Event(), threading.Event()
    enter = drawing.enter  # what a submit does last, its label written

    def slowly(**values: Any) -> Any:
        written.set()
        assert go_on.wait(10)
        return enter(**values)

    monkeypatch.setattr(drawing, "enter", slowly)

    def in_thread(work: object) -> threading.Thread:
        def run() -> None:
            try:
                work()  # type: ignore[operator]
            finally:
                connections.close_all()

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def submit() -> None:
        factories.make_ranking(contractor, project, [[0], [1], [2]])

    submitting = in_thread(submit)
    assert written.wait(10)
    retracting = in_thread(lambda: take_back(contractor, project, manager))
    retracting.join(0.5)
    assert retracting.is_alive() and not Retraction.objects.exists()  # it waits
    go_on.set()
    submitting.join(10)
    retracting.join(10)
    made = Retraction.objects.get()
    assert (made.rankings, made.comparisons) == (2, 4)
    assert not Ranking.objects.filter(retraction=None).exists()
    assert not Comparison.objects.filter(retraction=None).exists()


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_two_retractions_of_one_item_open_two_places(
    project: Project, manager: User, contractor: User, other: User
) -> None:
    factories.make_batch(project, slots=2)
    for user in (contractor, other):
        slot = assignment.next_slot(project=project, user=user, kind="rank")
        assert slot is not None and slot.lease_token is not None
        answer = factories.rank_answer(slot, [[0], [1], [2], [3]])
        token = slot.lease_token
        responses.submit(slot_id=slot.pk, user=user, lease_token=token, client_key=uuid.uuid4(), answer=answer)

    def second() -> None:
        try:
            take_back(other, project, manager, ask_again=True)
        finally:
            connections.close_all()

    thread = threading.Thread(target=second)
    with transaction.atomic():
        take_back(contractor, project, manager, ask_again=True)
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()  # it waits for the item
    thread.join(10)
    assert sorted(Slot.objects.values_list("index", flat=True)) == [0, 1, 2, 3]
    assert Retraction.objects.filter(slots_opened=1).count() == 2


def test_a_member_who_was_taken_out_keeps_their_labels(
    api: APIClient, client: Client, project: Project, manager: User, contractor: User
) -> None:
    made = factories.make_ranking(contractor, project, [[0], [1]])
    client.force_login(manager)
    member = project.memberships.get(user=contractor)
    answer = client.post("/p/alpha/members/", {"member": member.pk, "action": "deactivate"})
    assert answer.status_code == 302 and not project.memberships.get(user=contractor).is_active
    api.force_authenticate(manager)
    assert exported(api, project) == [made.pk] and queries.counts(project)["rankings"] == 1


class TestImportedAgain:
    def load(self, project: Project, manager: User) -> importing.Imported:
        row = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
        file = io.BytesIO(json.dumps(row).encode())
        return importing.import_demonstrations(project=project, file=file, name="rows.jsonl", actor=manager)

    def test_a_retracted_conversation_can_be_imported_again_and_a_standing_one_not(
        self, project: Project, manager: User
    ) -> None:
        assert self.load(project, manager).created == 1
        take_back(manager, project, manager)
        again = self.load(project, manager)
        assert (again.created, again.duplicates) == (1, 0)
        assert Demonstration.objects.count() == 2 and Demonstration.objects.filter(retraction=None).count() == 1
        once_more = self.load(project, manager)
        assert (once_more.created, once_more.duplicates) == (0, 1)

    def test_restoring_leaves_the_one_that_stands_and_says_so(
        self, client: Client, project: Project, manager: User, contractor: User
    ) -> None:
        self.load(project, manager)
        written = demonstrate(manager, project)
        made = take_back(manager, project, manager)
        self.load(project, manager)
        client.force_login(manager)
        page = client.post(f"/p/alpha/retractions/{made.pk}/restore/", follow=True).content.decode()
        assert "The labels are restored." in page and "1 conversation was imported again meanwhile" in page
        standing = Demonstration.objects.filter(retraction=None)
        assert standing.count() == 2 and written in standing
        assert Event.objects.get(verb="labels.restored").detail["replaced"] == 1
