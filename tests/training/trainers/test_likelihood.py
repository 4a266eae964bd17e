"""Likelihoods against a plain forward, and tokenizers told apart by their files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from training.trainers.evaluation import kl_of_sequence
from training.trainers.likelihood import likelihoods
from training.trainers.models import load_causal_model, load_tokenizer
from training.trainers.program import TrainerError
from training.trainers.vocabulary import check_same_vocabulary

PROMPTS = [[5, 6, 7], [8] * 12, [9, 10]]
ANSWERS = [[11, 12], [13, 14, 15, 16, 17], [18]]


@pytest.fixture(scope="module")
def model(tiny: Path):
    return load_causal_model(str(tiny), load_tokenizer(str(tiny)), dtype=torch.float32).eval()


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_they_are_those_of_each_sequence_alone(model, temperature: float) -> None:
    found = likelihoods(model, PROMPTS, ANSWERS, pad_id=0, temperature=temperature, rows_at_once=2)
    for prompt, answer, one in zip(PROMPTS, ANSWERS, found, strict=True):
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([[*prompt, *answer]]), use_cache=False).logits[0] / temperature
        logs = logits.log_softmax(-1)[len(prompt) - 1 : -1]
        expected = [logs[i, token].item() for i, token in enumerate(answer)]
        entropies = torch.distributions.Categorical(logits=logs).entropy().tolist()
        assert one.logps == pytest.approx(expected, abs=1e-4)
        assert one.entropies == pytest.approx(entropies, abs=1e-4)


def test_a_copy_of_a_model_is_at_no_distance_at_all(model, tiny: Path) -> None:
    copy = load_causal_model(str(tiny), load_tokenizer(str(tiny)), dtype=torch.float32).eval()
    one, two = (likelihoods(each, PROMPTS, ANSWERS, pad_id=0, rows_at_once=2) for each in (model, copy))
    assert [kl_of_sequence(a.logps, b.logps) for a, b in zip(one, two, strict=True)] == [0.0, 0.0, 0.0]


def test_another_tokenizer_is_told_by_its_file(tiny: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny, other)
    check_same_vocabulary(str(tiny), str(other), field="reference")
    facts = json.loads((other / "tokenizer.json").read_text())
    vocabulary = facts["model"]["vocab"]
    first, second = sorted(vocabulary)[-2:]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (other / "tokenizer.json").write_text(json.dumps(facts))
    with pytest.raises(TrainerError, match="The reference .* has another tokenizer than"):
        check_same_vocabulary(str(tiny), str(other), field="reference")
