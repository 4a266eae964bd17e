"""A text as numbers: its words, or its characters where a script writes no spaces, each a 64-bit hash.

Runs of n words (n-grams) are what near-duplicates, repetition and contamination are counted in. With hashed words
all runs of one length come from one prefix sum (Karp and Rabin 1987, modulo 2^64), for any length at no more cost.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy

# Scripts without spaces between words: Han, kana, Thai, Lao, Burmese, Khmer.
_DENSE = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_UNIT = re.compile(rf"[{_DENSE}]|[^\W{_DENSE}]+")
_IS_DENSE = re.compile(rf"[{_DENSE}]")
# A Chinese word has about two characters: lengths in words are doubled for such texts, their counts halved.
DENSE_PER_WORD = 2
_MULTIPLIER = 0x9E3779B97F4A7C15  # odd, so it has an inverse modulo 2^64
_INVERSE = pow(_MULTIPLIER, -1, 2**64)
_KNOWN_WORDS = 1_000_000


class _Hashes(dict[str, int]):
    """Word to hash, remembered: most words of a text were seen before."""

    def __missing__(self, word: str) -> int:
        if len(self) >= _KNOWN_WORDS:
            self.clear()
        value = int.from_bytes(hashlib.blake2b(word.encode(errors="replace"), digest_size=8).digest(), "little")
        self[word] = value
        return value


_hashes = _Hashes()


@dataclass(frozen=True, kw_only=True)
class Units:
    """The n words or dense characters of a text: `hashes` uint64 (n,), `lengths` in characters, int64 (n,)."""

    hashes: numpy.ndarray
    lengths: numpy.ndarray
    dense: int

    def __len__(self) -> int:
        return len(self.hashes)

    @property
    def words(self) -> float:
        """How many words the text has, two dense characters counted as one."""
        return len(self) - self.dense + self.dense / DENSE_PER_WORD

    @property
    def is_dense(self) -> bool:
        """Whether more than half of the text is written without spaces."""
        return 2 * self.dense > int(self.lengths.sum())

    @property
    def per_word(self) -> int:
        """How many units make a word in this text."""
        return DENSE_PER_WORD if self.is_dense else 1

    def runs(self, length: int) -> numpy.ndarray:
        """A hash for each run of `length` units, uint64 of shape (n - length + 1,); empty for a shorter text."""
        import numpy

        count = len(self) - length + 1
        if count < 1:
            return numpy.empty(0, dtype=numpy.uint64)
        sums, inverse = self._prefix
        # The sum over a run is its own hash times a power of the multiplier that tells where it stands: taken out.
        found = (sums[length:] - sums[:count]) * inverse[:count]
        # Mixed, as the low bits of such sums hang on the low bits of the words alone (MurmurHash3's finaliser).
        found ^= found >> numpy.uint64(33)
        found *= numpy.uint64(0xFF51AFD7ED558CCD)
        found ^= found >> numpy.uint64(33)
        return found

    @cached_property
    def _prefix(self) -> tuple[numpy.ndarray, numpy.ndarray]:
        import numpy

        def powers(base: int) -> numpy.ndarray:
            factors = numpy.full(len(self), base, dtype=numpy.uint64)
            factors[:1] = 1
            return numpy.multiply.accumulate(factors)

        sums = numpy.zeros(len(self) + 1, dtype=numpy.uint64)
        numpy.cumsum(self.hashes * powers(_MULTIPLIER), out=sums[1:])
        return sums, powers(_INVERSE)


def fold(text: str) -> str:
    """The text without differences of case and width (NFKC)."""
    return unicodedata.normalize("NFKC", text).casefold()


def words_of(text: str) -> list[str]:
    """The folded words and dense characters of a text, one for each of its units."""
    return _UNIT.findall(fold(text))


def units_of(text: str) -> Units:
    """The text's words and dense characters; case, width, punctuation and white space make no difference."""
    import numpy

    found = words_of(text)
    dense = sum(1 for unit in found if len(unit) == 1 and _IS_DENSE.match(unit))
    return Units(
        hashes=numpy.array([_hashes[unit] for unit in found], dtype=numpy.uint64),
        lengths=numpy.array([len(unit) for unit in found], dtype=numpy.int64),
        dense=dense,
    )
