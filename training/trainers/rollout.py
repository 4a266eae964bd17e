"""What an update of PPO learns from: answers that the policy draws, their scores, and what each model says of them.

Answers are drawn from the policy as it is, judged as text by the reward model and by the recipe's reward functions, and
read once by policy, reference and critic. Several processes draw a part each and then know all of it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.records import PromptRow
from training.trainers import parallel, reward_functions, shared_prompt
from training.trainers.adapters import inner_model
from training.trainers.completions import batches, completion_row, seed_of
from training.trainers.config import PpoConfig
from training.trainers.ppo_models import Answers, Models
from training.trainers.program import Job, Stopped, TrainerError
from training.trainers.rankings import EncodedRanking, encode_answers
from training.trainers.samplers import Completion, TransformersSampler


@dataclass(kw_only=True)
class Drawn:
    """A prompt's answers: their text, ids, whether each ended, its scores, and three numbers for each of its tokens.

    `judged` are the rewards by name, unweighted, and `scores` what PPO is given of them. The token's numbers lie
    behind one another, as the answers do: log-probabilities by the policy that drew and by the reference, and values.
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
    def read(self) -> Answers:
        return Answers(prompt=self.prompt, completions=self.answers)

    @property
    def lengths(self) -> list[int]:
        return [len(ids) for ids in self.answers]


