"""Ranking forms: what is accepted, what is said otherwise, and what a person's answer to one may hold."""

from typing import Any

import pytest

from hone.accounts.models import Project, User
from hone.audit.models import Event
from labeling import ranking_forms
from labeling.models import RankingForm
from labeling.ranking_answers import AnswerError, given
from labeling.ranking_forms import FormError, parse, plain

SCALE = {"key": "quality", "label": "Quality", "low": 1, "high": 7}
FLAG = {"key": "unsafe", "label": "Unsafe"}


@pytest.mark.parametrize(("name", "_title", "form"), ranking_forms.presets(), ids=lambda value: str(value)[:12])
def test_presets_are_valid_and_complete(name: str, _title: str, form: dict[str, Any]) -> None:
    assert parse(form) == form


def test_instructgpt_asks_for_a_likert_and_eleven_flags() -> None:
    form = {name: form for name, _title, form in ranking_forms.presets()}["instructgpt"]
    assert [(s["low"], s["high"], s["optional"]) for s in form["scales"]] == [(1, 7, False)]
    assert len({flag["key"] for flag in form["flags"]}) == 11 and all(flag["help"] for flag in form["flags"])
    assert form["ties"] and not form["strength"]


def test_llama2_asks_for_a_strength_without_ties() -> None:
    form = {name: form for name, _title, form in ranking_forms.presets()}["llama2"]
    assert form["strength"] and not form["ties"] and [flag["key"] for flag in form["flags"]] == ["unsafe"]


def test_what_is_left_out_gets_its_default_and_white_space_closes_up() -> None:
    form = parse({"scales": [{**SCALE, "label": "  Over\tall "}]})
    assert form == {
        **plain(),
        "scales": [
            {**SCALE, "label": "Over all", "low_label": "", "high_label": "", "optional": False},
        ],
    }


@pytest.mark.parametrize(
    ("change", "part", "row", "field", "words"),
    [
        ({"colour": 1}, "form", None, "", "no part colour"),
        ({"scales": "quality"}, "scales", None, "", "must be a list"),
        ({"scales": [7]}, "scales", 0, "", "must be an object"),
        ({"scales": [{**SCALE, "weight": 2}]}, "scales", 0, "", "no field weight"),
        ({"scales": [{**SCALE, "low": 7}]}, "scales", 0, "high", "above the lowest"),
        ({"scales": [{**SCALE, "low": True}]}, "scales", 0, "low", "whole number from 0 to 9"),
        ({"scales": [{**SCALE, "high": 10}]}, "scales", 0, "high", "whole number from 0 to 9"),
        ({"scales": [{**SCALE, "high": 6.5}]}, "scales", 0, "high", "whole number from 0 to 9"),
        ({"scales": [{**SCALE, "high": float("nan")}]}, "scales", 0, "high", "whole number from 0 to 9"),
        ({"scales": [{**SCALE, "low": 0, "high": 9}]}, "scales", 0, "high", "at most 9 steps"),
        ({"scales": [{**SCALE, "label": " "}]}, "scales", 0, "label", "needs a name"),
        ({"scales": [{**SCALE, "label": "x" * 61}]}, "scales", 0, "label", "At most 60"),
        ({"scales": [{**SCALE, "label": 3}]}, "scales", 0, "label", "must be a text"),
        ({"scales": [{**SCALE, "low_label": "x" * 41}]}, "scales", 0, "low_label", "At most 40"),
        ({"scales": [{**SCALE, "key": "Quality"}]}, "scales", 0, "key", "small letters"),
        ({"scales": [{**SCALE, "key": "1"}]}, "scales", 0, "key", "small letters"),
        ({"scales": [{**SCALE, "key": "quality\n"}]}, "scales", 0, "key", "small letters"),
        ({"scales": [{**SCALE, "optional": "yes"}]}, "scales", 0, "optional", "true or false"),
        ({"scales": [SCALE, {**SCALE, "label": "Other"}]}, "scales", 1, "key", "has this name in the data"),
        ({"scales": [SCALE, {**SCALE, "key": "q", "label": "QUALITY"}]}, "scales", 1, "label", "has this name"),
        ({"scales": [{**SCALE, "key": f"k{n}", "label": f"L{n}"} for n in range(7)]}, "scales", None, "", "At most 6"),
        ({"flags": [{**FLAG, "key": f"k{n}", "label": f"L{n}"} for n in range(25)]}, "flags", None, "", "At most 24"),
        ({"flags": [{**FLAG, "help": "x" * 201}]}, "flags", 0, "help", "At most 200"),
        ({"flags": [{**FLAG, "low": 1}]}, "flags", 0, "", "no field low"),
        ({"strength": 1}, "strength", None, "", "true or false"),
        ({"ties": None}, "ties", None, "", "true or false"),
        ({"reason": "maybe"}, "reason", None, "", "off, optional or required"),
        ({"reason": ["off"]}, "reason", None, "", "off, optional or required"),
    ],
)
def test_each_fault_is_named_at_its_place(
    change: dict[str, Any], part: str, row: int | None, field: str, words: str
) -> None:
    with pytest.raises(FormError) as error:
        parse({"scales": [SCALE], "flags": [FLAG], **change})
    [fault] = error.value.faults
    assert (fault.part, fault.row, fault.field) == (part, row, field) and words in fault.sentence


