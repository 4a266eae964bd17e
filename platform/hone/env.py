"""Reads settings from the environment, in one place. A bad value stops the start with a sentence.

Every name may also be given as NAME_FILE, a path whose content is the value (Docker and Kubernetes secrets).
"""

import os
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


def words(name: str, default: str = "") -> list[str]:
    """A comma-separated list, empty entries dropped."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]
