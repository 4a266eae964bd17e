"""Estimates: counts against real models, formulas by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.trainers.config import ConfigError
from training.trainers.estimate import estimate, lora_parameters, parameters

SMOLLM2 = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}


def test_smollm2s_parameters() -> None:
    """Embedding 49152 x 576 = 28,311,552; a layer 2 x 576^2 + 2 x 576 x 192 + 3 x 576 x 1536 + 2 x 576 = 3,540,096.

    28,311,552 + 30 x 3,540,096 + 576 = 134,515,008.
    """
    assert parameters(SMOLLM2) == 134_515_008
    assert parameters(SMOLLM2 | {"tie_word_embeddings": False}) == 134_515_008 + 28_311_552


def test_the_tiny_models_parameters(tiny: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny)
    config = json.loads((tiny / "config.json").read_text())
    assert parameters(config) == sum(p.numel() for p in model.parameters())


def test_the_adapters_parameters(tiny: Path) -> None:
    from training.trainers.config import build
    from training.trainers.models import load_causal_model, load_tokenizer, with_lora

    model = load_causal_model(str(tiny), load_tokenizer(str(tiny)), dtype="float32")
    model = with_lora(model, config=build("sft", {"lora_r": 3}), task="CAUSAL_LM")
    config = json.loads((tiny / "config.json").read_text())
    assert lora_parameters(config, 3) == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_a_base_in_4_bits_leaves_embeddings_head_and_norms_as_they_are() -> None:
    """Of 134,515,008 the linear layers are 30 x (3,540,096 - 2 x 576) = 106,168,320, at 0.5 + 1/64 + 4/16,384 bytes."""
    found = estimate("sft", {"method": "qlora"}, SMOLLM2, {"rows": 8, "tokens": 1000}, "cpu")
    lora = estimate("sft", {}, SMOLLM2, {"rows": 8, "tokens": 1000}, "cpu")
    assert found.memory_bytes == lora.memory_bytes | {"weights": 54_768_960 + 4 * 28_346_688}
    assert found.trained_parameters == lora.trained_parameters


def test_sharding_divides_gradients_moments_and_where_asked_weights() -> None:
    """4 processes; a layer's linear weights are 3,538,944, all else (embedding and norms) 28,346,688."""
    params = {"method": "full", "processes": 4}
    whole, two, three = (
        estimate("sft", params | {"sharding": kind}, SMOLLM2, {"rows": 8, "tokens": 1000}, "cpu").memory_bytes
        for kind in ("none", "gradients", "weights")
    )
    for divided in (two, three):
        assert divided["gradients"] == whole["gradients"] // 4 and divided["optimizer"] == whole["optimizer"] // 4
        assert divided["activations"] == whole["activations"]
    assert whole["weights"] == 4 * 134_515_008
    assert two["weights"] == 134_515_008 + 4 * 134_515_008
    assert three["weights"] == 134_515_008 + 4 * (28_346_688 + 2 * 3_538_944)


@pytest.mark.parametrize(
    ("device", "alike", "other"), [("cpu", "float32", "bfloat16"), ("cuda", "bfloat16", "float32")]
)
def test_activations_take_half_in_bfloat16(device: str, alike: str, other: str) -> None:
    """Those of a reward model, which makes no logits, are all in the format that passes compute in."""
    taken = {
        precision: estimate(
            "reward", {"precision": precision}, SMOLLM2, {"rows": 8, "tokens": 1000, "k": 4}, device
        ).memory_bytes["activations"]
        for precision in ("auto", alike, other)
    }
    assert taken["auto"] == taken[alike]
    assert taken["float32"] == 2 * taken["bfloat16"]


def test_a_full_run_is_six_n_d() -> None:
    """8 rows in batches of 8 for 2 epochs are 2 passes over 1,000 tokens: 6 x 134,515,008 x 2,000."""
    found = estimate("sft", {"method": "full", "epochs": 2}, SMOLLM2, {"rows": 8, "tokens": 1000}, "cpu")
    assert found.tokens == 2000
    assert found.flops == 6 * 134_515_008 * 2000
    assert found.trained_parameters == 134_515_008
    assert found.memory_bytes["optimizer"] == 8 * 134_515_008
    assert found.seconds is not None and found.seconds > 0


def test_sampling_is_two_n_d() -> None:
    """3 prompts of 10 tokens, 2 completions of 5 each: 30 + 30 tokens."""
    found = estimate("sample", {"k": 2, "max_new_tokens": 5}, SMOLLM2, {"rows": 3, "tokens": 30}, "cpu")
    assert found.tokens == 60
    assert found.flops == 2 * 134_515_008 * 60
    assert found.memory_bytes["gradients"] == 0


@pytest.mark.parametrize("stage", ["sft", "reward", "dpo", "sample"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_no_data_gives_no_seconds(stage: str, device: str) -> None:
    found = estimate(stage, {}, SMOLLM2, {"rows": 0, "tokens": 0}, device)
    assert found.seconds is None
    assert found.memory_bytes["weights"] > 0


def test_lora_needs_less_than_full() -> None:
    stats = {"rows": 30, "tokens": 5000}
    for stage in ("sft", "reward", "dpo"):
        lora = estimate(stage, {}, SMOLLM2, stats, "cpu")
        full = estimate(stage, {"method": "full"}, SMOLLM2, stats, "cpu")
        assert lora.flops < full.flops
        assert sum(lora.memory_bytes.values()) < sum(full.memory_bytes.values())


def test_dpo_reads_a_prompt_and_its_completions_once() -> None:
    """4 rankings of 3 in steps of 2, an epoch over 1,000 tokens: 4 N D of LoRA, 2 T D, and once the reference's 2 N D.

    The widest pair alone leaves one completion of three unread: three of a ranking's four parts.
    """
    stats = {"rows": 4, "tokens": 1000, "k": 3}
    trained = lora_parameters(SMOLLM2, 16)
    found = estimate("dpo", {"batch_size": 2}, SMOLLM2, stats, "cpu")
    assert found.tokens == 1000
    assert found.flops == (6 * 134_515_008 + 2 * trained) * 1000
    assert estimate("dpo", {"batch_size": 2, "pairs_per_prompt": 1}, SMOLLM2, stats, "cpu").tokens == 750
    two = estimate("dpo", {"batch_size": 2, "epochs": 2}, SMOLLM2, stats, "cpu")
    assert two.flops - found.flops == (4 * 134_515_008 + 2 * trained) * 1000
    without = estimate("dpo", {"batch_size": 2, "loss": "simpo"}, SMOLLM2, stats, "cpu")
    assert found.flops - without.flops == 2 * 134_515_008 * 1000


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="no hidden_size"):
        parameters({"model_type": "other"})
    with pytest.raises(ConfigError, match="beta"):
        estimate("sft", {"beta": 1}, SMOLLM2, {}, "cpu")
