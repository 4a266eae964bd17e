"""The pages of hidden checks and consensus: who sees them, what they keep, refuse and say."""

import json
import uuid
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from hone.accounts.models import Project, User
from hone.audit.models import Event
from labeling import assignment, hidden, people, responses, retraction, tasks
from labeling.models import Comparison, GoldItem, HiddenChecks, Item, QualityReport, Ranking, Retraction, Slot
from labeling.quality import measuring, posteriors
from tests import factories
from training import snapshots
from training.records import RankingRow, read_parquet

pytestmark = pytest.mark.django_db
CHECKS = "/p/alpha/settings/checks/"


@pytest.fixture(autouse=True)
def no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.measure_quality, "apply_async", lambda *_, **__: None)


def measure(project: Project, *, include_simulated: bool = False) -> dict[str, Any]:
    report, _made = QualityReport.objects.get_or_create(project=project, include_simulated=include_simulated)
    measuring.measure(report.pk)
    report.refresh_from_db()
    assert report.body is not None
    return report.body


def ranked_items(project: Project, users: list[User], *, items: int, reversed_by: User | None = None) -> list[Item]:
    """Items of three answers that all users rank 0 > 1 > 2, but the last answer first by who reverses."""
    batch = factories.make_batch(project, items=items, answers=3, slots=len(users))
    for user in users:
        for _ in range(items):
            slot = assignment.next_slot(project=project, user=user, kind="rank")
            assert slot is not None and slot.lease_token is not None
            order = [[2], [1], [0]] if user == reversed_by else [[0], [1], [2]]
            responses.submit(
                slot_id=slot.pk, user=user, lease_token=slot.lease_token, client_key=uuid.uuid4(),
                answer=factories.rank_answer(slot, order),
            )  # fmt: skip
    return list(Item.objects.filter(batch=batch))


def check(project: Project, user: User, item: Item, order: list[list[int]], *, kind: str = "gold") -> Ranking:
    """An answer to a hidden check, as it is stored."""
    now = item.created_at
    slot = Slot.objects.create(
        item=item, project=project, kind="rank", index=0, draw=0, hidden=kind, state="submitted", holder=user,
        submitted_at=now, order_shown=[0, 1, 2],
    )  # fmt: skip
    return Ranking.objects.create(
        project=project, author=user, slot=slot, item=item, prompt=item.prompt, tiers=order, order_shown=[0, 1, 2],
        client_key=uuid.uuid4(), hidden=kind, simulated=user.is_simulated,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("who", "status"), [("manager", 200), ("reviewer", 403), ("contractor", 403), ("outsider", 404)]
)
def test_only_managers_see_and_change_hidden_checks(
    request: pytest.FixtureRequest, client: Client, project: Project, contractor: User, who: str, status: int
) -> None:
    [item] = ranked_items(project, [contractor], items=1)
    client.force_login(request.getfixturevalue(who))
    gold = f"/p/alpha/items/{item.pk}/gold/"
    assert [client.get(path).status_code for path in (CHECKS, gold)] == [status, status]
    posted = client.post(CHECKS, {"gold_percent": "5", "repeat_percent": "4", "repeat_distance": "9"})
    tiers = client.post(gold, {"tier-0": "1", "tier-1": "2", "tier-2": "x"})
    after = 302 if status == 200 else status
    assert (posted.status_code, tiers.status_code) == (after, after)
    assert HiddenChecks.objects.exists() is GoldItem.objects.exists() is (after == 302)


