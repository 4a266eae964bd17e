"""Prompts that are nearly the same: found among many, by reading little."""

import random

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st

from hone.accounts.models import Project
from labeling import tasks
from labeling.checks import duplicates
from labeling.models import Prompt, PromptBand
from tests import factories

pytestmark = pytest.mark.django_db
RICE = "How do I cook rice in a small pot without burning it at the bottom?"


def asked(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def alike(project: Project, text: str, similarity: int = 85) -> Prompt | None:
    found = duplicates.most_alike(asked(text), project_id=project.pk, similarity=similarity)
    return Prompt.objects.get(pk=found.prompt) if found else None


def test_a_near_duplicate_is_found_and_others_are_not(project: Project) -> None:
    rice = factories.make_prompt(project, RICE)
    factories.make_prompt(project, "How do I plant an apple tree in a garden with heavy soil?")
    tasks.remember_prompts()
    assert alike(project, "How do I cook RICE in a small pot, without burning it at the bottom??") == rice
    assert alike(project, "How do I cook rice in the small pot without burning it at the bottom?") == rice
    assert alike(project, "Write a poem about the sea and its many colours in autumn.") is None
    found = duplicates.most_alike(asked(RICE), project_id=project.pk, similarity=100)
    assert found is not None and found.percent == 100


def test_chinese_prompts_are_compared_too(project: Project) -> None:
    first = factories.make_prompt(project, "请用三句话解释为什么天空是蓝色的，并举一个例子。")
    tasks.remember_prompts()
    assert alike(project, "请用四句话解释为什么天空是蓝色的，并举一个例子") == first
    assert alike(project, "请写一首关于秋天的诗，要押韵，并且提到月亮和河水。") is None


def test_another_projects_prompt_is_no_duplicate(project: Project) -> None:
    factories.make_prompt(factories.make_project(), RICE)
    tasks.remember_prompts()
    assert alike(project, RICE) is None


def test_bands_are_written_once_and_short_prompts_have_none(project: Project) -> None:
    factories.make_prompt(project, RICE)
    factories.make_prompt(project, "Why?")
    assert duplicates.remember_waiting() == 2 and duplicates.remember_waiting() == 0
    assert PromptBand.objects.count() == duplicates.BANDS
    Prompt.objects.update(is_banded=False)
    assert duplicates.remember_waiting() == 2 and PromptBand.objects.count() == duplicates.BANDS


def test_prompts_that_are_hashed_can_be_labelled_meanwhile(project: Project) -> None:
    """A label refers to its prompt by the key, which FOR UPDATE locks too."""
    factories.make_prompt(project, RICE)
    with CaptureQueriesContext(connection) as queries:
        duplicates.remember_waiting()
    locking = [query["sql"] for query in queries if "FOR " in query["sql"]]
    assert len(locking) == 1 and locking[0].endswith("FOR NO KEY UPDATE SKIP LOCKED")


@pytest.mark.slow
def test_a_look_up_asks_the_same_number_of_queries_and_reads_few_prompts(project: Project) -> None:
    """Thousands of prompts that share a beginning fill each other's bands."""
    rng = random.Random(7)
    counts = []
    for size in (100, 1000):
        for _ in range(size):
            words = " ".join(rng.choices(["red", "green", "blue", "one", "two", "three"], k=6))
            factories.make_prompt(
                project, f"Please write a short and friendly story about the following words: {words} {rng.random()}"
            )
        tasks.remember_prompts()
        with CaptureQueriesContext(connection) as queries:
            alike(project, "Please write a short and friendly story about the following words: red blue")
        counts.append(len(queries))
        read = queries.captured_queries[-1]["sql"]
        assert read.count(",") < 200  # the candidates' ids
    assert counts[0] == counts[1] == 2


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=0, max_size=200))
def test_bands_are_stable_and_fit_the_column(text: str) -> None:
    normal = duplicates.normalised(asked(text))
    first = duplicates.bands(normal)
    assert first == duplicates.bands(normal) and all(-(2**63) <= band < 2**63 for band in first)
    assert len(first) == (duplicates.BANDS if len(normal) >= duplicates.SHORTEST else 0)


def test_bands_mean_the_same_as_when_they_were_stored() -> None:
    """Another seed, shingle or library would make every stored band useless without a word."""
    assert duplicates.bands(duplicates.normalised(asked(RICE)))[:2] == STORED


STORED = [-932058040918557458, -4651295720989204139]