@pytest.mark.parametrize("value", [None, [], "form", 3])
def test_a_form_that_is_no_object_is_refused(value: Any) -> None:
    with pytest.raises(FormError, match="must be an object"):
        parse(value)


def test_all_faults_come_at_once() -> None:
    with pytest.raises(FormError) as error:
        parse({"scales": [{**SCALE, "key": "", "label": ""}], "flags": [{**FLAG, "key": "-"}]})
    assert [(fault.part, fault.field) for fault in error.value.faults] == [
        ("scales", "label"),
        ("scales", "key"),
        ("flags", "key"),
    ]


@pytest.mark.parametrize(
    ("label", "taken", "key"),
    [
        ("Overall quality", set(), "overall_quality"),
        ("Overall quality", {"overall_quality"}, "overall_quality_2"),
        ("3 stars", set(), "key_3_stars"),
        ("质量", set(), "key"),
        ("x" * 90, set(), "x" * 36),
    ],
)
def test_a_key_is_made_from_the_name(label: str, taken: set[str], key: str) -> None:
    assert ranking_forms.key_from(label, taken) == key
    parse({"flags": [{"key": key, "label": label[:60]}]})


@pytest.mark.django_db
def test_a_change_is_kept_and_audited_once(project: Project, manager: User) -> None:
    assert ranking_forms.of(project) is None
    ranking_forms.change(project=project, form={"flags": [FLAG]}, actor=manager)
    ranking_forms.change(project=project, form={"flags": [FLAG]}, actor=manager)
    form = ranking_forms.of(project)
    assert form is not None and form["flags"] == [{**FLAG, "help": ""}]
    event = Event.objects.get(verb="ranking_form.changed")
    assert event.actor == manager and event.detail == {"before": plain(), "after": form}
    ranking_forms.change(project=project, form=plain(), actor=manager)
    assert ranking_forms.of(project) is None and RankingForm.objects.count() == 1


@pytest.mark.django_db
def test_a_faulty_form_changes_nothing(project: Project, manager: User) -> None:
    with pytest.raises(FormError):
        ranking_forms.change(project=project, form={"flags": [{"label": "x"}]}, actor=manager)
    assert not RankingForm.objects.exists() and not Event.objects.filter(verb="ranking_form.changed").exists()


FULL = parse(
    {
        "scales": [SCALE, {**SCALE, "key": "tone", "label": "Tone", "low": 0, "high": 4, "optional": True}],
        "flags": [FLAG, {"key": "opinion", "label": "Opinion"}],
        "strength": True,
        "reason": "required",
    }
)
GOOD: dict[str, Any] = {
    "ratings": {"A": {"quality": 7, "tone": 0}, "B": {"quality": 1}},
    "flags": {"A": ["opinion", "unsafe"], "B": []},
    "strength": 4,
    "reason": " because ",
}


def answer_to(form: dict[str, Any] | None, **answer: Any) -> dict[str, Any]:
    """A over B, shown the other way round: A is completion 1."""
    values = {
        "tiers": [[1], [0]],
        "unacceptable": [],
        **{k: answer.pop(k) for k in ("tiers", "unacceptable") if k in answer},
    }
    return given(form=form, index_of={"A": 1, "B": 0}, answer=answer, **values)


