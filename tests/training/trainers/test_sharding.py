"""Models divided among two processes (FSDP2 on gloo): the steps of one process, states that either can go on from."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.training.trainers import warm
from tests.training.trainers.test_pretrain import SCRATCH, sources  # noqa: F401
from tests.training.trainers.test_stages import SMALL, after_step, assert_same_weights, assert_whole
from training.trainers import parallel, processes, sharding
from training.trainers.config import ConfigError, build

# Batches of 3 rows read one by one: the second process has a row less than the first. Mostly SGD, since AdamW's first
# steps turn the rounding of a gradient near zero into a whole step.
UNEVEN = {"batch_size": 3, "micro_batch_size": 1, "optimizer": "sgd", "beta1": 0.9}


def assert_same_losses(one: Any, two: Any) -> None:
    assert one.losses().keys() == two.losses().keys()
    for step, loss in one.losses().items():
        assert two.losses()[step] == pytest.approx(loss, abs=1e-5)


@pytest.mark.parametrize(
    ("rank", "shares"),
    [
        (0, [([0, 2], True), ([4, 6], True), ([8], True)]),
        (1, [([1, 3], True), ([5, 7], True), ([0], False)]),
    ],
)
def test_all_processes_have_alike_micro_batches(
    monkeypatch: pytest.MonkeyPatch, rank: int, shares: list[tuple[list[int], bool]]
) -> None:
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert parallel.share(range(9), micro=2, alike=True) == shares
    counted = [row for rows, counts in parallel.share(range(9), micro=2, alike=False) for row in rows if counts]
    assert counted == list(range(rank, 9, 2))
    # A single row is one process's; the other reads it too, for nothing.
    assert parallel.share([7], micro=2, alike=True) == [([7], rank == 0)]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "processes must be at least 2"),
        ({"processes": 2, "method": "qlora"}, "sharding must be none with the method qlora"),
        ({"processes": 2, "optimizer": "adafactor"}, "sharding must be none with the optimizer adafactor"),
    ],
)
def test_what_cannot_be_divided_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build("sft", {"sharding": "weights", **values})
    assert build("sft", {"sharding": "weights", "processes": 2}).sharding == "weights"


def _divide(rank: int, port: int, tiny: str, report: str) -> None:
    """One of two processes that divide the tiny model; tells what it keeps of it and when."""
    import torch
    from torch.distributed.tensor import DTensor

    from training.trainers import models

    os.environ.update(processes._environment(rank, 2, port), CUDA_VISIBLE_DEVICES="")
    torch.set_num_threads(1)
    told = {}
    for what in ("gradients", "weights"):
        model = models.load_causal_model(tiny, models.load_tokenizer(tiny), dtype=torch.float32)
        first = {name: value.clone() for name, value in model.named_parameters()}
        sharding.place(model, build("sft", {"sharding": what, "processes": 2, "method": "full"}))
        weight = model.model.layers[0].mlp.up_proj
        kept = sum(value.to_local().numel() for value in model.parameters()) / sum(v.numel() for v in first.values())
        ids = torch.arange(5, 25)[None]
        loss = sharding.inside(model, lambda ids, model=model: model(input_ids=ids, labels=ids).loss, ids)
        between = isinstance(weight.weight, DTensor)
        loss.backward()
        gradients = sum(value.grad.to_local().numel() for value in model.parameters())
        with torch.no_grad():
            model(input_ids=ids)
        gathered = isinstance(model.model.norm.weight, DTensor)
        sharding.settle(model)
        together = sharding.whole(model)
        told[what] = {
            "kept": kept,
            "gradients": gradients / sum(v.numel() for v in first.values()),
            "divided_between_passes": between,
            "divided_after_a_look": gathered,
            "divided_when_settled": isinstance(model.model.norm.weight, DTensor),
            "whole": together
            and all(value.equal(first[name]) for name, value in together.named_parameters())
            and together.lm_head.weight is together.model.embed_tokens.weight
            and type(together).__name__,
        }
    parallel.end()
    Path(report).write_text(json.dumps(told))


@pytest.mark.slow
def test_each_process_keeps_half_and_gathers_the_rest_when_it_is_used(launch: Any, tiny: Path, tmp_path: Path) -> None:
    port = processes._free_port()
    reports = [tmp_path / str(rank) for rank in range(2)]
    started = [
        warm._context.Process(target=_divide, args=(rank, port, str(tiny), str(report)))
        for rank, report in enumerate(reports)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
        process.kill()
    for rank, report in enumerate(reports):
        for what, told in json.loads(report.read_text()).items():
            assert told == {
                "kept": pytest.approx(0.5, abs=0.01),
                "gradients": pytest.approx(0.5, abs=0.01),
                "divided_between_passes": what == "weights",
                "divided_after_a_look": False,
                "divided_when_settled": True,
                "whole": None if rank else "LlamaForCausalLM",
            }, what


def test_the_process_that_failed_first_tells_why(tmp_path: Path) -> None:
    paths = [tmp_path / str(rank) for rank in range(3)]
    for path, second, status, error in zip(
        paths, (30, 20, 10), ("failed", "failed", "cancelled"), ("lost the others", "no memory", None), strict=True
    ):
        path.write_text(json.dumps({"status": status, "error": error}))
        os.utime(path, (second, second))
    processes._keep_first_failure(paths, 25 * 10**9)
    assert json.loads(paths[0].read_text())["error"] == "lost the others"  # the others are of an earlier attempt
    processes._keep_first_failure(paths, 0)
    assert json.loads(paths[0].read_text())["error"] == "no memory"


@pytest.mark.slow
def test_full_sft_with_divided_weights_is_stopped_and_goes_on_in_one_process(
    launch, tiny: Path, demonstrations: Path
) -> None:
    params = UNEVEN | {"method": "full", "max_steps": 9, "checkpoint_steps": 2, "learning_rate": 0.05}
    params |= {"eval_steps": 2, "patience": 100, "ema_decay": 0.8, "gradient_checkpointing": "on"}
    shared = {"model": tiny, "data": demonstrations, **params}
    one = launch("sft", name="one", **shared)
    assert_whole(one, "sft")
    divided = {"pair": True, "processes": 2, "sharding": "weights"}
    stopped = launch("sft", name="two", **shared, **divided, meanwhile=after_step(3, signal.SIGTERM))
    assert (stopped.code, stopped.result["status"]) == (3, "cancelled"), stopped.stderr
    assert not stopped.output.exists()
    resumed = launch("sft", name="two", resume=True, **shared)
    assert_whole(resumed, "sft")
    assert_same_weights(one, resumed)
    assert_same_losses(one, resumed)


@pytest.mark.slow
def test_a_lora_reward_model_of_one_process_goes_on_with_divided_gradients(launch, tiny: Path, rankings: Path) -> None:
    params = UNEVEN | {"max_steps": 9, "checkpoint_steps": 3, "optimizer": "adamw", "learning_rate": 2e-4}
    shared = {"model": tiny, "data": rankings, **params}
    one = launch("reward", name="one", **shared)
    assert_whole(one, "reward")
    assert launch("reward", name="two", **shared, meanwhile=after_step(4, signal.SIGKILL)).code != 0
    resumed = launch("reward", name="two", resume=True, pair=True, processes=2, sharding="gradients", **shared)
    assert_whole(resumed, "reward")
    assert_same_weights(one, resumed)
    assert_same_losses(one, resumed)
    assert (resumed.output / "adapter" / "adapter_model.safetensors").is_file()
    for name in ("heldout_loss", "zero_point", "reward_std"):
        assert resumed.result["metrics"][name] == pytest.approx(one.result["metrics"][name], abs=1e-5)


@pytest.mark.slow
def test_dpo_with_divided_weights_has_its_reference_by_the_adapter_off(launch, tiny: Path, rankings: Path) -> None:
    params = SMALL | {"batch_size": 5, "max_steps": 6, "learning_rate": 1e-3, "optimizer": "sgd"}
    shared = {"model": tiny, "data": rankings, **params}
    one = launch("dpo", name="one", **shared)
    two = launch("dpo", name="two", pair=True, processes=2, sharding="weights", **shared)
    assert_whole(two, "dpo")
    assert two.losses()[1] == pytest.approx(0.6931, abs=1e-4)
    assert_same_weights(one, two)
    assert_same_losses(one, two)


@pytest.mark.slow
def test_pretraining_with_divided_weights_looks_and_writes_between_steps(
    launch,
    sources: Path,  # noqa: F811
) -> None:
    params = SCRATCH | {"batch_size": 5, "max_steps": 4, "optimizer": "sgd", "learning_rate": 0.05, "eval_steps": 2}
    shared = {"model": "nothing", "data": sources, "sample_steps": "every 2", **params}
    one = launch("pretrain", name="one", **shared)
    two = launch("pretrain", name="two", pair=True, processes=2, sharding="weights", **shared)
    assert_whole(two, "pretrain")
    assert_same_weights(one, two)
    assert_same_losses(one, two)
    assert (one.folder / "samples.jsonl").read_text() == (two.folder / "samples.jsonl").read_text()
    ends = [json.loads((run.output / "generation_config.json").read_text())["eos_token_id"] for run in (one, two)]
    assert ends[0] == ends[1]
    assert two.result["metrics"]["heldout_loss"] == pytest.approx(one.result["metrics"]["heldout_loss"], abs=1e-5)
