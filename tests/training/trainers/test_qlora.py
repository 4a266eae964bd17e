"""QLoRA: a 4-bit base under an adapter, as real runs on the tiny model; skipped where bitsandbytes is not installed."""

from __future__ import annotations

import importlib.util
import json
import signal
from pathlib import Path

import pytest
import torch

from tests.training.trainers.test_stages import SMALL, after_step, assert_same_weights
from training.trainers import models, quantized
from training.trainers.config import ConfigError

needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec(quantized.PACKAGE) is None, reason="bitsandbytes is not installed"
)


def test_the_method_is_refused_by_name_where_the_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="method cannot be qlora here, as the package bitsandbytes is not installed"):
        quantized.check_installed("qlora")
    quantized.check_installed("lora")
    quantized.check_installed(None)


@needs_bitsandbytes
def test_the_base_is_in_4_bits_and_its_head_norms_and_embeddings_are_not(tiny: Path) -> None:
    """A weight takes half a byte, and its constant one byte in 64 and four in 64 x 256 (section 3): 0.516 bytes."""
    from training.trainers.estimate import BYTES_IN_4_BITS

    tokenizer = models.load_tokenizer(str(tiny))
    model = models.load_causal_model(str(tiny), tokenizer, dtype=torch.float32, in_4_bits=True)
    stored = {name: parameter for name, parameter in model.named_parameters() if parameter.dtype == torch.uint8}
    assert len(stored) == 7 * model.config.num_hidden_layers and all("_proj.weight" in name for name in stored)
    for name, parameter in stored.items():
        state = parameter.quant_state
        constants = state.absmax.nbytes + state.state2.absmax.nbytes
        assert (state.quant_type, state.nested) == ("nf4", True), name
        # The second level's block of 256 is one whole block at least, which a tiny matrix does not fill.
        assert parameter.nbytes + constants == pytest.approx(BYTES_IN_4_BITS * state.shape.numel(), abs=4), name
    assert model.lm_head.weight.dtype == model.model.norm.weight.dtype == torch.float32


@needs_bitsandbytes
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_sft_learns_resumes_and_saves_its_adapter_in_the_unquantised_weights(
    launch, tiny: Path, demonstrations: Path
) -> None:
    from peft import PeftModel

    long = SMALL | {"method": "qlora", "max_steps": 9, "checkpoint_steps": 3, "lora_dropout": 0.1}
    long |= {"learning_rate": 5e-3}
    shared = {"model": tiny, "data": demonstrations, **long}
    whole = launch("sft", name="whole", **shared)
    assert whole.code == 0, whole.stderr
    assert whole.result["metrics"]["heldout_loss"] < whole.result["metrics"]["heldout_loss_before"] - 0.1
    assert "bitsandbytes" in whole.result["versions"]
    stopped = launch("sft", name="cut", **shared, meanwhile=after_step(4, signal.SIGKILL))
    assert stopped.code != 0
    resumed = launch("sft", name="cut", resume=True, **shared)
    assert_same_weights(whole, resumed)

    config = json.loads((whole.output / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"] and "quantization_config" not in config
    tokenizer = models.load_tokenizer(str(tiny))
    base = models.load_causal_model(str(tiny), tokenizer, dtype=torch.float32)
    before = {name: value.clone() for name, value in base.named_parameters()}
    beside = PeftModel.from_pretrained(base, whole.output / "adapter").eval()
    saved = models.load_causal_model(str(whole.output), tokenizer, dtype=torch.float32).eval()
    ids = torch.arange(5, 45).reshape(2, 20)
    with torch.no_grad():
        assert torch.allclose(saved(input_ids=ids).logits, beside(input_ids=ids).logits, atol=1e-5)
    # What is not under the adapter is the base's own, to the bit.
    after = dict(saved.named_parameters())
    assert torch.equal(after["model.embed_tokens.weight"], before["model.embed_tokens.weight"])
    assert not torch.equal(after["model.layers.0.mlp.up_proj.weight"], before["model.layers.0.mlp.up_proj.weight"])


@pytest.mark.slow
@needs_bitsandbytes
@pytest.mark.timeout(300)
def test_a_reward_head_trains_and_the_adapter_off_is_dpos_reference(launch, tiny: Path, rankings: Path) -> None:
    small = SMALL | {"method": "qlora", "max_steps": 3, "learning_rate": 1e-3}
    reward = launch("reward", name="reward", model=tiny, data=rankings, **small)
    assert reward.code == 0, reward.stderr
    tokenizer = models.load_tokenizer(str(tiny))
    from training.trainers.scorer import load_reward_model

    start = load_reward_model(str(tiny), tokenizer, seed=0)
    saved = load_reward_model(str(reward.output), tokenizer, seed=1)
    moved = (saved.score.weight - start.score.weight).abs().max()
    assert 1e-4 < moved < 0.1
    # No completion is read by policy and reference alike unless both are over the same 4-bit weights.
    dpo = launch("dpo", name="dpo", model=tiny, data=rankings, **small)
    assert dpo.code == 0, dpo.stderr
    assert dpo.losses()[1] == pytest.approx(0.6931, abs=1e-3)
    assert dpo.losses()[3] < dpo.losses()[1]
