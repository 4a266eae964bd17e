"""The numbers of an evaluation, each by hand."""

from __future__ import annotations

import itertools
import math

import pytest

from training.records import CompletionRow, PromptRow
from training.trainers.evaluation import (
    best_of,
    best_of_curve,
    best_of_kl,
    distinct,
    interval,
    kl_of_sequence,
    kl_of_tokens,
    ratio_interval,
    repetition,
    win_rate,
)
from training.trainers.evaluation_report import flat, kl, reward_report, shown_samples, text_numbers
from training.trainers.likelihood import Likelihood

USER = [{"role": "user", "content": "Go on."}]


def test_win_rate_counts_every_pair_and_half_of_a_tie() -> None:
    """2 against 1 and 2: a win and a tie; 0 against both: two losses. 1.5 of 4."""
    assert win_rate([2.0, 0.0], [1.0, 2.0]) == 1.5 / 4
    assert win_rate([1.0], [1.0]) == 0.5


def test_distinct_is_over_all_completions_together() -> None:
    """1 2 1 2 and 1 2: six 1-grams of which two differ; 2-grams 12 21 12 12: two of four; one 3-gram each 121 212."""
    rows = [[1, 2, 1, 2], [1, 2]]
    assert [distinct(rows, n) for n in (1, 2, 3)] == [2 / 6, 2 / 4, 2 / 2]
    assert distinct([[1]], 2) is None


def test_repetition_is_within_a_completion() -> None:
    """1 1 1 1 1 1 has three 4-grams, all alike: two of three were said before."""
    assert repetition([1] * 6) == pytest.approx(2 / 3)
    assert repetition([1, 2, 3, 4, 5]) == 0
    assert repetition([1, 2, 3]) is None


def test_kl_estimators() -> None:
    """log p - log q of 0.5 and -0.25 sum to 0.25. k3 of 0.5: e^-0.5 - 1 + 0.5; of -0.25: e^0.25 - 1 - 0.25."""
    ours, theirs = [-1.0, -2.0], [-1.5, -1.75]
    assert kl_of_sequence(ours, theirs) == 0.25
    assert kl_of_tokens(ours, theirs) == pytest.approx([math.exp(-0.5) - 0.5, math.exp(0.25) - 1.25])
    assert kl_of_sequence(ours, ours) == 0.0 and kl_of_tokens(ours, ours) == [0.0, 0.0]
    assert math.isfinite(kl_of_tokens([-1000.0], [0.0])[0])


def test_the_mean_of_k3_over_the_policys_draws_is_the_kl() -> None:
    """p = 0.8 0.2, q = 0.5 0.5: KL 0.8 log 1.6 + 0.2 log 0.4, of k1 and of k3 alike."""
    p, q = [0.8, 0.2], [0.5, 0.5]
    exact = 0.8 * math.log(1.6) + 0.2 * math.log(0.4)
    for estimate in (lambda a, b: kl_of_tokens([a], [b])[0], lambda a, b: kl_of_sequence([a], [b])):
        mean = sum(x * estimate(math.log(x), math.log(y)) for x, y in zip(p, q, strict=True))
        assert mean == pytest.approx(exact)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_best_of_is_the_mean_over_all_subsets(n: int) -> None:
    rewards = [0.3, -1.0, 2.0, 2.0, 0.5]
    subsets = [max(subset) for subset in itertools.combinations(rewards, n)]
    assert best_of(rewards, n) == pytest.approx(sum(subsets) / len(subsets))


def test_best_of_more_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="best of 3 needs at least 3 rewards, not 2"):
        best_of([1.0, 2.0], 3)


def test_the_closed_form_is_the_kl_of_the_largest_of_n_uniform_numbers() -> None:
    """The largest of n has density n x^(n-1), so its KL is the integral of n x^(n-1) log(n x^(n-1)) over 0 to 1."""
    assert best_of_kl(1) == 0.0
    steps = 200_000
    for n in (2, 4, 64):
        points = ((i + 0.5) / steps for i in range(steps))
        integral = math.fsum(n * x ** (n - 1) * (math.log(n) + (n - 1) * math.log(x)) for x in points) / steps
        assert best_of_kl(n) == pytest.approx(integral, abs=1e-4)


def test_the_curve_doubles_as_far_as_every_prompt_reaches() -> None:
    curve = best_of_curve([[0.0, 1.0, 2.0, 3.0, 4.0], [1.0] * 4], seed=0)
    assert [point["n"] for point in curve] == [1, 2, 4]
    # Best of 4 of 0..4: the 5 subsets have 4 four times and 3 once: 3.8.
    assert curve[2]["reward_mean"] == pytest.approx((3.8 + 1) / 2)
    assert curve[0]["reward_mean"] == pytest.approx(1.5)
    assert curve[1]["kl"] == pytest.approx(math.log(2) - 0.5)
    assert all(point["reward_low"] <= point["reward_mean"] <= point["reward_high"] for point in curve)


