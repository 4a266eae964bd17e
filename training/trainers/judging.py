"""Answers that a policy drew, and what a recipe's rewards say of them: the reward model's score, and computed ones."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.records import PromptRow
from training.trainers import parallel, reward_functions
from training.trainers.completions import completion_row
from training.trainers.config import PpoConfig
from training.trainers.program import Job, TrainerError
from training.trainers.rankings import EncodedRanking, encode_answers
from training.trainers.samplers import Completion
from training.trainers.scorer import Scorer


@dataclass(kw_only=True)
class Drawn:
    """A prompt's answers: their text, ids, whether each ended, its scores, and three numbers for each of its tokens.

    `judged` are the rewards by name, unweighted, and `scores` what PPO is given of them. The token's numbers lie
    behind one another, as the answers do: log-probabilities by the policy that drew and by the reference (none where
    nothing is paid for the distance), and values.
    """

    at: int
    prompt: list[int]
    answers: list[list[int]]
    texts: list[str]
    ended: list[bool]
    judged: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    scores: list[float] = dataclasses.field(default_factory=list)
    log_probs: list[float] = dataclasses.field(default_factory=list)
    reference: list[float] = dataclasses.field(default_factory=list)
    values: list[float] = dataclasses.field(default_factory=list)
    entropy: float = 0.0

    @property
    def lengths(self) -> list[int]:
        return [len(ids) for ids in self.answers]


def drawn_of(
    at: int, prompt: list[int], completions: Sequence[Completion], *, tokenizer: Any, stop_text: str | None
) -> Drawn:
    """A prompt's answers as a sampler gave them, not yet judged; with the policy's numbers where it told them."""
    rows = [completion_row("", index, one, tokenizer, seed=0, stop=stop_text) for index, one in enumerate(completions)]
    return Drawn(
        at=at,
        prompt=prompt,
        answers=[row.token_ids for row in rows],
        texts=[row.text for row in rows],
        ended=[row.finish_reason == "stop" for row in rows],
        log_probs=[log for one in completions if one.measured for log in one.measured.log_probs],
        entropy=math.fsum(value for one in completions if one.measured for value in one.measured.entropies),
    )


def zero_point(job: Job, reward_model: str) -> float:
    """The score that counts as nothing; 0 for a reward model that knows none, which is told."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        facts = json.loads((Path(reward_model) / "reward.json").read_text(encoding="utf-8"))
        zero = float(facts["zero_point"]["reward"])
        if math.isfinite(zero):
            return zero
    job.events.status("The reward model knows no zero point: its scores count as they are.")
    return 0.0


class Judge:
    """Scores answers as text: `scoring` gives the reward model's scorer, `tokenizer` is the reward model's own."""

    def __init__(
        self,
        job: Job,
        *,
        scoring: Callable[[], AbstractContextManager[Scorer]],
        tokenizer: Any,
        zero_point: float,
    ) -> None:
        self.job, self.scoring, self.tokenizer, self.zero_point = job, scoring, tokenizer, zero_point
        self.config: PpoConfig = job.config
        try:
            self.functions = reward_functions.load(self.config.reward_functions)
        except reward_functions.RewardFunctionError as error:
            raise TrainerError(str(error)) from error
        self.weights = {"reward_model": self.config.reward_model_weight} | {
            name: weight for name, (weight, _) in self.functions.items()
        }

    def score(self, prompts: Sequence[PromptRow], found: Sequence[Drawn], *, at_once: int = 0) -> None:
        """Writes into each prompt's answers what they are worth, `at_once` prompts at a time (0: the config's micro).

        Raises Stopped where the run is asked to stop, TrainerError where a score is not a finite number.
        """
        if self.config.reward_model_weight:
            encoded, cut = [], 0
            for prompt, one in zip(prompts, found, strict=True):
                ids, answers, prompts_cut, answers_cut = encode_answers(
                    self.tokenizer, prompt.prompt, one.texts, ended=one.ended, max_length=self.config.max_length
                )
                cut += bool(prompts_cut or answers_cut)
                encoded.append(
                    EncodedRanking(
                        prompt_id="", prompt=ids, completions=answers, ranks=[], weight=1.0, cut=0, cut_completions=0
                    )
                )
            if cut:
                self.job.events.status(
                    f"{cut} of {len(found)} prompts have, with their answers, more of the reward model's tokens than "
                    f"max_length ({self.config.max_length}), and were cut for it."
                )
            with self.scoring() as scorer:
                # Several processes have answers of their own, of which one may have more; they stop together, later.
                job = self.job if parallel.world_size() == 1 else None
                scores = scorer.all_scores(encoded, rows_at_once=at_once or self.config.micro, job=job)
            for one, own in zip(found, scores, strict=True):
                one.judged["reward_model"] = [score - self.zero_point for score in own]
        for name, (_, function) in self.functions.items():
            for prompt, one in zip(prompts, found, strict=True):
                one.judged[name] = [self._call(name, function, prompt, one, place) for place in range(len(one.answers))]
        for prompt, one in zip(prompts, found, strict=True):
            one.scores = self.totals(one)
            if not all(math.isfinite(score) for score in one.scores):
                raise TrainerError(f"An answer to the prompt {prompt.id} has a score that is not a finite number.")

    def totals(self, one: Drawn) -> list[float]:
        """The weighted rewards of a prompt's answers, before anything is made of them."""
        return [
            math.fsum(self.weights[name] * numbers[place] for name, numbers in one.judged.items())
            for place in range(len(one.answers))
        ]

    def summary(self, found: Sequence[Drawn]) -> dict[str, float]:
        """Mean and standard deviation of the rewards over all answers; of several rewards also the mean of each."""
        totals = [value for one in found for value in self.totals(one)]
        numbers = {"reward": statistics.fmean(totals), "reward_std": statistics.pstdev(totals)}
        if len(found[0].judged) > 1:
            for name in found[0].judged:
                numbers[f"reward_of_{name}"] = statistics.fmean(value for one in found for value in one.judged[name])
        return numbers

    def held(self, score: float, *, ended: bool, spread: float = 1.0) -> float:
        """What a score becomes before it is a reward: over the spread, within limits, by the rule for missing ends."""
        score /= spread or 1.0
        if limit := self.config.score_clip:
            score = min(limit, max(-limit, score))
        if ended or self.config.no_end == "neither":
            return score
        return self.config.no_end_score + (score if self.config.no_end == "penalty" else 0.0)

    def _call(self, name: str, function: Any, prompt: PromptRow, one: Drawn, place: int) -> float:
        answer = reward_functions.Answered(
            prompt=prompt.prompt, text=one.texts[place], token_ids=one.answers[place], ended=one.ended[place]
        )
        try:
            return reward_functions.call(name, function, answer)
        except reward_functions.RewardFunctionError as error:
            raise TrainerError(f"{error} The prompt was {prompt.id}.") from error
