"""The shapes that people give a row of a data file, told apart by its keys, as messages.

A fault is a RecordError whose text goes on after "In line 3 of file: ".
"""

from __future__ import annotations

from typing import Any

from training.records import Message, RecordError

_SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


def conversation(values: dict[str, Any]) -> list[Message]:
    """The whole conversation of a row in any of the three shapes."""
    if "messages" in values or "conversations" in values:
        return _with_system(values, _turns(values))
    if "output" not in values or "instruction" not in values:
        raise RecordError("the row has neither messages, nor conversations, nor instruction and output")
    answer: Message = {"role": "assistant", "content": text_of(values["output"], "output")}
    return [*prompt_of(values), answer]


def prompt_of(values: dict[str, Any]) -> list[Message]:
    """The prompt of a row, which ends with a user's turn."""
    if isinstance(values.get("prompt"), str):
        return _with_system(values, [{"role": "user", "content": values["prompt"]}])
    if "prompt" in values:
        return _with_system(values, _messages(values["prompt"], "prompt"))
    if "messages" in values or "conversations" in values:
        return _with_system(values, _turns(values))
    if "instruction" not in values:
        raise RecordError("the row has neither a prompt, nor messages, nor conversations, nor an instruction")
    messages: list[Message] = []
    for asked, answered in values.get("history") or []:
        messages += [
            {"role": "user", "content": text_of(asked, "history")},
            {"role": "assistant", "content": text_of(answered, "history")},
        ]
    parts = [text_of(values["instruction"], "instruction"), text_of(values.get("input") or "", "input")]
    content = "\n\n".join(part for part in parts if part.strip())
    if not content:
        raise RecordError("instruction and input are empty")
    return _with_system(values, [*messages, {"role": "user", "content": content}])


def pair_of(values: dict[str, Any]) -> tuple[list[Message], list[str]]:
    """The prompt, the better and the worse completion of a row."""
    if "chosen" not in values or "rejected" not in values:
        raise RecordError("the row has neither chosen and rejected, nor completions and ranks")
    named = {"prompt", "messages", "conversations", "instruction"} & set(values)
    if not named and isinstance(values["chosen"], list) and isinstance(values["rejected"], list):
        # Whole conversations that differ in their last turn alone.
        chosen, rejected = (_messages(values[name], name) for name in ("chosen", "rejected"))
        if chosen[:-1] != rejected[:-1]:
            raise RecordError("chosen and rejected do not answer the same prompt")
        prompt = _with_system(values, chosen[:-1])
        values = {"chosen": [chosen[-1]], "rejected": [rejected[-1]]}
    else:
        prompt = prompt_of(values)
    return prompt, [answer_of(values, name) for name in ("chosen", "rejected")]


def answer_of(values: dict[str, Any], name: str) -> str:
    """One completion: text, a message, or a list of one message."""
    value = values[name]
    if isinstance(value, str):
        return value
    messages = _messages(value if isinstance(value, list) else [value], name)
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        raise RecordError(f"{name} must be one turn of the assistant")
    return messages[0]["content"]


def _turns(values: dict[str, Any]) -> list[Message]:
    name = "messages" if "messages" in values else "conversations"
    return _messages(values[name], name)


def _messages(value: Any, name: str) -> list[Message]:
    """Turns as `role` and `content`, or `from` and `value`."""
    if not isinstance(value, list) or not value:
        raise RecordError(f"{name} must be a list of messages")
    messages: list[Message] = []
    for position, turn in enumerate(value):
        if not isinstance(turn, dict):
            raise RecordError(f"message {position} of {name} is no object")
        said = turn.get("role", turn.get("from"))
        role = _SPEAKERS.get(said) if isinstance(said, str) else None
        if role is None:
            known = ", ".join(sorted(_SPEAKERS))
            raise RecordError(f"message {position} of {name} is by {said!r}, which is none of {known}")
        messages.append(
            {"role": role, "content": text_of(turn.get("content", turn.get("value")), f"message {position}")}
        )
    return messages


def _with_system(values: dict[str, Any], messages: list[Message]) -> list[Message]:
    system = values.get("system")
    if not system or messages[0]["role"] == "system":
        return messages
    return [{"role": "system", "content": text_of(system, "system")}, *messages]


def list_of(values: dict[str, Any], name: str) -> list[Any]:
    value = values.get(name)
    if not isinstance(value, list):
        raise RecordError(f"{name} must be a list")
    return value


def text_of(value: Any, name: str) -> str:
    """The text without halves of surrogate pairs, which no tokenizer takes."""
    if not isinstance(value, str):
        raise RecordError(f"{name} must be text, not {value!r:.60}")
    return value.encode("utf-8", "replace").decode("utf-8")
