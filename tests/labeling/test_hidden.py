"""Hidden checks: when they are handed out, to whom never, that nothing tells them apart, where they never appear."""

import json
import random
import uuid
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.test import APIClient

from hone import prepared
from hone.accounts.models import Project, User
from labeling import assignment, hidden, people, queries, responses, retraction, statements_hidden, waiting
from labeling.models import Comparison, Demonstration, GoldItem, HiddenChecks, Item, Prompt, Ranking, Slot
from tests import factories
from training import estimates, snapshots
from training.records import RankingRow, read_parquet

pytestmark = pytest.mark.django_db


def rates(project: Project, *, gold: int = 0, repeat: int = 0, distance: int = 1) -> HiddenChecks:
    values = {"gold_percent": gold, "repeat_percent": repeat, "repeat_distance": distance}
    return HiddenChecks.objects.update_or_create(project=project, defaults=values)[0]


def always(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """The draw says `kind` at each hand-out: below a rate of 20 or 30 percent, or above all rates."""
    place = {"gold": 0.0, "repeat": 0.1, "": 0.9}[kind]
    monkeypatch.setattr(random.Random, "random", lambda self: place)


def make_gold(project: Project, manager: User, *, items: int = 1, answers: int = 3) -> list[GoldItem]:
    """Gold items in a batch of their own, without open slots."""
    batch = factories.make_batch(project, items=items, answers=answers)
    Slot.objects.filter(item__batch=batch).delete()
    return [
        hidden.set_gold(
            item=item, tiers=[[n] for n in range(answers)], unacceptable=[], source="manager", actor=manager
        )
        for item in Item.objects.filter(batch=batch)
    ]


def take(project: Project, user: User) -> Slot:
    slot = assignment.next_slot(project=project, user=user, kind="rank")
    assert slot is not None
    return slot


def submit(slot: Slot, user: User, order: list[list[int]] | None = None) -> Ranking:
    assert slot.lease_token is not None and slot.order_shown is not None
    answer = factories.rank_answer(slot, order or [[index] for index in slot.order_shown])
    done = responses.submit(
        slot_id=slot.pk, user=user, lease_token=slot.lease_token, client_key=uuid.uuid4(), answer=answer
    )
    assert isinstance(done.label, Ranking)
    return done.label


class TestHandingOut:
    def test_a_gold_item_comes_in_place_of_an_item_that_comes_next(
        self, project: Project, manager: User, contractor: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        [gold] = make_gold(project, manager)
        factories.make_batch(project, items=2, answers=3)
        rates(project, gold=30)
        always(monkeypatch, "")
        expected = take(project, contractor)
        assignment.release(expected)
        always(monkeypatch, "gold")
        slot = take(project, contractor)
        assert (slot.item_id, slot.hidden, slot.state) == (gold.item_id, "gold", "leased")
        assert take(project, contractor).pk == slot.pk  # reloaded
        made = submit(slot, contractor)
        assert made.hidden == "gold" and not Comparison.objects.exists()
        # The gold item is used up for this person, and what waited for them is next.
        assert take(project, contractor).pk == expected.pk

    def test_a_repeat_shows_an_earlier_item_in_another_order_and_once(
        self, project: Project, contractor: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        factories.make_batch(project, items=6, answers=4)
        rates(project, repeat=20, distance=2)
        always(monkeypatch, "")
        first = submit(take(project, contractor), contractor)
        always(monkeypatch, "repeat")
        second = take(project, contractor)
        assert second.hidden == ""  # one label since, two are wanted
        submit(second, contractor)
        submit(take(project, contractor), contractor)
        again = take(project, contractor)
        assert (again.hidden, again.item_id) == ("repeat", first.item_id)
        assert again.order_shown != first.order_shown and sorted(again.order_shown or []) == [0, 1, 2, 3]
        made = submit(again, contractor)
        assert made.hidden == "repeat" and made.comparisons.count() == 0
        after = take(project, contractor)
        assert (after.hidden, after.item_id == first.item_id) in {("repeat", False), ("", False)}

    def test_never_to_who_had_skipped_or_wrote_it(
        self, project: Project, manager: User, contractor: User, reviewer: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        had, skipped, wrote = make_gold(project, manager, items=3)
        factories.make_batch(project, items=2, answers=3)
        rates(project, gold=30)
        always(monkeypatch, "gold")
        Slot.objects.create(
            item=had.item, project=project, kind="rank", index=0, draw=0.1, state="submitted", holder=contractor,
            submitted_at=had.set_at,
        )  # fmt: skip
        skipped.item.skips.create(author=contractor, reason="unclear")
        prompt = wrote.item.prompt
        Demonstration.objects.create(project=project, author=contractor, prompt=prompt, messages=[], content_hash="x")
        assert take(project, contractor).hidden == ""
        # A reviewer, who did none of this, is handed one of the three.
        assert take(project, reviewer).item_id in {had.item_id, skipped.item_id, wrote.item_id}

    def test_gold_is_of_the_persons_languages_and_skills(
        self, project: Project, manager: User, contractor: User, reviewer: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        chinese, law, german = make_gold(project, manager, items=3)
        for gold, fields in (
            (chinese, {"language": "zh-CN"}),
            (law, {"skills": ["law"]}),
            (german, {"language": "de"}),
        ):
            Prompt.objects.filter(items=gold.item).update(**fields)
        factories.make_batch(project, items=2, answers=3)
        rates(project, gold=30)
        project.match_languages = True
        project.save()
        project.memberships.filter(user=contractor).update(languages=["en", "fr"])
        project.memberships.filter(user=reviewer).update(languages=["zh"])
        always(monkeypatch, "gold")
        assert take(project, contractor).hidden == ""
        assert take(project, reviewer).item_id == chinese.item_id
        # Without matching a language keeps nobody from it; a skill always does.
        project.match_languages = False
        project.save()
        for expected in ({chinese.item_id, german.item_id}, {chinese.item_id, german.item_id, law.item_id}):
            other = factories.make_member(project)
            skills = ["law"] if len(expected) == 3 else []
            project.memberships.filter(user=other).update(languages=["en"], skills=skills)
            asked = {"user": other.pk, "project": project.pk}
            offered = prepared.rows(statements_hidden.GOLD_FOR_PERSON, asked)
            assert {row["item_id"] for row in offered} == expected

    @pytest.mark.parametrize("why", ["lead", "identity"])
    def test_a_withdrawn_item_is_no_check(
        self, project: Project, manager: User, contractor: User, monkeypatch: pytest.MonkeyPatch, why: str
    ) -> None:
        [gold] = make_gold(project, manager)
        factories.make_batch(project, items=5, answers=3)
        rates(project, gold=30, repeat=20)
        always(monkeypatch, "")
        done = submit(take(project, contractor), contractor)
        submit(take(project, contractor), contractor)
        submit(take(project, contractor), contractor)
        by = manager if why == "lead" else None
        for item in (gold.item, done.item):
            Item.objects.filter(pk=item.pk).update(withdrawn=why, withdrawn_at=gold.set_at, withdrawn_by=by)
        always(monkeypatch, "gold")
        slot = take(project, contractor)
        assert slot.hidden == ""
        assignment.release(slot)
        rates(project, repeat=20, distance=2)
        always(monkeypatch, "repeat")
        assert take(project, contractor).hidden == ""

    def test_none_where_nothing_else_is_open_or_the_gold_is_retired(
        self, project: Project, manager: User, contractor: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        [gold] = make_gold(project, manager)
        rates(project, gold=30)
        always(monkeypatch, "gold")
        assert assignment.next_slot(project=project, user=contractor, kind="rank") is None
        hidden.retire_gold(gold=gold, actor=manager)
        factories.make_batch(project)
        assert take(project, contractor).hidden == ""

    @pytest.mark.slow
    def test_the_rates_are_kept_and_a_reload_draws_the_same(
        self, project: Project, manager: User, contractor: User, settings: Any
    ) -> None:
        settings.SECRET_KEY = "fixed"
        make_gold(project, manager, items=60, answers=2)
        factories.make_batch(project, items=200, answers=2)
        rates(project, gold=20, repeat=10, distance=5)
        kinds: list[str] = []
        for _ in range(160):
            slot = take(project, contractor)
            assert take(project, contractor).pk == slot.pk
            kinds.append(slot.hidden)
            submit(slot, contractor)
        # Binomial: 32 +- 3 standard deviations of 5, and 16 +- 3 of 3.8.
        assert 17 <= kinds.count("gold") <= 47 and 5 <= kinds.count("repeat") <= 27
        assert Slot.objects.filter(hidden="repeat").values("item").distinct().count() == kinds.count("repeat")

    def test_a_lease_that_ran_out_stays_the_holders(
        self, project: Project, manager: User, contractor: User, reviewer: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_gold(project, manager)
        factories.make_batch(project, answers=3)
        rates(project, gold=30)
        always(monkeypatch, "gold")
        slot = take(project, contractor)
        Slot.objects.filter(pk=slot.pk).update(lease_expires_at=slot.leased_at)
        assert assignment.free_expired() == 0
        always(monkeypatch, "")
        assert take(project, reviewer).pk != slot.pk
        again = take(project, contractor)
        assert again.pk == slot.pk and again.lease_token != slot.lease_token and again.order_shown == slot.order_shown

    def test_passed_on_it_is_nobodys_and_late_requests_are_answered_as_ever(
        self, api: APIClient, project: Project, manager: User, contractor: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_gold(project, manager)
        factories.make_batch(project, items=2, answers=3)
        rates(project, gold=30)
        api.force_authenticate(contractor)
        answers = []
        for kind in ("gold", ""):
            always(monkeypatch, kind)
            slot = take(project, contractor)
            assert slot.hidden == kind
            body = {"lease_token": str(slot.lease_token), "reason": "unclear", "note": ""}
            path = f"/api/v1/work/{slot.pk}"
            tiers = [[letter] for letter in "ABC"]
            sent = {"lease_token": str(slot.lease_token), "client_key": str(uuid.uuid4()), "tiers": tiers}
            answers.append(
                [
                    api.post(f"{path}/skip/", body, format="json").status_code,
                    api.post(f"{path}/skip/", body, format="json").json(),
                    api.post(f"{path}/renew/", {"lease_token": str(slot.lease_token)}, format="json").json(),
                    api.put(f"{path}/draft/", {"content": {"tiers": tiers}}, format="json").status_code,
                    api.post(f"{path}/submit/", sent, format="json").json(),
                ]
            )
            Slot.objects.filter(pk=slot.pk, hidden="").delete()
        assert answers[0] == answers[1] and answers[0][0] == 200
        assert Slot.objects.get(hidden="gold").state == "withdrawn" and not Ranking.objects.exists()

    def test_a_project_without_rates_pays_no_statement(self, project: Project, contractor: User) -> None:
        def statements() -> int:
            with CaptureQueriesContext(connection) as caught:
                slot = take(project, contractor)
            assignment.release(slot)
            return len(caught)

        factories.make_batch(project, items=2)
        without = statements()
        rates(project)
        assert statements() == without


class TestRows:
    def test_an_ordinary_slot_twice_is_refused_and_a_check_of_each_kind_is_not(
        self, project: Project, contractor: User
    ) -> None:
        factories.make_batch(project, slots=2)
        one = take(project, contractor)
        values = {"item": one.item, "project": project, "kind": "rank", "draw": 0.5, "holder": contractor}
        values |= {"state": "submitted", "submitted_at": one.leased_at}
        for kind in ("gold", "repeat"):
            Slot.objects.create(**values, index=0, hidden=kind)
            with pytest.raises(IntegrityError, match="slot_holder_once"), transaction.atomic():
                Slot.objects.create(**values, index=0, hidden=kind)
        with pytest.raises(IntegrityError, match="slot_holder_once"), transaction.atomic():
            Slot.objects.create(**values, index=5)
        with pytest.raises(IntegrityError, match="slot_index_once"), transaction.atomic():
            Slot.objects.create(**{**values, "holder": factories.make_user()}, index=one.index)

    def test_a_check_is_never_open(self, project: Project) -> None:
        factories.make_batch(project)
        with pytest.raises(IntegrityError, match="slot_hidden_is_somebodys"), transaction.atomic():
            Slot.objects.update(hidden="gold", state="open")

    @given(order=st.permutations(range(6)).map(list), seed=st.integers())
    def test_a_new_order_is_new_and_of_the_same_answers(self, order: list[int], seed: int) -> None:
        new = hidden.reordered(order, random.Random(seed))
        assert new != order and sorted(new) == sorted(order)

    def test_a_reference_that_ties_everything_is_refused(self, project: Project, manager: User) -> None:
        item = Item.objects.filter(batch=factories.make_batch(project, answers=2)).get()
        with pytest.raises(hidden.NotGold):
            hidden.set_gold(item=item, tiers=[[0, 1]], unacceptable=[], source="manager", actor=manager)
        assert not GoldItem.objects.exists()


class TestNothingTells:
    def test_page_and_payload_are_those_of_ordinary_work(
        self,
        client: Client,
        api: APIClient,
        project: Project,
        manager: User,
        contractor: User,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        make_gold(project, manager)
        factories.make_batch(project, items=3, answers=3)
        rates(project, gold=30, repeat=20)
        client.force_login(contractor)
        api.force_authenticate(contractor)
        seen = {}
        for kind in ("", "gold", "repeat"):
            if kind == "repeat":
                rates(project, gold=0, repeat=20)
            always(monkeypatch, kind)
            waiting_before = waiting.count(project=project, user=contractor, kind="rank")
            page = client.get("/p/alpha/rank/")
            slot = Slot.objects.get(state="leased", holder=contractor)
            assert slot.hidden == kind
            work = api.post("/api/v1/projects/alpha/work/rank/next/").json()
            assert page.context["open_count"] == waiting_before
            html = page.content.decode()
            assert "gold" not in html and "repeat" not in html.replace("repeatable", "") and "hidden_" not in html
            shape = {key: type(value).__name__ for key, value in work.items()}
            seen[kind] = (shape, sorted(work["answers"][0]), page.status_code, list(page.headers))
            assert isinstance(work["slot"], int) and work["slot"] == slot.pk
            submit(take(project, contractor), contractor)
        assert seen[""] == seen["gold"] == seen["repeat"]
        # The audit event of a submit is the staff's to read; the answer to it has the same keys.
        assert queries.done_today(project=project, user=contractor) == 3

    @pytest.mark.parametrize(
        ("who", "is_told"), [("manager", True), ("reviewer", True), ("contractor", False), ("lead", True)]
    )
    def test_no_count_of_labels_is_a_contractors(
        self,
        request: pytest.FixtureRequest,
        client: Client,
        api: APIClient,
        project: Project,
        contractor: User,
        who: str,
        is_told: bool,
    ) -> None:
        factories.make_batch(project, items=3, answers=3)
        submit(take(project, contractor), contractor)
        user = request.getfixturevalue(who)
        client.force_login(user)
        api.force_authenticate(user)
        counts = api.get("/api/v1/projects/alpha/").json()["counts"]
        assert counts["prompts"] == 3
        assert ({"rankings", "comparisons", "rank_open", "rank_total"} <= set(counts)) is is_told
        assert is_told or set(counts) == {"prompts"}
        page = client.get("/p/alpha/").content.decode()
        assert ("What there is" in page) is is_told and ("in the project are not done" in page) is is_told

    def test_a_repeat_keeps_its_draft_and_begins_without_one(
        self, api: APIClient, project: Project, contractor: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        factories.make_batch(project, items=4, answers=3)
        rates(project, repeat=20)
        always(monkeypatch, "")
        submit(take(project, contractor), contractor)
        submit(take(project, contractor), contractor)
        always(monkeypatch, "repeat")
        api.force_authenticate(contractor)
        work = api.post("/api/v1/projects/alpha/work/rank/next/").json()
        assert Slot.objects.get(pk=work["slot"]).hidden == "repeat" and work["draft"] is None
        content = {"tiers": [["B"]], "unacceptable": []}
        saved = api.put(f"/api/v1/work/{work['slot']}/draft/", {"content": content}, format="json")
        assert saved.status_code == 200
        assert api.post("/api/v1/projects/alpha/work/rank/next/").json()["draft"] == content
        first = Slot.objects.get(item=Slot.objects.get(pk=work["slot"]).item_id, hidden="")
        late = api.put(f"/api/v1/work/{first.pk}/draft/", {"content": content}, format="json")
        assert late.status_code == 400


def test_answers_to_checks_are_data_nowhere_and_work_done_for_their_author(
    api: APIClient, project: Project, manager: User, contractor: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    from labeling.quality import report

    [gold] = make_gold(project, manager)
    batch = factories.make_batch(project, items=3, answers=3)
    rates(project, gold=30)
    always(monkeypatch, "")
    kept = submit(take(project, contractor), contractor)

    def seen() -> dict[str, Any]:
        api.force_authenticate(manager)
        answer = api.get("/api/v1/projects/alpha/comparisons/export/")
        frozen = snapshots.freeze_rankings(project=project, include_simulated=True, heldout_percent=0)
        body = report.body(project=project, include_simulated=True)
        return {
            "counts": queries.counts(project),
            "progress": queries.batch_progress(batch.pk),
            "gold's own": queries.batch_progress(gold.item.batch_id),
            "export": {json.loads(line)["ranking_id"] for line in b"".join(answer.streaming_content).splitlines()},
            "frozen": [row.id for row in read_parquet(frozen.path, row_type=RankingRow)],
            "manifest": frozen.manifest["label_ids"],
            "report": {key: value for key, value in body.items() if key not in {"checks", "habits"}},
            "habits": [row["rankings"] for row in body["habits"]],
            "estimate": estimates._data(project, {}, 3),
            "retract": retraction.effect(project=project, author=contractor, since=None),
            "votes": Comparison.objects.count(),
        }

    before = seen()
    assert before["export"] == {kept.pk} and before["counts"]["rankings"] == 1
    always(monkeypatch, "gold")
    checked = submit(take(project, contractor), contractor)
    assert checked.hidden == "gold" and seen() == before
    assert people.statistics(project, [contractor])[contractor.pk]["rank"]["all"] == 2
    assert queries.done_today(project=project, user=contractor) == 2
    made = retraction.retract(
        project=project, author=contractor, since=None, reason="No", ask_again=True, actor=manager
    )
    checked.refresh_from_db()
    assert (made.rankings, made.slots_opened, checked.retraction) == (1, 1, None)
    assert not Slot.objects.filter(item=gold.item, state="open").exists()