class TestSettings:
    def test_the_rates_are_kept_and_audited(self, client: Client, project: Project, manager: User) -> None:
        client.force_login(manager)
        client.post(CHECKS, {"gold_percent": "30", "repeat_percent": "20", "repeat_distance": "7"})
        rates = HiddenChecks.objects.get()
        assert (rates.gold_percent, rates.repeat_percent, rates.repeat_distance) == (30, 20, 7)
        event = Event.objects.get(verb="hidden_checks.changed")
        assert event.actor == manager and event.detail["gold_percent"] == 30

    @pytest.mark.parametrize(
        ("field", "value", "sentence"),
        [
            ("gold_percent", "31", "less than or equal to 30"),
            ("repeat_percent", "21", "less than or equal to 20"),
            ("repeat_distance", "0", "greater than or equal to 1"),
            ("gold_percent", "many", "Enter a whole number"),
        ],
    )
    def test_a_rate_out_of_bounds_is_refused_and_the_text_kept(
        self, client: Client, project: Project, manager: User, field: str, value: str, sentence: str
    ) -> None:
        client.force_login(manager)
        sent = {"gold_percent": "1", "repeat_percent": "1", "repeat_distance": "5", field: value}
        page = client.post(CHECKS, sent).content.decode()
        assert sentence in page and f'value="{value}"' in page and not HiddenChecks.objects.exists()

    def test_the_same_number_of_queries_for_more_gold_items(
        self, client: Client, project: Project, manager: User, contractor: User
    ) -> None:
        client.force_login(manager)

        def queries() -> int:
            for item in ranked_items(project, [contractor], items=4):
                hidden.set_gold(item=item, tiers=[[0], [1, 2]], unacceptable=[], source="manager", actor=manager)
            measure(project)
            with CaptureQueriesContext(connection) as caught:
                client.get(CHECKS)
            return len(caught)

        assert queries() == queries()


class TestGold:
    def test_the_answers_stand_as_raters_see_them(
        self, client: Client, project: Project, manager: User, contractor: User
    ) -> None:
        [item] = ranked_items(project, [contractor], items=1)
        item.completions.filter(index=0).update(text="It is **bold** <b>here</b>")
        client.force_login(manager)
        page = client.get(f"/p/alpha/items/{item.pk}/gold/").content.decode()
        assert "It is <strong>bold</strong> &lt;b&gt;here&lt;/b&gt;" in page

    def test_a_reference_by_hand_with_a_tie_and_an_unacceptable_answer(
        self, client: Client, project: Project, manager: User, contractor: User
    ) -> None:
        [item] = ranked_items(project, [contractor], items=1)
        client.force_login(manager)
        path = f"/p/alpha/items/{item.pk}/gold/"
        assert "What people said" in client.get(path).content.decode()
        client.post(path, {"tier-0": "3", "tier-1": "3", "tier-2": "x"})
        gold = GoldItem.objects.get()
        assert (gold.tiers, gold.unacceptable, gold.source, gold.set_by) == ([[0, 1]], [2], "manager", manager)
        page = client.get(path).content.decode()
        assert "Retire" in page
        client.post(path, {"action": "retire"})
        gold.refresh_from_db()
        assert not gold.is_active
        client.post(path, {"tier-0": "1", "tier-1": "2", "tier-2": "2"})
        gold.refresh_from_db()
        assert gold.is_active and gold.tiers == [[0], [1, 2]] and GoldItem.objects.count() == 1
        verbs = Event.objects.filter(target=f"golditem:{gold.pk}").order_by("id").values_list("verb", flat=True)
        assert list(verbs) == ["gold.set", "gold.retired", "gold.changed"]

    @pytest.mark.parametrize(
        ("sent", "sentence"),
        [
            ({"tier-0": "1", "tier-1": "2"}, "Choose a tier for this answer."),
            ({"tier-0": "1", "tier-1": "1", "tier-2": "1"}, "Put at least one answer above another"),
            ({"tier-0": "1", "tier-1": "2", "tier-2": "9"}, "not one of the available choices"),
        ],
    )
    def test_an_order_that_is_no_reference_is_refused(
        self, client: Client, project: Project, manager: User, contractor: User, sent: dict[str, str], sentence: str
    ) -> None:
        [item] = ranked_items(project, [contractor], items=1)
        client.force_login(manager)
        page = client.post(f"/p/alpha/items/{item.pk}/gold/", sent).content.decode()
        assert sentence in page and '<option value="1" selected>' in page and not GoldItem.objects.exists()

    def test_another_projects_item_and_a_written_one_are_not_found(
        self, client: Client, project: Project, manager: User
    ) -> None:
        client.force_login(manager)
        theirs = Item.objects.get(batch=factories.make_batch(factories.make_project("other")))
        written = Item.objects.get(batch=factories.make_batch(project, "write"))
        for item in (theirs, written):
            assert client.get(f"/p/alpha/items/{item.pk}/gold/").status_code == 404

    def test_the_consensus_is_suggested_and_a_manager_confirms_it(
        self, client: Client, project: Project, manager: User, contractor: User
    ) -> None:
        users = [contractor, *(factories.make_member(project) for _ in range(5))]
        items = ranked_items(project, users, items=8)
        found = measure(project)["consensus"]["suggestions"]
        assert {row["item"] for row in found} == {item.pk for item in items}
        assert all(row["tiers"] == [[0], [1], [2]] and row["people"] == 6 and row["sure"] >= 0.7 for row in found)
        assert not GoldItem.objects.exists()  # never by itself
        client.force_login(manager)
        assert f"/p/alpha/items/{items[0].pk}/gold/?from=consensus" in client.get(CHECKS).content.decode()
        path = f"/p/alpha/items/{items[0].pk}/gold/?from=consensus"
        assert "Confirm as gold" in client.get(path).content.decode()
        client.post(path, {"tier-0": "1", "tier-1": "2", "tier-2": "3"})
        assert GoldItem.objects.get().source == "consensus"
        assert f"/p/alpha/items/{items[0].pk}/gold/?from=consensus" not in client.get(CHECKS).content.decode()
        path = f"/p/alpha/items/{items[1].pk}/gold/?from=consensus"
        client.post(path, {"tier-0": "2", "tier-1": "1", "tier-2": "3"})
        assert GoldItem.objects.get(item=items[1]).source == "manager"


