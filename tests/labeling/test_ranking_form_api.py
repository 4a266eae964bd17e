"""A project's ranking form from hand-out to export: what the page is told, what is refused, what a row holds."""

import json
import uuid
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from hone.accounts.models import Project, User
from labeling import assignment, ranking_forms
from labeling.models import Comparison, Draft, Ranking, Slot
from tests import factories

pytestmark = pytest.mark.django_db
FORM = {
    "scales": [{"key": "quality", "label": "Quality", "low": 1, "high": 7}],
    "flags": [{"key": "unsafe", "label": "Unsafe"}],
    "strength": True,
    "reason": "optional",
}
ASKED = ranking_forms.parse(FORM)


@pytest.fixture
def asked(project: Project, manager: User) -> Project:
    ranking_forms.change(project=project, form=FORM, actor=manager)
    return project


def take(api: APIClient, user: User, answers: int = 2) -> dict[str, Any]:
    factories.make_batch(Project.objects.get(slug="alpha"), answers=answers)
    api.force_authenticate(user)
    return api.post("/api/v1/projects/alpha/work/rank/next/").json()


def submit(api: APIClient, work: dict[str, Any], **answer: Any) -> Any:
    body = {"lease_token": work["lease_token"], "item_key": work["item_key"], "client_key": str(uuid.uuid4()), **answer}
    return api.post(f"/api/v1/work/{work['slot']}/submit/", body, format="json")


def good(**change: Any) -> dict[str, Any]:
    return {
        "tiers": [["B"], ["A"]],
        "ratings": {"A": {"quality": 2}, "B": {"quality": 6}},
        "flags": {"A": ["unsafe"]},
        "strength": 3,
        "reason": "A lies",
        **change,
    }


def test_the_label_keeps_what_was_given_and_the_form(api: APIClient, asked: Project, contractor: User) -> None:
    work = take(api, contractor)
    assert work["form"] == ASKED and work["by_strength"] is True
    assert submit(api, work, **good()).status_code == 201
    ranking, slot = Ranking.objects.get(), Slot.objects.get()
    a, b = (str(index) for index in slot.order_shown or [])
    assert ranking.tiers == [[int(b)], [int(a)]]
    assert ranking.ratings == {a: {"quality": 2}, b: {"quality": 6}} and ranking.flags == {a: ["unsafe"]}
    assert (ranking.strength, ranking.reason, ranking.form) == (3, "A lies", ASKED)


