"""Which language a text is in, by py3langid (Lui and Baldwin 2012): its model is in the package, nothing to fetch."""

from __future__ import annotations

from functools import cache
from typing import Any

# More text makes the answer no surer, and costs.
_READ = 3000
# Told apart by the model, written alike: their probabilities are one.
_SAME = {"yue": "zh", "wuu": "zh", "nn": "no", "arz": "ar", "ary": "ar", "pcm": "en"}


def language_of(text: str) -> tuple[str, float]:
    """ISO 639-1 code of the likeliest language and its probability, by the text's middle, where no menu stands."""
    start = max(0, (len(text) - _READ) // 2)
    shares: dict[str, float] = {}
    for code, share in _identifier().rank(text[start : start + _READ]):
        same = _SAME.get(code, code)
        shares[same] = shares.get(same, 0.0) + float(share)
    likeliest = max(shares, key=lambda code: shares[code])
    return likeliest, shares[likeliest]


def known_languages() -> set[str]:
    """The codes that `language_of` may give."""
    return {_SAME.get(code, code) for code in map(str, _identifier().nb_classes)}


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
