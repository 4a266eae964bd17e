"""PPO's arithmetic against hand-worked examples and loops in plain Python."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
import torch

from training.trainers.ppo_losses import (
    advantages_and_returns,
    explained_variance,
    next_beta,
    policy_loss,
    token_rewards,
    value_loss,
    whitened,
)


def numbers(seed: int, count: int, spread: float = 1.0) -> list[float]:
    draw = random.Random(seed)
    return [draw.gauss(0.0, spread) for _ in range(count)]


def test_each_token_pays_for_its_own_distance_and_the_last_one_takes_the_score() -> None:
    """Answers of 2 and 1 tokens, beta 0.1: -0.1 (-1 + 2) = -0.1, -0.1 (-3 + 1) + 5 = 5.2, -0.1 (-2 + 2) - 1 = -1."""
    found = token_rewards(
        torch.tensor([-1.0, -3.0, -2.0]), torch.tensor([-2.0, -1.0, -2.0]), [5.0, -1.0], lengths=[2, 1], beta=0.1
    )
    assert found.tolist() == pytest.approx([-0.1, 5.2, -1.0])


def test_a_model_beside_itself_pays_nothing() -> None:
    logs = torch.tensor(numbers(1, 6))
    assert token_rewards(logs, logs.clone(), [2.0, 3.0], lengths=[4, 2], beta=7.0).tolist() == [0, 0, 0, 2, 0, 3]


def test_advantages_by_hand() -> None:
    """Rewards 1, 0, 2, values 0.5, 1, 1.5, gamma 1, lambda 0.95.

    Errors, from the end: 2 + 0 - 1.5 = 0.5; 0 + 1.5 - 1 = 0.5; 1 + 1 - 0.5 = 1.5.
    Advantages: 0.5; 0.5 + 0.95 * 0.5 = 0.975; 1.5 + 0.95 * 0.975 = 2.42625.
    """
    advantages, returns = advantages_and_returns(
        torch.tensor([1.0, 0.0, 2.0]), torch.tensor([0.5, 1.0, 1.5]), lengths=[3], gamma=1.0, lam=0.95
    )
    assert advantages.tolist() == pytest.approx([2.42625, 0.975, 0.5])
    assert returns.tolist() == pytest.approx([2.92625, 1.975, 2.0])


def test_one_answers_advantages_know_nothing_of_the_next() -> None:
    rewards, values = torch.tensor(numbers(2, 9)), torch.tensor(numbers(3, 9))
    together = advantages_and_returns(rewards, values, lengths=[4, 5], gamma=0.9, lam=0.8)
    for part in (slice(0, 4), slice(4, 9)):
        alone = advantages_and_returns(
            rewards[part], values[part], lengths=[part.stop - part.start], gamma=0.9, lam=0.8
        )
        for whole, own in zip(together, alone, strict=True):
            assert torch.equal(whole[part], own)


def test_with_lambda_1_the_return_is_what_was_still_to_come() -> None:
    rewards = numbers(4, 5)
    _, returns = advantages_and_returns(
        torch.tensor(rewards), torch.tensor(numbers(5, 5)), lengths=[5], gamma=0.9, lam=1.0
    )
    wanted = [sum(0.9 ** (later - at) * rewards[later] for later in range(at, 5)) for at in range(5)]
    assert returns.tolist() == pytest.approx(wanted, rel=1e-5)


def test_whitened_numbers_as_a_plain_loop_has_them() -> None:
    given = numbers(6, 500, spread=3.0)
    mean = sum(given) / len(given)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in given) / len(given))
    found = whitened(torch.tensor(given)).tolist()
    assert found == pytest.approx([(value - mean) / deviation for value in given], abs=1e-5)
    kept = whitened(torch.tensor(given), keep_mean=True).tolist()
    assert kept == pytest.approx([(value - mean) / deviation + mean for value in given], abs=1e-5)


def test_numbers_that_are_all_alike_are_whitened_to_nothing() -> None:
    assert whitened(torch.full((4,), 2.5)).tolist() == pytest.approx([0.0] * 4)


def plain_policy_loss(new: list[float], old: list[float], advantages: list[float], clip: float) -> tuple[float, int]:
    loss, clipped = 0.0, 0
    for a, b, advantage in zip(new, old, advantages, strict=True):
        ratio = math.exp(a - b)
        one, other = -advantage * ratio, -advantage * min(max(ratio, 1 - clip), 1 + clip)
        loss += max(one, other)
        clipped += other > one
    return loss, clipped


def test_the_policys_loss_as_a_plain_loop_has_it() -> None:
    new, old, advantages = numbers(9, 200, 0.3), numbers(10, 200, 0.3), numbers(11, 200)
    found = policy_loss(torch.tensor(new), torch.tensor(old), torch.tensor(advantages), clip=0.2)
    loss, clipped = plain_policy_loss(new, old, advantages, 0.2)
    assert found.loss.item() == pytest.approx(loss, rel=1e-4)
    assert found.clipped == clipped > 20
    ratios = [math.exp(a - b) for a, b in zip(new, old, strict=True)]
    assert found.ratio == pytest.approx(sum(ratios), rel=1e-5)
    assert found.approximate_kl == pytest.approx(sum(r - 1 - math.log(r) for r in ratios), rel=1e-4)
    assert found.ratio_error == pytest.approx(sum(abs(r - 1) for r in ratios), rel=1e-4)


def test_before_a_step_the_ratio_is_1_and_the_gradient_the_plain_policy_gradient() -> None:
    old, advantages = torch.tensor(numbers(12, 20)), torch.tensor(numbers(13, 20))
    new = old.clone().requires_grad_()
    found = policy_loss(new, old, advantages, clip=0.2)
    assert (found.ratio, found.ratio_error, found.clipped, found.approximate_kl) == (20.0, 0.0, 0.0, 0.0)
    found.loss.backward()
    assert torch.allclose(new.grad, -advantages)


@pytest.mark.parametrize(
    ("advantage", "ratio", "flows"), [(1, 1.3, False), (-1, 1.3, True), (1, 0.7, True), (-1, 0.7, False)]
)
def test_the_clip_holds_what_has_gone_far_enough_and_lets_it_come_back(
    advantage: float, ratio: float, flows: bool
) -> None:
    new = torch.tensor([math.log(ratio)], requires_grad=True)
    policy_loss(new, torch.zeros(1), torch.tensor([float(advantage)]), clip=0.2).loss.backward()
    assert (new.grad.item() != 0) is flows


def test_the_critics_loss_as_a_plain_loop_has_it() -> None:
    new, old, returns = numbers(14, 200), numbers(15, 200, 0.5), numbers(16, 200)
    loss, clipped = 0.0, 0
    for value, before, wanted in zip(new, old, returns, strict=True):
        held = min(max(value, before - 0.2), before + 0.2)
        plain, other = (value - wanted) ** 2, (held - wanted) ** 2
        loss += 0.5 * max(plain, other)
        clipped += other > plain
    found, count = value_loss(torch.tensor(new), torch.tensor(old), torch.tensor(returns), clip=0.2)
    assert found.item() == pytest.approx(loss, rel=1e-5) and count == clipped > 20
    unclipped, none = value_loss(torch.tensor(new), torch.tensor(old), torch.tensor(returns), clip=0.0)
    squares = sum(0.5 * (value - wanted) ** 2 for value, wanted in zip(new, returns, strict=True))
    assert unclipped.item() == pytest.approx(squares, rel=1e-5) and none == 0


def test_what_a_critic_explains() -> None:
    returns = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert explained_variance(returns.clone(), returns) == 1.0
    assert explained_variance(torch.full((4,), 2.5), returns) == pytest.approx(0.0)
    assert explained_variance(returns * 3, returns) == pytest.approx(-3.0)
    assert math.isnan(explained_variance(returns, torch.ones(4)))


@pytest.mark.parametrize(
    ("kl", "wanted"),
    [
        (6.0, 0.05),
        (6.6, 0.05 * (1 + 0.1 * 512 / 10_000)),
        (60.0, 0.05 * (1 + 0.2 * 512 / 10_000)),
        (0.0, 0.05 * (1 - 0.2 * 512 / 10_000)),
    ],
)
def test_beta_follows_the_distance_by_a_fifth_at_most(kl: float, wanted: float) -> None:
    assert next_beta(0.05, kl, target=6.0, horizon=10_000, answers=512) == pytest.approx(wanted)


def test_a_controlled_distance_comes_to_its_target() -> None:
    """A policy whose distance is inverse to beta: from ten times the target it settles there."""
    beta: Any = 0.01
    for _ in range(400):
        beta = next_beta(beta, 0.6 / beta, target=6.0, horizon=10_000, answers=512)
    assert 0.6 / beta == pytest.approx(6.0, rel=0.02)
