"""What is said of a reward model, against values computed by hand; its zero point; weights by reliability."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from training.records import DemonstrationRow, RankingRow, RecordError, write_parquet
from training.trainers import annotator_weights, zero_point
from training.trainers.models import load_tokenizer
from training.trainers.reward_report import (
    Judged,
    accuracy,
    agreement,
    calibration,
    headline,
    length,
    report,
    share,
    spearman,
    wilson,
)


def judged(
    scores: list[float],
    ranks: list[int],
    *,
    prompt: str = "p",
    annotator: str = "ann",
    category: str = "qa",
    tokens: list[int] | None = None,
    texts: list[str] | None = None,
    posteriors: list[float] | None = None,
) -> Judged:
    texts = texts or [f"answer {n}" for n in range(len(scores))]
    row = RankingRow(
        id=f"{prompt}-{annotator}",
        prompt_id=prompt,
        prompt=[{"role": "user", "content": prompt}],
        completions=texts,
        ranks=ranks,
        unacceptable=[False] * len(ranks),
        annotator=annotator,
        category=category,
        posteriors=posteriors or [],
    )
    return Judged(row=row, scores=scores, tokens=tokens or [5] * len(scores))


def test_shares_of_few_prompts_have_an_interval_with_a_width() -> None:
    """Three prompts, all right: the bootstrap says 1 to 1. Wilson with n = 3: (1 + 1.92073 / 3) / (1 + 3.84146 / 3) is
    0.71925 in the middle, so from 0.43850 to 1."""
    found = share([("a", 1, 1), ("b", 2, 2), ("c", 1, 1)], seed=0)
    assert found == {"value": 1.0, "low": pytest.approx(0.43850, abs=1e-5), "high": 1.0, "comparisons": 4, "prompts": 3}
    assert wilson(0.5, 10) == (pytest.approx(0.23659, abs=1e-5), pytest.approx(0.76341, abs=1e-5))
    assert share([("a", 0.0, 0)], seed=0) is None
    # 100 of one comparison, 70 right: 0.7 +- 1.96 sqrt(0.7 x 0.3 / 100).
    many = share([(str(n), float(n < 70), 1) for n in range(100)], seed=1)
    assert many is not None and many["low"] == pytest.approx(0.61, abs=0.015)


def test_the_model_stands_beside_the_people_who_judged_the_same_pairs() -> None:
    """Ann: a > b > c. Ben has the answers in another order on his page: b > a, a > c. Both put ab, ac, bc in order and
    agree on ac and bc: 2 / 3. The model says a > c > b: right with ann on ab, ac (not bc), with ben on ac alone: 3 / 6.
    Cid alone judged q, and somebody without a name the same pairs: neither is a meeting."""
    ann = judged([3.0, 1.0, 2.0], [0, 1, 2], annotator="ann", texts=["a", "b", "c"])
    ben = judged([2.0, 1.0, 3.0], [2, 0, 1], annotator="ben", texts=["c", "b", "a"])
    cid = judged([1.0, 0.0], [0, 1], annotator="cid", prompt="q")
    nobody = judged([3.0, 1.0, 2.0], [2, 1, 0], annotator="", texts=["a", "b", "c"])
    found = agreement([ann, ben, cid, nobody], seed=0)
    assert found is not None
    assert found["agreement"]["value"] == pytest.approx(2 / 3) and found["agreement"]["comparisons"] == 3
    beside = found["model_on_the_same_pairs"]
    assert (beside["value"], beside["comparisons"], beside["prompts"]) == (0.5, 6, 1)
    assert agreement([ann, cid], seed=0) is None
    # Over all comparisons: ann 2 of 3, ben 1 of 3 (bc and ba are wrong), cid 1 of 1.
    assert accuracy([ann, ben, cid], seed=0)["value"] == pytest.approx(4 / 7)  # type: ignore[index]


def test_a_tie_of_one_person_is_no_meeting() -> None:
    one = judged([1.0, 0.0], [0, 1], annotator="ann")
    tied = judged([1.0, 0.0], [0, 0], annotator="ben")
    assert agreement([one, tied], seed=0) is None


def test_calibration_by_hand() -> None:
    """Gaps of log 3 and -log 3 have confidence 0.75, in the sixth bin of ten from 0.5 to 1; one is right and one wrong,
    so 0.5 there. A gap of log 19 has 0.95, in the last bin: right. Error (2 x 0.25 + 0.05) / 3. (A billionth more, so
    that rounding puts none below its bin.)"""
    low, high = math.log(3) + 1e-9, math.log(19) + 1e-9
    rows = [judged([low, 0.0], [0, 1], prompt="a"), judged([0.0, low], [0, 1], prompt="b")]
    found = calibration([*rows, judged([high, 0.0], [0, 1], prompt="c")])
    assert found is not None
    assert found["error"] == pytest.approx((2 * 0.25 + 0.05) / 3)
    filled = [(one["low"], one["comparisons"], one["right"]) for one in found["bins"] if one["comparisons"]]
    assert filled == [(pytest.approx(0.75), 2, 0.5), (pytest.approx(0.95), 1, 1.0)]
    assert [one["confidence"] for one in found["bins"] if one["comparisons"]] == pytest.approx([0.75, 0.95])
    # A tied score is a coin's throw: half right at one half.
    assert calibration([judged([1.0, 1.0], [0, 1])])["error"] == 0.0  # type: ignore[index]
    assert calibration([judged([1.0, 1.0], [0, 0])]) is None


def test_length_by_hand() -> None:
    """Scores 1 2 3 4 of tokens 10 30 20 40: rank differences 0 1 1 0, so 1 - 6 x 2 / (4 x 15) = 0.8. Comparisons of
    ranks 0 1 2 3 (the first the best): the longer wins by people 1 of 6 (30 above 20), by the model 5 of 6. Somebody
    else's judgement of the same answers adds comparisons and no completions."""
    one = judged([1.0, 2.0, 3.0, 4.0], [0, 1, 2, 3], tokens=[10, 30, 20, 40])
    found = length([one])
    assert found["spearman"] == pytest.approx(0.8) and found["completions"] == 4
    assert (found["comparisons"], found["longer_wins_people"]) == (6, pytest.approx(1 / 6))
    assert found["longer_wins_model"] == pytest.approx(5 / 6)
    again = judged([1.0, 2.0, 3.0, 4.0], [0, 0, 0, 1], tokens=[10, 30, 20, 40], annotator="ben")
    both = length([one, again])
    assert (both["completions"], both["comparisons"], both["longer_wins_people"]) == (4, 9, pytest.approx(1 / 9))
    same = length([judged([1.0, 2.0], [0, 1])])
    assert (same["spearman"], same["longer_wins_model"]) == (None, None)


