"""A scripted contractor's rule, and that the site takes its answer to every ranking form."""

import uuid

import pytest

from hone.accounts.models import Project, User
from labeling import assignment, ranking_forms, responses
from labeling.models import Ranking
from labeling.work import payload
from tests import factories
from training.demo import judging

SCORES = {"A": 0.5, "B": 2.5, "C": 2.48, "D": -3.0}
SCALE = {
    "key": "overall",
    "label": "Overall",
    "low": 1,
    "high": 7,
    "low_label": "",
    "high_label": "",
    "optional": False,
}
FORM = {"scales": [SCALE], "flags": [], "strength": False, "ties": False, "reason": "required"}


def test_close_scores_are_a_tie_and_low_ones_unacceptable() -> None:
    assert judging.judged(scores=SCORES, form=None) == {"tiers": [["B", "C"], ["A"]], "unacceptable": ["D"]}


def test_a_form_without_ties_gets_none() -> None:
    assert judging.judged(scores=SCORES, form=FORM)["tiers"] == [["B"], ["C"], ["A"]]


def test_a_rating_follows_the_score_to_the_ends_of_the_scale() -> None:
    """-1 is the lowest value and 3 the highest: 0.5 lies at 3/8 of 1 to 7, 3.25, and is rounded."""
    ratings = judging.judged(scores=SCORES, form=FORM)["ratings"]
    assert {letter: values["overall"] for letter, values in ratings.items()} == {"A": 3, "B": 6, "C": 6, "D": 1}


@pytest.mark.parametrize(("difference", "strength"), [(0.1, 1), (0.5, 2), (1.0, 3), (2.0, 4)])
def test_a_larger_difference_is_a_stronger_preference(difference: float, strength: int) -> None:
    body = judging.judged(scores={"A": 1.0, "B": 1.0 + difference}, form={**FORM, "strength": True})
    assert body["strength"] == strength


def test_a_tie_has_no_strength() -> None:
    form = {**FORM, "strength": True, "ties": True}
    assert "strength" not in judging.judged(scores={"A": 1.0, "B": 1.01}, form=form)


@pytest.mark.parametrize("preset", ["plain", "instructgpt", "llama2"])
@pytest.mark.parametrize("answers", [2, 4])
def test_the_site_takes_the_answer_to_every_preset(
    project: Project, contractor: User, manager: User, preset: str, answers: int
) -> None:
    form = {**{name: form for name, _title, form in ranking_forms.presets()}[preset], "reason": "required"}
    ranking_forms.change(project=project, form=form, actor=manager)
    factories.make_batch(project, answers=answers)
    slot = assignment.next_slot(project=project, user=contractor, kind="rank")
    assert slot is not None and slot.lease_token is not None
    work = payload(slot=slot, user=contractor)
    scores = {answer["letter"]: float(n) for n, answer in enumerate(work["answers"])}
    body = judging.judged(scores=scores, form=work["form"])
    responses.submit(
        slot_id=slot.pk, user=contractor, lease_token=slot.lease_token, client_key=uuid.uuid4(), answer=body
    )
    ranking = Ranking.objects.get()
    assert ranking.reason.startswith("The rule's scores: A 0.00")
    assert len(ranking.ratings) == (answers if form["scales"] else 0)
