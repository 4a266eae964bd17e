"""English words that mean several things have, on each Chinese page, the word of their place."""

from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils import translation

from hone.accounts.models import Invitation, Project, User
from hone.lists import in_a_row, listed
from labeling import pay
from tests import sitemap
from training.models import Run
from training.trainers.config import fields_of

pytestmark = pytest.mark.django_db

NEAR = {
    "/me/": ['<th scope="col" class="num">未付</th>', 'data-label="未付"'],
    "/p/alpha/me/": ['<span class="tile-label">未付</span>'],
    "/p/alpha/invitations/": ["有效期至 <time", '<th scope="col">创建时间</th>', "撤销</button>"],
    "/console/runs/{run}/": ["<dt>排队时间</dt>", ">排队中</span>"],
    "/console/checkpoints/": ['<th scope="col">评估结果</th>', '大小</th><th scope="col">创建时间</th>'],
    "/console/checkpoints/{checkpoint}/": ["<h2>评估结果</h2>"],
    "/p/alpha/settings/qualification/": [">选项</span>", ">选项 1</label>", ">回复 1</label>"],
}


@pytest.fixture
def places(
    project: Project, contractor: User, reviewer: User, lead: User, woken: list[int], settings: Any
) -> dict[str, Any]:
    rows = sitemap.filled(project, contractor, reviewer, lead)
    pay.bonus(project=project, user=contractor, amount=Decimal(1), currency="EUR", reason="题", actor=lead)
    Run.objects.filter(pk=rows["run"]).update(state="queued")
    return {"run": rows["run"], "checkpoint": rows["checkpoint"]}


@pytest.mark.parametrize("address", NEAR)
def test_a_page_has_the_words_of_its_place(
    client: Client, places: dict[str, Any], contractor: User, lead: User, address: str
) -> None:
    client.force_login(contractor if address.endswith("/me/") else lead)
    answer = client.get(address.format(**places), headers={"accept-language": "zh-CN"})
    assert answer.status_code == 200
    page = answer.content.decode()
    assert [words for words in NEAR[address] if words not in page] == []


def test_words_beyond_pages_have_them_too() -> None:
    with translation.override("zh-hans"):
        assert str(Run.State.QUEUED.label) == "排队中"
        assert str(Invitation._meta.get_field("max_uses").verbose_name) == "人数"
        label = next(spec.label for spec in fields_of("dpo") if spec.name == "label")
        assert translation.gettext(label) == "训练标签"


def test_lists_are_set_as_the_language_sets_them() -> None:
    with translation.override("en"):
        assert listed("AB") == "A, B"
    with translation.override("zh-hans"):
        assert listed("AB") == "A、B"


def test_sentences_in_a_row_stand_apart_as_their_language_asks() -> None:
    assert in_a_row("One.", "", "Two.", "Three.") == "One. Two. Three."
    assert in_a_row("一。", "二！", "三。") == "一。二！三。" and in_a_row("", "一。") == "一。" and in_a_row() == ""
