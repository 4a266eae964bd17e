"""Reward models on the tiny model for tests: as whole weights, and as an adapter on it."""

from __future__ import annotations

from pathlib import Path

import torch

from training.trainers.config import build
from training.trainers.models import load_tokenizer, save_model, with_lora
from training.trainers.scorer import load_reward_model

FILES = {"reward.json": {"zero_point": {"reward": 0.25}}}


def whole(tiny: Path, folder: Path, *, apart: float = 0.0) -> Path:
    """With a head drawn at random and a zero point; each weight `apart` standard deviations from the model's."""
    torch.manual_seed(1)
    tokenizer = load_tokenizer(str(tiny))
    model = load_reward_model(str(tiny), tokenizer, seed=3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(apart * torch.randn_like(parameter))
    save_model(folder, model=model, tokenizer=tokenizer, files=FILES)
    return folder


def adapted(tiny: Path, folder: Path) -> Path:
    """The same as an adapter of rank 4 on the model, as the stage reward leaves it."""
    torch.manual_seed(1)
    tokenizer = load_tokenizer(str(tiny))
    config = build("reward", {"lora_r": 4, "lora_alpha": 16})
    model = with_lora(
        load_reward_model(str(tiny), tokenizer, seed=3), config=config, task="SEQ_CLS", also_train=["score"]
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.05)
    save_model(folder, model=model, tokenizer=tokenizer, files=FILES)
    return folder