def test_scores_stand_on_the_persons_the_members_and_the_quality_page_and_in_the_files(
    client: Client, api: APIClient, project: Project, manager: User, contractor: User
) -> None:
    upside_down = factories.make_member(project, username="reverse")
    users = [contractor, *(factories.make_member(project) for _ in range(3)), upside_down]
    items = ranked_items(project, users, items=15, reversed_by=upside_down)
    gold, retired = Item.objects.filter(batch=factories.make_batch(project, items=2, answers=3))
    for item in (gold, retired):
        kept = hidden.set_gold(item=item, tiers=[[0], [1], [2]], unacceptable=[], source="manager", actor=manager)
    check(project, contractor, gold, [[0], [1, 2]])  # 2.5 of 3
    check(project, contractor, retired, [[2], [1], [0]])
    hidden.retire_gold(gold=kept, actor=manager)
    check(project, contractor, items[0], [[0], [2], [1]], kind="repeat")  # 2 of 3
    body = measure(project)
    [own] = body["checks"]["people"]
    assert own["gold"]["value"] == pytest.approx(5 / 6) and own["gold"]["items"] == 1
    assert own["consistency"]["value"] == pytest.approx(2 / 3) and own["tau_b"] == pytest.approx(1 / 3)
    reliable = {row["person"]: row for row in body["consensus"]["people"]}
    assert reliable[upside_down.pk]["is_reversed"] and not reliable[contractor.pk]["is_reversed"]
    client.force_login(manager)
    quality = client.get("/p/alpha/quality/").content.decode()
    assert "Who can be relied on" in quality and "reads the scale upside down" in quality
    person = client.get(f"/p/alpha/people/{contractor.pk}/").content.decode()
    assert "83 %" in person and "67 %" in person and "Hidden repeat" in person
    assert "83 %" in client.get("/p/alpha/members/").content.decode()
    header, *lines = people.members_csv(project).splitlines()
    at = header.split(",").index("gold")
    row = next(line.split(",") for line in lines if line.startswith("contractor,"))
    assert float(row[at]) == pytest.approx(5 / 6) and row[at + 3] == "3"
    api.force_authenticate(manager)
    report = api.get("/api/v1/projects/alpha/quality/").json()["report"]
    assert report["checks"]["people"][0]["annotator"] == f"a{contractor.pk}"
    assert report["consensus"]["people"][0]["annotator"] == f"a{upside_down.pk}"
    # What a person sees of themselves says nothing of hidden checks.
    client.force_login(contractor)
    assert "83 %" not in client.get("/p/alpha/me/").content.decode()