def test_intervals_are_repeatable_and_as_wide_as_their_prompts_differ() -> None:
    assert interval([3.0] * 5, seed=1) == {"mean": 3.0, "low": 3.0, "high": 3.0}
    assert interval([], seed=1) == {}
    values = [0.0, 1.0] * 50
    found = interval(values, seed=1)
    assert found == interval(values, seed=1)
    # The mean of 100 coins: 0.5, give or take 1.96 x 0.05.
    assert found["low"] == pytest.approx(0.402, abs=0.02) and found["high"] == pytest.approx(0.598, abs=0.02)


def test_a_ratio_weighs_prompts_by_their_count() -> None:
    """10 nats over 2 tokens and 0 over 8: 1 a token, not 2.5."""
    assert ratio_interval([10.0, 0.0], [2.0, 8.0], seed=0)["mean"] == 1.0


def row(prompt: str, index: int, ids: list[int], *, reason: str = "stop") -> CompletionRow:
    return CompletionRow(
        prompt_id=prompt,
        index=index,
        text=" ".join(map(str, ids)),
        finish_reason=reason,  # type: ignore[arg-type]
        token_count=len(ids),
        seed=index,
        token_ids=ids,
    )


DRAWN = [[row("a", 0, [1, 2]), row("a", 1, [1, 2, 1, 2], reason="length")], [row("b", 0, [3]), row("b", 1, [3])]]
PROMPTS = [PromptRow(id="a", prompt=USER, category="x"), PromptRow(id="b", prompt=USER, category="y")]


def test_text_numbers() -> None:
    """Entropies 0.5 x 2, 1 x 4, 2, 2 over 8 tokens; 3 of 4 ended; lengths 2 4 1 1."""
    likely = [
        Likelihood(logps=[0.0] * len(one.token_ids), entropies=[entropy] * len(one.token_ids))
        for one, entropy in zip([one for group in DRAWN for one in group], [0.5, 1.0, 2.0, 2.0], strict=True)
    ]
    found = text_numbers(DRAWN, likely, prompts=2, seed=0)
    assert found["entropy"]["mean"] == pytest.approx((1 + 4 + 2 + 2) / 8)
    assert found["eos_rate"]["mean"] == 0.75
    assert found["length"]["mean"] == 2.0
    # One 4-gram, said once.
    assert found["repetition"] == 0.0
    assert found["distinct_1"] == 3 / 8


def test_kl_a_sequence_and_a_token() -> None:
    """Log-ratios 1 1 | 0 | 0 0 | 2 of four sequences, two a prompt: mean 1 a sequence, 4 / 6 a token."""
    ours = [Likelihood(logps=values, entropies=[]) for values in ([1.0, 1.0], [0.0], [0.0, 0.0], [2.0])]
    theirs = [Likelihood(logps=[0.0] * len(one.logps), entropies=[]) for one in ours]
    found = kl(ours, theirs, prompts=2, biased=False, seed=0)
    assert found["sequence"]["mean"] == pytest.approx(1.0)
    assert found["token"]["mean"] == pytest.approx(4 / 6)
    k3 = 2 * math.exp(-1.0) + (math.exp(-2.0) + 1)
    assert found["token_k3"]["mean"] == pytest.approx(k3 / 6)


def test_rewards_in_the_report_and_the_samples_to_read() -> None:
    scores = {"policy": [[1.0, 3.0], [0.0, -2.0]], "reference": [[1.0, 2.0], [0.0, 4.0]]}
    report = {"policy": {"model": "p"}, "reference": {"model": "r"}}
    found = reward_report(PROMPTS, scores, report, seed=0)
    assert found["policy"]["reward"]["mean"] == pytest.approx((2 - 1) / 2)
    # a: 1-1 tie, 1-2 loss, 3-1 win, 3-2 win = 2.5 of 4. b: 0-0 tie, 0-4 -2-0 -2-4 losses = 0.5 of 4.
    assert found["win_rate"]["mean"] == pytest.approx((2.5 + 0.5) / 8)
    assert found["reward_difference"]["mean"] == pytest.approx(((2 - 1.5) + (-1 - 2)) / 2)
    assert found["categories"]["x"]["win_rate"]["mean"] == 2.5 / 4
    metrics = flat(report | found)
    assert metrics["policy_reward"] == 0.5 and metrics["best_of_2"] == pytest.approx((3 + 0) / 2)
    shown = shown_samples(PROMPTS, {"policy": DRAWN, "reference": DRAWN}, scores, count=1)
    assert [(s["shown_as"], s["prompt_id"], s["reward"]) for s in shown] == [("best", "a", 3.0), ("worst", "b", -2.0)]
    assert shown[1]["reference_reward"] == 4.0 and shown[0]["finish_reason"] == "length"
