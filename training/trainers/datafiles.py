"""Data files as people have them, read into the rows of `training.records`, so that trainers also run by hand on them.

A snapshot of the platform is Parquet; any other file is JSON (a list of objects) or JSON Lines, plain or gzipped, told
apart by its content and never by its name. Known shapes of a row, told apart by their keys:

- a demonstration has `messages` (role, content), or `conversations` (from, value: ShareGPT), or `instruction`, `input`
  and `output` (Alpaca);
- a ranking has a prompt with `chosen` and `rejected`, or with `completions` and `ranks`;
- an unpaired label has `label`, true or false, and `messages` that end with the judged answer, or a prompt and
  `completion`.

A prompt is `prompt` (text or messages), `conversations`, `messages`, or `instruction` with `input`. A row may also say
`id`, `system`, `category`, `language`, `split` and `weight`; without a split, a tenth of the prompts is held out
by their hash, the same ones in every file. Whatever cannot be read is refused by one sentence that names file and row.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from training.records import (
    DemonstrationRow,
    Message,
    RankingRow,
    RecordError,
    Row,
    UnpairedRow,
    read_parquet,
    split_of,
)
from training.trainers import row_shapes

# Of the prompts of a file that names no splits.
HELDOUT_PERCENT = 10

R = TypeVar("R", bound=Row)


@dataclass(kw_only=True)
class Read(Generic[R]):
    """The rows of a file, and sentences on what was left out of them."""

    rows: list[R]
    notes: list[str] = field(default_factory=list)


def demonstrations(path: Path) -> Read[DemonstrationRow]:
    """Raises RecordError."""
    if _is_parquet(path):
        return Read(rows=read_parquet(path, row_type=DemonstrationRow))
    unanswered = 0

    def row(number: int, values: dict[str, Any]) -> DemonstrationRow:
        nonlocal unanswered
        messages = row_shapes.conversation(values)
        while messages and messages[-1]["role"] == "user" and len(messages) > 2:
            messages.pop()
            unanswered += 1
        if any(not message["content"].strip() for message in messages if message["role"] == "assistant"):
            raise RecordError("an answer is empty")
        prompt = messages[:-1]
        return DemonstrationRow(messages=messages, **_common(number, values, prompt=prompt))

    rows = _rows(path, row)
    notes = []
    if unanswered:
        notes.append(f"{unanswered} turns at the end of a conversation have no answer to learn and are left out.")
    return Read(rows=rows, notes=notes)


def rankings(path: Path) -> Read[RankingRow]:
    """Raises RecordError."""
    if _is_parquet(path):
        return Read(rows=read_parquet(path, row_type=RankingRow))

    def row(number: int, values: dict[str, Any]) -> RankingRow:
        if "completions" in values or "ranks" in values:
            prompt, answers, ranks = (
                row_shapes.prompt_of(values),
                row_shapes.list_of(values, "completions"),
                row_shapes.list_of(values, "ranks"),
            )
            if not all(type(rank) is int for rank in ranks):
                raise RecordError("ranks must be whole numbers")
            texts = [row_shapes.text_of(answer, "a completion") for answer in answers]
        else:
            prompt, texts = row_shapes.pair_of(values)
            ranks = [0, 1]
        flags = values.get("unacceptable") or [False] * len(texts)
        common = _common(number, values, prompt=prompt)
        prompt_id = str(values.get("prompt_id") or _hash(prompt)[:16])
        annotator = str(values.get("annotator") or "")
        return RankingRow(
            prompt_id=prompt_id, prompt=prompt, completions=texts, ranks=ranks, unacceptable=flags,
            annotator=annotator, **common,
        )  # fmt: skip

    return Read(rows=_rows(path, row))


def unpaired(path: Path) -> Read[UnpairedRow]:
    """Raises RecordError."""
    if _is_parquet(path):
        return Read(rows=read_parquet(path, row_type=UnpairedRow))

    def row(number: int, values: dict[str, Any]) -> UnpairedRow:
        if not isinstance(values.get("label"), bool):
            raise RecordError("label must be true or false")
        if "completion" in values:
            prompt, completion = row_shapes.prompt_of(values), row_shapes.answer_of(values, "completion")
        else:
            messages = row_shapes.conversation(values)
            if messages[-1]["role"] != "assistant":
                raise RecordError("the conversation must end with the judged answer of the assistant")
            prompt, completion = messages[:-1], messages[-1]["content"]
        common = _common(number, values, prompt=prompt)
        return UnpairedRow(prompt=prompt, completion=completion, desirable=values["label"], **common)

    return Read(rows=_rows(path, row))


def is_unpaired(path: Path) -> bool:
    """Whether a file holds unpaired labels, by its columns or its first row; raises RecordError where it has none."""
    if _is_parquet(path):
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return "desirable" in pq.read_schema(path).names
        except (pa.ArrowInvalid, OSError) as error:
            raise RecordError(f"The data file {path} is not a whole Parquet file: {error}.") from error
    for _, values in _objects(path):
        return "label" in values and not {"chosen", "completions"} & set(values)
    return False


def _is_parquet(path: Path) -> bool:
    """By its first bytes; raises RecordError where there is no such file."""
    if not path.is_file():
        raise RecordError(f"The data file {path} does not exist.")
    with open(path, "rb") as file:
        return file.read(4) == b"PAR1"


def _rows(path: Path, make: Callable[[int, dict[str, Any]], R]) -> list[R]:
    rows = []
    for number, (where, values) in enumerate(_objects(path)):
        try:
            rows.append(make(number, values))
        except RecordError as error:
            raise RecordError(f"In {where}: {error}.") from error
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise RecordError(f"In {where}: the row has a value of the wrong kind ({error}).") from error
    return rows


def _objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where each object of the file stands, and the object."""
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        text = data.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error) as error:
        raise RecordError(f"The data file {path} cannot be read: {error}.") from error
    except UnicodeDecodeError as error:
        raise RecordError(
            f"The data file {path} is neither Parquet nor UTF-8 text (byte {error.start} is no character)."
        ) from error
    if not text.strip():
        raise RecordError(f"The data file {path} is empty.")
    if text.lstrip()[0] == "[":
        try:
            listed = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise RecordError(f"The data file {path} is not valid JSON ({error}).") from error
        found: Iterator[tuple[str, Any]] = ((f"row {number} of {path}", value) for number, value in enumerate(listed))
    else:
        found = _lines(path, text)
    for where, value in found:
        if not isinstance(value, dict):
            raise RecordError(f"In {where}: not a JSON object.")
        yield where, value


def _lines(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    # Not splitlines: JSON strings may hold other line separators of Unicode as they are.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            where = f"line {number} of {path}"
            try:
                yield where, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise RecordError(f"In {where}: not valid JSON ({error}).") from error


def _common(number: int, values: dict[str, Any], *, prompt: list[Message]) -> dict[str, Any]:
    """The columns that all rows have."""
    weight = values.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise RecordError("weight must be a number")
    return {
        "id": str(values.get("id", number)),
        "category": str(values.get("category") or ""),
        "language": str(values.get("language") or ""),
        "split": values.get("split") or split_of(_hash(prompt), HELDOUT_PERCENT),
        "weight": float(weight),
    }


def _hash(messages: list[Message]) -> str:
    """sha256 (hex) of roles and NFC-normalised texts without outer white space, as the platform hashes prompts."""
    canonical = [[turn["role"], unicodedata.normalize("NFC", turn["content"]).strip()] for turn in messages]
    return hashlib.sha256(json.dumps(canonical, ensure_ascii=False).encode(errors="replace")).hexdigest()
