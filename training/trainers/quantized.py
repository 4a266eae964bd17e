"""A frozen base in 4 bits under a LoRA adapter (QLoRA: Dettmers et al. 2023), by bitsandbytes.

The linear layers but the head are kept as 4-bit NormalFloat with double quantisation (section 3), about 0.52 bytes a
weight; embeddings, norms, head and adapter stay as LoRA has them. The saved model is the adapter merged into the
weights as they were before, loaded again: none of the quantisation's error is in it.
"""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path
from typing import Any

from training.trainers import hardware
from training.trainers.config import ConfigError

PACKAGE = "bitsandbytes"


def check_installed(method: str | None) -> None:
    """Refuse the method qlora where the package that computes in 4 bits is not installed; raises ConfigError."""
    if method == "qlora" and importlib.util.find_spec(PACKAGE) is None:
        raise ConfigError(
            {"method": f"method cannot be qlora here, as the package {PACKAGE} is not installed; lora can be."}
        )


def words() -> dict[str, Any]:
    """What makes transformers' `from_pretrained` load a model in 4 bits, on this process's device."""
    import torch
    from transformers import BitsAndBytesConfig

    return {
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16 if hardware.autocasts() else hardware.training_dtype(),
        ),
        "device_map": {"": hardware.device()},
    }


def is_quantized(model: Any) -> bool:
    """Whether this transformers model was loaded in 4 bits."""
    return bool(getattr(model, "is_loaded_in_4bit", False))


def merged(model: Any, adapter: Path) -> Any:
    """The saved adapter of a PEFT model over 4-bit weights, merged into those weights loaded anew in full; on the CPU.

    What the 4-bit model's configs were given since it was loaded is kept.
    """
    from peft import PeftModel

    quantized = model.get_base_model()
    config = copy.deepcopy(quantized.config)
    del config.quantization_config
    base = type(quantized).from_pretrained(
        quantized.name_or_path, config=config, dtype=hardware.training_dtype(), use_safetensors=True
    )
    if (generation := getattr(quantized, "generation_config", None)) is not None:
        base.generation_config = copy.deepcopy(generation)
    return PeftModel.from_pretrained(base, adapter).merge_and_unload()