@pytest.mark.parametrize(
    ("change", "field", "sentence"),
    [
        ({"ratings": {"A": {"quality": 2}}}, "ratings", "Quality of B is missing."),
        (
            {"ratings": {"A": {"quality": 2}, "B": {"quality": 8}}},
            "ratings",
            "Quality of B must be a whole number from 1 to 7.",
        ),
        ({"ratings": "x"}, "ratings", 'Expected a dictionary of items but got type "str".'),
        ({"flags": {"A": ["x"]}}, "flags", "There is no flag x."),
        ({"strength": None}, "strength", "Say how much better the better answer is."),
        ({"strength": 9}, "strength", "The strength must be a whole number from 1 to 4."),
        ({"tiers": [["A", "B"]]}, "strength", "A tie has no strength."),
        ({"reason": "x" * 2001}, "reason", "The reason may have at most 2000 characters."),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(
    api: APIClient, asked: Project, contractor: User, change: dict[str, Any], field: str, sentence: str
) -> None:
    work = take(api, contractor)
    answer = submit(api, work, **good(**change))
    assert answer.status_code == 400 and answer.json() == {"errors": {field: [sentence]}}
    assert not Ranking.objects.exists() and not Comparison.objects.exists()
    assert Slot.objects.get().state == "leased"


def test_a_held_item_keeps_its_form_and_the_next_one_has_the_new(
    api: APIClient, asked: Project, contractor: User, manager: User
) -> None:
    work = take(api, contractor)
    ranking_forms.change(project=asked, form={"reason": "required"}, actor=manager)
    assert api.post("/api/v1/projects/alpha/work/rank/next/").json()["form"] == ASKED
    assert submit(api, work, **good()).status_code == 201
    following = take(api, contractor)
    assert following["form"] == ranking_forms.of(asked) and following["by_strength"] is False
    answer = submit(api, following, tiers=[["A"], ["B"]])
    assert answer.json() == {"errors": {"reason": ["The reason is missing."]}}
    assert Ranking.objects.get().form == ASKED


def test_a_freed_slot_forgets_the_form(asked: Project, contractor: User) -> None:
    factories.make_batch(asked)
    slot = assignment.next_slot(project=asked, user=contractor, kind="rank")
    assert slot is not None and slot.ranking_form == ASKED
    assignment.release(slot)
    assert Slot.objects.get().ranking_form is None


def test_a_plain_project_is_told_of_no_form(api: APIClient, project: Project, contractor: User) -> None:
    work = take(api, contractor)
    assert work["form"] is None and work["by_strength"] is False
    assert submit(api, work, tiers=[["A"], ["B"]]).status_code == 201
    assert Ranking.objects.get().form is None


def test_a_refused_lease_keeps_all_of_it_as_the_draft(api: APIClient, asked: Project, contractor: User) -> None:
    work = take(api, contractor)
    slot = Slot.objects.get()
    assignment.release(slot)
    assert submit(api, work, **good()).status_code == 409
    kept = Draft.objects.get().content
    assert {key: kept[key] for key in good()} == good()


def lines(api: APIClient, manager: User) -> list[dict[str, Any]]:
    api.force_authenticate(manager)
    answer = api.get("/api/v1/projects/alpha/comparisons/export/")
    return [json.loads(line) for line in b"".join(answer.streaming_content).decode().splitlines()]


JUDGED = {"strength", "reason", "chosen_ratings", "rejected_ratings", "chosen_flags", "rejected_flags"}


def test_the_export_names_ratings_flags_strength_and_reason(
    api: APIClient, asked: Project, contractor: User, manager: User
) -> None:
    submit(api, take(api, contractor), **good())
    [row] = lines(api, manager)
    assert {key: row[key] for key in JUDGED} == {
        "strength": 3,
        "reason": "A lies",
        "chosen_ratings": '{"quality": 6}',
        "rejected_ratings": '{"quality": 2}',
        "chosen_flags": "",
        "rejected_flags": "unsafe",
    }


def test_an_export_without_a_form_has_the_same_columns_of_the_same_types(
    api: APIClient, project: Project, contractor: User, manager: User
) -> None:
    factories.make_ranking(contractor, project, [[0], [1]])
    [row] = lines(api, manager)
    assert {key: row[key] for key in JUDGED} == {
        "strength": 0,
        "reason": "",
        "chosen_ratings": "{}",
        "rejected_ratings": "{}",
        "chosen_flags": "",
        "rejected_flags": "",
    }
    assert row["guideline_version"] == 0 and None not in row.values()


def test_an_optional_scale_left_out_is_null_in_the_export(
    api: APIClient, project: Project, contractor: User, manager: User
) -> None:
    form = {"scales": [{**FORM["scales"][0], "optional": True}]}  # type: ignore[index, dict-item]
    ranking_forms.change(project=project, form=form, actor=manager)
    assert submit(api, take(api, contractor), tiers=[["A"], ["B"]], ratings={"A": {"quality": 3}}).status_code == 201
    [row] = lines(api, manager)
    assert json.loads(row["chosen_ratings"]) == {"quality": 3}
    assert json.loads(row["rejected_ratings"]) == {"quality": None}


def test_the_persons_page_shows_all_that_was_given(
    api: APIClient, client: Client, asked: Project, contractor: User, reviewer: User
) -> None:
    submit(api, take(api, contractor), **good())
    client.force_login(reviewer)
    page = client.get(f"/p/alpha/people/{contractor.pk}/")
    [label] = page.context["labels"]
    best, worst = label["answers"]
    assert [rating["value"] for rating in best["ratings"] + worst["ratings"]] == [6, 2]
    text = page.content.decode()
    high, flag = ASKED["scales"][0]["high"], ASKED["flags"][0]["label"]  # type: ignore[index]
    assert f": 6 of {high}</span>" in text and f": 2 of {high}</span>" in text
    assert best["flags"] == [] and worst["flags"] == [flag] and f">{flag}</span>" in text
    assert f"{best['letter']} is clearly better" in text and "Reason: A lies" in text
