"""Every stage that trains, in bfloat16 on the CPU: also what a GPU's runs compute, as both go by torch's autocast."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from training.trainers import hardware

pytestmark = pytest.mark.slow

SMALL: dict[str, Any] = {"batch_size": 4, "micro_batch_size": 2, "max_steps": 4, "learning_rate": 1e-3}


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("stage", ["pretrain", "sft", "reward", "dpo"])
def test_a_stage_trains_to_about_the_losses_of_float32(
    launch: Any, tmp_path: Path, tiny: Path, demonstrations: Path, rankings: Path, stage: str, method: str
) -> None:
    (tmp_path / "text.txt").write_text("The river runs by the old bridge, and seven plums lie in the sun. " * 60)
    sources = tmp_path / "sources.json"
    sources.write_text(json.dumps({"sources": [{"name": "text", "path": "text.txt"}]}))
    data = {"pretrain": sources, "sft": demonstrations}.get(stage, rankings)
    given = SMALL | {"model": tiny, "data": data, "method": method}
    if stage == "pretrain":
        given |= {"max_length": 64, "quality_filter": False, "deduplicate": "none"}
    plain = launch(stage, name="plain", **given)
    short = launch(stage, name="short", precision="bfloat16", **given)
    assert plain.code == short.code == 0, plain.stderr + short.stderr
    assert plain.result["hardware"]["precision"] == "float32"
    assert short.result["hardware"]["precision"] == "bfloat16"
    # bfloat16 keeps 8 bits: about two digits of each number, which sums over tokens even out.
    assert short.losses() == pytest.approx(plain.losses(), rel=0.05, abs=0.02)
    assert short.losses() != plain.losses()
    told = [event["message"] for event in short.events if event["type"] == "status"]
    assert any("no units for bfloat16" in message for message in told) is hardware.emulates_bfloat16()
    kept = load_file(short.output / "model.safetensors")
    assert {tensor.dtype for tensor in kept.values()} == {torch.float32}
    norms = [event["metrics"]["grad_norm"] for event in short.events if "grad_norm" in event.get("metrics", {})]
    assert len(norms) == 4 and min(norms) > 0


@pytest.mark.parametrize(("method", "judge"), [("full", "whole"), ("lora", "whole"), ("lora", "adapted")])
def test_ppo_in_bfloat16_reads_its_own_answers_as_it_drew_them(ppo: Any, method: str, judge: str) -> None:
    """One step an update: answers are drawn in float32 either way, so the first update's are the same ones."""
    given = {"method": method, "judge": judge, "updates": 2, "epochs": 1, "batch_size": 8, "micro_batch_size": 4}
    plain, short = ppo("plain", **given), ppo("short", precision="bfloat16", **given)
    assert plain.code == short.code == 0, plain.stderr + short.stderr
    assert short.result["hardware"]["precision"] == "bfloat16"
    ours, theirs = ([event["metrics"] for event in run.events if event["type"] == "metrics"] for run in (plain, short))
    for name in ("reward", "entropy", "value_loss", "answer_tokens", "end_rate"):
        assert theirs[0][name] == pytest.approx(ours[0][name], rel=0.05, abs=0.02), name
    assert theirs[0]["entropy"] != ours[0]["entropy"]
    for one in theirs:
        # Read again in micro batches of another size, a token's logits are rounded alike or nearly so.
        assert one["ratio"] == pytest.approx(1.0, abs=0.01) and one["clip_fraction"] < 0.01
        assert one["ratio_error"] < 0.01 and one["grad_norm"] > 0
    assert theirs[0]["kl"] == pytest.approx(0.0, abs=0.05)
    assert {tensor.dtype for tensor in load_file(short.output / "model.safetensors").values()} == {torch.float32}
