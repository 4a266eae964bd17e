"""Conversations as token ids, for any chat template, with the assistant's own tokens known exactly.

Most templates carry no marks for what the assistant said. So each assistant turn is found by rendering
the conversation up to it and through it: the text that is added is the turn. Every row checks that the
earlier rendering is a prefix of the later one, and refuses a template that rewrites its past.

Turns are tokenised apart, as sampling does: a completion's tokens never merge with its prompt's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.records import Message
from training.trainers.program import TrainerError

CHATML_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)

# For base models that have no template of their own; the end of an answer is the model's own eos.
PLAIN_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}{{- message['content'] + '\\n\\n' -}}"
    "{%- elif message['role'] == 'user' -%}{{- 'Question: ' + message['content'] + '\\n' -}}"
    "{%- else -%}{{- 'Answer: ' + message['content'] + eos_token + '\\n\\n' -}}"
    "{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- 'Answer: ' -}}{%- endif -%}"
)
# A base model that was never tuned goes on with a question of its own; the answer ends before it.
PLAIN_STOP = "\nQuestion:"


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Token ids, and for each whether an assistant wrote it (its turn's end token included)."""

    ids: list[int]
    by_assistant: list[bool]


def render(tokenizer: Any, messages: Sequence[Message], *, for_answer: bool) -> str:
    """The conversation as the text the model reads; `for_answer` ends it where an answer begins."""
    text: str = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=for_answer)
    return text


def encode_prompt(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """The ids of a prompt, up to where the assistant's answer begins."""
    return _ids(tokenizer, render(tokenizer, messages, for_answer=True))


def encode_completion(tokenizer: Any, prompt: Sequence[Message], completion: str) -> list[int]:
    """The ids of an answer as the template renders it after `prompt`, ending with the turn's end token."""
    answer: Message = {"role": "assistant", "content": completion}
    before = render(tokenizer, prompt, for_answer=True)
    through = render(tokenizer, [*prompt, answer], for_answer=False)
    return _ids(tokenizer, _turn(tokenizer, before, through)[0])


def encode_conversation(tokenizer: Any, messages: Sequence[Message]) -> Encoded:
    """The ids of a whole conversation, each assistant turn marked.

    Raises TrainerError where the template does not render a conversation as a continuation of its start.
    """
    ids: list[int] = []
    by_assistant: list[bool] = []
    done = ""
    whole = render(tokenizer, messages, for_answer=False)
    for position, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = render(tokenizer, messages[:position], for_answer=True)
        through = render(tokenizer, messages[: position + 1], for_answer=False)
        if not before.startswith(done) or not whole.startswith(through):
            raise TrainerError(
                "The model's chat template renders earlier turns differently once later ones follow, "
                "so the assistant's tokens of a conversation with several turns cannot be told apart."
            )
        turn, rest = _turn(tokenizer, before, through)
        for text, marked in ((before[len(done) :], False), (turn, True), (rest, False)):
            new = _ids(tokenizer, text)
            ids += new
            by_assistant += [marked] * len(new)
        done = through
    return Encoded(ids=ids, by_assistant=by_assistant)


def _turn(tokenizer: Any, before: str, through: str) -> tuple[str, str]:
    """The assistant's turn up to its end token, and what the template adds after it (a line's end)."""
    if not through.startswith(before):
        raise TrainerError("The model's chat template does not render an answer as a continuation of its prompt.")
    added = through[len(before) :]
    end = added.rfind(tokenizer.eos_token)
    if end < 0:
        return added, ""
    end += len(tokenizer.eos_token)
    # What a person wrote after an eos of their own still belongs to the turn; only white space does not.
    return (added[:end], added[end:]) if not added[end:].strip() else (added, "")


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []
