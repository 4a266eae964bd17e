"""Who sees which quality page, what it says, and retracting through it."""

import csv
import io
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from hone.accounts.models import Project, User
from labeling import people, tasks
from labeling.models import QualityReport, Ranking, Retraction, Slot
from labeling.quality import measuring, showing
from tests import factories
from tests.labeling.test_quality_report import rank

pytestmark = pytest.mark.django_db
QUALITY = "/p/alpha/quality/"


@pytest.fixture(autouse=True)
def no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.measure_quality, "apply_async", lambda *_, **__: None)


@pytest.fixture
def second(project: Project) -> User:
    return factories.make_member(project, username="second")


def measure(project: Project) -> None:
    report, _made = QualityReport.objects.get_or_create(project=project, include_simulated=False)
    measuring.measure(report.pk)


def see(client: Client, user: User, path: str) -> Any:
    client.force_login(user)
    return client.get(path)


@pytest.mark.parametrize(
    ("who", "status"), [("manager", 200), ("reviewer", 200), ("contractor", 403), ("outsider", 404), ("lead", 200)]
)
def test_who_sees_quality_and_a_persons_labels(
    request: pytest.FixtureRequest,
    client: Client,
    api: APIClient,
    project: Project,
    contractor: User,
    who: str,
    status: int,
) -> None:
    user = request.getfixturevalue(who)
    for path in (QUALITY, f"/p/alpha/people/{contractor.pk}/"):
        assert see(client, user, path).status_code == status
    api.force_authenticate(user)
    assert api.get("/api/v1/projects/alpha/quality/").status_code == status


@pytest.mark.parametrize(
    ("who", "status"), [("manager", 302), ("reviewer", 403), ("contractor", 403), ("outsider", 404)]
)
def test_who_may_retract_and_restore(
    request: pytest.FixtureRequest,
    client: Client,
    project: Project,
    manager: User,
    contractor: User,
    who: str,
    status: int,
) -> None:
    factories.make_ranking(contractor, project, [[0], [1]])
    client.force_login(request.getfixturevalue(who))
    path = f"/p/alpha/people/{contractor.pk}/retract/"
    assert client.post(path, {"reason": "No", "confirmed": "1"}).status_code == status
    allowed = status == 302
    assert Ranking.objects.filter(retraction=None).exists() is not allowed
    made = Retraction.objects.first() or Retraction.objects.create(
        project=project, author=contractor, reason="No", made_by=manager
    )
    assert client.post(f"/p/alpha/retractions/{made.pk}/restore/").status_code == status
    made.refresh_from_db()
    assert (made.undone_at is not None) is allowed


def test_what_belongs_to_another_project_is_not_found(client: Client, project: Project, manager: User) -> None:
    other = factories.make_project("other")
    stranger = factories.make_member(other)
    factories.make_ranking(stranger, other, [[0], [1]])
    made = Retraction.objects.create(project=other, author=stranger, reason="No", made_by=stranger)
    client.force_login(manager)
    assert client.get(f"/p/alpha/people/{stranger.pk}/").status_code == 404
    assert client.post(f"/p/alpha/people/{stranger.pk}/retract/", {"reason": "No", "confirmed": "1"}).status_code == 404
    assert client.post(f"/p/alpha/retractions/{made.pk}/restore/").status_code == 404
    assert Ranking.objects.get().retraction is None
    made.refresh_from_db()
    assert made.undone_at is None


