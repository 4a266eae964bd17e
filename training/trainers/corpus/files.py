"""The files of a source as streams of plain bytes, whatever they are compressed with.

The codec is told by a file's first bytes, never by its name. gzip, bzip2 and xz are read by the standard library,
Zstandard by pyarrow.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from training.records import RecordError
from training.trainers.corpus.manifest import Source

TEXT_NAMES = {".txt", ".text", ".md", ".rst", ".tex"}
JSON_NAMES = {".json", ".jsonl", ".ndjson"}
_COMPRESSED_NAMES = {".gz", ".bz2", ".xz", ".zst"}
_KNOWN_NAMES = TEXT_NAMES | JSON_NAMES | {".parquet"}
# What a file of these first bytes is, for the sentence that refuses it.
_REFUSED = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\x04\x22\x4d\x18": "compressed with LZ4",
    b"\xff\x06\x00\x00sNaPpY": "compressed with Snappy",
    b"\x1f\x9d": "compressed with compress (.Z)",
    b"LZIP": "compressed with lzip",
    b"%PDF": "a PDF",
    b"WARC/": "a WARC archive of raw web pages, whose text must be extracted first",
}
_READS = "gzip, bzip2, xz, Zstandard and ZIP are read"


@dataclass(frozen=True)
class File:
    """One file of a source: where it stands, for people, its plain name, and a way to open it, decompressed."""

    where: str
    name: str
    open: Callable[[], contextlib.AbstractContextManager[IO[bytes]]]

    @property
    def suffix(self) -> str:
        return _suffix(self.name)


@dataclass(frozen=True, kw_only=True)
class Files:
    """All files of a source in the order of their names, and those of a folder that are of no known kind."""

    files: list[File]
    left_out: list[str]


def files_of(source: Source) -> Files:
    """The source's files; raises RecordError where its path is missing, empty, or a folder without a readable file."""
    path = source.path
    if path.is_file():
        if path.stat().st_size == 0:
            raise RecordError(f"The source {source.name}: the file {path} is empty.")
        if zipfile.is_zipfile(path):
            return _checked(source, _members(path), "archive")
        return Files(files=[_file(path, str(path))], left_out=[])
    if not path.is_dir():
        raise RecordError(f"The source {source.name}: {path} does not exist.")
    # Hidden files are tools' own.
    paths = [
        each
        for each in sorted(path.rglob("*"))
        if each.is_file() and not any(part.startswith(".") for part in each.relative_to(path).parts)
    ]
    files = [_file(each, str(each)) for each in paths]
    return _checked(source, files, "folder")


def _checked(source: Source, files: list[File], kind: str) -> Files:
    known = [file for file in files if file.suffix in _KNOWN_NAMES]
    if not known:
        names = ", ".join(sorted(_KNOWN_NAMES))
        raise RecordError(f"The source {source.name}: the {kind} {source.path} holds no file named {names}.")
    return Files(files=known, left_out=[file.where for file in files if file.suffix not in _KNOWN_NAMES])


def _suffix(name: str) -> str:
    path = Path(name.lower())
    return Path(path.stem).suffix if path.suffix in _COMPRESSED_NAMES else path.suffix


def _file(path: Path, where: str) -> File:
    return File(where, path.name, lambda: _opened(lambda: open(path, "rb"), where))


def _members(path: Path) -> list[File]:
    def one(name: str) -> File:
        where = f"{path}:{name}"

        @contextlib.contextmanager
        def opening() -> Iterator[IO[bytes]]:
            with zipfile.ZipFile(path) as archive, _opened(lambda: archive.open(name), where) as stream:
                yield stream

        return File(where, Path(name).name, opening)

    with zipfile.ZipFile(path) as archive:
        names = sorted(info.filename for info in archive.infolist() if not info.is_dir())
    return [one(name) for name in names]


@contextlib.contextmanager
def _opened(open_raw: Callable[[], IO[bytes]], where: str) -> Iterator[IO[bytes]]:
    """A buffered, decompressed stream; errors of any codec while it is read become one RecordError."""
    from pyarrow import ArrowException

    try:
        with contextlib.ExitStack() as stack:
            raw = stack.enter_context(open_raw())
            head = raw.read(16)
            raw.seek(0)
            _refuse(head, where)
            stream: Any = raw
            if head.startswith(b"\x1f\x8b"):
                stream = stack.enter_context(gzip.GzipFile(fileobj=raw))
            elif head.startswith(b"BZh"):
                stream = stack.enter_context(bz2.BZ2File(raw))
            elif head.startswith(b"\xfd7zXZ\x00"):
                stream = stack.enter_context(lzma.LZMAFile(raw))
            elif head.startswith(b"\x28\xb5\x2f\xfd"):
                import pyarrow

                stream = stack.enter_context(pyarrow.CompressedInputStream(raw, "zstd"))
            buffered = stack.enter_context(io.BufferedReader(stream, buffer_size=1 << 20))
            inner = buffered.peek(512)
            if stream is not raw:
                _refuse(inner, where)
            if inner[257:262] == b"ustar":
                raise RecordError(f"The file {where} is a tar archive; unpack it into a folder first.")
            yield buffered
    except PermissionError as error:
        raise RecordError(f"The file {where} cannot be read: {error.strerror}.") from error
    except (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, ArrowException, OSError) as error:
        raise RecordError(f"The file {where} is damaged or cut short: {error}.") from error


def _refuse(head: bytes, where: str) -> None:
    for start, kind in _REFUSED.items():
        if head.startswith(start):
            raise RecordError(f"The file {where} is {kind}; {_READS}.")
