"""DPO on pairs: micro batches that change nothing, and held-out numbers over all pairs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from training.trainers import hardware, models, trl_run
from training.trainers.config import build
from training.trainers.dpo import PairRatios, _trainer, believed_loss, heldout_numbers, preference_rows
from training.trainers.events import Events
from training.trainers.program import Job, StopFlag
from training.trainers.rankings import EncodedRanking

PAIRS = [
    {"prompt_ids": [5, 6, 7 + n], "chosen_ids": [10 + n] * (1 + n) + [2], "rejected_ids": [30 + n] * (1 + n % 3) + [2]}
    for n in range(8)
]


def make_trainer(tiny: Path, folder: Path, *, train: list, heldout: list | None = None, **params: Any) -> Any:
    from datasets import Dataset
    from trl import DPOConfig

    job = Job(
        stage="dpo",
        run_dir=folder,
        model=str(tiny),
        data=folder / "none",
        output_dir=folder / "out",
        resume=False,
        config=build("dpo", {"method": "full", "max_grad_norm": 1e6, "lr_scheduler": "constant"} | params),
        events=Events(folder),
        stop=StopFlag(),
    )
    tokenizer = models.load_tokenizer(str(tiny))
    return _trainer(job.config.label)(
        model=models.load_causal_model(str(tiny), tokenizer, dtype=hardware.training_dtype()),
        args=DPOConfig(
            **trl_run.arguments(job, rows=len(train)),
            beta=job.config.beta,
            loss_type=[job.config.loss],
            max_length=None,
            precompute_ref_log_probs=True,
            per_device_eval_batch_size=job.config.micro,
        ),
        train_dataset=Dataset.from_list(train),
        eval_dataset=Dataset.from_list(heldout) if heldout else None,
        processing_class=tokenizer,
    )


@pytest.mark.parametrize("pairs", [8, 7])
def test_micro_batches_change_neither_loss_nor_gradient(tiny: Path, tmp_path: Path, pairs: int) -> None:
    """8 pairs in micro batches of 8, 4 and 2 (3 does not divide 8), and 7, which leave a short last micro batch."""
    from transformers import TrainerCallback

    found: dict[int, tuple[list[float], torch.Tensor]] = {}
    for micro in (8, 4, 3):
        gradients: list[torch.Tensor] = []

        class Look(TrainerCallback):
            def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
                gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))  # noqa: B023

        torch.manual_seed(0)
        # Two steps: at the first the policy is its reference, and every pair's loss is log 2.
        options = {"batch_size": 8, "micro_batch_size": micro, "max_steps": 2, "learning_rate": 1e-2}
        trainer = make_trainer(tiny, tmp_path, train=PAIRS[:pairs], warmup_ratio=0.0, **options)
        trainer.add_callback(Look())
        trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        found[micro] = losses, gradients[0]
    assert found[8][0][0] == pytest.approx(math.log(2), rel=1e-5)
    for micro in (4, 3):
        assert found[micro][0] == pytest.approx(found[8][0], rel=1e-3)
        difference = (found[micro][1] - found[8][1]).norm() / found[8][1].norm()
        assert difference < 1e-5


@pytest.mark.parametrize("loss", ["sigmoid", "ipo"])
def test_certain_labels_train_as_hard_ones_and_improbable_ones_as_their_reverse(
    tiny: Path, tmp_path: Path, loss: str
) -> None:
    """Losses and weights after two steps: p = 1 against TRL's own loss, and p = 0 with the pairs swapped."""

    def trained(rows: list, label: str) -> tuple[list[float], torch.Tensor]:
        torch.manual_seed(0)
        options = {"batch_size": 4, "micro_batch_size": 2, "max_steps": 2, "learning_rate": 1e-2, "warmup_ratio": 0.0}
        trainer = make_trainer(tiny, tmp_path, train=rows, label=label, loss=loss, **options)
        trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        return losses, torch.cat([p.detach().flatten() for p in trainer.model.parameters()])

    swapped = [{**row, "chosen_ids": row["rejected_ids"], "rejected_ids": row["chosen_ids"]} for row in PAIRS]
    for rows, label, p in (
        (PAIRS, "soft", 1.0),
        (PAIRS, "weight", 1.0),
        (swapped, "weight", 0.0),
        (swapped, "soft", 0.0),
    ):
        hard_losses, hard = trained(PAIRS, "hard")
        losses, found = trained([{**row, "posterior": p} for row in rows], label)
        assert losses == pytest.approx(hard_losses, rel=1e-4)
        assert (found - hard).norm() / hard.norm() < 1e-4


