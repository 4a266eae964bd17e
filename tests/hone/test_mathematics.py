"""Formulas become MathML; amounts, code and hostile TeX do not."""

import re
import time
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hone.markdown import render


def formulas(html: str) -> int:
    return html.count("<math")


@pytest.mark.parametrize(
    ("source", "there"),
    [
        (r"so $a^2 + b^2$.", "<msup><mi>a</mi><mn>2</mn></msup>"),
        (r"so \(\frac{1}{2}\) is", "<mfrac>"),
        ("$$\n\\sum_{i=1}^n i\n$$", 'display="block"'),
        (r"$$x \le 1$$", 'display="block"'),
        ("\\[\n\\sqrt{x}\n\\]", "<msqrt>"),
        (r"$\begin{matrix}1 & 2\\3 & 4\end{matrix}$", "<mtable>"),
        (r"| a |" "\n|---|\n" r"| $x_1$ |", "<msub>"),
        (r"$\int_0^\infty e^{-x^2}\,dx$", "<msubsup>"),
        (r"so \[\begin{pmatrix}1\\2\end{pmatrix}\] is", "<mtable>"),
        (r"$a < b$", "&lt;"),
        (r"速度$v=3$米", "<mi>v</mi>"),
        (r"$AB + CD > EF$", "<mi>E</mi>"),
        (r"CO$_2$", "<msub>"),
        (r"$x \text{ such that } x > 1$", "<mtext>"),
        (r"$velocity = distance$", "<mo"),
    ],
)
def test_a_formula_is_mathml(source: str, there: str) -> None:
    html = render(source)
    assert formulas(html) == 1 and there in html
    assert "<code" not in html and "\\" not in html and "$" not in html


@pytest.mark.parametrize(
    "source",
    [
        "It costs $5 and $6.",
        "from $5-$6 to US$7, CA$8",
        "($5)/($6)",
        "5$ or 6$",
        "$HOME/$USER and $PATH",
        "\\$x\\$ and \\\\(",
        "`$x$` and `\\(x\\)`",
        "```\n$$x$$\n```",
        r"a \[citation needed\] b",
        "\\[link\\](x)",
        r"\(\)",
        "a lone $ and a lone \\(",
        "$5,000 per year; then $6,000",
        "I have $20 and she has 30$, ok",
        "I have $20 and 30$, ok.",
        "$5 (about 4€) and I paid in US$.",
        "A$, C$",
        "$5-a-day deals and 7$",
        "我有$20，她有30$。",
    ],
)
def test_what_is_no_formula_stays_text(source: str) -> None:
    assert formulas(render(source)) == 0
    assert [c for c in source if c.isalnum()] == [c for c in re.sub(r"<[^>]+>", "", render(source)) if c.isalnum()]


@pytest.mark.parametrize(
    "source",
    [
        r"$\frac{1}$",
        r"$a^b^c$",
        r"$\left( x$",
        r"$\nosuchcommand{x}$",
        r"$\begin{matrix} 1$",
        "$$\n\\frac{1}\n$$",
        r"\(a_b_c\)",
    ],
)
def test_invalid_tex_is_shown_as_its_source(source: str) -> None:
    html = render(source)
    assert formulas(html) == 0 and "<code>" in html
    assert source.replace("\n", "") in html.replace("\n", "")


@pytest.mark.parametrize(
    "tex",
    [
        r"\href{javascript:alert(1)}{x}",
        r"\url{javascript:alert(1)}",
        r"\text{<script>alert(1)</script>}",
        r"\text{</math><img src=x onerror=alert(1)>}",
        r"<img src=x onerror=alert(1)>",
        r"\text{&lt;script&gt;}",
        r'\color{red" onclick="alert(1)}{x}',
        r"\style{position:fixed}{x}",
        r"\class{topbar}{x}",
        r"\text{&#60;script&#62;alert(1)&#60;/script&#62;}",
        r"\mathrm{&#x3c;style&#x3e;}",
    ],
)
@pytest.mark.parametrize("frame", ["$%s$", "$$%s$$", r"\(%s\)"])
def test_hostile_tex_is_harmless(tex: str, frame: str) -> None:
    html = render(frame % tex)
    found = Tags()
    found.feed(html)
    assert not {"script", "img", "style", "a"} & {tag for tag, _names in found.seen}
    assert not any(
        name in {"href", "style", "class"} or name.startswith("on") for _tag, names in found.seen for name in names
    )


class Tags(HTMLParser):
    """(tag, names of its attributes) as a browser would read them."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, list[str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, [name for name, _value in attrs]))


@pytest.mark.parametrize(
    "source",
    [
        "$" + "{" * 900 + "x" + "}" * 900 + "$",
        "$" + r"\sqrt{" * 300 + "x" + "}" * 300 + "$",
        "$" + r"\frac" * 300 + "$",
        "$" + "x^" * 600 + "1$",
        "$" + r"\left(" * 300 + "x" + r"\right)" * 300 + "$",
        "$" + "x" * 5000 + "$",
        r"$\newcommand{\a}{\b\b\b\b}\newcommand{\b}{\a\a\a\a}\a$",
        r"$\def\a{\a\a}\a$",
        "$a$ " * 5000,
        "$" * 5000,
        r"\(" * 5000,
        "$x_{" * 2000,
    ],
)
def test_much_or_deep_tex_takes_no_long_time(source: str) -> None:
    started = time.monotonic()
    render(source)
    assert time.monotonic() - started < 3


def test_a_text_has_at_most_three_hundred_formulas() -> None:
    html = render("$a$ " * 305)
    assert formulas(html) == 300 and html.count("<code>$a$</code>") == 5


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "$",
                "$$",
                "\\(",
                "\\)",
                "\\[",
                "\\]",
                "x",
                "1",
                "^",
                "_",
                "{",
                "}",
                "\\frac",
                "\\left",
                "<b>",
                " ",
                "\n",
                "&",
                "`",
                "\\\\",
                "\\text",
            ]
        ),
        max_size=24,
    ).map("".join)
)
def test_any_mixture_is_rendered_without_raw_tags(source: str) -> None:
    assert "<b>" not in render(source)
