"""Hyper-parameters: their words, bounds and sentences."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from training.trainers.config import STAGES, ConfigError, build, fields_of, validate


@pytest.mark.parametrize("stage", STAGES)
def test_every_field_is_explained_and_its_default_is_valid(stage: str) -> None:
    specs = fields_of(stage)
    for spec in specs:
        assert spec.help.endswith(".") and spec.help[0].isupper(), spec.name
        assert spec.help.count(". ") == 0, spec.name
        assert (spec.type == "choice") == bool(spec.choices)
        if spec.type in ("int", "float"):
            assert spec.minimum is not None and spec.maximum is not None, spec.name
    assert validate(stage, {spec.name: spec.default for spec in specs}) == {}
    assert build(stage, {}) == STAGES[stage]()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"beta": "much"}, "beta must be a number from 0.0001 to 100, not 'much'."),
        ({"beta": float("nan")}, "beta must be a number from 0.0001 to 100, not nan."),
        ({"lora_r": 0}, "lora_r must be a whole number from 1 to 1024, not 0."),
        ({"lora_r": True}, "lora_r must be a whole number from 1 to 1024, not True."),
        ({"lora_r": 1.5}, "lora_r must be a whole number from 1 to 1024, not 1.5."),
        ({"loss": "hinge"}, "loss must be one of sigmoid, ipo, simpo, kto, not 'hinge'."),
        ({"loss": ["sigmoid"]}, "loss must be one of sigmoid, ipo, simpo, kto, not ['sigmoid']."),
    ],
)
def test_a_wrong_value_gives_one_sentence(values: dict, words: str) -> None:
    assert validate("dpo", values) == {next(iter(values)): words}
    with pytest.raises(ConfigError, match="must be"):
        build("dpo", values)


def test_unknown_fields_and_stages_are_named() -> None:
    assert validate("sft", {"beta": 0.1})["beta"].startswith("beta is no field of the stage sft")
    with pytest.raises(ConfigError, match="stage must be one of"):
        build("ppo2", {})


def test_whole_floats_become_whole_numbers() -> None:
    config = build("sft", {"lora_r": 8.0, "epochs": 3})
    assert (config.lora_r, type(config.lora_r)) == (8, int)
    assert (config.epochs, type(config.epochs)) == (3.0, float)


@pytest.mark.parametrize(("batch", "micro", "expected"), [(8, 4, 4), (6, 4, 3), (7, 4, 1), (2, 4, 2)])
def test_the_micro_batch_divides_the_batch(batch: int, micro: int, expected: int) -> None:
    config = build("sft", {"batch_size": batch, "micro_batch_size": micro})
    assert config.micro == expected
    assert config.micro * config.accumulation == batch


def test_forms_and_help_need_no_torch() -> None:
    code = (
        "import sys, training.records, training.trainers.config, training.trainers.estimate, "
        "training.trainers.sft, training.trainers.reward, training.trainers.dpo, training.trainers.sample, "
        "training.trainers.evaluate, training.trainers.best_of_n, "
        "training.trainers.prepare, training.trainers.pretrain, training.trainers.mixing; "
        "assert not {'torch', 'transformers', 'django', 'datasets', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"tokenizer": "train"}, "tokenizer"),
        ({"start": "tiny", "method": "lora"}, "method"),
        ({"patience": 2}, "patience"),
    ],
)
def test_fields_that_do_not_go_together_are_refused_by_one_of_them(values: dict[str, Any], field: str) -> None:
    assert set(validate("pretrain", values)) == {field}
    with pytest.raises(ConfigError):
        build("pretrain", values)
