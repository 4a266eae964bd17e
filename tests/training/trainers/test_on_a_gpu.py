"""Each stage on a GPU, wherever one is at hand: bfloat16, gradients computed twice, and the same losses as a CPU's.

Without one these tests are skipped; what they have shown, and on what, stands in docs/experiments.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: none is at hand"),
]

SMALL: dict[str, Any] = {"batch_size": 4, "micro_batch_size": 2, "max_steps": 6, "learning_rate": 1e-3}


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("stage", ["sft", "reward", "dpo"])
def test_a_stage_trains_there_to_about_the_losses_of_a_cpu(
    launch: Any,
    monkeypatch: pytest.MonkeyPatch,
    tiny: Path,
    demonstrations: Path,
    rankings: Path,
    stage: str,
    method: str,
) -> None:
    arguments = SMALL | {"model": tiny, "data": demonstrations if stage == "sft" else rankings, "method": method}
    there = launch(stage, name="gpu", **arguments)
    assert there.code == 0, there.stderr
    assert there.result["hardware"]["device"] == "cuda:0" and there.result["hardware"]["gpu"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    here = launch(stage, name="cpu", **arguments)
    assert here.code == 0 and here.result["hardware"]["device"] == "cpu", here.stderr
    # bfloat16 keeps 8 bits: about two digits of each number, which sums over tokens even out.
    assert there.losses() == pytest.approx(here.losses(), rel=0.05, abs=0.02)


def test_sampling_there_is_repeatable(launch: Any, tiny: Path, prompts: Path) -> None:
    options = {"model": tiny, "data": prompts, "k": 2, "max_new_tokens": 16, "engine": "transformers"}
    first, second = (launch("sample", name=name, **options) for name in ("first", "second"))
    assert first.code == second.code == 0, first.stderr + second.stderr
    assert first.result["hardware"]["device"] == "cuda:0"
    drawn = [(run.folder / "completions.jsonl").read_text() for run in (first, second)]
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(("method", "judge"), [("full", "whole"), ("lora", "whole"), ("lora", "adapted")])
def test_ppo_there_reads_its_own_answers_as_it_drew_them(ppo: Any, method: str, judge: str) -> None:
    run = ppo(method=method, judge=judge, updates=2, epochs=1, batch_size=8, micro_batch_size=4)
    assert run.code == 0, run.stderr
    assert run.result["hardware"]["device"] == "cuda:0"
    told = [event["metrics"] for event in run.events if event["type"] == "metrics"]
    assert len(told) == 2
    for one in told:
        assert one["ratio"] == pytest.approx(1.0, abs=0.01) and one["ratio_error"] < 0.01 and one["grad_norm"] > 0
    assert told[0]["kl"] == pytest.approx(0.0, abs=0.05)
