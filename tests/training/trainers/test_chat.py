"""Which tokens of a conversation an assistant wrote, for several templates."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.trainers.chat import (
    CHATML_TEMPLATE,
    PLAIN_TEMPLATE,
    encode_completion,
    encode_conversation,
    encode_prompt,
    render,
)
from training.trainers.models import load_tokenizer
from training.trainers.prepare import SMOLLM2_TEMPLATE
from training.trainers.program import TrainerError

TALK = [
    {"role": "user", "content": "Why is the sky blue?"},
    {"role": "assistant", "content": "Air scatters blue.\n"},
    {"role": "user", "content": "And red?"},
    {"role": "assistant", "content": "Less."},
]
# ChatML with the marks that transformers knows, and the same text.
MARKED_TEMPLATE = (
    "{%- for m in messages -%}{%- if m['role'] == 'assistant' -%}"
    "{{- '<|im_start|>assistant\\n' -}}{% generation %}{{- m['content'] + '<|im_end|>' -}}{% endgeneration %}"
    "{{- '\\n' -}}{%- else -%}{{- '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' -}}"
    "{%- endif -%}{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
# Drops what the assistant said before its last turn, as templates of thinking models do.
FORGETFUL_TEMPLATE = (
    "{%- for m in messages -%}{%- if m['role'] == 'user' or loop.last -%}"
    "{{- m['role'] + ':' + m['content'] + '<|im_end|>' -}}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- 'assistant:' -}}{%- endif -%}"
)
GPT_LIKE_TEMPLATE = (
    "{%- for m in messages -%}{%- if m['role'] == 'user' -%}{{- 'U: ' + m['content'] | trim + ' ' -}}"
    "{%- else -%}{{- 'A: ' + m['content'] | trim + eos_token -}}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- 'A: ' -}}{%- endif -%}"
)


@pytest.fixture
def tokenizer(tiny: Path):
    return load_tokenizer(str(tiny))


def test_marks_are_those_of_a_template_with_generation_marks(tokenizer) -> None:
    ours = encode_conversation(tokenizer, TALK)
    marked = tokenizer.apply_chat_template(
        TALK, chat_template=MARKED_TEMPLATE, return_assistant_tokens_mask=True, return_dict=True
    )
    text = tokenizer.apply_chat_template(TALK, chat_template=MARKED_TEMPLATE, tokenize=False)
    assert text == render(tokenizer, TALK, for_answer=False)
    assert ours.ids == list(marked["input_ids"])
    assert ours.by_assistant == [bool(mark) for mark in marked["assistant_masks"]]


@pytest.mark.parametrize("template", [CHATML_TEMPLATE, SMOLLM2_TEMPLATE, PLAIN_TEMPLATE, GPT_LIKE_TEMPLATE])
def test_every_turn_is_marked_up_to_its_end_token(tokenizer, template: str) -> None:
    tokenizer.chat_template = template
    encoded = encode_conversation(tokenizer, TALK)
    turns, turn = [], []
    for token, mark in zip([*encoded.ids, 0], [*encoded.by_assistant, False], strict=True):
        if mark:
            turn.append(token)
        elif turn:
            turns.append(turn)
            turn = []
    assert [tokenizer.decode(t, skip_special_tokens=True).strip() for t in turns] == [
        "Air scatters blue.",
        "Less.",
    ]
    assert all(t[-1] == tokenizer.eos_token_id for t in turns)
    assert tokenizer.decode(encoded.ids).startswith(render(tokenizer, TALK, for_answer=False).rstrip())


@pytest.mark.parametrize("template", [CHATML_TEMPLATE, SMOLLM2_TEMPLATE, PLAIN_TEMPLATE, GPT_LIKE_TEMPLATE])
def test_a_completion_continues_its_prompt(tokenizer, template: str) -> None:
    tokenizer.chat_template = template
    whole = encode_conversation(tokenizer, TALK[:2])
    prompt = encode_prompt(tokenizer, TALK[:1])
    completion = encode_completion(tokenizer, TALK[:1], TALK[1]["content"])
    assert completion[-1] == tokenizer.eos_token_id
    assert whole.ids[: len(prompt) + len(completion)] == prompt + completion
    assert whole.by_assistant[: len(prompt)] == [False] * len(prompt)


def test_smollm2s_template_has_its_default_system_message(tokenizer) -> None:
    tokenizer.chat_template = SMOLLM2_TEMPLATE
    assert render(tokenizer, TALK[:1], for_answer=True) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nWhy is the sky blue?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_template_that_rewrites_its_past_is_refused_for_several_turns(tokenizer) -> None:
    tokenizer.chat_template = FORGETFUL_TEMPLATE
    assert any(encode_conversation(tokenizer, TALK[:2]).by_assistant)
    with pytest.raises(TrainerError, match="renders earlier turns differently"):
        encode_conversation(tokenizer, TALK)