def test_the_loss_of_a_probable_pair_by_hand() -> None:
    """Log-ratios 3 and 1, beta 0.5: gap 2, beta gap 1. With f(x) = -log sigmoid(x), f(1) = 0.313262, f(-1) = 1.313262.
    p = 0.75: soft 0.75 f(1) + 0.25 f(-1) = 0.563262, weight 0.5 f(1) = 0.156631. p = 0.1: weight 0.8 f(-1) = 1.050609.
    ipo wants a gap of 1 / (2 beta) = 1: soft 0.75 (2 - 1)^2 + 0.25 (-2 - 1)^2 = 3.
    """
    chosen, rejected, p = torch.tensor([3.0, 3.0]), torch.tensor([1.0, 1.0]), torch.tensor([0.75, 0.1])
    soft, weight, ipo = (
        believed_loss(chosen, rejected, p, label=label, beta=0.5, kind=kind).tolist()
        for label, kind in (("soft", "sigmoid"), ("weight", "sigmoid"), ("soft", "ipo"))
    )
    assert soft[0] == pytest.approx(0.563262, abs=1e-6)
    assert weight == pytest.approx([0.156631, 1.050609], abs=1e-6)
    assert ipo[0] == pytest.approx(3)
    gap = torch.tensor([math.log(3)], requires_grad=True)
    believed_loss(gap, torch.zeros(1), p[:1], label="soft", beta=1.0, kind="sigmoid").sum().backward()
    assert gap.grad is not None and gap.grad.item() == pytest.approx(0, abs=1e-6)  # sigmoid(log 3) is p


def test_rows_carry_the_posterior_of_their_own_pair() -> None:
    ranking = EncodedRanking(
        prompt_id="p", prompt=[5], completions=[[10], [11], [12]], ranks=[2, 0, 1], weight=1.0, cut=0,
        cut_completions=0, posteriors=[0.9, 0.7, 0.6],
    )  # fmt: skip
    assert ranking.pairs == [(1, 0), (1, 2), (2, 0)]
    rows = preference_rows([ranking], pairs_per_prompt=0, label="soft")
    assert [(row["chosen_ids"], row["rejected_ids"], row["posterior"]) for row in rows] == [
        ([11], [10], 0.9), ([11], [12], 0.7), ([12], [10], 0.6),
    ]  # fmt: skip
    assert all("posterior" not in row for row in preference_rows([ranking], pairs_per_prompt=0))


def test_heldout_ratios_are_those_of_each_pair_alone(tiny: Path, tmp_path: Path) -> None:
    """7 held-out pairs in batches of 4 and 3, against log-probabilities of plain forwards, one sequence at a time."""
    trainer = make_trainer(tiny, tmp_path, train=PAIRS[:2], heldout=PAIRS[:7], batch_size=4, micro_batch_size=4)
    tokenizer = models.load_tokenizer(str(tiny))
    before = models.load_causal_model(str(tiny), tokenizer, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.mul_(1.05)

    def log_probability(model: Any, prompt: list[int], answer: list[int]) -> float:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt + answer]), use_cache=False).logits[0].log_softmax(-1)
        return sum(logits[len(prompt) + n - 1, token].item() for n, token in enumerate(answer))

    found = trainer.pair_ratios()
    assert len(found) == 7
    for pair, row in zip(found, PAIRS, strict=False):
        for moved, tokens, name in (
            (pair.chosen, pair.chosen_tokens, "chosen_ids"),
            (pair.rejected, pair.rejected_tokens, "rejected_ids"),
        ):
            expected = [log_probability(model, row["prompt_ids"], row[name]) for model in (trainer.model, before)]
            assert moved == pytest.approx(expected[0] - expected[1], abs=1e-3)
            assert tokens == len(row[name])


def test_heldout_numbers_by_hand() -> None:
    """Log-ratios 2, -1, 0 (chosen) against 1, 1, 0 (rejected), beta 0.5: margins 0.5, -1, 0, mean -1/6.

    Right are 1, 0 and a half: 1.5 of 3. Losses log(1 + e^-0.5) = 0.474077, log(1 + e^1) = 1.313262, log 2 = 0.693147.
    """
    pairs = [
        PairRatios(chosen=c, rejected=r, chosen_tokens=2, rejected_tokens=4)
        for c, r in ((2.0, 1.0), (-1.0, 1.0), (0.0, 0.0))
    ]
    found = heldout_numbers(pairs, ["p", "p", "q"], beta=0.5, kind="sigmoid", seed=0)
    assert found["heldout_accuracy"] == 0.5
    assert found["heldout_rewards/margins"] == pytest.approx(-1 / 6)
    assert found["heldout_rewards/chosen"] == pytest.approx(0.5 / 3)
    assert found["heldout_loss"] == pytest.approx((0.474077 + 1.313262 + 0.693147) / 3, abs=1e-6)
    # Both prompts have half of theirs right, whichever is drawn again.
    assert (found["heldout_accuracy_low"], found["heldout_accuracy_high"]) == (0.5, 0.5)


def test_ipo_is_taken_of_means_over_tokens() -> None:
    """2 / 2 - 1 / 4 = 0.75; 1 / (2 x 0.5) = 1; (0.75 - 1)^2 = 0.0625."""
    pair = PairRatios(chosen=2.0, rejected=1.0, chosen_tokens=2, rejected_tokens=4)
    assert pair.loss(beta=0.5, kind="ipo") == pytest.approx(0.0625)