def test_a_repeat_is_scored_once_beside_the_last_ranking_before_it(
    project: Project, manager: User, contractor: User
) -> None:
    """The first ranking was returned and corrected; a second correction came after the repeat."""
    [item] = ranked_items(project, [contractor], items=1)
    first = Ranking.objects.get()

    def again(order: list[list[int]]) -> None:
        taken = retraction.take_back(
            label=Ranking.objects.orders().latest("id"), cause=Retraction.Cause.RETURNED, reason="Look", actor=manager
        )
        assert taken.rankings == 1
        Ranking.objects.create(
            project=project, item=item, slot=first.slot, prompt=first.prompt, author=contractor, tiers=order,
            order_shown=[0, 1, 2], client_key=uuid.uuid4(),
        )  # fmt: skip

    again([[2], [1], [0]])
    check(project, contractor, item, [[2], [1], [0]], kind="repeat")
    again([[0], [1], [2]])
    [own] = measure(project)["checks"]["people"]
    assert (own["consistency"]["value"], own["consistency"]["items"], own["tau_b"]) == (1, 1, 1)


def test_a_report_from_before_is_shown_without_these_parts(
    client: Client, api: APIClient, project: Project, manager: User, contractor: User
) -> None:
    ranked_items(project, [contractor], items=2)
    body = {key: value for key, value in measure(project).items() if key not in {"checks", "consensus"}}
    QualityReport.objects.update(body=body)
    client.force_login(manager)
    for path in ("quality/", f"people/{contractor.pk}/", "members/", "settings/checks/"):
        assert client.get(f"/p/alpha/{path}").status_code == 200
    api.force_authenticate(manager)
    assert api.get("/api/v1/projects/alpha/quality/").json()["report"]["consensus"]["people"] == []


class TestPosteriors:
    def test_they_are_kept_exported_and_frozen(
        self, api: APIClient, project: Project, manager: User, contractor: User
    ) -> None:
        ranked_items(project, [contractor, *(factories.make_member(project) for _ in range(2))], items=5)
        api.force_authenticate(manager)

        def exported() -> list[Any]:
            answer = api.get("/api/v1/projects/alpha/comparisons/export/")
            return [json.loads(line)["posterior"] for line in b"".join(answer.streaming_content).splitlines()]

        assert set(exported()) == {1.0}  # as the person said it
        measure(project)
        assert all(0.5 < value < 1 for value in exported()) and len(exported()) == 45
        assert not Comparison.objects.filter(posterior_at=None).exists()
        late = factories.make_ranking(contractor, project, [[0], [1], [2]])
        frozen = snapshots.freeze_rankings(project=project, include_simulated=False, heldout_percent=0)
        rows = {row.id: row for row in read_parquet(frozen.path, row_type=RankingRow)}
        assert frozen.manifest["rankings_with_posteriors"] == 16 and 1.0 not in exported()
        kept = {(c.chosen.index, c.rejected.index): c.posterior for c in late.comparisons.all()}
        assert rows[f"r{late.pk}"].posteriors == [kept[0, 1], kept[0, 2], kept[1, 2]]

    def test_peoples_are_not_moved_by_simulated_labels(self, project: Project, contractor: User) -> None:
        robot = factories.make_member(project, is_simulated=True)
        ranked_items(project, [contractor, robot], items=3, reversed_by=robot)
        posteriors.renew(project=project, include_simulated=False)
        before = dict(Comparison.objects.filter(simulated=False).values_list("id", "posterior"))
        assert not Comparison.objects.filter(simulated=True, posterior__isnull=False).exists()
        posteriors.renew(project=project, include_simulated=True)
        assert dict(Comparison.objects.filter(simulated=False).values_list("id", "posterior")) == before
        assert not Comparison.objects.filter(posterior=None).exists()

    def test_what_did_not_change_is_not_written_again(self, project: Project, contractor: User) -> None:
        ranked_items(project, [contractor], items=3)
        posteriors.renew(project=project, include_simulated=False)
        before = set(Comparison.objects.values_list("id", "posterior_at"))
        posteriors.renew(project=project, include_simulated=False)
        assert set(Comparison.objects.values_list("id", "posterior_at")) == before

    def test_strengths_of_an_item_follow_its_rankings(self, project: Project, contractor: User) -> None:
        [item] = ranked_items(project, [contractor, factories.make_member(project)], items=1)
        found = posteriors.strengths(item.pk)
        assert found[0] > found[1] > found[2]
        empty = Item.objects.get(batch=factories.make_batch(project))
        assert posteriors.strengths(empty.pk) == {}
