"""Reading a file of JSON from anybody: JSON Lines or one JSON list, plain or gzip, of any size that memory allows.

What a file is, its content says, since names mislead. A compressed file of a few kilobytes may hold gigabytes, so
lines, lists and whole files have limits, checked while they are read.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import IO, Any

from django.utils.translation import gettext as _

MIB = 1024 * 1024
LINE_BYTES = 16 * MIB
LIST_BYTES = 128 * MIB  # a list is parsed in one piece
FILE_BYTES = 4096 * MIB


class BadJson(ValueError):
    """A line, or a file, that cannot be read; the text is a sentence."""


def json_values(file: IO[bytes]) -> Iterator[tuple[int, Any]]:
    """(line, value or BadJson) for each line that is not blank, or (place, value) for each entry of a list.

    Both count from 1. What follows a line that cannot be parsed is still read; a damaged file ends there.
    """
    head = file.read(2)
    file.seek(0)
    stream: IO[bytes] = gzip.GzipFile(fileobj=file) if head == b"\x1f\x8b" else file  # type: ignore[assignment]
    lines = enumerate(_lines(stream), start=1)
    line = 0
    try:
        for line, raw in lines:
            if line == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            if not raw.strip():
                continue
            if raw.lstrip().startswith(b"["):
                yield from _list_values(raw, stream, line)
                return
            yield line, _parse(raw, line)[1]
            break
        for line, raw in lines:
            if raw.strip():
                yield line, _parse(raw, line)[1]
    except BadJson as error:  # too large
        yield line + 1, error
    except (OSError, EOFError, zlib.error) as error:
        yield line + 1, BadJson(_("the compressed file is damaged: %(why)s.") % {"why": error})


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    total = 0
    while raw := stream.readline(LINE_BYTES + 1):
        total += len(raw)
        # A list's first line may be all of it; json_values reads on from here.
        if len(raw) > LINE_BYTES and not raw.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
            raise BadJson(_("the line is longer than %(n)d MiB.") % {"n": LINE_BYTES // MIB})
        if total > FILE_BYTES:
            raise BadJson(_("the file holds more than %(n)d MiB.") % {"n": FILE_BYTES // MIB})
        yield raw


def _list_values(first: bytes, stream: IO[bytes], line: int) -> Iterator[tuple[int, Any]]:
    content = first + stream.read(LIST_BYTES)
    if len(content) > LIST_BYTES:
        yield line, BadJson(_("a list may have at most %(n)d MiB: use JSON Lines.") % {"n": LIST_BYTES // MIB})
        return
    at, values = _parse(content, line)
    if isinstance(values, BadJson):
        yield at, values
    else:
        yield from enumerate(values, start=1)


def _parse(raw: bytes, line: int) -> tuple[int, Any]:
    """(line, value or BadJson) of a text that begins at this line."""
    try:
        return line, json.loads(raw.decode().rstrip("\r\n"))
    except UnicodeDecodeError as error:
        reason = _("not UTF-8: byte 0x%(byte)02x cannot be read.") % {"byte": raw[error.start]}
        return line + raw.count(b"\n", 0, error.start), BadJson(reason)
    except json.JSONDecodeError as error:
        reason = _("not valid JSON: %(why)s at character %(at)d.") % {
            "why": error.msg.removesuffix(" at"),
            "at": error.colno,
        }
        return line + error.lineno - 1, BadJson(reason)
    except RecursionError:
        return line, BadJson(_("nested too deeply."))
    except ValueError:
        return line, BadJson(_("a number has too many digits."))
