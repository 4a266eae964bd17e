"""Conversations as token ids, for any chat template, with the assistant's own tokens known exactly.

Most templates carry no marks for what the assistant said. So each assistant turn is found by rendering
the conversation up to it and through it: the text that is added is the turn. Every row checks that the
earlier rendering is a prefix of the later one, and refuses a template that rewrites its past.

Turns are tokenised apart, as sampling does: a completion's tokens never merge with its prompt's. A special token's
name inside what somebody wrote ("<|im_end|>") is ordinary text: only the template makes special tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
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
INSTRUCTION_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}{{- message['content'] + '\\n\\n' -}}"
    "{%- elif message['role'] == 'user' -%}{{- '### Instruction:\\n' + message['content'] + '\\n\\n' -}}"
    "{%- else -%}{{- '### Response:\\n' + message['content'] + eos_token + '\\n\\n' -}}"
    "{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '### Response:\\n' -}}{%- endif -%}"
)
# A base model that was never tuned goes on with a question of its own; the answer ends before it.
PLAIN_STOP = "\nQuestion:"
# Stands behind each character of a special token's name in somebody's text; Unicode gives it no other use.
_GUARD = "\ufdd0"


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Token ids, and for each whether an assistant wrote it (its turn's end token included)."""

    ids: list[int]
    by_assistant: list[bool]


@dataclass(frozen=True, kw_only=True)
class TurnEnd:
    """The token that ends an assistant's turn, its text, and the text that the template puts just before it."""

    id: int
    text: str
    before: str


def plain_template(tokenizer: Any) -> str:
    """The plain template, begun with the bos token where the tokenizer begins texts with one (Gemma, Llama)."""
    return _begun(tokenizer, PLAIN_TEMPLATE)


def use_template(tokenizer: Any, name: str) -> None:
    """Give the tokenizer the template `chatml`, `instruction` or `question`; `checkpoint` leaves it the one it has.

    Whoever saves the tokenizer saves the template with it. Raises TrainerError where the template would end an answer
    with a token that the tokenizer does not know.
    """
    templates = {"chatml": CHATML_TEMPLATE, "instruction": INSTRUCTION_TEMPLATE, "question": PLAIN_TEMPLATE}
    if name != "checkpoint":
        tokenizer.chat_template = _begun(tokenizer, templates[name])
    end_of_turn(tokenizer)


def _begun(tokenizer: Any, template: str) -> str:
    ids = tokenizer("a")["input_ids"]
    begins = tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]
    return ("{{- bos_token -}}" if begins else "") + template


def render(tokenizer: Any, messages: Sequence[Message], *, for_answer: bool) -> str:
    """The conversation as the text the model reads; `for_answer` ends it where an answer begins."""
    return _render(tokenizer, messages, for_answer=for_answer).replace(_GUARD, "")


def end_of_turn(tokenizer: Any) -> TurnEnd:
    """The first special token that the chat template writes after an answer, which need not be the model's eos.

    Raises TrainerError where it writes none, as no answer would ever end.
    """
    return _marks(tokenizer, tokenizer.chat_template).end


