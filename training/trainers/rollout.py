"""What an update of PPO learns from: answers that the policy draws, their scores, and what each model says of them.

Answers are drawn from the policy as it is, judged as text by the reward model and by the recipe's reward functions, and
read once by reference and critic; by the policy too where it could not tell of their tokens while it drew them. Several
processes draw a part each and then know all of it.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from training.records import PromptRow
from training.trainers import hardware, parallel, shared_prompt
from training.trainers.config import PpoConfig
from training.trainers.judging import Drawn, Judge
from training.trainers.policy_drawing import PolicySampler, failed
from training.trainers.ppo_models import Answers, Models
from training.trainers.program import Job, Stopped, TrainerError, is_out_of_memory

# How far what drawing tells of a token may be from what reading it tells, in nats on the mean: rounding is far less.
_APART = 1e-3


def answers_of(group: Sequence[Drawn]) -> list[Answers]:
    """As the readers of models take them."""
    return [Answers(prompt=one.prompt, completions=one.answers) for one in group]


class Rollouts:
    """Draws and measures the answers of one update after another."""

    def __init__(
        self,
        job: Job,
        models: Models,
        *,
        prompts: Sequence[PromptRow],
        prompt_ids: Sequence[list[int]],
        judge: Judge,
    ) -> None:
        self.job, self.models, self.judge = job, models, judge
        self.config: PpoConfig = job.config
        self.prompts = prompts
        # The prompts that memory allows at once, where nothing is learnt.
        self.micro = self.config.micro
        self.told_apart = False
        # What the last update's answers took this process, by what was done.
        self.seconds: dict[str, float] = {}
        self.policy = models.policy.model
        with self._own_attention():
            self.sampler = PolicySampler(
                job,
                self.policy,
                tokenizer=models.tokenizer,
                stop_text=models.stop_text,
                prompt_ids=prompt_ids,
                measures=True,
            )

    @property
    def at_once(self) -> dict[str, int]:
        """How many prompts memory has allowed at once so far, by what is done."""
        return {"read": self.micro, "drawn": self.sampler.at_once}

    @at_once.setter
    def at_once(self, found: dict[str, int]) -> None:
        self.micro, self.sampler.at_once = int(found["read"]), int(found["drawn"])

    def draw(self, update: int, places: Sequence[int]) -> list[Drawn]:
        """The measured answers of the prompts at these places, in their order, in every process.

        Raises in all processes alike: Stopped where one of them is asked to stop, TrainerError where one's sampler or
        reward fails.
        """
        own = list(places[parallel.rank() :: parallel.world_size()])
        if parallel.world_size() == 1:
            return self._measured(update, own)
        told: dict[str, Any] = {"drawn": [], "fault": "", "stopped": False}
        try:
            told["drawn"] = [dataclasses.asdict(one) for one in self._measured(update, own)]
        except Stopped:
            told["stopped"] = True
        except Exception as fault:  # whatever it is, the others wait to hear of it
            told["fault"] = (
                str(fault)
                if isinstance(fault, TrainerError)
                else failed(fault, update, what="Drawing, judging or reading answers")
            )
        everybodys = [json.loads(one) for one in parallel.gather(json.dumps(told).encode())]
        for one in everybodys:
            if one["fault"]:
                raise TrainerError(one["fault"])
        if any(one["stopped"] for one in everybodys):
            raise Stopped
        found = {one["at"]: Drawn(**one) for told in everybodys for one in told["drawn"]}
        return [found[place] for place in places]

    def _measured(self, update: int, own: Sequence[int]) -> list[Drawn]:
        """This process's part, with the seconds it took."""
        clock = time.monotonic()
        found = self._sample(update, own)
        sampled = time.monotonic()
        asked = [self.prompts[one.at] for one in found]
        self._with_less(lambda: self.judge.score(asked, found, at_once=self.micro))
        judged = time.monotonic()
        self._with_less(lambda: self._read(found))
        self.seconds = {
            "sample_seconds": sampled - clock,
            "score_seconds": judged - sampled,
            "read_seconds": time.monotonic() - judged,
        }
        return found

    def _sample(self, update: int, places: Sequence[int]) -> list[Drawn]:
        self.models.use("policy")
        with self._own_attention():
            return self.sampler.draw(update, places, self.prompts)

    def _with_less(self, act: Callable[[], None]) -> None:
        """Does it, again with half the prompts at once where memory runs out."""
        while True:
            try:
                return act()
            except Exception as problem:
                if not is_out_of_memory(problem) or self.micro == 1:
                    raise
            # Behind the except, which would hold on to the tensors that did not fit.
            hardware.empty_cache()
            before, self.micro = self.micro, max(1, self.micro // 2)
            self.job.events.status(
                f"Memory ran out with {before} prompts at once in reading answers; it goes on with {self.micro}."
            )

    def _read(self, found: Sequence[Drawn]) -> None:
        import torch

        groups = [list(found[start : start + self.micro]) for start in range(0, len(found), self.micro)]
        with torch.no_grad():
            self.models.use("policy")
            # What drawing has told of the very weights and number format that learn is not read again.
            for group in [] if self._is_told(found) else groups:
                self._stop_here()
                sizes = [sum(one.lengths) for one in group]
                log_probs, entropies = self.models.policy.measured(answers_of(group))
                for one, logs, entropy in zip(group, log_probs.split(sizes), entropies.split(sizes), strict=True):
                    one.log_probs, one.entropy = logs.float().tolist(), float(entropy.sum())
            self.models.use("critic")
            for group in groups:
                self._stop_here()
                values = self.models.critic.values(answers_of(group))
                for one, own in zip(group, values.split([sum(one.lengths) for one in group]), strict=True):
                    one.values = own.float().tolist()
            if not self.config.beta:
                return
            with self.models.reference() as reference:
                for group in groups:
                    self._stop_here()
                    logs = reference.log_probs(answers_of(group)).float()
                    for one, own in zip(group, logs.split([sum(one.lengths) for one in group]), strict=True):
                        one.reference = own.tolist()

    def _is_told(self, found: Sequence[Drawn]) -> bool:
        """Whether drawing has told what the policy says of these answers, tried on the longest of them.

        Where reading tells otherwise, what drawing told is forgotten.
        """
        if not all(one.log_probs for one in found):
            return False
        longest = max(found, key=lambda one: len(one.prompt) + max(one.lengths), default=None)
        if longest is None:
            return True
        read, _ = self.models.policy.measured(answers_of([longest]))
        apart = sum(abs(a - b) for a, b in zip(longest.log_probs, read.tolist(), strict=True)) / len(longest.log_probs)
        if apart <= _APART:
            return True
        if not self.told_apart:
            self.told_apart = True
            self.job.events.status(
                f"Log-probabilities of drawing are {apart:.2g} nats from those of reading on the mean: such answers "
                "are read again."
            )
        for one in found:  # also where memory runs out before all are read
            one.log_probs = []
        return False

    def _stop_here(self) -> None:
        if self.job.stop:
            raise Stopped

    def _own_attention(self) -> Any:
        return shared_prompt.with_attention(self.policy, self.models.attention)
