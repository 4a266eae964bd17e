"""Whether a response is in the language of its prompt.

py3langid (naive Bayes over byte n-grams) decides; what it got right on short texts, and why it is asked only above
these lengths, is in docs/decisions/0025-writing-checks.md.
"""

import re
from functools import cache, lru_cache
from typing import Any

from django.utils.translation import get_language_info, override
from django.utils.translation import gettext as _

from labeling.checks.finding import Finding
from labeling.checks.plain import running_text

LETTERS = 30  # fewer letters of an alphabet say too little
SIGNS = 6  # of Han, kana and Hangul each says more
SURE = 0.8
MIXED = 0.2  # of the letters: with as many of an alphabet as of the others, one of the two is quoted
# Varieties that the identifier tells apart and a prompt's reader does not: their shares are added up.
_SAME = {"wuu": "zh", "yue": "zh", "arz": "ar", "ary": "ar", "nn": "no", "pcm": "en"}
_READ = 2000  # characters; more changes no answer
_CUT = 4 * _READ  # of the source, code and formulas included
# Who asks for a translation wants another language; which, and from which, the prompt may say in any words.
_TRANSLATION = re.compile(
    "translat|翻[译譯]|[译譯][成为為]|翻訳|번역|übersetz|traduc|traduz|tradui|tradur|перев[её]д|перевод", re.I
)
_DENSE = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")


def find(text: str, *, prompt: str, action: str) -> list[Finding]:
    """One finding where both texts have a language for sure, not the same one, and the prompt asks for no other."""
    asked, answered = language_of(prompt), language_of(text)
    if not asked or not answered or asked == answered or asks_for(prompt, answered, prompt_language=asked):
        return []
    sentence = _("The prompt is in %(asked)s, this looks like %(answered)s.") % {
        "asked": name(asked),
        "answered": name(answered),
    }
    return [Finding("language", action, sentence)]


def language_of(text: str) -> str | None:
    """ISO 639-1 code of the running text's language; None where it is too short, mixed or unclear."""
    running = running_text(text[:_CUT])[:_READ]
    letters = sum(character.isalpha() for character in running)
    dense = len(_DENSE.findall(running))
    if letters < LETTERS and dense < SIGNS:
        return None
    if MIXED < dense / letters < 1 - MIXED:
        return None
    shares: dict[str, float] = {}
    for code, share in _identifier().rank(running):
        same = _SAME.get(code, code)
        shares[same] = shares.get(same, 0.0) + float(share)
    likeliest = max(shares, key=lambda code: shares[code])
    return likeliest if shares[likeliest] >= SURE else None


def asks_for(prompt: str, code: str, *, prompt_language: str) -> bool:
    """Whether the prompt may want an answer in this language: it names it, or asks for a translation."""
    return bool(_TRANSLATION.search(prompt) or _names(code, prompt_language).search(prompt))


@lru_cache(maxsize=256)
def _names(code: str, prompt_language: str) -> re.Pattern[str]:
    """The language's names in English, in itself and in the prompt's language, at the beginning of a word."""
    names = {"中文", "汉语", "漢語", "华语", "Chinese"} if code == "zh" else set()
    for reader in ("en", code, prompt_language):
        with override(_django(reader)):
            names.add(name(code))
    # What Chinese calls 法语 it also calls 法文.
    names |= {each[:-1] + "文" for each in names if each.endswith(("语", "語"))}
    return re.compile("|".join(rf"(?<![^\W\u2e80-\uffff]){re.escape(each)}" for each in sorted(names)), re.IGNORECASE)


def _django(code: str) -> str:
    return "zh-hans" if code == "zh" else code


def name(code: str) -> str:
    """The language's name in the reader's language; its code where Django has no name for it."""
    try:
        return str(get_language_info(_django(code))["name_translated"]).removeprefix("Simplified ")
    except KeyError:
        return code


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
