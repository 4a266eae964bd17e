"""Documents that were there before: the same words (exact), or nearly the same (MinHash with bands).

MinHash: Broder 1997; bands: Leskovec et al., "Mining of Massive Datasets", chapter 3; runs of five words as in GPT-3
(Brown et al. 2020, appendix A) and FineWeb (Penedo et al. 2024). The first document of a kind stays, so sources named
earlier go before later ones; only those that stay are compared with. Memory: about 100 bytes a document for exact
ones, and 3 KB for near ones.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from training.trainers.corpus.units import Units

PERMUTATIONS = 128
RUN = 5  # words
_AT_ONCE = 8192  # runs hashed at once: 4 MB


# Whatever names a document's place.
P = TypeVar("P")


class ExactIndex(Generic[P]):
    """The documents seen, by a hash of their words: case, width, punctuation and white space make no difference."""

    def __init__(self) -> None:
        self._where: dict[bytes, P] = {}

    def twin_of(self, units: Units, *, where: P) -> P | None:
        """Where the same words stood first; else None, and this document is remembered."""
        if not len(units):
            # Signs alone: nothing says that they are the same.
            return None
        key = hashlib.blake2b(units.hashes.tobytes(), digest_size=16).digest()
        if key in self._where:
            return self._where[key]
        self._where[key] = where
        return None


class NearIndex(Generic[P]):
    """The documents that stayed, by bands of their sketches; `similarity` is the Jaccard index of their runs."""

    def __init__(self, *, similarity: float) -> None:
        from datasketch import MinHashLSH

        self.similarity = similarity
        self._bands = MinHashLSH(threshold=similarity, num_perm=PERMUTATIONS)
        self._kept: list[tuple[P, Any]] = []

    def twin_of(self, units: Units, *, where: P) -> tuple[P, float] | None:
        """Where the likest document stands and how like it is, if that is enough; else None, and this is remembered.

        The likeness is estimated from the sketches, with a standard error of at most 0.045 (128 values).
        """
        made = sketch(units)
        if made is None:
            return None
        alike = [(made.jaccard(self._kept[number][1]), -number) for number in self._bands.query(made)]
        if alike and max(alike)[0] >= self.similarity:
            share, number = max(alike)
            return self._kept[-number][0], share
        self._bands.insert(len(self._kept), made, check_duplication=False)
        self._kept.append((where, made))
        return None


def sketch(units: Units) -> Any:
    """The MinHash of a document's runs of five words; None for one that has none, too short to be like another."""
    from datasketch import MinHash

    # A run that comes twice changes no minimum.
    runs = (units.runs(RUN * units.per_word) >> 32).tolist()
    if not runs:
        return None
    made = MinHash(PERMUTATIONS, hashfunc=int, permutations=_permutations(), scheme="affine32")
    for start in range(0, len(runs), _AT_ONCE):
        made.update_batch(runs[start : start + _AT_ONCE])
    return made


@cache
def _permutations() -> Any:
    from datasketch import MinHash

    return MinHash(PERMUTATIONS, seed=1, scheme="affine32").permutations
