"""The documents of a source: text files, JSON Lines, JSON lists and Parquet, one document after another.

Whether a file is text or JSON is told by its name and its first line, whether a .json holds one list or JSON Lines by
its content.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from training.records import RecordError
from training.trainers.corpus.files import JSON_NAMES, File, files_of
from training.trainers.corpus.manifest import Source

_HEAD = 1 << 16
# A text file beyond this is no single document, and would not fit into memory beside its words.
LARGEST_DOCUMENT = 256 << 20


@dataclass(frozen=True)
class Document:
    """A text and where it stands (file, and line or row); `fault` says why it has no text that could be read."""

    where: str
    text: str
    fault: str = ""


def documents_of(source: Source) -> Iterator[Document]:
    """All documents of a source, its files in the order of their names.

    Raises RecordError for what `files_of` refuses, a damaged or binary file, JSON that is none, and a first record
    without the text field; a later record without it is a document with a fault.
    """
    for file in files_of(source).files:
        yield from _of_file(source, file)


def check_readable(source: Source) -> list[str]:
    """Read the first document of every file, so that a bad one is told of before hours of work.

    Gives the files of a folder that are of no known kind; raises as `documents_of`.
    """
    found = files_of(source)
    for file in found.files:
        next(_of_file(source, file), None)
    return found.left_out


def _of_file(source: Source, file: File) -> Iterator[Document]:
    with file.open() as stream:
        # A peek gives what one read of the file gives, which may be little.
        head = stream.peek(_HEAD)[:_HEAD]  # type: ignore[attr-defined]
        if head.startswith(b"PAR1"):
            yield from _parquet(source, file, stream)
        elif b"\0" in head:
            raise RecordError(f"The file {file.where} of the source {source.name} is binary (or UTF-16), not text.")
        elif file.suffix in JSON_NAMES or _is_json_line(head):
            yield from _json(source, file, stream, head)
        else:
            yield from _text(source, file, stream)


def _is_json_line(head: bytes) -> bool:
    line, end, _ = head.lstrip(b"\xef\xbb\xbf \t\r\n").partition(b"\n")
    if not end or not line.startswith(b"{"):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _text(source: Source, file: File, stream: IO[bytes]) -> Iterator[Document]:
    if source.documents == "file":
        data = stream.read(LARGEST_DOCUMENT + 1)
        if len(data) > LARGEST_DOCUMENT:
            raise RecordError(
                f"The file {file.where} is over {LARGEST_DOCUMENT >> 20} MiB, too much for one document; "
                f"set documents to lines or paragraphs for the source {source.name}."
            )
        yield _decoded(source, file.where, data)
        return
    block: list[bytes] = []
    first = 1
    for number, line in enumerate(stream, start=1):
        if source.documents == "lines":
            if line.strip():
                yield _decoded(source, f"{file.where}:{number}", line)
            continue
        if line.strip():
            first = first if block else number
            block.append(line)
        elif block:
            yield _decoded(source, f"{file.where}:{first}", b"".join(block))
            block = []
    if block:
        yield _decoded(source, f"{file.where}:{first}", b"".join(block))


def _decoded(source: Source, where: str, data: bytes) -> Document:
    encoding = source.encoding
    try:
        return Document(where, data.decode("utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding))
    except UnicodeDecodeError as error:
        start = max(0, error.start - 40)
        return Document(where, data[start : start + 200].decode(encoding, errors="replace"), fault="encoding")


def _json(source: Source, file: File, stream: IO[bytes], head: bytes) -> Iterator[Document]:
    begin = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if begin == b"[":
        values = _loaded(stream.read(), f"the file {file.where}")
        yield from _records(source, ((f"{file.where}:{n}", value) for n, value in enumerate(values, start=1)))
        return
    first_line = _next_line(stream)
    try:
        lines = isinstance(json.loads(first_line.removeprefix(b"\xef\xbb\xbf")), dict)
    except ValueError:
        # Either an object over many lines, or a file that is no JSON at all.
        _loaded(first_line + stream.read(), f"the file {file.where}")
        lines = False
    if not lines:
        raise RecordError(f"The file {file.where} is one JSON value, not a list or lines of documents.")

    def numbered() -> Iterator[tuple[str, Any]]:
        number, line = 1, first_line
        while line:
            if line.strip():
                where = f"{file.where}:{number}"
                yield where, _loaded(line, where)
            number, line = number + 1, stream.readline()

    yield from _records(source, numbered())


def _next_line(stream: IO[bytes]) -> bytes:
    """The first line that is not blank."""
    for line in stream:
        if line.strip():
            return line
    return b""


def _loaded(data: bytes, where: str) -> Any:
    try:
        return json.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except ValueError as error:
        raise RecordError(f"In {where}: not valid JSON ({error}).") from error


def _parquet(source: Source, file: File, stream: IO[bytes]) -> Iterator[Document]:
    import pyarrow.parquet as pq

    # Parquet is read from its end; a compressed one, or one in an archive, must be unpacked for that.
    with pq.ParquetFile(stream if _is_plain(stream) else io.BytesIO(stream.read())) as table:
        names = table.schema_arrow.names
        if source.text_field not in names:
            raise _no_field(source, file.where, names)
        rows = (
            value
            for batch in table.iter_batches(256, columns=[source.text_field])
            for value in batch.column(0).to_pylist()
        )
        yield from _records(
            source, ((f"{file.where}:{n}", {source.text_field: value}) for n, value in enumerate(rows, start=1))
        )


def _is_plain(stream: IO[bytes]) -> bool:
    return isinstance(getattr(stream, "raw", None), io.BufferedReader)


def _records(source: Source, records: Iterator[tuple[str, Any]]) -> Iterator[Document]:
    for number, (where, record) in enumerate(records):
        value = record.get(source.text_field) if isinstance(record, dict) else record
        text = text_of(value)
        if text is not None:
            yield Document(where, text)
        elif number == 0:
            raise _no_field(source, where, list(record) if isinstance(record, dict) else [])
        else:
            yield Document(where, json.dumps(record, ensure_ascii=False, default=str)[:200], fault="no_text")


def text_of(value: Any) -> str | None:
    """The text in a field: a string, a list of strings (lines), or chat messages, each with a `content`."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value:
        parts = [part.get("content") if isinstance(part, dict) else part for part in value]
        lines = [part for part in parts if isinstance(part, str)]
        if len(lines) == len(parts):
            return "\n".join(lines)
    return None


def _no_field(source: Source, where: str, names: list[str]) -> RecordError:
    has = f"it has {', '.join(map(str, names))}" if names else "it has no fields"
    return RecordError(
        f"In {where} of the source {source.name}: no text in the field text_field = {source.text_field!r}; {has}."
    )