class Rollouts:
    """Draws and measures the answers of one update after another."""

    def __init__(
        self,
        job: Job,
        models: Models,
        *,
        prompts: Sequence[PromptRow],
        prompt_ids: Sequence[list[int]],
        zero_point: float,
    ) -> None:
        self.job, self.models, self.zero_point = job, models, zero_point
        self.config: PpoConfig = job.config
        self.prompts, self.prompt_ids = prompts, prompt_ids
        try:
            self.functions = reward_functions.load(self.config.reward_functions)
        except reward_functions.RewardFunctionError as error:
            raise TrainerError(str(error)) from error
        self.weights = {"reward_model": self.config.reward_model_weight} | {
            name: weight for name, (weight, _) in self.functions.items()
        }
        # What the last update's answers took this process, by what was done.
        self.seconds: dict[str, float] = {}
        self.policy = models.policy.model
        with self._own_attention():
            self.sampler = TransformersSampler.of(
                inner_model(self.policy),
                models.tokenizer,
                stop=job.stop,
                stop_text=models.stop_text,
                tell=job.events.status,
            )

    def draw(self, update: int, places: Sequence[int]) -> list[Drawn]:
        """The measured answers of the prompts at these places, in their order, in every process.

        Raises Stopped where the run is asked to stop, TrainerError where a score is not a finite number.
        """
        own = list(places[parallel.rank() :: parallel.world_size()])
        clock = time.monotonic()
        found = self._sample(update, own)
        sampled = time.monotonic()
        self._judge(found)
        judged = time.monotonic()
        self._read(found)
        self.seconds = {
            "sample_seconds": sampled - clock,
            "score_seconds": judged - sampled,
            "read_seconds": time.monotonic() - judged,
        }
        if parallel.world_size() == 1:
            return found
        message = json.dumps([dataclasses.asdict(one) for one in found]).encode()
        all_of_them = {one["at"]: Drawn(**one) for told in parallel.gather(message) for one in json.loads(told)}
        return [all_of_them[place] for place in places]

    def _sample(self, update: int, places: Sequence[int]) -> list[Drawn]:
        config, found = self.config, dict[int, Drawn]()
        self.policy.eval()
        with self._own_attention():
            for batch in batches([len(self.prompt_ids[at]) for at in places], batch_size=config.sample_batch_size):
                if self.job.stop and parallel.world_size() == 1:
                    raise Stopped
                drawn = self.sampler.generate(
                    [self.prompt_ids[places[one]] for one in batch],
                    k=config.answers_each,
                    max_new_tokens=config.max_new_tokens,
                    temperature=config.temperature,
                    top_p=1.0,
                    seeds=[seed_of(config.seed, f"{update}\n{self.prompts[places[one]].id}") for one in batch],
                )
                for one, completions in zip(batch, drawn, strict=True):
                    found[places[one]] = self._drawn(places[one], completions)
        return [found[at] for at in places]

    def _drawn(self, at: int, completions: Sequence[Completion]) -> Drawn:
        rows = [
            completion_row(self.prompts[at].id, index, one, self.models.tokenizer, seed=0, stop=self.models.stop_text)
            for index, one in enumerate(completions)
        ]
        return Drawn(
            at=at,
            prompt=self.prompt_ids[at],
            answers=[row.token_ids for row in rows],
            texts=[row.text for row in rows],
            ended=[row.finish_reason == "stop" for row in rows],
        )

    def _judge(self, found: Sequence[Drawn]) -> None:
        config = self.config
        if config.reward_model_weight:
            encoded = []
            for one in found:
                prompt, answers, _, _ = encode_answers(
                    self.models.reward_tokenizer,
                    self.prompts[one.at].prompt,
                    one.texts,
                    ended=one.ended,
                    max_length=config.max_length,
                )
                encoded.append(
                    EncodedRanking(
                        prompt_id="", prompt=prompt, completions=answers, ranks=[], weight=1.0, cut=0, cut_completions=0
                    )
                )
            with self.models.judging() as scorer:
                scores = scorer.all_scores(encoded, rows_at_once=config.micro, job=self.job)
            for one, own in zip(found, scores, strict=True):
                one.judged["reward_model"] = [score - self.zero_point for score in own]
        for name, (_, function) in self.functions.items():
            for one in found:
                one.judged[name] = [self._call(name, function, one, place) for place in range(len(one.answers))]
        for one in found:
            one.scores = [
                math.fsum(self.weights[name] * numbers[place] for name, numbers in one.judged.items())
                for place in range(len(one.answers))
            ]
            if not all(math.isfinite(score) for score in one.scores):
                raise TrainerError(
                    f"An answer to the prompt {self.prompts[one.at].id} has a score that is not a finite number."
                )

    def _call(self, name: str, function: Any, one: Drawn, place: int) -> float:
        answer = reward_functions.Answered(
            prompt=self.prompts[one.at].prompt,
            text=one.texts[place],
            token_ids=one.answers[place],
            ended=one.ended[place],
        )
        try:
            return reward_functions.call(name, function, answer)
        except reward_functions.RewardFunctionError as error:
            raise TrainerError(f"{error} The prompt was {self.prompts[one.at].id}.") from error

    def _read(self, found: Sequence[Drawn]) -> None:
        import torch

        micro = self.config.micro
        groups = [list(found[start : start + micro]) for start in range(0, len(found), micro)]
        with torch.no_grad():
            for group in groups:
                self._stop_here()
                read = [one.read for one in group]
                sizes = [sum(one.lengths) for one in group]
                log_probs, entropies = self.models.policy.measured(read)
                values = self.models.critic.values(read)
                for one, logs, entropy, own in zip(
                    group, log_probs.split(sizes), entropies.split(sizes), values.split(sizes), strict=True
                ):
                    one.log_probs, one.values = logs.float().tolist(), own.float().tolist()
                    one.entropy = float(entropy.sum())
            if not self.config.beta:
                for one in found:
                    one.reference = list(one.log_probs)
                return
            with self.models.reference() as reference:
                for group in groups:
                    self._stop_here()
                    logs = reference.log_probs([one.read for one in group]).float()
                    for one, own in zip(group, logs.split([sum(one.lengths) for one in group]), strict=True):
                        one.reference = own.tolist()

    def _stop_here(self) -> None:
        if self.job.stop and parallel.world_size() == 1:
            raise Stopped

    def _own_attention(self) -> Any:
        return shared_prompt.with_attention(self.policy, self.models.attention)
