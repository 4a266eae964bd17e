"""What became of the documents of each source: counts, reasons, and examples of each reason."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from training.trainers.corpus.heuristics import RULES

EXAMPLES = 3
_EXCERPT = 300
_FILES = 1000  # named one by one in a report; beyond, their number says enough

REASONS = {
    "encoding": "bytes that are no text in the source's encoding",
    "no_text": "a record without a text in the text field",
    "empty": "nothing left after normalising",
    "language": "not surely in one of the languages asked for",
    **RULES,
    "contaminated": "a run of words of an evaluation prompt",
    "exact_duplicate": "the same words as an earlier document",
    "near_duplicate": "nearly the same runs of five words as an earlier document",
}


@dataclass
class _Dropped:
    documents: int = 0
    characters: int = 0
    # The examples with the smallest hashes: an even choice that is the same each time.
    examples: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    # Of duplicates: how many have their twin in which source.
    twins: Counter[str] = field(default_factory=Counter)


class SourceReport:
    """Counts one source's documents; `as_dict` is its part of report.json."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.documents = self.characters = 0
        self.kept_documents = self.kept_characters = 0
        self.lines_cut = 0
        self.languages: dict[str, int] = {}
        self.files: list[dict[str, Any]] = []
        self.left_out: list[str] = []
        self._dropped: dict[str, _Dropped] = {}

    def read(self, text: str) -> None:
        """A document was read."""
        self.documents += 1
        self.characters += len(text)

    def keep(self, text: str, *, language: str) -> None:
        """A document stays."""
        self.kept_documents += 1
        self.kept_characters += len(text)
        self.languages[language] = self.languages.get(language, 0) + 1

    def drop(self, reason: str, text: str, *, where: str, detail: str = "", twin_source: str = "") -> None:
        """A document goes, for a reason of REASONS; a duplicate's twin stands in `twin_source`."""
        entry = self._dropped.setdefault(reason, _Dropped())
        entry.documents += 1
        entry.characters += len(text)
        if twin_source:
            entry.twins[twin_source] += 1
        key = int.from_bytes(
            hashlib.blake2b(f"{where}\n{text[:1000]}".encode(errors="replace"), digest_size=8).digest(), "big"
        )
        example = {"where": where, "text": text[:_EXCERPT]} | ({"detail": detail} if detail else {})
        heapq.heappush(entry.examples, (-key, example))
        if len(entry.examples) > EXAMPLES:
            heapq.heappop(entry.examples)

    @property
    def dropped(self) -> dict[str, int]:
        """How many documents each reason took, the most first."""
        counts = {reason: entry.documents for reason, entry in self._dropped.items()}
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def as_dict(self) -> dict[str, Any]:
        """All of it, as JSON takes it."""
        return {
            "name": self.name,
            "documents": self.documents,
            "characters": self.characters,
            "kept_documents": self.kept_documents,
            "kept_characters": self.kept_characters,
            "lines_cut": self.lines_cut,
            "languages": dict(sorted(self.languages.items(), key=lambda item: (-item[1], item[0]))),
            "dropped": {
                reason: {
                    "why": REASONS[reason],
                    "documents": self._dropped[reason].documents,
                    "characters": self._dropped[reason].characters,
                    **({"twins": dict(twins.most_common())} if (twins := self._dropped[reason].twins) else {}),
                    "examples": [example for _, example in sorted(self._dropped[reason].examples, key=lambda e: -e[0])],
                }
                for reason in self.dropped
            },
            "files": self.files[:_FILES],
            "file_count": len(self.files),
            "files_left_out": self.left_out[:_FILES],
        }

    def sentence(self) -> str:
        """One sentence for people."""
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.dropped.items())
        return (
            f"Source {self.name}: {self.kept_documents} of {self.documents} documents kept"
            + (f"; dropped: {reasons}" if reasons else "")
            + "."
        )
