"""Documents that hold the text of an evaluation: a run of n words in common (Brown et al. 2020, appendix C).

A prompt that is shorter than the run counts where it stands whole, if it has at least SHORTEST words: shorter ones
("What is the capital of France?") stand in honest texts too, and are told of instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy

    from training.trainers.corpus.units import Units

SHORTEST = 8


class Prompts:
    """The evaluation's prompts as sets of runs, by the runs' lengths in units."""

    def __init__(self, texts: Iterable[str], *, words: int) -> None:
        import numpy

        from training.trainers.corpus.units import units_of

        found: dict[int, list[numpy.ndarray]] = {}
        self.count = self.too_short = 0
        for text in texts:
            units = units_of(text)
            self.count += 1
            if units.words < min(SHORTEST, words):
                self.too_short += 1
                continue
            length = min(words * units.per_word, len(units))
            found.setdefault(length, []).append(units.runs(length))
        self._runs: dict[int, numpy.ndarray] = {
            length: numpy.unique(numpy.concatenate(parts)) for length, parts in sorted(found.items())
        }

    def overlap(self, units: Units) -> int | None:
        """The position of the first unit of the document that begins a run of a prompt, None where there is none."""
        import numpy

        for length, runs in self._runs.items():
            hits = numpy.isin(units.runs(length), runs)
            if hits.any():
                return int(hits.argmax())
        return None
