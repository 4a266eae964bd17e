"""“Cannot judge”: it fills the slot like a ranking, holds no order, and nothing measures or trains on it."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from hone.accounts.models import Project, User
from hone.audit.models import Event
from labeling import assignment, people, queries, responses, retraction, verdicts
from labeling.models import Comparison, Draft, Item, Ranking, Skip, Slot
from labeling.quality.report import body
from tests import factories
from training import snapshots
from training.records import RankingRow, read_parquet

pytestmark = pytest.mark.django_db


def cannot(user: User, project: Project, verdict: str = "broken", note: str = "") -> Ranking:
    """The next item, which this person cannot judge."""
    slot = assignment.next_slot(project=project, user=user, kind="rank")
    assert slot is not None and slot.lease_token is not None
    done = responses.submit(
        slot_id=slot.pk,
        user=user,
        lease_token=slot.lease_token,
        client_key=uuid.uuid4(),
        answer={"verdict": verdict, "note": note, "active_seconds": 7},
    )
    assert isinstance(done.label, Ranking)
    return done.label


def begin(api: APIClient, user: User) -> dict[str, Any]:
    api.force_authenticate(user)
    return api.post("/api/v1/projects/alpha/work/rank/next/").json()


def send(api: APIClient, work: dict[str, Any], **fields: Any) -> Any:
    sent = {"lease_token": work["lease_token"], "client_key": str(uuid.uuid4()), **fields}
    return api.post(f"/api/v1/work/{work['slot']}/submit/", sent)


def test_it_fills_the_slot_and_makes_a_row_without_an_order(api: APIClient, project: Project, contractor: User) -> None:
    factories.make_guideline(project)
    factories.make_batch(project)
    work = begin(api, contractor)
    Slot.objects.update(leased_at=timezone.now() - timedelta(seconds=40))
    key = str(uuid.uuid4())
    answer = send(api, work, client_key=key, verdict="knowledge", note="Needs a chemist", active_seconds=31)
    assert answer.status_code == 201
    row = Ranking.objects.get(pk=answer.json()["id"])
    slot = Slot.objects.get()
    assert (row.verdict, row.tiers, row.unacceptable, row.moved) == ("knowledge", [], [], False)
    assert (row.note, row.active_seconds, row.order_shown) == ("Needs a chemist", 31, slot.order_shown)
    assert row.guideline is not None and row.guideline.number == work["guideline"]["number"]
    assert slot.state == "submitted" and not Comparison.objects.exists() and not Skip.objects.exists()
    assert Event.objects.filter(verb="rank.submitted", actor=contractor).exists()
    assert send(api, work, client_key=key, verdict="knowledge").status_code == 200, "a repeat finds the first"
    assert Ranking.objects.count() == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"verdict": "bored"}, "valid choice"),
        ({"verdict": "broken", "tiers": [["A"], ["B"], ["C"], ["D"]]}, "not both"),
        ({"verdict": "broken", "unacceptable": ["A"]}, "not both"),
        ({"verdict": "broken", "flags": {"A": ["x"]}}, "not both"),
        ({"verdict": ["broken"]}, "valid"),
    ],
)
def test_what_is_neither_an_order_nor_a_reason_is_refused(
    api: APIClient, project: Project, contractor: User, fields: dict[str, Any], words: str
) -> None:
    factories.make_batch(project)
    answer = send(api, begin(api, contractor), **fields)
    assert answer.status_code == 400 and words in answer.json()["errors"]["verdict"][0]
    assert not Ranking.objects.exists() and Slot.objects.get().state == "leased"


def test_an_empty_verdict_is_none(api: APIClient, project: Project, contractor: User) -> None:
    factories.make_batch(project)
    work = begin(api, contractor)
    assert send(api, work, verdict="").json()["errors"].keys() == {"tiers"}
    assert send(api, work, verdict="", tiers=[["A"], ["B"], ["C"], ["D"]]).status_code == 201
    assert Ranking.objects.get().verdict == ""


def test_a_form_that_asks_for_more_asks_nothing_of_it(api: APIClient, project: Project, contractor: User) -> None:
    from labeling import ranking_forms

    form = next(form for name, _title, form in ranking_forms.presets() if name == "instructgpt")
    ranking_forms.change(project=project, form={**form, "reason": "required"}, actor=contractor)
    factories.make_batch(project)
    assert send(api, begin(api, contractor), verdict="all_bad").status_code == 201
    assert (Ranking.objects.get().ratings, Ranking.objects.get().flags) == ({}, {})


def test_a_lost_lease_keeps_the_reason_beside_the_order_of_the_draft(
    api: APIClient, project: Project, contractor: User
) -> None:
    factories.make_batch(project)
    work = begin(api, contractor)
    assert api.put(f"/api/v1/work/{work['slot']}/draft/", {"content": {"tiers": [["B"]]}}).status_code == 200
    Slot.objects.update(lease_expires_at=Slot.objects.get().leased_at)
    assert send(api, work, verdict="prompt", note="No sense").status_code == 409
    assert Draft.objects.get().content == {
        "tiers": [["B"]],
        "verdict": "prompt",
        "note": "No sense",
        "active_seconds": 0,
    }


def test_the_database_knows_no_order_beside_a_verdict(project: Project, contractor: User) -> None:
    row = factories.make_ranking(contractor, project, [[0], [1]])
    with pytest.raises(IntegrityError, match="ranking_verdict_without_order"), transaction.atomic():
        Ranking.objects.filter(pk=row.pk).update(verdict="broken")


class TestReaders:
    """Whatever reads rankings, with one order and one verdict of two people on the same item."""

    @pytest.fixture
    def second(self, project: Project) -> User:
        return factories.make_member(project, username="second")

    @pytest.fixture
    def labels(self, project: Project, contractor: User, second: User) -> tuple[Ranking, Ranking]:
        factories.make_batch(project, slots=2)
        factories.submit_next(project, contractor)
        return Ranking.objects.get(), cannot(second, project, "harmful", "no")

    def test_agreement_and_habits(self, project: Project, labels: tuple[Ranking, Ranking]) -> None:
        found = body(project=project, include_simulated=False)
        assert (found["rankings"], found["people"], found["agreement"]["items"]) == (1, 1, 0)
        assert [row["person"] for row in found["habits"]] == [labels[0].author_id]

    def test_a_snapshot_and_its_lineage(self, project: Project, labels: tuple[Ranking, Ranking]) -> None:
        made = snapshots.freeze_rankings(project=project, include_simulated=False, heldout_percent=0)
        assert made.manifest["label_ids"] == [labels[0].pk]
        assert [row.id for row in read_parquet(made.path, row_type=RankingRow)] == [f"r{labels[0].pk}"]

    def test_nothing_but_verdicts_is_nothing_to_train_on(self, project: Project, second: User) -> None:
        factories.make_batch(project)
        cannot(second, project)
        with pytest.raises(snapshots.NothingToFreeze):
            snapshots.freeze_rankings(project=project, include_simulated=False, heldout_percent=0)

    def test_counts_and_progress(self, project: Project, labels: tuple[Ranking, Ranking]) -> None:
        counts = queries.counts(project)
        assert (counts["rankings"], counts["unjudged"], counts["comparisons"], counts["rank_open"]) == (1, 1, 6, 0)
        progress = queries.batch_progress(labels[1].item.batch_id)
        assert (progress["total"], progress["submitted"]) == (2, 2)

    def test_it_is_work_that_was_done_but_says_nothing_about_the_time_of_a_ranking(
        self, project: Project, second: User, labels: tuple[Ranking, Ranking]
    ) -> None:
        own = people.statistics(project, [second])[second.pk]["rank"]
        assert (own["today"], own["all"], own["seconds"]) == (1, 1, None)

    def test_it_is_retracted_and_restored_like_a_ranking(
        self, project: Project, manager: User, second: User, labels: tuple[Ranking, Ranking]
    ) -> None:
        taken = retraction.retract(
            project=project, author=second, since=None, reason="x", ask_again=True, actor=manager
        )
        assert (taken.rankings, taken.comparisons, taken.slots_opened) == (1, 0, 1)
        assert verdicts.overview(project)["verdicts"] == 0
        retraction.undo(retraction=taken, actor=manager)
        assert verdicts.overview(project)["verdicts"] == 1

    def test_the_persons_page_says_so_and_shows_the_answers(
        self, client: Client, manager: User, second: User, labels: tuple[Ranking, Ranking]
    ) -> None:
        client.force_login(manager)
        html = client.get(f"/p/alpha/people/{second.pk}/").content.decode()
        assert "cannot judge" in html and "The prompt or the answers are harmful" in html and "Answer 3" in html

    def test_their_own_page_opens(self, client: Client, second: User, labels: tuple[Ranking, Ranking]) -> None:
        client.force_login(second)
        assert client.get("/p/alpha/me/").status_code == 200


def test_the_reasons_are_counted_without_simulated_and_retracted_ones(project: Project, manager: User) -> None:
    one, two = (factories.make_member(project, username=name) for name in ("one", "two"))
    robot = factories.make_member(project, username="robot", is_simulated=True)
    factories.make_batch(project, slots=3)
    for user, why in ((one, "broken"), (two, "prompt"), (robot, "broken")):
        cannot(user, project, why)
    found = verdicts.overview(project)
    assert (found["verdicts"], found["items"], found["enough"]) == (2, 1, 1)
    assert dict(found["reasons"]) == {"The answers are broken, or all the same": 1, "The prompt makes no sense": 1}
    [item] = verdicts.items(project)
    assert (item.verdicts, item.orders, item.open) == (2, 0, 0)  # type: ignore[attr-defined]
    retraction.retract(project=project, author=two, since=None, reason="x", ask_again=False, actor=manager)
    assert verdicts.overview(project)["enough"] == 0 and not verdicts.items(project).exists()
    assert list(verdicts.items(project, least=1)) == [Item.objects.get()]
