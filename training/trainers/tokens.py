"""A corpus as streams of token ids on disk, one for training and one held out for each source, and rows of them.

A stream is: end-of-text, document, end-of-text, document, ... end-of-text. A row of L tokens predicts the L tokens
that come after each of its own, and the next row begins with the last of these: so every token but a stream's first is
predicted exactly once, and a document's end-of-text before it stands for its beginning.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.records import RecordError
from training.trainers.corpus.preparing import file_name
from training.trainers.folders import replacing_folder
from training.trainers.program import TrainerError

if TYPE_CHECKING:
    import numpy
    import torch

FACTS = "tokens.json"
IGNORED = -100  # torch's label for a token that no loss is taken of
# What a tokenizer is trained on at most; more changes little and takes long.
TOKENIZER_CHARACTERS = 200_000_000
_AT_ONCE = 64  # documents tokenised in one call


@dataclass(frozen=True, kw_only=True)
class Document:
    """A kept document, and whether it is held out."""

    text: str
    heldout: bool


def split_documents(corpus: Path, number: int, facts: dict[str, Any]) -> Iterator[Document]:
    """The documents of source `number` of a corpus folder, each with its split.

    A document is held out by its hash alone, so it stays so whatever else the source holds. A source of few
    documents, none of which that chooses, has the end of its longest one held out, cut at a line's or sentence's end.
    """
    limit = int(facts["heldout_percent"] / 100 * 2**64)
    any_by_hash = limit > 0 and any(int(value[:16], 16) < limit for value in _column(corpus, number, "hash"))
    hashes = _column(corpus, number, "hash")
    for position, (text, value) in enumerate(zip(_column(corpus, number, "text"), hashes, strict=True)):
        if limit and not any_by_hash and position == facts["longest_at"]:
            wanted = min(len(text) // 2, math.ceil(facts["kept_characters"] * facts["heldout_percent"] / 100))
            at = cut_before(text, len(text) - wanted)
            yield Document(text=text[:at], heldout=False)
            yield Document(text=text[at:], heldout=True)
        else:
            yield Document(text=text, heldout=int(value[:16], 16) < limit)


def cut_before(text: str, position: int) -> int:
    """The last end of a paragraph, line, sentence or word at or before the position and after half of it."""
    for end in ("\n\n", "\n", ". ", "。", " "):
        at = text.rfind(end, position // 2, position)
        if at >= 0:
            return at + len(end)
    return position


def _column(corpus: Path, number: int, name: str) -> Iterator[str]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(corpus / file_name(number)) as table:
        for batch in table.iter_batches(256, columns=[name]):
            yield from batch.column(0).to_pylist()


def training_texts(corpus: Path, sources: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The training documents of all sources for a tokenizer: all, or an even part of TOKENIZER_CHARACTERS."""
    total = sum(facts["kept_characters"] for facts in sources)
    room = TOKENIZER_CHARACTERS / max(1, total)
    for number, facts in enumerate(sources):
        owed = 0.0
        for document in split_documents(corpus, number, facts):
            # A document is taken whenever its source is behind its even part.
            owed += len(document.text) * min(1.0, room)
            if not document.heldout and (room >= 1 or owed > 0):
                owed -= len(document.text)
                # By lines, or a tokenizer's trainer would hold a book as one word's context.
                yield from document.text.splitlines(keepends=True)


