"""Worked examples before each prompt, for base models that know no chat template (Brown et al. 2020, section 2).

Parquet of demonstrations, as the platform freezes them, or a file of JSON Lines, one conversation a line:

    {"messages": [{"role": "user", "content": "What is 2 + 2?"}, {"role": "assistant", "content": "4"}]}

Each is written as chat.PLAIN_TEMPLATE writes a conversation, `Question: ...` and `Answer: ...`, but without the
end-of-text token after its answers: base models learnt that what follows that token is another document.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.records import DemonstrationRow, Message, RecordError, check_messages, read_parquet

_WORDS = {"system": "", "user": "Question: ", "assistant": "Answer: "}


def read(path: str) -> list[list[Message]]:
    """The conversations of a file, each ending with an answer; raises RecordError naming the file and its line."""
    if path.endswith(".parquet"):
        found = [row.messages for row in read_parquet(path, row_type=DemonstrationRow)]
        if not found:
            raise RecordError(f"The file {path} named by few_shot has no conversation.")
        return found
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise RecordError(f"The file {path} named by few_shot cannot be read: {reason}.") from error
    examples: list[list[Message]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"line {number} of {path}, named by few_shot"
        try:
            messages = [Message(role=m["role"], content=str(m["content"])) for m in json.loads(line)["messages"]]
            check_messages(messages, last="assistant")
        except RecordError as error:
            raise RecordError(f"In {where}: {error}.") from error
        except (ValueError, KeyError, TypeError) as error:
            raise RecordError(f'In {where}: not a conversation like {{"messages": [...]}}.') from error
        examples.append(messages)
    if not examples:
        raise RecordError(f"The file {path} named by few_shot has no conversation.")
    return examples


def text_of(examples: Sequence[Sequence[Message]]) -> str:
    """The examples as the text that stands before a prompt, ending where its question begins."""
    blocks = []
    for messages in examples:
        for message in messages:
            # A turn's line and the blank line after an answer are the template's own.
            end = "\n" if message["role"] == "user" else "\n\n"
            blocks.append(_WORDS[message["role"]] + message["content"].strip() + end)
    return "".join(blocks)


def before(tokenizer: Any, examples: Sequence[Sequence[Message]], prompt: Sequence[int]) -> list[int]:
    """The prompt's ids with the examples before them, behind the bos token where the prompt begins with one.

    A special token's name inside an example is ordinary text, as everywhere.
    """
    shown = tokenizer(text_of(examples), add_special_tokens=False, split_special_tokens=True)["input_ids"]
    begins = 1 if tokenizer.bos_token_id is not None and list(prompt[:1]) == [tokenizer.bos_token_id] else 0
    return [*prompt[:begins], *shown, *prompt[begins:]]