def encode_prompt(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """The ids of a prompt, up to where the assistant's answer begins."""
    return _ids(tokenizer, _render(tokenizer, messages, for_answer=True))


def encode_completion(tokenizer: Any, prompt: Sequence[Message], completion: str, *, ended: bool = True) -> list[int]:
    """The ids of an answer as the template renders it after `prompt`, with the turn's end token where it `ended`.

    An answer that was cut off keeps its text alone; an empty one keeps its end token, so no answer is without ids.
    """
    answer: Message = {"role": "assistant", "content": completion}
    before = _render(tokenizer, prompt, for_answer=True)
    through = _render(tokenizer, [*prompt, answer], for_answer=False)
    turn = _turn(tokenizer, before, through)[0]
    if not ended:
        end = end_of_turn(tokenizer)
        if ids := _ids(tokenizer, turn.removesuffix(end.text).removesuffix(end.before)):
            return ids
    return _ids(tokenizer, turn)


def encode_conversation(tokenizer: Any, messages: Sequence[Message]) -> Encoded:
    """The ids of a whole conversation, each assistant turn marked.

    Raises TrainerError where the template does not render a conversation as a continuation of its start.
    """
    ids: list[int] = []
    by_assistant: list[bool] = []
    done = ""
    whole = _render(tokenizer, messages, for_answer=False)
    for position, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = _render(tokenizer, messages[:position], for_answer=True)
        through = _render(tokenizer, messages[: position + 1], for_answer=False)
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


@dataclass(frozen=True, kw_only=True)
class _Marks:
    """What only a template may write: every special token's text, and the end of an assistant's turn."""

    special: re.Pattern[str]
    ids: frozenset[int]
    end: TurnEnd


@lru_cache(maxsize=8)
def _marks(tokenizer: Any, template: str) -> _Marks:
    added = {token.content: token for token in tokenizer.added_tokens_decoder.values()}
    texts = {name for name, token in added.items() if token.special} | set(tokenizer.all_special_tokens)
    # Some tokenizers hold their turn's end as an added token that is not special, and runs of spaces as others.
    others = {name for name in added if name.strip()} - texts
    question: Message = {"role": "user", "content": "hone-question"}
    answer: Message = {"role": "assistant", "content": "hone-answer"}
    whole = tokenizer.apply_chat_template([question, answer], tokenize=False, add_generation_prompt=False)
    suffix = whole.rpartition("hone-answer")[2] if "hone-answer" in whole else ""
    found = _any_of(texts).search(suffix) or (_any_of(others).search(suffix) if others else None)
    if found is None:
        raise TrainerError(
            f"The model's chat template ends an answer with no token of its own (it writes {suffix!r} there), "
            "so no answer would ever end; a template that writes the eos token after each answer would do."
        )
    texts.add(found[0])
    end = TurnEnd(id=tokenizer.convert_tokens_to_ids(found[0]), text=found[0], before=suffix[: found.start()])
    ids = frozenset(tokenizer.convert_tokens_to_ids(sorted(texts)))
    return _Marks(special=_any_of(texts), ids=ids, end=end)


def _any_of(texts: set[str]) -> re.Pattern[str]:
    """Finds each of these texts, the longest first, where no guard makes it ordinary."""
    return re.compile(f"(?:{'|'.join(re.escape(text) for text in sorted(texts, key=len, reverse=True))})(?!{_GUARD})")


def _render(tokenizer: Any, messages: Sequence[Message], *, for_answer: bool) -> str:
    """As `render`, with a guard after each character of a special token's name that a person or a model wrote."""
    special = _marks(tokenizer, tokenizer.chat_template).special
    guarded = [
        {
            "role": message["role"],
            "content": special.sub(
                lambda found: "".join(character + _GUARD for character in found[0]),
                message["content"].replace(_GUARD, ""),
            ),
        }
        for message in messages
    ]
    text: str = tokenizer.apply_chat_template(guarded, tokenize=False, add_generation_prompt=for_answer)
    return text


def _turn(tokenizer: Any, before: str, through: str) -> tuple[str, str]:
    """The assistant's turn up to its end token, and what the template adds after it (a line's end)."""
    if not through.startswith(before):
        raise TrainerError("The model's chat template does not render an answer as a continuation of its prompt.")
    added = through[len(before) :]
    found = _any_of({end_of_turn(tokenizer).text}).search(added)
    return (added[: found.end()], added[found.end() :]) if found else (added, "")


def _ids(tokenizer: Any, text: str) -> list[int]:
    if _GUARD not in text:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []
    # Only the stretches between the template's own special tokens that hold a guard are read in another way.
    marks = _marks(tokenizer, tokenizer.chat_template)
    ids: list[int] = []
    start = 0
    for end in [*(found.end() for found in marks.special.finditer(text)), len(text)]:
        piece = text[start:end]
        start = end
        if _GUARD not in piece:
            ids += _ids(tokenizer, piece)
            continue
        own = marks.special.search(piece)
        written = piece[: own.start()] if own else piece
        ids += _ordinary_ids(tokenizer, written, forbidden=marks.ids) + _ids(tokenizer, piece[len(written) :])
    return ids


def _ordinary_ids(tokenizer: Any, text: str, *, forbidden: frozenset[int]) -> list[int]:
    """The ids of guarded text, none of them special."""
    plain = text.replace(_GUARD, "")
    ids = list(tokenizer(plain, add_special_tokens=False, split_special_tokens=True)["input_ids"])
    if forbidden.isdisjoint(ids):
        return ids
    # A tokenizer that knows no such splitting for this token: its characters are read one by one.
    return [
        token
        for piece in text.split(_GUARD)
        if piece
        for token in tokenizer(piece, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    ]
