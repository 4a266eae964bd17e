"""Reads what a trainer left, by fixed names in the run's folder: never by a path that a file names.

A run may still be writing, its disk may have filled up, and its code may be older or newer than this one. So a file
that is not there is no report, and one of another shape raises Unreadable with a reason for people.
"""

from __future__ import annotations

import json
import math
import os
import stat
from typing import Any

from django.utils.translation import gettext as _

from training.models import Run

# Larger than any report that trainers write; a page must not read a file of any size into memory.
LARGEST = 16 * 2**20


class Unreadable(Exception):
    """The file is there and is not what its trainer writes; the text says why, as the end of a sentence."""


def json_of(run: Run, name: str) -> dict[str, Any] | None:
    """The JSON object in the run's file, None where there is none. Numbers that are not finite become None."""
    text = _text(run, name)
    return None if text is None else _object(text, where=name)


def lines_of(run: Run, name: str) -> list[dict[str, Any]] | None:
    """The JSON objects of the run's file, one a line; None where there is none.

    Behind whole lines a torn one, that its trainer was about to write when it was read or killed, is left out.
    """
    text = _text(run, name, torn=True)
    if text is None:
        return None
    found, lines = list[dict[str, Any]](), text.split("\n")
    for number, line in enumerate(lines, start=1):
        try:
            if line.strip():
                found.append(_object(line, where=_("line %(number)s of %(file)s") % {"number": number, "file": name}))
        except Unreadable:
            if not found or number < len(lines):
                raise
    return found


def _text(run: Run, name: str, *, torn: bool = False) -> str | None:
    """The whole file; one that may be torn without what stands behind its last whole line if that is no text."""
    try:
        # A link could lead out of the folder, and a pipe would never answer.
        file = os.open(run.folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Unreadable(_("%(file)s cannot be opened.") % {"file": name}) from error
    with os.fdopen(file, "rb") as stream:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise Unreadable(_("%(file)s is not a plain file.") % {"file": name})
        data = stream.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise Unreadable(_("%(file)s is larger than %(size)s MiB.") % {"file": name, "size": LARGEST >> 20})
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        whole = data.rfind(b"\n") + 1
        if torn and 0 < whole <= error.start:
            return data[:whole].decode("utf-8")
        raise Unreadable(_("%(file)s is not UTF-8 text.") % {"file": name}) from error


def _object(text: str, *, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text, parse_constant=lambda _: None, parse_float=_finite, parse_int=_whole)
        if isinstance(found, dict):
            return _sound(found)
    except (ValueError, RecursionError) as error:
        raise Unreadable(_("%(place)s is not whole JSON.") % {"place": where}) from error
    raise Unreadable(_("%(place)s is not a JSON object.") % {"place": where})


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _whole(text: str) -> int | None:
    # What is longer fits no number of a page or of another program.
    return int(text) if len(text) < 19 else None


def _sound(value: Any) -> Any:
    """The same with half surrogate pairs replaced, which JSON can hold and no page can be sent with."""
    if isinstance(value, str):
        return value.encode("utf-8", errors="replace").decode("utf-8")
    if isinstance(value, list):
        return [_sound(one) for one in value]
    if isinstance(value, dict):
        return {_sound(key): _sound(one) for key, one in value.items()}
    return value
