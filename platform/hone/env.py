"""Reads settings from the environment, in one place. A bad value stops the start with a sentence.

Every name may also be given as NAME_FILE, a path whose content is the value (Docker and Kubernetes secrets).
"""

import os
import zoneinfo
from collections.abc import Collection
from pathlib import Path


class SettingError(SystemExit):
    """A setting that cannot be used. Ends the process with its sentence instead of a traceback."""


def text(name: str, default: str = "") -> str:
    value = os.environ.get(name)
    if value is not None:
        return value
    path = os.environ.get(f"{name}_FILE")
    if path is None:
        return default
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingError(f"{name}_FILE names {path}, which cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise SettingError(f"{name}_FILE names {path}, which is not UTF-8 text.") from None


def boolean(name: str, default: bool) -> bool:
    value = text(name, str(default)).strip().lower()
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off", ""}:
        return False
    raise SettingError(f"{name} is {value!r}; it must be true or false.")


def integer(name: str, default: int, *, minimum: int, maximum: int) -> int:
    value = text(name, str(default))
    try:
        number = int(value)
    except ValueError:
        raise SettingError(f"{name} is {value!r}; it must be a whole number.") from None
    if not minimum <= number <= maximum:
        raise SettingError(f"{name} is {number}; it must lie between {minimum} and {maximum}.")
    return number


def one_of(name: str, default: str, choices: Collection[str]) -> str:
    """One of a few words, whatever its case."""
    value = text(name, default).strip().upper()
    if value not in choices:
        raise SettingError(f"{name} is {value!r}; it must be one of {', '.join(choices)}.")
    return value


def time_zone(name: str, default: str) -> str:
    value = text(name, default)
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise SettingError(f"{name} is {value!r}; it must be a time zone's name, such as Europe/Berlin.") from None
    return value


def address(name: str, default: str) -> tuple[str, int]:
    """`host:port`, as a pair."""
    value = text(name, default).strip()
    host, colon, port = value.rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65536):
        raise SettingError(f"{name} is {value!r}; it must be host:port, such as 127.0.0.1:8000.")
    return host, int(port)


def words(name: str, default: str = "") -> list[str]:
    """A comma-separated list, empty entries dropped."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]
