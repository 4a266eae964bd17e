"""Length, language and words: pure functions of a text."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.checks import language, length, plain, words


@given(st.text(max_size=60), st.integers(1, 30), st.integers(30, 40))
def test_a_length_is_found_exactly_when_it_is_outside(text: str, minimum: int, maximum: int) -> None:
    found = list(length.find(text, minimum=minimum, maximum=maximum))
    inner = text.strip()
    assert bool(found) == (0 < len(inner) < minimum or len(inner) > maximum)
    if len(inner) > maximum:
        assert text[found[0].start : found[0].end] == inner[maximum:]


def test_without_limits_any_length_will_do() -> None:
    assert not list(length.find("x" * 10_000, minimum=None, maximum=None))


def spans(text: str, *phrases: str) -> list[str]:
    return [text[f.start : f.end] for f in words.find(text, phrases=phrases, action="warn")]


@pytest.mark.parametrize(
    ("text", "phrase", "there"),
    [
        ("As an AI  language\nmodel, I", "as an AI language model", ["As an AI  language\nmodel"]),
        ("Mass class ASS.", "ass", ["ASS"]),
        ("We use C++, not C", "c++", ["C++"]),
        ("这是违禁词语。", "违禁", ["违禁"]),
        ("用iPhone手机", "iphone手机", ["iPhone手机"]),
        ("Straße, ÜBER", "über", ["ÜBER"]),
        ("a.b axb", "a.b", ["a.b"]),
    ],
)
def test_a_phrase_is_found_as_a_whole(text: str, phrase: str, there: list[str]) -> None:
    assert spans(text, phrase) == there


def test_the_longer_phrase_wins() -> None:
    assert spans("as an AI model", "as", "as an AI") == ["as an AI"]


@given(st.text(alphabet="ab .", max_size=40))
def test_each_found_word_stands_alone(text: str) -> None:
    for finding in words.find(text, phrases=["ab"], action="warn"):
        assert finding.start is not None and finding.end is not None
        assert not text[: finding.start][-1:].isalnum() and not text[finding.end :][:1].isalnum()


EN = "Explain in a few sentences why the sky looks blue on a clear day."
DE = "Der Himmel erscheint blau, weil kurzwelliges Licht in der Luft stärker gestreut wird."
ZH = "天空看起来是蓝色的，因为短波光在空气中散射得更多。"


@pytest.mark.parametrize(
    ("text", "code"), [(EN, "en"), (DE, "de"), (ZH, "zh"), ("Yes, it is 42.", None), ("好的", None)]
)
def test_the_language_of_a_text(text: str, code: str | None) -> None:
    assert language.language_of(text) == code


def test_code_and_formulas_have_no_language() -> None:
    assert language.language_of("```python\nfor number in range(10): print(number, 'hello world')\n```") is None
    assert language.language_of(ZH + "\n\n```\n" + EN * 5 + "\n```") == "zh"


FR = "Le ciel paraît bleu parce que la lumière de courte longueur d'onde se diffuse davantage dans l'air."


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("What does 学而时习之不亦说乎 mean?", EN),
        ("Explain 学而时习之不亦说乎 and how it is used today, please.", ZH),
        ("Translate: the sky looks blue because short waves scatter more.", FR),
        ("Answer in French: why does the sky look blue on a clear day?", FR),
        ("Answer in Chinese: why does the sky look blue on a clear day?", ZH),
        ("请用法文回答：天空为什么是蓝色的？请简单解释一下。", FR),
        ("请把这句话译成英文：天空看起来是蓝色的。", EN),
        ("Antworte auf Englisch: warum ist der Himmel an klaren Tagen so blau?", EN),
    ],
)
def test_who_asks_for_another_language_gets_it(prompt: str, text: str) -> None:
    assert language.find(text, prompt=prompt, action="block") == []


@pytest.mark.parametrize(("prompt", "text"), [(EN, FR), (EN, ZH), (ZH, EN), (DE, FR)])
def test_who_asks_for_none_is_answered_in_their_own(prompt: str, text: str) -> None:
    assert len(language.find(text, prompt=prompt, action="block")) == 1


def test_an_address_in_chinese_takes_nothing_else_away() -> None:
    text = "我的邮箱是zhang@foo.cn，请看https://foo.cn/a，天空看起来是蓝色的"
    assert plain.running_text(text) == "我的邮箱是 ，请看 ，天空看起来是蓝色的"
    assert language.language_of(text) == "zh"


@pytest.mark.parametrize(
    "text",
    ["天空看起来是蓝色" * 2500, "\\(" * 10_000, "$$a" * 7000, "https://" + "é" * 20_000, "```\n```\n`a` " * 1500],
)
def test_the_longest_text_is_read_at_once(text: str) -> None:
    """Live, at each pause in typing, and in the transaction of a submit. Seconds before the patterns were bounded."""
    language.language_of(ZH)  # the model is read at the first use
    begun = time.process_time()
    plain.running_text(text)
    language.language_of(text)
    assert time.process_time() - begun < 0.5


def test_another_language_than_the_prompts_is_named() -> None:
    [finding] = language.find(DE, prompt=EN, action="block")
    assert finding.sentence == "The prompt is in English, this looks like German." and finding.blocks
    assert not language.find(EN + " Because of scattering.", prompt=EN, action="block")
    assert not language.find("Ja.", prompt=EN, action="block")


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="`~a \n", max_size=80))
def test_code_spans_lie_in_the_text(text: str) -> None:
    assert all(0 <= start < end <= len(text) for start, end in plain.code_spans(text))
