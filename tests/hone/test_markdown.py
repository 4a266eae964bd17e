"""What people write is shown harmlessly."""

import pytest

from hone.markdown import render


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