def tokenise(
    folder: Path,
    *,
    corpus: Path,
    sources: Sequence[dict[str, Any]],
    tokenizer: Any,
    end_of_text: int,
    identity: dict[str, Any],
    between: Callable[[], None],
) -> dict[str, Any]:
    """Write the streams of all sources and `tokens.json`, whole or not at all; gives what that file holds.

    `between` is called between batches and may raise to stop. Raises RecordError where no training text is left.
    """
    import numpy

    kind = numpy.uint16 if len(tokenizer) <= 1 << 16 else numpy.uint32
    counts = []
    with replacing_folder(folder) as temporary:
        for number, facts in enumerate(sources):
            with (
                open(temporary / f"train-{number:03d}.bin", "wb") as train,
                open(temporary / f"heldout-{number:03d}.bin", "wb") as heldout,
            ):
                files = {False: train, True: heldout}
                tokens, characters, size = {False: 0, True: 0}, {False: 0, True: 0}, {False: 0, True: 0}
                for batch in _batches(split_documents(corpus, number, facts)):
                    between()
                    texts = [document.text for document in batch]
                    for document, ids in zip(batch, encode(tokenizer, texts, end_of_text=end_of_text), strict=True):
                        side = document.heldout
                        files[side].write(numpy.array([end_of_text, *ids], dtype=kind).tobytes())
                        tokens[side] += 1 + len(ids)
                        characters[side] += len(document.text)
                        size[side] += len(document.text.encode())
                for side, file in files.items():
                    if tokens[side]:
                        file.write(numpy.array([end_of_text], dtype=kind).tobytes())
                        tokens[side] += 1
            counts.append(
                {
                    "name": facts["name"],
                    "train_tokens": tokens[False],
                    "heldout_tokens": tokens[True],
                    "heldout_bytes": size[True],
                }
            )
        if not any(count["train_tokens"] for count in counts):
            raise RecordError("The sources leave nothing to train on once their held-out shares are taken.")
        whole = identity | {"dtype": numpy.dtype(kind).name, "end_of_text": end_of_text, "sources": counts}
        (temporary / FACTS).write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    return whole


def _batches(documents: Iterator[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    for document in documents:
        batch.append(document)
        if len(batch) == _AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def encode(tokenizer: Any, texts: Sequence[str], *, end_of_text: int) -> list[list[int]]:
    """The ids of texts; a special token's name inside a text is ordinary text there.

    Raises TrainerError where the tokenizer makes the end-of-text token of a text's own words all the same.
    """
    # Not verbose: documents longer than the model's context are no fault here.
    encoded = tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True, verbose=False)
    found: list[list[int]] = encoded["input_ids"]
    for text, ids in zip(texts, found, strict=True):
        if end_of_text in ids:
            raise TrainerError(
                f"The tokenizer reads the end-of-text token inside a document ({text[:60]!r} ...), so documents "
                "could not be told apart; another tokenizer, or tokenizer = train, would do."
            )
    return found


def end_of_text_id(tokenizer: Any) -> int:
    """The token between documents: <|endoftext|> where the vocabulary has it, else the tokenizer's eos."""
    from training.trainers.scratch import END_OF_TEXT

    found: int = tokenizer.get_vocab().get(END_OF_TEXT, tokenizer.eos_token_id)
    return found


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One source's tokens of one split, read from disk as they are needed, in rows of `length` inputs."""

    ids: numpy.ndarray
    length: int

    @property
    def rows(self) -> int:
        """Rows that hold all of the stream; the last may be shorter."""
        return math.ceil((len(self.ids) - 1) / self.length) if len(self.ids) > 1 else 0

    def row(self, number: int) -> list[int]:
        """The ids of a row and one more, which its last input predicts."""
        start = number * self.length
        found: list[int] = self.ids[start : start + self.length + 1].tolist()
        return found


def open_stream(folder: Path, name: str, *, dtype: str, length: int) -> Stream:
    """The stream of a file that `tokenise` wrote; an empty file has no rows."""
    import numpy

    path = folder / name
    empty = path.stat().st_size == 0
    ids = numpy.empty(0, dtype=dtype) if empty else numpy.memmap(path, dtype=dtype, mode="r")
    return Stream(ids=ids, length=length)


def collate(rows: Sequence[Sequence[int]], *, pad_id: int, end_of_text: int, isolate: bool) -> dict[str, torch.Tensor]:
    """Rows of ids, each with one more than it has inputs, as `input_ids`, `labels` (rows, longest) and, to isolate
    documents, `position_ids` that start from zero at each end-of-text.

    transformers makes a block-diagonal causal mask of positions that start again, for every kind of attention, where
    neither an attention mask nor a cache is given. Without a mask padding on the right is harmless: nothing before it
    sees it, and it has no label.
    """
    import torch

    from training.trainers.padding import pad_right

    batch = {
        "input_ids": pad_right([row[:-1] for row in rows], value=pad_id),
        "labels": pad_right([row[1:] for row in rows], value=IGNORED),
    }
    if isolate:
        ids = batch["input_ids"]
        places = torch.arange(ids.shape[1]).expand_as(ids)
        # Where the document under way began; a document that goes on from the row before begins with the row.
        starts = torch.where(ids == end_of_text, places, 0).cummax(dim=1).values
        batch["position_ids"] = places - starts
    return batch
