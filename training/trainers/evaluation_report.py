"""The parts of an evaluation's report, from draws, likelihoods and rewards; the arithmetic is in `evaluation.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from training.records import CompletionRow, PromptRow
from training.trainers import evaluation
from training.trainers.likelihood import Likelihood


def text_numbers(
    drawn: Sequence[Sequence[CompletionRow]], likely: Sequence[Likelihood], *, prompts: int, seed: int
) -> dict[str, Any]:
    """What the draws of one model are like; `likely` has one entry a completion, in the same order."""
    rows = [row for group in drawn for row in group]
    ids = [row.token_ids for row in rows]
    each = len(rows) // prompts
    entropies = [one.entropies for one in likely]
    repeated = [value for value in map(evaluation.repetition, ids) if value is not None]
    found: dict[str, Any] = {
        "entropy": evaluation.ratio_interval(
            *_by_prompt([sum(one) for one in entropies], [len(one) for one in entropies], each), seed=seed
        ),
        "length": evaluation.interval(_means([row.token_count for row in rows], each), seed=seed),
        "eos_rate": evaluation.interval(_means([row.finish_reason == "stop" for row in rows], each), seed=seed),
    }
    if repeated:
        found["repetition"] = sum(repeated) / len(repeated)
    for n in (1, 2, 3):
        if (value := evaluation.distinct(ids, n)) is not None:
            found[f"distinct_{n}"] = value
    return found


def kl(
    policy: Sequence[Likelihood], reference: Sequence[Likelihood], *, prompts: int, biased: bool, seed: int
) -> dict[str, Any]:
    """The KL of the policy to the reference by the policy's draws, in nats: a sequence and a token.

    `biased` where the draws were narrowed (top-p, temperature 0) and are no draws of the policy itself.
    """
    each = len(policy) // prompts
    sequences = [evaluation.kl_of_sequence(a.logps, b.logps) for a, b in zip(policy, reference, strict=True)]
    k3 = [sum(evaluation.kl_of_tokens(a.logps, b.logps)) for a, b in zip(policy, reference, strict=True)]
    tokens = [len(one.logps) for one in policy]
    return {
        "estimator": "k1 a sequence and a token, k3 a token (Schulman 2020), over the policy's own draws",
        "biased": biased,
        "sequence": evaluation.interval(_means(sequences, each), seed=seed),
        "token": evaluation.ratio_interval(*_by_prompt(sequences, tokens, each), seed=seed),
        "token_k3": evaluation.ratio_interval(*_by_prompt(k3, tokens, each), seed=seed),
    }


def reward_report(
    prompts: Sequence[PromptRow], scores: dict[str, list[list[float]]], report: dict[str, Any], *, seed: int
) -> dict[str, Any]:
    """The report's parts that rewards give: of each model, between the two, by category, and best of n."""
    found: dict[str, Any] = {}
    means = {name: [sum(row) / len(row) for row in rows] for name, rows in scores.items()}
    for name, values in means.items():
        found[name] = report[name] | {"reward": evaluation.interval(values, seed=seed)}
    wins: list[float] = []
    if "reference" in scores:
        wins = [evaluation.win_rate(a, b) for a, b in zip(scores["policy"], scores["reference"], strict=True)]
        gaps = [a - b for a, b in zip(means["policy"], means["reference"], strict=True)]
        found["win_rate"] = evaluation.interval(wins, seed=seed)
        found["reward_difference"] = evaluation.interval(gaps, seed=seed)
    categories = sorted({prompt.category for prompt in prompts})
    if len(categories) > 1:
        found["categories"] = {}
        for category in categories:
            at = [i for i, prompt in enumerate(prompts) if prompt.category == category]
            entry = {"prompts": len(at), "reward": evaluation.interval([means["policy"][i] for i in at], seed=seed)}
            if wins:
                entry["win_rate"] = evaluation.interval([wins[i] for i in at], seed=seed)
            found["categories"][category] = entry
    found["best_of_n"] = evaluation.best_of_curve(scores["policy"], seed=seed)
    return found


def shown_samples(
    prompts: Sequence[PromptRow],
    drawn: dict[str, list[list[CompletionRow]]],
    scores: dict[str, list[list[float]]],
    *,
    count: int,
) -> list[dict[str, Any]]:
    """The policy's `count` best and worst rewarded samples, one a prompt, beside the reference's best."""
    best: list[dict[str, Any]] = []
    worst: list[dict[str, Any]] = []
    for at, prompt in enumerate(prompts):
        order = sorted(range(len(scores["policy"][at])), key=lambda k: (-scores["policy"][at][k], k))
        for found, k in ((best, order[0]), (worst, order[-1])):
            row = drawn["policy"][at][k]
            entry = {
                "prompt_id": prompt.id,
                "category": prompt.category,
                "prompt": prompt.prompt,
                "completion": row.text,
                "reward": scores["policy"][at][k],
                "seed": row.seed,
                "token_count": row.token_count,
                "finish_reason": row.finish_reason,
                "repetition": evaluation.repetition(row.token_ids),
            }
            if "reference" in scores:
                other = max(range(len(scores["reference"][at])), key=lambda k: scores["reference"][at][k])
                entry["reference_completion"] = drawn["reference"][at][other].text
                entry["reference_reward"] = scores["reference"][at][other]
            found.append(entry)
    best.sort(key=lambda entry: -entry["reward"])
    worst.sort(key=lambda entry: entry["reward"])
    return [{"shown_as": "best"} | entry for entry in best[:count]] + [
        {"shown_as": "worst"} | entry for entry in worst[:count]
    ]


def flat(report: dict[str, Any]) -> dict[str, float]:
    """The report's numbers under one name each, as metrics: {"policy": {"reward": {"mean": 1}}} -> policy_reward."""
    found: dict[str, float] = {}
    for name, value in report.items():
        if name in ("sampling", "categories"):
            continue
        if isinstance(value, dict):
            inner = flat(value)
            found |= {name if key == "mean" else f"{name}_{key}": number for key, number in inner.items()}
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = float(value)
    for point in report.get("best_of_n", []):
        found[f"best_of_{point['n']}"] = point["reward_mean"]
    return found


def _means(values: Sequence[float], each: int) -> list[float]:
    """The mean of every `each` values, which are one prompt's."""
    return [sum(values[start : start + each]) / each for start in range(0, len(values), each)]


def _by_prompt(values: Sequence[float], counts: Sequence[int], each: int) -> tuple[list[float], list[float]]:
    """Sums over every `each` values, and over their counts."""
    starts = range(0, len(values), each)
    return (
        [float(sum(values[start : start + each])) for start in starts],
        [float(sum(counts[start : start + each])) for start in starts],
    )