class TestTheQualityPage:
    def test_measure_again_comes_back_after_a_task_that_was_lost(
        self, client: Client, api: APIClient, project: Project, manager: User
    ) -> None:
        measure(project)
        api.force_authenticate(manager)
        for minutes, is_measuring in ((1, True), (6, False)):
            QualityReport.objects.update(asked_at=timezone.now() - timedelta(minutes=minutes))
            page = see(client, manager, QUALITY)
            assert page.context["is_measuring"] is is_measuring
            assert ("disabled" in page.content.decode()) is is_measuring
            assert api.get("/api/v1/projects/alpha/quality/").json()["is_measuring"] is is_measuring

    def test_empty_states_say_what_is_needed(
        self, client: Client, project: Project, manager: User, contractor: User
    ) -> None:
        assert "Being measured" in see(client, manager, QUALITY).content.decode()
        measure(project)
        assert "No ranking yet" in see(client, manager, QUALITY).content.decode()
        factories.make_ranking(contractor, project, [[0], [1]])
        measure(project)
        page = see(client, manager, QUALITY).content.decode()
        assert "Nobody knows yet" in page and "to 2 or more" in page and "http-equiv" not in page

    def test_it_shows_agreement_people_and_pairs(
        self, client: Client, project: Project, reviewer: User, contractor: User, second: User
    ) -> None:
        factories.make_batch(project, answers=2, slots=2)
        for user in (contractor, second):
            rank(user, project, [[0], [1]])
        measure(project)
        found = see(client, reviewer, QUALITY)
        page = found.content.decode()
        assert "Too early to say" in page and "72.6 ± 1.5" in page and "Open QA" in page
        assert found.context["agreement"]["value"] == 100
        assert f"/p/alpha/people/{second.pk}/" in page and len(found.context["matrix"]["rows"]) == 2

    def test_the_button_asks(self, client: Client, project: Project, manager: User) -> None:
        measure(project)
        client.force_login(manager)
        assert client.post(QUALITY).status_code == 302
        assert QualityReport.objects.get().asked_at is not None

    def test_the_same_number_of_queries_for_more_people(
        self, client: Client, project: Project, manager: User, contractor: User, second: User
    ) -> None:
        def queries(users: list[User]) -> int:
            factories.make_batch(project, answers=2, slots=len(users))
            for user in users:
                rank(user, project, [[0], [1]])
            measure(project)
            client.force_login(manager)
            with CaptureQueriesContext(connection) as caught:
                client.get(QUALITY)
            return len(caught)

        two = queries([contractor, second])
        assert queries([contractor, second, *(factories.make_member(project) for _ in range(4))]) == two


@pytest.mark.parametrize(
    ("value", "low", "high", "n", "state"),
    [
        (0.9, 0.7, 1.0, 300, "waiting"),  # too wide
        (0.9, 0.88, 0.92, 50, "waiting"),  # too few
        (0.8, 0.78, 0.82, 300, "done"),
        (0.72, 0.70, 0.74, 300, "done"),
        (0.66, 0.63, 0.69, 300, "waiting"),
        (0.55, 0.52, 0.58, 300, "failed"),
    ],
)
def test_the_verdict(value: float, low: float, high: float, n: int, state: str) -> None:
    share = {"value": value, "low": low, "high": high, "n": n, "items": n}
    assert showing.headline(share)[0] == state
    # Nine people at each of three items make 108 pairs of people: no verdict over three items.
    assert showing.headline({**share, "items": 3})[0] == "waiting"
    assert showing.headline(None)[0] == "draft"


class TestRetracting:
    def test_batches_that_lose_every_label_are_named(
        self, client: Client, project: Project, manager: User, contractor: User, second: User
    ) -> None:
        factories.make_ranking(contractor, project, [[0], [1]])
        shared = factories.make_batch(project, answers=2, slots=2)
        alone = Ranking.objects.get().item.batch
        for user in (contractor, second):
            rank(user, project, [[0], [1]])
        type(alone).objects.filter(pk=alone.pk).update(name="Round 1, ranking")
        type(alone).objects.filter(pk=shared.pk).update(name="Round 2, ranking")
        client.force_login(manager)
        page = client.post(f"/p/alpha/people/{contractor.pk}/retract/", {"reason": "No"}).content.decode()
        assert "No label is left in <strong>Round 1, ranking</strong>: a round that waits for it" in page
        assert Ranking.objects.filter(retraction=None).count() == 3

    def test_first_the_counts_then_the_deed(
        self, client: Client, project: Project, manager: User, contractor: User
    ) -> None:
        factories.make_ranking(contractor, project, [[0], [1], [2]])
        client.force_login(manager)
        path = f"/p/alpha/people/{contractor.pk}/retract/"
        values = {"reason": "Copied <b>", "ask_again": "on"}
        page = client.post(path, values)
        assert page.status_code == 200 and "Nothing has happened yet" in page.content.decode()
        assert (page.context["effect"].rankings, page.context["effect"].comparisons) == (1, 3)
        assert not Retraction.objects.exists()
        hidden = {field.html_name: field.value() or "" for field in page.context["form"]}
        assert client.post(path, {**hidden, "confirmed": "1"}).status_code == 302
        made = Retraction.objects.get()
        assert (made.reason, made.made_by, made.slots_opened, made.since) == ("Copied <b>", manager, 1, None)
        assert Slot.objects.filter(state="open").count() == 1
        page = client.get(f"/p/alpha/people/{contractor.pk}/").content.decode()
        assert "Copied &lt;b&gt;" in page and "1 label is retracted." in page

    def test_since_a_day(self, client: Client, project: Project, manager: User, contractor: User) -> None:
        old, new = (factories.make_ranking(contractor, project, [[0], [1]]) for _ in range(2))
        Ranking.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=3))
        day = (timezone.localdate() - timedelta(days=1)).isoformat()
        client.force_login(manager)
        client.post(f"/p/alpha/people/{contractor.pk}/retract/", {"reason": "No", "since": day, "confirmed": "1"})
        assert list(Ranking.objects.filter(retraction=None)) == [old] and new.pk != old.pk

    @pytest.mark.parametrize("values", [{}, {"reason": "  "}, {"reason": "No", "since": "soon"}])
    def test_what_is_not_filled_in_is_said(
        self, client: Client, project: Project, manager: User, contractor: User, values: dict[str, str]
    ) -> None:
        factories.make_ranking(contractor, project, [[0], [1]])
        client.force_login(manager)
        refused = client.post(f"/p/alpha/people/{contractor.pk}/retract/", {**values, "confirmed": "1"})
        assert refused.status_code == 400 and 'class="error"' in refused.content.decode()
        assert not Retraction.objects.exists()

    def test_a_second_confirmation_finds_nothing(
        self, client: Client, project: Project, manager: User, contractor: User
    ) -> None:
        factories.make_ranking(contractor, project, [[0], [1]])
        client.force_login(manager)
        for _ in range(2):
            client.post(f"/p/alpha/people/{contractor.pk}/retract/", {"reason": "No", "confirmed": "1"})
        assert Retraction.objects.count() == 1