def test_an_answer_is_kept_by_completion_index_in_the_forms_order() -> None:
    assert answer_to(FULL, **GOOD) == {
        "ratings": {"1": {"quality": 7, "tone": 0}, "0": {"quality": 1}},
        "flags": {"1": ["unsafe", "opinion"]},
        "strength": 4,
        "reason": "because",
        "form": FULL,
    }


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"ratings": None}, "ratings", "Quality of A is missing"),
        ({"ratings": {"A": {"quality": 3}}}, "ratings", "Quality of B is missing"),
        (
            {"ratings": {"A": {"quality": 8}, "B": {"quality": 1}}},
            "ratings",
            "Quality of A must be a whole number from 1 to 7",
        ),
        ({"ratings": {"A": {"quality": 0}, "B": {"quality": 1}}}, "ratings", "from 1 to 7"),
        ({"ratings": {"A": {"quality": True}, "B": {"quality": 1}}}, "ratings", "from 1 to 7"),
        ({"ratings": {"A": {"quality": "7"}, "B": {"quality": 1}}}, "ratings", "from 1 to 7"),
        ({"ratings": {"A": {"quality": 7.0}, "B": {"quality": 1}}}, "ratings", "from 1 to 7"),
        ({"ratings": {"A": {"quality": 7, "tone": 5}, "B": {"quality": 1}}}, "ratings", "Tone of A must be"),
        ({"ratings": {"A": {"quality": 7, "taste": 5}, "B": {"quality": 1}}}, "ratings", "no scale taste"),
        ({"ratings": {"A": [7], "B": {"quality": 1}}}, "ratings", "ratings of A must be an object"),
        ({"ratings": [7, 1]}, "ratings", "an object with a letter"),
        ({"ratings": {**GOOD["ratings"], "C": {"quality": 1}}}, "ratings", "no answer C"),
        ({"flags": {"A": ["sexual"]}}, "flags", "no flag sexual"),
        ({"flags": {"A": [["unsafe"]]}}, "flags", "no flag"),
        ({"flags": {"A": "unsafe"}}, "flags", "flags of A must be a list"),
        ({"flags": {"a": ["unsafe"]}}, "flags", "no answer a"),
        ({"flags": ["unsafe"]}, "flags", "an object with a letter"),
        ({"strength": None}, "strength", "how much better"),
        ({"strength": 0}, "strength", "from 1 to 4"),
        ({"strength": 5}, "strength", "from 1 to 4"),
        ({"strength": True}, "strength", "from 1 to 4"),
        ({"strength": "2"}, "strength", "from 1 to 4"),
        ({"tiers": [[0, 1]]}, "strength", "A tie has no strength"),
        ({"tiers": [], "unacceptable": [0, 1]}, "strength", "A tie has no strength"),
        ({"reason": "  "}, "reason", "The reason is missing"),
        ({"reason": None}, "reason", "The reason is missing"),
        ({"reason": ["x"]}, "reason", "must be a text"),
        ({"reason": "x" * 2001}, "reason", "at most 2000"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused_at_its_field(change: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(AnswerError) as error:
        answer_to(FULL, **{**GOOD, **change})
    assert error.value.field == field and words in str(error.value)


def test_one_answer_below_the_line_still_takes_a_strength() -> None:
    assert answer_to(FULL, **GOOD, tiers=[[1]], unacceptable=[0])["strength"] == 4


def test_a_tie_needs_no_strength_unless_the_project_takes_no_ties() -> None:
    assert answer_to(parse({"strength": True}), tiers=[[0, 1]])["strength"] is None
    with pytest.raises(AnswerError, match="takes no ties: part A, B"):
        answer_to(parse({"ties": False}), tiers=[[0, 1]])


def test_a_strength_is_for_two_answers() -> None:
    three = {"form": parse({"strength": True}), "index_of": {"A": 0, "B": 1, "C": 2}, "unacceptable": []}
    assert given(**three, tiers=[[0], [1], [2]], answer={})["strength"] is None
    with pytest.raises(AnswerError, match="two answers only"):
        given(**three, tiers=[[0], [1], [2]], answer={"strength": 2})


@pytest.mark.parametrize(
    ("extra", "field"),
    [
        ({"ratings": {"A": {"quality": 1}}}, "ratings"),
        ({"flags": {"A": ["unsafe"]}}, "flags"),
        ({"strength": 1}, "strength"),
        ({"reason": "because"}, "reason"),
    ],
)
def test_without_a_form_only_an_order_is_taken(extra: dict[str, Any], field: str) -> None:
    nothing = {"ratings": {}, "flags": {}, "strength": None, "reason": "", "form": None}
    assert answer_to(None) == nothing and answer_to(None, ratings={}, flags={}, strength=None, reason="") == nothing
    with pytest.raises(AnswerError) as error:
        answer_to(None, **extra)
    assert error.value.field == field
