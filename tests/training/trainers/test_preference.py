"""Preference losses and their gradients by hand, what enters them, and the numbers that tell of them."""

from __future__ import annotations

import math

import pytest
import torch

from training.records import RankingRow, RecordError, UnpairedRow
from training.trainers.config import build
from training.trainers.preference import group_loss, heldout_numbers, kto_losses, pair_losses, summary
from training.trainers.preference_groups import Group, groups_of, labels_of, mismatched, paired
from training.trainers.rankings import EncodedRanking


def losses(kind: str, *, p: float = 1.0, better: float = 3.0, worse: float = 1.0, **options: object) -> float:
    return pair_losses(
        torch.tensor([better]), torch.tensor([worse]), torch.tensor([p]), kind=kind, beta=0.5, **options
    ).item()  # type: ignore[arg-type]


def test_a_pairs_loss_by_hand() -> None:
    """3 and 1, beta 0.5: gap 2, beta gap 1. With f(x) = -log sigmoid(x), f(1) = 0.313262, f(-1) = 1.313262.

    sigmoid f(1). ipo wants a gap of 1 / (2 beta) = 1: (2 - 1)^2. simpo with gamma 0.3: f(0.7) = 0.403186.
    """
    assert losses("sigmoid") == pytest.approx(0.313262, abs=1e-6)
    assert losses("ipo") == pytest.approx(1.0)
    assert losses("simpo", gamma=0.3) == pytest.approx(0.403186, abs=1e-6)


def test_conservative_dpo_by_hand() -> None:
    """With e = 0.1: 0.9 f(1) + 0.1 f(-1) = 0.413262; ipo 0.9 (2 - 1)^2 + 0.1 (-2 - 1)^2 = 1.8.

    Mitchell's gradient in the gap is -beta (1 - e - sigmoid(beta gap)): it vanishes at sigmoid(beta gap) = 1 - e.
    """
    assert losses("sigmoid", smoothing=0.1) == pytest.approx(0.413262, abs=1e-6)
    assert losses("ipo", smoothing=0.1) == pytest.approx(1.8, abs=1e-6)
    for gap in (-2.0, 0.0, 1.0, 2 * math.log(9)):
        better = torch.tensor([gap], dtype=torch.float64, requires_grad=True)
        none = torch.zeros(1, dtype=torch.float64)
        pair_losses(better, none, none + 1, kind="sigmoid", beta=0.5, smoothing=0.1).sum().backward()
        assert better.grad is not None
        assert better.grad.item() == pytest.approx(-0.5 * (0.9 - 1 / (1 + math.exp(-0.5 * gap))), abs=1e-9)


def test_probable_pairs_by_hand() -> None:
    """p = 0.75: soft 0.75 f(1) + 0.25 f(-1) = 0.563262, weight 0.5 f(1) = 0.156631. p = 0.1: weight 0.8 f(-1) =
    1.050609.

    soft and ipo: 0.75 (2 - 1)^2 + 0.25 (-2 - 1)^2 = 3. Smoothed by 0.1, p = 0.75 is 0.9 x 0.75 + 0.1 x 0.25 = 0.7: 0.7
    f(1) + 0.3 f(-1) = 0.613262; weight has 0.45 f(1) + 0.05 f(-1) = 0.206631.
    """
    assert losses("sigmoid", p=0.75, label="soft") == pytest.approx(0.563262, abs=1e-6)
    assert losses("sigmoid", p=0.75, label="weight") == pytest.approx(0.156631, abs=1e-6)
    assert losses("sigmoid", p=0.1, label="weight") == pytest.approx(1.050609, abs=1e-6)
    assert losses("ipo", p=0.75, label="soft") == pytest.approx(3)
    assert losses("sigmoid", p=0.75, label="soft", smoothing=0.1) == pytest.approx(0.613262, abs=1e-6)
    assert losses("sigmoid", p=0.75, label="weight", smoothing=0.1) == pytest.approx(0.206631, abs=1e-6)
    for kind in ("sigmoid", "ipo", "simpo"):
        for label in ("soft", "weight"):
            assert losses(kind, p=1.0, label=label) == pytest.approx(losses(kind))
            turned = losses(kind, p=0.0, label=label, better=1.0, worse=3.0)
            assert turned == pytest.approx(losses(kind))


