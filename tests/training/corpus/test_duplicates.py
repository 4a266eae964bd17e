"""Exact and near duplicates, and texts of an evaluation."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.training.corpus.test_cleaning import CHINESE, ENGLISH
from training.trainers.corpus.contamination import Prompts
from training.trainers.corpus.duplicates import ExactIndex, NearIndex, sketch
from training.trainers.corpus.units import units_of

WORDS = [f"{a}{b}" for a in ("ba", "ce", "di", "fo", "gu", "ha", "je", "ki") for b in ("rn", "st", "lt", "mp", "nd")]


def numbered(count: int, *, shift: int = 0) -> str:
    """A text of `count` words in which no run of words comes twice."""
    return " ".join(f"{WORDS[n % 40]}{n}" for n in range(shift, shift + count))


def jaccard(one: str, two: str) -> float:
    """By sets of five-word runs: what sketches estimate."""

    def runs(text: str) -> set[tuple[str, ...]]:
        words = text.split()
        return {tuple(words[n : n + 5]) for n in range(len(words) - 4)}

    a, b = runs(one), runs(two)
    return len(a & b) / len(a | b)


def test_exact_means_the_same_words() -> None:
    index = ExactIndex()
    assert index.twin_of(units_of("Hello, world! 学而"), where="a") is None
    assert index.twin_of(units_of("hello WORLD\n学，而。"), where="b") == "a"
    assert index.twin_of(units_of("hello world 学"), where="c") is None
    # The same place twice is still twice.
    assert index.twin_of(units_of("hello world 学"), where="c") is not None


@pytest.mark.parametrize("length", [100, 1000, 20_000])
def test_a_sketch_estimates_the_share_of_common_runs(length: int) -> None:
    """One word in fifty changed: 5 of 50 runs are others on each side, so 45 / 55 = 0.82 are common."""
    one = numbered(length)
    words = one.split()
    two = " ".join("other" if n % 50 == 25 else word for n, word in enumerate(words))
    exact = jaccard(one, two)
    assert exact == pytest.approx(45 / 55, abs=0.02)
    assert sketch(units_of(one)).jaccard(sketch(units_of(two))) == pytest.approx(exact, abs=0.12)
    assert sketch(units_of(one)).jaccard(sketch(units_of(numbered(length, shift=10**6)))) < 0.05


def test_near_duplicates_are_found_across_calls_and_the_first_stays() -> None:
    index = NearIndex(similarity=0.8)
    words = numbered(400).split()
    changed = " ".join([*words[:200], "other", *words[200:]])
    assert index.twin_of(units_of(" ".join(words)), where="first") is None
    assert index.twin_of(units_of(numbered(400, shift=10**6)), where="another") is None
    where, share = index.twin_of(units_of(changed), where="second") or ("", 0.0)
    assert where == "first" and share > 0.9
    # Half of it is another matter.
    assert index.twin_of(units_of(" ".join(words[:200])), where="half") is None
    # Too short to have a run of five: never alike.
    assert [index.twin_of(units_of("a b c d"), where=str(n)) for n in range(2)] == [None, None]


def test_chinese_is_compared_by_runs_of_ten_characters() -> None:
    index = NearIndex(similarity=0.7)
    assert index.twin_of(units_of(CHINESE * 1), where="first") is None
    assert index.twin_of(units_of(CHINESE.replace("小书", "大书")), where="second") is not None
    assert index.twin_of(units_of(CHINESE[::-1]), where="third") is None


def test_a_document_with_thirteen_words_of_a_prompt_is_contaminated() -> None:
    prompt = numbered(30)
    prompts = Prompts([prompt, "What is the capital of France?"], words=13)
    assert (prompts.count, prompts.too_short) == (2, 1)
    inside = prompt.split()[5:18]
    assert prompts.overlap(units_of(f"{ENGLISH} {' '.join(inside).upper()}! {ENGLISH}")) == len(units_of(ENGLISH))
    assert prompts.overlap(units_of(f"{ENGLISH} {' '.join(inside[:12])} {ENGLISH}")) is None
    # The same words in another order are no run.
    assert prompts.overlap(units_of(" ".join(b + " " + a for a, b in pairwise(inside)))) is None
    assert prompts.overlap(units_of("What is the capital of France? Paris.")) is None


def test_a_short_prompt_counts_where_it_stands_whole_and_chinese_by_characters() -> None:
    prompts = Prompts(["Name three rivers that begin in the Alps", "请帮我使用程序实现一个多层神经网络"], words=13)
    assert prompts.too_short == 0
    assert prompts.overlap(units_of("He said: name three rivers that begin in the alps, please.")) == 2
    assert prompts.overlap(units_of("name three rivers that begin in the hills")) is None
    assert prompts.overlap(units_of("他说，请帮我使用程序，实现一个多层神经网络。")) == 2
    assert prompts.overlap(units_of("请帮我使用程序实现一个单层神经网络")) is None
