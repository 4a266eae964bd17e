"""Personal data: what is one, what only looks like one, and where it stands."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.checks import personal


def found(text: str, *regions: str) -> list[tuple[str, str]]:
    return [(f.check, text[f.start : f.end]) for f in personal.find(text, regions=regions, action="warn")]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("Write to jane.doe+x@acme.co.uk.", ("email", "jane.doe+x@acme.co.uk")),
        ("<mailto:jane@acme.com>", ("email", "jane@acme.com")),
        ("**jane@acme.com**", ("email", "jane@acme.com")),
        ("邮箱是 wang@qq.com，谢谢", ("email", "wang@qq.com")),
        ("```\nMAIL = 'jane@acme.com'\n```", ("email", "jane@acme.com")),
        ("Call +44 20 7946 0018 now", ("phone", "+44 20 7946 0018")),
        ("电话：+86 138 1234 5678。", ("phone", "+86 138 1234 5678")),
        ("`+442079460018`", ("phone", "+442079460018")),
        ("card 4111 1111 1111 1111 ok", ("card", "4111 1111 1111 1111")),
        ("378282246310005", ("card", "378282246310005")),
        ("IBAN: DE89 3704 0044 0532 0130 00", ("iban", "DE89 3704 0044 0532 0130 00")),
        ("我的卡号4111111111111111。", ("card", "4111111111111111")),
        ("卡号是4111 1111 1111 1111，", ("card", "4111 1111 1111 1111")),
        ("账号DE89370400440532013000是我的", ("iban", "DE89370400440532013000")),
        ("bob.smith@gmail.com:hunter2", ("email", "bob.smith@gmail.com")),
        ("bob@corp.com:Hello", ("email", "bob@corp.com")),
        ("见https://foo.cn，联系邮箱zhang@foo.cn", ("email", "zhang@foo.cn")),
        ("GB82WEST12345698765432 PLEASE", ("iban", "GB82WEST12345698765432")),
        ("我的卡号4111111111111111。", ("card", "4111111111111111")),
        ("卡号是4111 1111 1111 1111，", ("card", "4111 1111 1111 1111")),
        ("账号DE89370400440532013000是我的", ("iban", "DE89370400440532013000")),
        ("IBAN是GB82 WEST 1234 5698 7654 32，谢谢", ("iban", "GB82 WEST 1234 5698 7654 32")),
        ("FR14 2004 1010 0505 0001 3M02 606 AND MORE", ("iban", "FR14 2004 1010 0505 0001 3M02 606")),
    ],
)
def test_personal_data_is_found_with_its_span(text: str, what: tuple[str, str]) -> None:
    assert found(text) == [what]


@pytest.mark.parametrize(
    "text",
    [
        "In 1989, 1990-2010 and 2024/25 it grew by 12,345,678.90.",
        "ISBN 978-0-306-40615-7, ISBN 0306406152, ISSN 2049-3630",
        "It happened on 2024-05-17 at 12:30:45, build 1700000000000.",
        "pip install x==4.11.11111111 # 192.168.100.200",
        "pi is 3.14159265358979323846",
        "order 1234567890123456, id 4111111111111112",
        "x4111111111111111 and 4111111111111111x, DE89370400440532013000x",
        "0000000000000000 and 4444444444444444",
        "x = 4012888888881881n; y = 0x4012888888881881",
        "git clone git@github.com:org/repo.git",
        "git clone git@github.com:repo.git",
        "scp bob@host.com:dir/file .",
        "X4111111111111111 and 4111111111111111Y",
        "https://user:pass@host.com/path",
        "@jane and a@b, user@localhost, someone@example.com",
        "@pytest.mark.parametrize and df@matrix.T",
        "DE00 3704 0044 0532 0130 00, AB12 CDEF GHIJ KLMN OPQR",
        "lat 48.858370, 2.294481; population 331449281",
        "第 13 章 共 2024 字，编号 20240101001",
    ],
)
def test_what_only_looks_like_it_is_left_alone(text: str) -> None:
    assert found(text, "US", "CN", "GB") == []


def test_a_number_without_plus_is_a_phone_only_in_the_countries_that_the_project_names() -> None:
    text = "Call (212) 555-0143 or 13812345678."
    assert found(text) == []
    assert found(text, "US") == [("phone", "(212) 555-0143")]
    assert found(text, "US", "CN") == [("phone", "(212) 555-0143"), ("phone", "13812345678")]


@pytest.mark.parametrize(("number", "region"), [("6123 4567", "SG"), ("2888 8888", "HK"), ("2123 4565", "NO")])
def test_a_phone_that_could_be_an_issn_is_one_only_where_it_is_called_so(number: str, region: str) -> None:
    assert found(f"Call {number} now", region) == [("phone", number)]
    assert found(f"ISSN {number}", region) == []


def test_a_number_in_code_is_no_phone() -> None:
    assert found("```\nn = 2125550143\n```\nand `2125550143`", "US") == []


def test_a_text_full_of_addresses_has_twenty_findings() -> None:
    assert len(found("a@acme.com " * 100)) == personal.MOST


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="ab1234567890 @.+-()[]/DE89GB\n`中", max_size=120))
def test_spans_lie_in_the_text_in_order_and_apart(text: str) -> None:
    spans = [(f.start, f.end) for f in personal.find(text, regions=["US", "CN"], action="warn")]
    assert all(start is not None and end is not None and 0 <= start < end <= len(text) for start, end in spans)
    assert all(before[1] <= after[0] for before, after in zip(spans, spans[1:], strict=False))  # type: ignore[operator]
