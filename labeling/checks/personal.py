"""Personal data in a text: e-mail addresses, phone numbers, bank cards, IBANs.

What is a valid one, libraries say; here only candidates are cut out, and what merely looks like one is left out.
Code is searched too, since real addresses stand in it, but a bare number in code is no phone number.
"""

import re
from collections.abc import Iterator, Sequence

from django.utils.translation import gettext as _

from labeling.checks.finding import Finding
from labeling.checks.plain import MAIL, code_spans

MOST = 20  # findings in one text: enough to say what is wrong
_MAIL = re.compile(MAIL)
_IN_URL = re.compile(r"://[!-~]*$")
_PATH = re.compile(r":[\w.~-]*/")
_DOCUMENTATION = {"example.com", "example.org", "example.net"}  # RFC 2606
# Only Latin letters and digits make a longer word of a number: Chinese stands beside one without a space.
_DIGITS = re.compile(r"(?<![A-Za-z\d_.+-])\d(?:[ -]?\d){12,18}(?![A-Za-z\d_-]|\.\d)")
_IN_A_WORD = re.compile(r"[A-Za-z0-9]")
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}")
_PHONE_TRIES = 500


def find(text: str, *, regions: Sequence[str], action: str) -> list[Finding]:
    """The first 20 in the order of the text; no character belongs to two."""
    found: list[Finding] = []
    for check, start, end in [*_ibans(text), *_cards(text), *_mails(text), *_phones(text, regions)]:
        if all(end <= other.start or start >= other.end for other in found):  # type: ignore[operator]
            found.append(Finding(check, action, _SENTENCES[check](), start=start, end=end))
    return sorted(found, key=lambda finding: finding.start or 0)[:MOST]


_SENTENCES = {
    "email": lambda: _("This looks like an e-mail address."),
    "phone": lambda: _("This looks like a phone number."),
    "card": lambda: _("This looks like the number of a bank card."),
    "iban": lambda: _("This looks like a bank account (IBAN)."),
}
Span = tuple[str, int, int]


def _mails(text: str) -> Iterator[Span]:
    from email_validator import EmailNotValidError, validate_email

    for match in _MAIL.finditer(text):
        candidate = match.group().lstrip(".'_-")
        start = match.end() - len(candidate)
        candidate = candidate.rstrip(".'_-")
        end = start + len(candidate)
        # host:path/file and git@host:path name a repository, https://name:word@host an address of the web.
        is_git = candidate.startswith("git@") and text[end : end + 1] == ":"
        if is_git or _PATH.match(text, end, end + 100) or _IN_URL.search(text[max(0, start - 100) : start]):
            continue
        try:
            domain = validate_email(candidate, check_deliverability=False).ascii_domain or ""
        except EmailNotValidError:
            continue
        if len(domain.rpartition(".")[2]) < 2:  # no top-level domain has one letter: a product of matrices, A@B.T
            continue
        if not any(domain == known or domain.endswith("." + known) for known in _DOCUMENTATION):
            yield "email", start, end


def _phones(text: str, regions: Sequence[str]) -> Iterator[Span]:
    """With + of every country; without it of the project's countries, and then only as that country groups digits."""
    import phonenumbers
    from phonenumbers import Leniency, PhoneNumberMatcher

    code = code_spans(text)
    for region in (None, *regions):
        leniency = Leniency.STRICT_GROUPING if region else Leniency.VALID
        if region is not None and region not in phonenumbers.SUPPORTED_REGIONS:
            continue
        for match in PhoneNumberMatcher(text, region, leniency=leniency, max_tries=_PHONE_TRIES):
            international = match.raw_string.lstrip("( ").startswith(("+", "\uff0b"))
            in_code = any(start <= match.start < end for start, end in code)
            if not (in_code and not international) and not _is_book(text, match.start, match.raw_string):
                yield "phone", match.start, match.end


def _is_book(text: str, start: int, number: str) -> bool:
    """An ISSN only where it is called so: every eleventh number of eight digits could be one."""
    from stdnum import isbn

    named = re.search(r"is[bs]n[\s:\w-]{0,8}$", text[max(0, start - 16) : start], re.IGNORECASE)
    return bool(named) or (len(re.sub(r"\D", "", number)) == 13 and isbn.is_valid(number))


def _cards(text: str) -> Iterator[Span]:
    from stdnum import luhn

    for match in _DIGITS.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        if len(set(digits)) > 1 and _is_issued(digits) and luhn.is_valid(digits):
            yield "card", match.start(), match.end()


def _is_issued(digits: str) -> bool:
    """Whether an issuer gives out numbers of this beginning and length (ISO/IEC 7812); any tenth number passes Luhn."""
    length, two, four = len(digits), int(digits[:2]), int(digits[:4])
    return (
        (digits[0] == "4" and length in {13, 16, 19})  # Visa
        or ((51 <= two <= 55 or 2221 <= four <= 2720) and length == 16)  # Mastercard
        or (two in {34, 37} and length == 15)  # American Express
        or ((four == 6011 or two in {64, 65}) and 16 <= length <= 19)  # Discover
        or (two == 62 and 16 <= length <= 19)  # UnionPay
        or (3528 <= four <= 3589 and 16 <= length <= 19)  # JCB
        or (two in {30, 36, 38} and length == 14)  # Diners Club
    )


def _ibans(text: str) -> Iterator[Span]:
    from stdnum import iban

    at = 0
    while match := _IBAN.search(text, at):
        start, end = match.span()
        at = start + 4
        # A word in capitals may follow: the longest end that is valid, at a word's end.
        while end - start >= 15:
            if not _IN_A_WORD.match(text, end) and iban.is_valid(text[start:end]):
                yield "iban", start, end
                at = end
                break
            end -= 1