def test_ktos_losses_and_slopes_by_hand() -> None:
    """Log-ratios 2 and 2, the first desirable, baseline 1, beta 0.5: beta (2 - 1) = 0.5; sigmoid(0.5) = 0.622459.

    Desirable, weight 2: 2 (1 - 0.622459) = 0.755081; undesirable, weight 3: 3 (1 - sigmoid(-0.5)) = 3 x 0.622459.
    The slopes are -2 beta s (1 - s) and 3 beta s (1 - s) with s (1 - s) = 0.235004.
    """
    ratios = torch.tensor([2.0, 2.0], requires_grad=True)
    found = kto_losses(ratios, torch.tensor([True, False]), 1.0, beta=0.5, desirable_weight=2.0, undesirable_weight=3.0)
    assert found.tolist() == pytest.approx([0.755081, 1.867378], abs=1e-6)
    found.sum().backward()
    assert ratios.grad is not None and ratios.grad.tolist() == pytest.approx([-0.235004, 0.352506], abs=1e-6)


def encoded(ranks: list[int], completions: list[list[int]], **more: object) -> EncodedRanking:
    facts = {"prompt_id": "p", "prompt": [5], "weight": 1.0, "cut": 0, "cut_completions": 0} | more
    return EncodedRanking(ranks=ranks, completions=completions, **facts)  # type: ignore[arg-type]


def test_a_rankings_pairs_keep_their_posteriors_and_read_each_completion_once() -> None:
    """Ranks 2, 0, 1, 0: the pairs (1,0) (1,2) (2,0) (3,0) (3,2); completions 1 and 3 are the same text."""
    ranking = encoded([2, 0, 1, 0], [[10], [11], [12], [11]], posteriors=[0.9, 0.7, 0.6, 0.8, 0.5])
    group = paired(ranking, limit=0)
    assert group is not None
    # The widest gaps first: (1,0), (3,0), then (1,2), (2,0), (3,2).
    assert group.completions == [[11], [10], [12]]
    assert group.pairs == [(0, 1), (0, 1), (0, 2), (2, 1), (0, 2)]
    assert group.posteriors == [0.9, 0.8, 0.7, 0.6, 0.5]
    first = paired(ranking, limit=1)
    assert first is not None and (first.completions, first.pairs) == ([[11], [10]], [(0, 1)])
    assert paired(encoded([0, 1], [[10], [10]]), limit=0) is None


def test_which_completions_are_desirable() -> None:
    """The first tier, unless it is marked; not the last tier, nor what is marked; what lies between says nothing."""
    assert labels_of([0, 1, 2, 1], [False] * 4) == {0: True, 2: False}
    assert labels_of([0, 0, 1, 2], [False, True, True, False]) == {0: True, 1: False, 2: False, 3: False}
    row = RankingRow(
        id="r", prompt_id="p", prompt=[{"role": "user", "content": "?"}], completions=["a", "b", "c"],
        ranks=[1, 0, 2], unacceptable=[False] * 3,
    )  # fmt: skip
    [group] = groups_of([row], [encoded([1, 0, 2], [[10], [11], [12]])], loss="kto", limit=0)
    assert (group.completions, group.labels, group.pairs) == ([[11], [12]], [(0, True), (1, False)], [])


def test_a_mismatched_completion_is_another_prompts() -> None:
    """Two annotators ranked the first prompt: the next row is not another prompt, the one after is."""
    rows = [Group(prompt_id=str(n), prompt=[n], completions=[[10 + n, 2], [3]]) for n in (5, 5, 6)]
    assert [group.completions for group in mismatched(rows, rows)] == [[[16, 2]], [[16, 2]], [[15, 2]]]
    with pytest.raises(RecordError, match="at least two different prompts"):
        mismatched(rows[:2], rows[:2])