def test_mid_ranks_share_a_place() -> None:
    """1 2 2 3 has ranks 1 2.5 2.5 4, against 1 2 3 4: covariance 4.5, variances 4.5 and 5: 4.5 / sqrt(22.5)."""
    assert spearman([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(4.5 / 22.5**0.5)
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)
    assert spearman([], []) is None


def test_the_report_names_whom_the_model_never_learnt_from() -> None:
    rows = [
        judged([1.0, 0.0], [0, 1], prompt="p", annotator="ann", category="qa"),
        judged([1.0, 0.0], [1, 0], prompt="q", annotator="ben", category="chat"),
        judged([2.0, 0.0], [1, 0], prompt="p", annotator="ben", category="qa"),
    ]
    found = report(rows, trained_on={"ann": 7}, seed=0)
    assert (found["prompts"], found["rankings"], found["comparisons"]) == (2, 3, 3)
    assert {name: one["value"] for name, one in found["by_category"].items()} == {"chat": 0.0, "qa": 0.5}
    assert found["by_annotator"]["ann"] | {"low": 0, "high": 0} == {
        "value": 1.0,
        "low": 0,
        "high": 0,
        "comparisons": 1,
        "prompts": 1,
        "trained_on": 7,
    }
    assert found["by_annotator"]["ben"]["trained_on"] == 0
    numbers = headline(found)
    assert numbers["people_agreement"] == 0.0 and numbers["heldout_accuracy_where_people_met"] == 0.5
    assert numbers["people_agreement_high"] > 0.5
    assert numbers["heldout_calibration_error"] == found["calibration"]["error"]
    # All answers are of one length: nothing is said of it.
    assert not any("long" in name or "length" in name for name in numbers)


def test_reliability_is_the_mean_posterior_and_weights_keep_their_mean() -> None:
    """Ann's rankings have means 0.9 and 0.7, so q = 0.8 and 2q - 1 = 0.6; ben's 0.6, so 0.2; cid's 0.4, so 0. Over the
    rankings' mean (0.6 + 0.6 + 0.2 + 0) / 4 = 0.35: 1.714286, 0.571429, 0. Dee has none: 1."""
    said: list[str] = []
    job: Any = SimpleNamespace(data="rows.parquet", events=SimpleNamespace(status=said.append))
    rows = [
        judged([0.0] * 3, [0, 1, 1], annotator="ann", posteriors=[0.9, 0.9]).row,
        judged([0.0] * 2, [0, 1], annotator="ann", posteriors=[0.7]).row,
        judged([0.0] * 2, [0, 1], annotator="ben", posteriors=[0.6]).row,
        judged([0.0] * 2, [0, 1], annotator="cid", posteriors=[0.4]).row,
        judged([0.0] * 2, [0, 1], annotator="dee").row,
    ]
    kept, factors = annotator_weights.weigh(job, rows)
    assert factors == {"ann": pytest.approx(12 / 7), "ben": pytest.approx(4 / 7), "cid": 0.0}
    assert [row.weight for row in kept] == pytest.approx([12 / 7, 12 / 7, 4 / 7, 1.0])
    assert "1 of 5 rankings are left out" in said[0]
    with pytest.raises(RecordError, match="which annotator_weight = reliability needs"):
        annotator_weights.weigh(job, rows[4:])
    with pytest.raises(RecordError, match="leaves nothing to train on"):
        annotator_weights.weigh(job, rows[3:])


def demonstration(name: str, *turns: str) -> DemonstrationRow:
    roles = ("user", "assistant")
    return DemonstrationRow(id=name, messages=[{"role": roles[n % 2], "content": text} for n, text in enumerate(turns)])


def test_the_zero_point_is_the_mean_of_the_demonstrations_last_answers(tiny: Path, tmp_path: Path) -> None:
    """Scored by the number of their tokens, the end token among them; the second talk's first answer is prompt."""
    tokenizer = load_tokenizer(str(tiny))
    path = tmp_path / "demonstrations.parquet"
    rows = [demonstration("one", "ask", "a b"), demonstration("two", "ask", "x", "more", "a b c d")]
    write_parquet(path, rows, row_type=DemonstrationRow)
    seen: list[Any] = []

    def score(group: Any) -> list[list[float]]:
        seen.extend(group)
        return [[float(len(ids)) for ids in ranking.completions] for ranking in group]

    read = zero_point.read_demonstrations(path)
    found = zero_point.of_demonstrations(
        tokenizer, read, path=path, score=score, max_length=200, max_completion_length=100
    )
    counts = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) + 1 for text in ("a b", "a b c d")]
    assert found["reward"] == pytest.approx(sum(counts) / 2) and found["count"] == 2
    assert found["std"] == pytest.approx(abs(counts[0] - counts[1]) / 2)
    assert found["source"] == "demonstrations" and len(found["data_sha256"]) == 64
    assert "more" in tokenizer.decode(seen[1].prompt) and "x" in tokenizer.decode(seen[1].prompt)
    with pytest.raises(RecordError, match="hold no answer"):
        write_parquet(path, [], row_type=DemonstrationRow)
        zero_point.read_demonstrations(path)


def test_many_demonstrations_are_taken_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zero_point, "AT_MOST", 3)
    path = tmp_path / "demonstrations.parquet"
    write_parquet(path, [demonstration(str(n), "ask", "a") for n in range(7)], row_type=DemonstrationRow)
    assert [row.id for row in zero_point.read_demonstrations(path)] == ["0", "2", "4"]


def test_without_demonstrations_the_first_ranked_stand_in() -> None:
    """Firsts: 4 and 2 of p (two people differ), and both of q's tie, 1 and 3: mean 2.5. The same answer counts once."""
    rows = [
        judged([4.0, 2.0], [0, 1], prompt="p", annotator="ann"),
        judged([4.0, 2.0], [1, 0], prompt="p", annotator="ben"),
        judged([4.0, 2.0], [0, 1], prompt="p", annotator="cid"),
        judged([1.0, 3.0, 9.0], [0, 0, 1], prompt="q"),
    ]
    found = zero_point.of_best_ranked([one.row for one in rows], [one.scores for one in rows], split="heldout")
    assert (found["reward"], found["count"]) == (2.5, 4)
    assert found["source"] == "completions ranked first (heldout)"
