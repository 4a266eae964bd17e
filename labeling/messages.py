"""Chat messages: their one valid shape, and the hash that says whether two are the same."""

import hashlib
import json
import unicodedata
from typing import Any

from django.utils.translation import gettext as _

Messages = list[dict[str, str]]


class MessagesError(ValueError):
    """Messages that cannot be used; the text is a sentence, `index` the faulty message's place from 0 if it is one."""

    def __init__(self, sentence: str, *, index: int | None = None) -> None:
        super().__init__(sentence)
        self.index = index


def check_messages(value: Any, *, ends_with: str, max_chars: int) -> Messages:
    """The messages with nothing but role and content, in a valid order.

    An optional system turn, then user and assistant in turn, the last by `ends_with` ("user" for a prompt,
    "assistant" for a demonstration). Raises MessagesError with one sentence otherwise.
    """
    if not isinstance(value, list) or not value:
        raise MessagesError(_("messages must be a non-empty list."))
    messages: Messages = []
    for number, turn in enumerate(value, start=1):
        if not isinstance(turn, dict) or not isinstance(turn.get("content"), str):
            raise MessagesError(
                _("message %(n)d needs a role and a text as content.") % {"n": number}, index=number - 1
            )
        role, content = turn.get("role"), clean_text(turn["content"])
        if role not in {"system", "user", "assistant"}:
            raise MessagesError(
                _("message %(n)d has the role %(role)r; it must be system, user or assistant.")
                % {"n": number, "role": role},
                index=number - 1,
            )
        if not content.strip():
            raise MessagesError(_("message %(n)d is empty.") % {"n": number}, index=number - 1)
        if len(content) > max_chars:
            raise MessagesError(
                _("message %(n)d has %(length)d characters; at most %(limit)d are allowed.")
                % {"n": number, "length": len(content), "limit": max_chars},
                index=number - 1,
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
    """Line ends as \\n, and without the NUL characters that PostgreSQL cannot hold."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")


def content_hash(messages: Messages) -> str:
    """sha256 (hex) of roles and NFC-normalised texts without outer white space."""
    canonical = [[turn["role"], unicodedata.normalize("NFC", turn["content"]).strip()] for turn in messages]
    return hashlib.sha256(json.dumps(canonical, ensure_ascii=False).encode()).hexdigest()
