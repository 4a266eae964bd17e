"""Chat messages: their one valid shape, and the hash that says whether two are the same."""

import hashlib
import json
import math
import re
import unicodedata
from typing import Any

from django.utils.translation import gettext as _

Messages = list[dict[str, str]]
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class MessagesError(ValueError):
    """Messages that cannot be used; the text is a sentence that names the faulty message if it is one.

    `index` is that message's place from 0, and `at_field` the sentence to show beside its own field.
    """

    def __init__(self, sentence: str, *, index: int | None = None, at_field: str = "") -> None:
        super().__init__(sentence)
        self.index = index
        self.at_field = at_field or sentence


def check_messages(value: Any, *, ends_with: str, max_chars: int, given: int = 0) -> Messages:
    """The messages with nothing but role and content, in a valid order.

    An optional system turn, then user and assistant in turn, the last by `ends_with` ("user" for a prompt,
    "assistant" for a demonstration). The first `given` were not written by the person and may be of any length.
    Raises MessagesError with one sentence otherwise.
    """
    if not isinstance(value, list) or not value:
        raise MessagesError(_("messages must be a non-empty list."))
    messages: Messages = []
    for number, turn in enumerate(value, start=1):
        if not isinstance(turn, dict) or not all(isinstance(turn.get(key), str) for key in ("role", "content")):
            raise MessagesError(
                _("message %(n)d needs a role and a text as content.") % {"n": number}, index=number - 1
            )
        role, content = turn["role"], clean_text(turn["content"])
        if role not in {"system", "user", "assistant"}:
            raise MessagesError(
                _("message %(n)d has the role %(role)r; it must be system, user or assistant.")
                % {"n": number, "role": role[:40]},
                index=number - 1,
            )
        if not content.strip():
            raise MessagesError(
                _("message %(n)d is empty.") % {"n": number},
                index=number - 1,
                at_field=_("Nothing is written here yet."),
            )
        if number > given and len(content) > max_chars:
            raise MessagesError(
                _("message %(n)d has %(length)d characters; at most %(limit)d are allowed.")
                % {"n": number, "length": len(content), "limit": max_chars},
                index=number - 1,
                at_field=_("%(length)d characters; at most %(limit)d are allowed.")
                % {"length": len(content), "limit": max_chars},
            )
        messages.append({"role": role, "content": content})
    turns = [turn["role"] for turn in messages]
    if "system" in turns[1:]:
        raise MessagesError(_("a system message may only come first."))
    spoken = turns[1:] if turns[0] == "system" else turns
    if not spoken or any(role != ("user", "assistant")[i % 2] for i, role in enumerate(spoken)):
        raise MessagesError(_("user and assistant must take turns, the user first."))
    if spoken[-1] != ends_with:
        raise MessagesError(_("the last message must be by the %(role)s.") % {"role": ends_with})
    return messages


def clean_text(text: str) -> str:
    """Line ends as \\n, and without what PostgreSQL cannot hold: NUL characters, and halves of surrogate pairs."""
    whole = _LONE_SURROGATE.sub("\ufffd", text)
    return whole.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")


def clean_json(value: Any) -> Any:
    """A JSON value with every text in it cleaned, keys as well; numbers that are none become null."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {clean_text(str(key)): clean_json(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [clean_json(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def content_hash(messages: Messages) -> str:
    """sha256 (hex) of roles and NFC-normalised texts without outer white space."""
    canonical = [[turn["role"], unicodedata.normalize("NFC", turn["content"]).strip()] for turn in messages]
    return hashlib.sha256(json.dumps(canonical, ensure_ascii=False).encode()).hexdigest()