def test_a_groups_numbers_by_hand() -> None:
    """Log-probabilities -4, -6, -9 (2, 3, 3 tokens) under the policy and -5, -5, -5 under the reference.

    Log-ratios 1, -1, -4; beta 0.5: rewards 0.5, -0.5, -2; pairs (0,1), (2,1): margins 1 and -1.5.
    sigmoid: (log(1 + e^-1) + log(1 + e^1.5)) / 2 = (0.313262 + 1.701413) / 2. ipo has 1/2, -1/3, -4/3 a token: gaps 5/6
    and -1: ((5/6 - 1)^2 + (-1 - 1)^2) / 2 = 2.013889. simpo, without a reference, gamma 0: -2, -2, -3 a token, gaps 0
    and -1, with beta 0.5 (log 2 + log(1 + e^0.5)) / 2 = (0.693147 + 0.974077) / 2; an equal pair counts half.
    """
    values, before = torch.tensor([-4.0, -6.0, -9.0]), torch.tensor([-5.0, -5.0, -5.0])
    group = Group(
        prompt_id="p", prompt=[5], completions=[[1] * 2, [2] * 3, [3] * 3], pairs=[(0, 1), (2, 1)],
        posteriors=[1.0, 1.0],
    )  # fmt: skip
    loss, numbers = group_loss(values, before, group, build("dpo", {"beta": 0.5}))
    assert loss.item() == pytest.approx((0.313262 + 1.701413) / 2, abs=1e-6)
    assert summary(numbers) == pytest.approx(
        {"rewards/accuracies": 0.5, "rewards/chosen": -0.75, "rewards/rejected": -0.5, "rewards/margins": -0.25}
    )
    loss, _ = group_loss(values, before, group, build("dpo", {"beta": 0.5, "loss": "ipo"}))
    assert loss.item() == pytest.approx(2.013889, abs=1e-5)
    simpo = build("dpo", {"beta": 0.5, "loss": "simpo", "simpo_gamma": 0.0})
    loss, numbers = group_loss(values, None, group, simpo)
    assert loss.item() == pytest.approx((0.693147 + 0.974077) / 2, abs=1e-6)
    assert summary(numbers)["rewards/accuracies"] == 0.25
    kto = Group(prompt_id="p", prompt=[5], completions=[[1], [2], [3]], labels=[(0, True), (2, False)])
    loss, numbers = group_loss(values, before, kto, build("dpo", {"beta": 0.5, "loss": "kto"}), baseline=0.5)
    # sigmoid(0.5 (1 - 0.5)) = 0.562177 and sigmoid(0.5 (0.5 + 4)) = 0.904651.
    assert loss.item() == pytest.approx((2 - 0.562177 - 0.904651) / 2, abs=1e-6)
    assert summary(numbers) == pytest.approx(
        {"rewards/accuracies": 1.0, "rewards/chosen": 0.5, "rewards/rejected": -2.0, "rewards/margins": 2.5}
    )


def test_a_label_of_one_kind_has_no_margin() -> None:
    group = Group(prompt_id="p", prompt=[5], completions=[[1]], labels=[(0, True)])
    _, numbers = group_loss(torch.tensor([-1.0]), torch.tensor([-2.0]), group, build("dpo", {"loss": "kto"}))
    assert set(summary(numbers)) == {"rewards/accuracies", "rewards/chosen"}


def test_heldout_numbers_by_hand() -> None:
    """Log-ratios 2, 1 (p), -1, 1 (p again), 0, 0 (q), beta 0.5: margins 0.5, -1, 0, mean -1/6.

    Right are 1, 0 and a half: 1.5 of 3. Losses log(1 + e^-0.5) = 0.474077, log(1 + e^1) = 1.313262, log 2 = 0.693147.
    They are of the labels as they were given, whatever the run makes of them.
    """
    groups = [
        Group(prompt_id=name, prompt=[5], completions=[[1], [2]], pairs=[(0, 1)], posteriors=[0.3]) for name in "ppq"
    ]
    ratios = [torch.tensor(pair) for pair in ([2.0, 1.0], [-1.0, 1.0], [0.0, 0.0])]
    config = build("dpo", {"beta": 0.5, "label": "soft", "label_smoothing": 0.2})
    found = heldout_numbers(ratios, [torch.zeros(2)] * 3, groups, config)
    assert found["heldout_accuracy"] == 0.5
    assert found["heldout_rewards/margins"] == pytest.approx(-1 / 6)
    assert found["heldout_rewards/chosen"] == pytest.approx(0.5 / 3)
    assert found["heldout_loss"] == pytest.approx((0.474077 + 1.313262 + 0.693147) / 3, abs=1e-6)
    # Both prompts have half of theirs right, whichever is drawn again.
    assert (found["heldout_accuracy_low"], found["heldout_accuracy_high"]) == (0.5, 0.5)
    assert heldout_numbers([], [], [], config) == {}


def test_unpaired_rows_become_groups_of_one_label(tiny) -> None:
    from training.trainers.chat import encode_completion, encode_prompt
    from training.trainers.models import load_tokenizer
    from training.trainers.preference_groups import encode_unpaired

    tokenizer = load_tokenizer(str(tiny))
    asked = [{"role": "user", "content": "Tell me of the river, please, and of seven plums."}]
    row = UnpairedRow(id="u", prompt=asked, completion="No. " * 30, desirable=False, weight=0.5)
    prompt, answer = encode_prompt(tokenizer, asked), encode_completion(tokenizer, asked, "No. " * 30)
    [group], cut = encode_unpaired(tokenizer, [row], max_length=1000)
    assert (group.prompt, group.completions, group.labels, group.weight, cut) == (
        prompt, [answer], [(0, False)], 0.5, 0,
    )  # fmt: skip
    [group], cut = encode_unpaired(tokenizer, [row], max_length=20)
    assert cut == 2 and len(group.prompt) + len(group.completions[0]) == 20
    assert group.completions[0] == answer[: len(group.completions[0])] and group.prompt == prompt[-len(group.prompt) :]
