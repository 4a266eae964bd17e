"""What people write is shown harmlessly."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hone import markdown
from hone.markdown import render

# Letters, what begins a list, a heading or an entity, and spaces and breaks of all kinds.
ORDINARY = st.sampled_from("ab1 .,:;'\"()?-+=#\n\n>%/@{}^’中。\u2028\x85\u200b\u202e\ufeff\u3000é")


@pytest.mark.slow
@settings(max_examples=2000)
@given(st.text(ORDINARY | st.characters(exclude_categories=["Cs"])))
def test_plain_paragraphs_are_what_the_whole_renderer_makes_of_them(text: str) -> None:
    plain = markdown._plain(text)
    assert plain is None or plain == markdown._parsed(text)


@pytest.mark.parametrize(
    ("text", "is_plain"),
    [
        ('It\'s "plain": 3.5 % (or so).\n\n第二段。', True),
        ("1. a list", False),
        ("- a list", False),
        ("one\ntwo", False),
        ("a *word*", False),
        ("AT&T", False),
        (" indented", False),
        ("", False),
    ],
)
def test_only_what_means_nothing_to_the_renderer_goes_past_it(text: str, is_plain: bool) -> None:
    assert (markdown._plain(text) is not None) is is_plain


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        '<img src=x onerror="alert(1)">',
        "[x](javascript:alert(1))",
        "![x](https://evil.example/pixel.png)",
        '<a href="data:text/html,x">x</a>',
    ],
)
def test_hostile_text_becomes_harmless(hostile: str) -> None:
    html = render(hostile)
    assert "<script" not in html and "<img" not in html
    assert '<a href="javascript' not in html and '<a href="data' not in html


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("![chart](…)", "![chart](%E2%80%A6)"),
        ('![a "b"](https://x.example/p.png "t<i>")', '![a "b"](https://x.example/p.png "t&lt;i&gt;")'),
        ("before ![](x.png) after", "before ![](x.png) after"),
        ("![a][1]\n\n[1]: /p.png", "![a](/p.png)"),
    ],
)
def test_an_image_is_shown_as_its_source(source: str, shown: str) -> None:
    assert render(source).strip() == f'<p dir="auto">{shown}</p>'


def test_tables_code_and_emphasis_are_kept() -> None:
    html = render("| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nx = 1\n```\n\n**bold**")
    assert "<table>" in html and '<code class="language-python">' in html and "<strong>bold</strong>" in html


def test_links_say_nothing_to_their_target() -> None:
    assert 'rel="noopener noreferrer nofollow"' in render("[x](https://example.org)")


def test_each_block_finds_its_own_direction() -> None:
    assert '<p dir="auto">' in render("שלום")


def test_long_line_and_control_characters_pass() -> None:
    assert len(render("x" * 10_000 + "\u202e\x07")) > 10_000
