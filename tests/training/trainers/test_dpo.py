"""The dpo stage: rankings against TRL's pairs, micro batches, labels, and data that does not fit its loss."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import trl_side
from training.records import RankingRow, RecordError, UnpairedRow, read_parquet, write_parquet
from training.trainers import dpo, models
from training.trainers.config import ConfigError, build
from training.trainers.events import Events
from training.trainers.program import Job, Outcome, StopFlag

# One thread, no schedule, and steps that move the tiny model visibly.
PLAIN = {"lr_scheduler": "constant", "warmup_ratio": 0.0, "learning_rate": 1e-2, "max_grad_norm": 1e6}


def make_job(tiny: Path, folder: Path, data: Path, **params: Any) -> Job:
    folder.mkdir(exist_ok=True, parents=True)
    return Job(
        stage="dpo",
        run_dir=folder,
        model=str(tiny),
        data=data,
        output_dir=folder / "out",
        resume=False,
        config=build("dpo", params),
        events=Events(folder),
        stop=StopFlag(),
    )


def events_of(job: Job) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (job.run_dir / "events.jsonl").read_text().splitlines()]


def trained(tiny: Path, folder: Path, data: Path, **params: Any) -> tuple[list[float], Outcome]:
    """The losses of each step, and the outcome."""
    job = make_job(tiny, folder, data, **params)
    outcome = dpo.run(job)
    return [event["metrics"]["loss"] for event in events_of(job) if "loss" in event.get("metrics", {})], outcome


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["sigmoid", "ipo"])
def test_rankings_train_as_trls_pairs_do(
    tiny: Path, rankings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    """The gradient of two whole rankings of 6 and 5 pairs against TRL's over the same pairs, weighted alike.

    TRL takes the mean over the pairs of a batch, we the mean over prompts of the mean over a prompt's pairs: so each
    ranking is one batch of TRL's. The policy is moved off its reference first, where every pair has the same slope.
    """
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    from training.trainers import loop
    from training.trainers.rankings import encode

    class Tokenised(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

    tokenizer = models.load_tokenizer(str(tiny))
    rows = [row for row in read_parquet(rankings, row_type=RankingRow) if row.id in ("r0", "r1")]
    data = tmp_path / "two.parquet"
    write_parquet(data, rows, row_type=RankingRow)
    job = make_job(tiny, tmp_path / "run", data, loss=loss, method="full", batch_size=2, micro_batch_size=2)

    def move(model: Any) -> None:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))

    def gradients(model: Any) -> torch.Tensor:
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    found: list[torch.Tensor] = []

    def look(model: Any, *, micro_step: Any, **_: Any) -> Any:
        move(model)
        total, _numbers = micro_step([0, 1])
        (total / 2).backward()
        found.append(gradients(model))
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "fit", look)
    with pytest.raises(KeyboardInterrupt):
        dpo.run(job)

    model = models.load_causal_model(str(tiny), tokenizer, dtype=torch.float32)
    pairs = []
    for one in encode(tokenizer, rows, max_length=job.config.max_length):
        columns = [{"prompt_ids": one.prompt, "chosen_ids": one.completions[i], "rejected_ids": one.completions[j]}
                   for i, j in one.pairs]  # fmt: skip
        pairs.append(Dataset.from_list(columns))
    assert [len(part) for part in pairs] == [6, 5]
    arguments = trl_side.arguments(job, rows=2) | {"per_device_train_batch_size": 6}
    trainer = Tokenised(
        model=model,
        ref_model=models.load_causal_model(str(tiny), tokenizer, dtype=torch.float32),
        args=DPOConfig(**arguments, beta=job.config.beta, loss_type=[loss], max_length=None),
        train_dataset=pairs[0],
        processing_class=tokenizer,
    )
    move(model)
    for part in pairs:
        batch = trainer.data_collator(list(part))
        (trainer.compute_loss(trainer.model, batch) / 2).backward()
    expected = gradients(model)
    assert (found[0] - expected).norm() / expected.norm() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    "params", [{}, {"loss": "kto"}, {"loss": "simpo", "beta": 2.0}], ids=["sigmoid", "kto", "simpo"]
)
def test_micro_batches_change_neither_losses_nor_numbers(
    tiny: Path, rankings: Path, tmp_path: Path, params: dict[str, Any]
) -> None:
    """Two epochs of 8 rankings in steps of 5 and 3, in micro batches of 5 and 1."""
    found = []
    for micro in (5, 1):
        options = PLAIN | {"batch_size": 5, "micro_batch_size": micro, "epochs": 2.0, "method": "full"} | params
        losses, outcome = trained(tiny, tmp_path / str(micro), rankings, **options)
        assert len(losses) == 4
        found.append([*losses, *(outcome.metrics[name] for name in sorted(outcome.metrics) if "reward" in name)])
    if params.get("loss") != "simpo":
        # The policy is its reference at first: log 2, or with kto half a loss each.
        assert found[0][0] == pytest.approx(0.5 if params else math.log(2), rel=1e-4)
    assert found[0] == pytest.approx(found[1], rel=2e-3, abs=1e-5)
    assert found[0][3] < found[0][0]


@pytest.mark.slow
def test_every_step_tells_its_rewards(tiny: Path, rankings: Path, tmp_path: Path) -> None:
    job = make_job(tiny, tmp_path, rankings, **PLAIN, batch_size=4, max_steps=3)
    outcome = dpo.run(job)
    steps = [event["metrics"] for event in events_of(job) if "loss" in event.get("metrics", {})]
    for metrics in steps:
        margin = metrics["rewards/chosen"] - metrics["rewards/rejected"]
        assert metrics["rewards/margins"] == pytest.approx(margin)
        assert 0 <= metrics["rewards/accuracies"] <= 1 and metrics["tokens_per_s"] > 0
    assert steps[-1]["rewards/margins"] > 0.1 and steps[-1]["rewards/accuracies"] == 1.0
    assert outcome.consumed["comparisons"] == 43 and outcome.metrics["heldout_pairs"] == 16


@pytest.mark.slow
def test_kto_tells_its_baseline_and_learns(tiny: Path, rankings: Path, tmp_path: Path) -> None:
    job = make_job(tiny, tmp_path, rankings, **PLAIN, loss="kto", batch_size=4, max_steps=4)
    outcome = dpo.run(job)
    steps = [event["metrics"] for event in events_of(job) if "loss" in event.get("metrics", {})]
    assert steps[0]["kl"] == pytest.approx(0, abs=1e-4) and all(metrics["kl"] >= 0 for metrics in steps)
    assert steps[-1]["loss"] < steps[0]["loss"] - 0.02
    assert outcome.metrics["heldout_accuracy_low"] <= outcome.metrics["heldout_accuracy"]


def test_a_weight_multiplies_a_rankings_loss(tiny: Path, rankings: Path, tmp_path: Path) -> None:
    """All weights 3 in place of 1: the loss of the first step is three times log 2."""
    data = tmp_path / "weighted.parquet"
    rows = [row for row in read_parquet(rankings, row_type=RankingRow) if row.split == "train"]
    write_parquet(data, [RankingRow(**{**vars(row), "weight": 3.0}) for row in rows], row_type=RankingRow)
    losses, _ = trained(tiny, tmp_path / "run", data, max_steps=1)
    assert losses[0] == pytest.approx(3 * math.log(2), rel=1e-4)


@pytest.mark.slow
def test_certain_labels_train_as_hard_ones(tiny: Path, rankings: Path, tmp_path: Path) -> None:
    data = tmp_path / "certain.parquet"
    rows = read_parquet(rankings, row_type=RankingRow)
    certain = [RankingRow(**{**vars(row), "posteriors": [1.0] * 5 if row.id == "r1" else []}) for row in rows]
    write_parquet(data, certain, row_type=RankingRow)
    options = PLAIN | {"max_steps": 3, "method": "full"}
    hard, _ = trained(tiny, tmp_path / "hard", data, **options)
    for label in ("soft", "weight"):
        found, _ = trained(tiny, tmp_path / label, data, **options, label=label)
        assert found == pytest.approx(hard, rel=1e-5)


@pytest.mark.slow
def test_only_rows_that_the_run_comes_to_are_read_by_the_reference(
    tiny: Path, rankings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.trainers.logps import Reader

    asked: list[int] = []
    original = Reader.all_log_probs

    def count(self: Reader, groups: Any, **options: Any) -> Any:
        if options.get("job") is not None:
            asked.append(len(groups))
        return original(self, groups, **options)

    monkeypatch.setattr(Reader, "all_log_probs", count)
    trained(tiny, tmp_path, rankings, max_steps=2, batch_size=2)
    # 4 of 8 rankings, and the 3 held-out ones.
    assert asked == [4, 3]


def write_unpaired(path: Path, labels: list[bool]) -> Path:
    rows = [
        UnpairedRow(
            id=str(n), prompt=[{"role": "user", "content": f"Say {n % 3}."}], completion="Yes." if label else "No.",
            desirable=label, split="heldout" if n > 5 else "train",
        )
        for n, label in enumerate(labels)
    ]  # fmt: skip
    write_parquet(path, rows, row_type=UnpairedRow)
    return path


@pytest.mark.slow
def test_single_judged_completions_train_with_kto(tiny: Path, tmp_path: Path) -> None:
    data = write_unpaired(tmp_path / "unpaired.parquet", [True, False, True, False, True, False, True, False])
    losses, outcome = trained(tiny, tmp_path / "run", data, **PLAIN, loss="kto", batch_size=3, epochs=4)
    assert losses[0] == pytest.approx(0.5, rel=1e-4) and losses[-1] < 0.45
    assert outcome.consumed["comparisons"] == 6 and outcome.metrics["heldout_pairs"] == 2
    assert outcome.metrics["heldout_rewards/margins"] > 0.5


def test_data_that_a_loss_cannot_use_is_refused(tiny: Path, rankings: Path, tmp_path: Path) -> None:
    good = write_unpaired(tmp_path / "good.parquet", [True] * 6)
    mixed = write_unpaired(tmp_path / "mixed.parquet", [True, False] * 3)
    with pytest.raises(RecordError, match="only desirable ones"):
        trained(tiny, tmp_path / "a", good, loss="kto")
    with pytest.raises(RecordError, match="mixed.parquet has single judged completions, which the loss sigmoid cannot"):
        trained(tiny, tmp_path / "b", mixed)
    with pytest.raises(ConfigError, match="label must be hard with the loss kto"):
        trained(tiny, tmp_path / "c", rankings, loss="kto", label="soft")
    with pytest.raises(ConfigError, match="label_smoothing must be 0"):
        trained(tiny, tmp_path / "d", rankings, loss="kto", label_smoothing=0.1)
    with pytest.raises(ConfigError, match="cannot both be 0"):
        trained(tiny, tmp_path / "e", rankings, loss="kto", desirable_weight=0.0, undesirable_weight=0.0)


@pytest.mark.slow
def test_no_gradient_and_no_dropout_in_the_reference(tiny: Path, rankings: Path, tmp_path: Path) -> None:
    """With dropout on the adapter's inputs the first loss is log 2 all the same: an adapter begins at nothing."""
    losses, _ = trained(tiny, tmp_path, rankings, max_steps=1, lora_dropout=0.5)
    assert losses[0] == pytest.approx(math.log(2), rel=1e-4)
