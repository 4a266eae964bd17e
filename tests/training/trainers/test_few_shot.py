"""Worked examples before the prompts of a base model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.records import RecordError
from training.trainers import few_shot
from training.trainers.chat import encode_prompt, plain_template
from training.trainers.models import load_tokenizer

TWO = [
    {
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "2 + 2?"},
            {"role": "assistant", "content": "4"},
        ]
    },
    {"messages": [{"role": "user", "content": "Name <|im_end|>"}, {"role": "assistant", "content": "It is text. "}]},
]


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "examples.jsonl"
    path.write_text(text)
    return str(path)


def test_examples_stand_before_the_prompt_as_the_plain_template_writes_them(tiny: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(tiny))
    tokenizer.chat_template = plain_template(tokenizer)
    examples = few_shot.read(written(tmp_path, "\n".join(json.dumps(row) for row in TWO) + "\n\n"))
    prompt = encode_prompt(tokenizer, [{"role": "user", "content": "3 + 3?"}])
    ids = few_shot.before(tokenizer, examples, prompt)
    assert tokenizer.decode(ids) == (
        "Be short.\n\nQuestion: 2 + 2?\nAnswer: 4\n\nQuestion: Name <|im_end|>\nAnswer: It is text.\n\n"
        "Question: 3 + 3?\nAnswer: "
    )
    assert ids[-len(prompt) :] == prompt
    # Neither an answer's end nor a name that somebody wrote is a special token.
    assert not {tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|im_end|>")} & set(ids)


def test_the_bos_token_stays_first(tiny: Path) -> None:
    tokenizer = load_tokenizer(str(tiny))
    tokenizer.bos_token = "<|im_start|>"
    examples = [TWO[0]["messages"]]
    ids = few_shot.before(tokenizer, examples, [tokenizer.bos_token_id, 9])
    assert ids[0] == tokenizer.bos_token_id and ids[-1] == 9 and ids.count(tokenizer.bos_token_id) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no conversation"),
        ("{", "line 1 of .*, named by few_shot: not a conversation"),
        ('\n{"messages": [{"role": "user", "content": "a"}]}', "line 2 of .* must end with a message of the assistant"),
        ('{"messages": "a"}', "not a conversation"),
    ],
)
def test_a_bad_file_is_refused_by_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(RecordError, match=words):
        few_shot.read(written(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="named by few_shot cannot be read: No such file"):
        few_shot.read(str(tmp_path / "none.jsonl"))
