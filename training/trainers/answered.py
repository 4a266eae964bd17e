"""Which prompts conversations have an answer to; a round asks it as its trainer does. No Django, no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from training.records import Message

Key = tuple[tuple[str, str], ...]


def key(messages: Sequence[Message]) -> Key:
    """The same for texts that differ in blanks or in capitals alone."""
    return tuple((message["role"], " ".join(message["content"].split()).casefold()) for message in messages)


def answered(conversations: Iterable[tuple[str, Sequence[Message]]]) -> dict[Key, str]:
    """What stands before each assistant's turn of these conversations, with the id of the first that answers it."""
    found: dict[Key, str] = {}
    for name, messages in conversations:
        for at, message in enumerate(messages):
            if message["role"] == "assistant":
                found.setdefault(key(messages[:at]), name)
    return found