class TestOnesOwnNumbers:
    def test_only_ones_own_and_only_what_stands(
        self, client: Client, project: Project, manager: User, contractor: User, second: User
    ) -> None:
        factories.make_batch(project, items=2, answers=2, slots=2)
        for user, times in ((contractor, 2), (second, 1)):
            for _ in range(times):
                rank(user, project, [[0], [1]])
        Ranking.objects.filter(pk=Ranking.objects.filter(author=contractor).earliest("id").pk).update(
            created_at=timezone.now() - timedelta(days=40), active_seconds=90
        )
        found = see(client, contractor, "/p/alpha/me/")
        assert found.context["rows"][0] == {"name": "Rankings", "today": 1, "week": 1, "all": 2, "seconds": 60}
        accepted = {"name": "Accepted", "today": 1, "week": 1, "all": 2}
        assert found.context["counts"][1] == accepted and found.context["seconds"]["all"] == 120
        assert found.context["rows"][1]["all"] == 0 and "second" not in found.content.decode().split("<main")[1]
        from labeling import retraction

        retraction.retract(project=project, author=contractor, since=None, reason="No", ask_again=False, actor=manager)
        after = see(client, contractor, "/p/alpha/me/").context
        assert after["rows"][0]["all"] == 0
        assert [row["all"] for row in after["counts"]] == [2, 0, 2]  # submitted, accepted, taken back

    @pytest.mark.parametrize(("items", "shown"), [(3, None), (4, 100)])  # six comparisons an item: 18, and 24
    def test_agreement_is_shown_from_twenty_comparisons_on(
        self, client: Client, project: Project, contractor: User, second: User, items: int, shown: float | None
    ) -> None:
        factories.make_batch(project, items=items, answers=4, slots=2)
        for user in (contractor, second):
            for _ in range(items):
                rank(user, project, [[0], [1], [2], [3]])
        measure(project)
        agreement = see(client, contractor, "/p/alpha/me/").context["agreement"]
        assert (agreement and agreement["value"]) == shown

    def test_outsiders_find_nothing(self, client: Client, project: Project, outsider: User) -> None:
        assert see(client, outsider, "/p/alpha/me/").status_code == 404


class TestTheMembersNumbers:
    def test_as_csv(self, client: Client, project: Project, manager: User, contractor: User) -> None:
        contractor.display_name = "=HYPERLINK(1)"
        contractor.save()
        factories.make_ranking(contractor, project, [[0], [1]])
        answer = see(client, manager, "/p/alpha/members.csv")
        assert answer["Content-Type"].startswith("text/csv")
        rows = {row["user_name"]: row for row in csv.DictReader(io.StringIO(answer.content.decode()))}
        row = rows["contractor"]
        assert (row["rankings_today"], row["rankings_all"], row["demonstrations_all"]) == ("1", "1", "0")
        assert row["name"] == "'=HYPERLINK(1)" and row["annotator"] == f"a{contractor.pk}" and row["active"] == "1"

    @pytest.mark.parametrize("who", ["reviewer", "contractor"])
    def test_managers_alone(self, request: pytest.FixtureRequest, client: Client, project: Project, who: str) -> None:
        assert see(client, request.getfixturevalue(who), "/p/alpha/members.csv").status_code == 403

    def test_the_same_queries_for_more_members(self, project: Project) -> None:
        def queries() -> int:
            users = [factories.make_member(project) for _ in range(3)]
            with CaptureQueriesContext(connection) as caught:
                people.statistics(project, users)
            return len(caught)

        assert queries() == queries()
