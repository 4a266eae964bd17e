"""Normalising, heuristics, language: on English and on Chinese, which has no spaces."""

from __future__ import annotations

import numpy
import pytest

from training.trainers.corpus.heuristics import RULES, fault, without_notices
from training.trainers.corpus.language import known_languages, language_of
from training.trainers.corpus.normalising import normalise
from training.trainers.corpus.units import units_of

ENGLISH = (
    "The river runs past the old mill and under a stone bridge that nobody has crossed since winter. "
    "Children of the village come to watch its water, and they have names for each of its sounds. "
    "When snow melts, somebody opens both gates, so fields beyond do not flood; in autumn they stay shut. "
    "An engineer wrote a short book about it, with drawings of every wheel, and gave one copy to our school."
)
CHINESE = (
    "这条河从旧磨坊旁边流过，在石桥下面转了一个弯。村里的孩子们常常来看水，他们给每一种声音都起了名字。"
    "雪化的时候，有人会打开两道闸门，免得远处的田地被淹；到了秋天，闸门就一直关着。"
    "一位工程师写过一本关于它的小书，里面画着每一个轮子，还送了一册给我们的学校。"
)


def judged(text: str) -> str | None:
    return fault(text, units_of(text), language=language_of(text)[0])


def test_normalising_changes_what_nobody_sees() -> None:
    assert normalise("\ufeffe\u0301a\u200bb\r\nx  \r\n\r\n\r\n\r\n\r\ny\x00\ud800\u00a0z\u00ad\n") == "éab\nx\n\n\ny z"
    # NFC, not NFKC: these have a meaning; so have joiners.
    assert normalise("x² ，ｆ می\u200cخواهم") == "x² ，ｆ می\u200cخواهم"


def test_units_are_words_and_dense_characters() -> None:
    units = units_of("Hello, WORLD! 学而时习之 ２ＡＢ")
    assert len(units) == 8 and units.dense == 5 and units.lengths.tolist() == [5, 5, 1, 1, 1, 1, 1, 3]
    assert units.words == 3 + 5 / 2
    assert units_of("hello world学 而时习之, 2ab").hashes.tolist() == units.hashes.tolist()


def test_equal_runs_have_equal_hashes_wherever_they_stand() -> None:
    left, right = units_of("a b c d e x y z"), units_of("q r a b c d e")
    for length in (1, 3, 5):
        one, two = left.runs(length), right.runs(length)
        assert one[0] == two[2] and len(one) == 9 - length
        # Nothing else is alike: "a b c d e" has 6 - length runs of this length.
        assert len(numpy.intersect1d(one, two)) == 6 - length
    assert len(left.runs(9)) == 0 and len(units_of("").runs(5)) == 0


@pytest.mark.parametrize("text", [ENGLISH, CHINESE])
def test_running_text_breaks_no_rule(text: str) -> None:
    assert judged(text) is None


LINES = [sentence.strip() + "." for sentence in ENGLISH.replace(";", ".").split(".") if sentence.strip()]
HANZI = CHINESE.replace("；", "。").split("。")
WORDS = [f"{a}{b}" for a in ("plane", "stone", "water", "green", "small") for b in ("ly", "ing", "ed", "er", "est")]


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("too_short", "The river runs past the mill. It is old. We have been there."),
        ("too_short", CHINESE[:60]),
        ("too_long", "The river and the mill. " * 20_001),
        ("word_length", " ".join("abcdefghijklm" for _ in range(60))),
        ("symbols", ENGLISH + " #tag" * 12),
        ("few_letters", ENGLISH + " 12,345" * 30),
        ("few_letters", CHINESE + "1 2 3 4 5 6 7 8 9 0" * 5),
        (
            "no_stop_words",
            " ".join(
                word.capitalize() + "."
                for word in ENGLISH.replace(".", "").split()
                if word.lower() not in ("the", "and", "that", "have", "of", "to")
            ),
        ),
        ("placeholder", ENGLISH + " Lorem ipsum dolor."),
        ("code_brackets", ENGLISH + " if (x) { y }"),
        ("few_sentences", ENGLISH.replace(".", ",")),
        ("few_sentences", CHINESE.replace("。", "，")),
        ("bullets", "\n".join("- " + line for line in LINES)),
        ("ellipsis_lines", "\n".join(line[:-1] + ("..." if n % 2 else ".") for n, line in enumerate(LINES))),
        ("no_sentence_ends", "\n".join(ENGLISH[n : n + 59].rstrip(".") for n in range(0, len(ENGLISH), 59))),
        ("short_lines", "\n".join(ENGLISH[n : n + 20] + "." for n in range(0, len(ENGLISH), 20))),
        ("short_lines", "\n".join(CHINESE[n : n + 8] + "。" for n in range(0, len(CHINESE), 8))),
        ("repeated_lines", "\n".join([*LINES, *LINES[:3]])),
        ("repeated_lines", "\n".join([*(part + "。" for part in HANZI if part), *(part + "。" for part in HANZI[:3])])),
        ("top_run", ENGLISH + " " + " ".join(f"Buy now cheap {word}." for word in WORDS)),
        ("repeated_runs", ENGLISH + " So they say: " + ENGLISH[:200]),
        ("repeated_runs", CHINESE + "他们又说：" + CHINESE[:60]),
    ],
)
def test_each_rule_finds_its_text(reason: str, text: str) -> None:
    assert judged(text) == reason
    assert reason in RULES


def test_an_article_in_one_line_needs_no_full_stop_at_its_end() -> None:
    assert judged(ENGLISH + " See also") is None


def test_notices_are_cut_line_by_line() -> None:
    page = f"Please enable JavaScript.\n{ENGLISH}\nThis site uses cookies\nRead our Privacy Policy"
    assert without_notices(page) == (ENGLISH, 3)
    assert without_notices(ENGLISH) == (ENGLISH, 0)


def test_languages_are_told_apart() -> None:
    assert language_of(ENGLISH)[0] == "en" and language_of(CHINESE)[0] == "zh"
    assert language_of("Le petit chat dort sur la chaise devant la maison de ma grand-mère.")[0] == "fr"
    assert {"en", "zh", "fr", "de", "ja"} <= known_languages()
