"""Answers drawn from a policy that changes: by our own decoder on the very model, or by vLLM, handed it once an update.

vLLM runs in a process of its own. It is given an adapter as a LoRA folder under a new number, and whole weights as a
folder that it reads again; what it remembers of prompts belongs to the weights of before and is forgotten.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

from training.records import PromptRow
from training.trainers import hardware
from training.trainers.adapters import inner_model
from training.trainers.completions import batches, seed_of
from training.trainers.config import PpoConfig
from training.trainers.judging import Drawn, drawn_of
from training.trainers.program import Job, Stopped, TrainerError, is_out_of_memory
from training.trainers.samplers import Completion, Sampler, TransformersSampler, VllmSampler, choose_engine


class PolicySampler:
    """Draws the answers of one update after another; the model's own attention is the caller's to see to.

    With `measures` it also tells what the policy says of their tokens, where it draws in training's number format.
    """

    def __init__(
        self,
        job: Job,
        model: Any,
        *,
        tokenizer: Any,
        stop_text: str | None,
        prompt_ids: Sequence[list[int]],
        measures: bool = False,
    ) -> None:
        self.job, self.model, self.tokenizer, self.stop_text = job, model, tokenizer, stop_text
        self.prompt_ids = prompt_ids
        self.config: PpoConfig = job.config
        # The prompts that memory allows at once, and where vLLM finds the policy.
        self.at_once = self.config.sample_batch_size
        self.handed = job.run_dir / "handed"
        self.vllm: VllmSampler | None = None
        if choose_engine(self.config.engine) == "vllm":
            job.events.status("Loading the model into vLLM.")
            self.vllm = VllmSampler(
                job.model,
                tokenizer,
                max_length=max(map(len, prompt_ids)) + self.config.max_new_tokens,
                stop_text=stop_text,
                rank=self.config.lora_r if self.config.trains_adapter else 0,
                memory=self.config.vllm_memory,
            )
        self.sampler: Sampler = self.vllm or TransformersSampler.of(
            inner_model(model),
            tokenizer,
            stop=job.stop,
            stop_text=stop_text,
            tell=job.events.status,
            measures=measures and not hardware.autocasts(),
        )

    def draw(self, update: int, places: Sequence[int], prompts: Sequence[PromptRow]) -> list[Drawn]:
        """Answers to the prompts at these places, in their order.

        Raises Stopped where the run is asked to stop, TrainerError where the sampler fails.
        """
        found = dict[int, Drawn]()
        was_training = self.model.training
        self.model.eval()
        try:
            self._hand_over(update)
            sizes = [len(self.prompt_ids[at]) for at in places]
            left = [places[one] for batch in batches(sizes, batch_size=self.at_once) for one in batch]
            while left:
                if self.job.stop:
                    raise Stopped
                batch = left[: self.at_once]
                drawn = self._generate(update, batch, prompts)
                if drawn is None:  # again with fewer at once
                    continue
                left = left[len(batch) :]
                for at, answers in zip(batch, drawn, strict=True):
                    found[at] = drawn_of(
                        at, self.prompt_ids[at], answers, tokenizer=self.tokenizer, stop_text=self.stop_text
                    )
        except (Stopped, TrainerError):
            raise
        except Exception as problem:
            if is_out_of_memory(problem):
                raise
            raise TrainerError(failed(problem, update)) from problem
        finally:
            self.model.train(was_training)
            if self.vllm is not None:
                shutil.rmtree(self.handed, ignore_errors=True)
        return [found[at] for at in places]

    def _generate(self, update: int, places: list[int], prompts: Sequence[PromptRow]) -> list[list[Completion]] | None:
        """Answers to these prompts; None where memory ran out and less is tried from now on."""
        config = self.config
        try:
            return self.sampler.generate(
                [self.prompt_ids[at] for at in places],
                k=config.answers_each,
                max_new_tokens=config.max_new_tokens,
                temperature=config.temperature,
                top_p=1.0,
                seeds=[seed_of(config.seed, f"{update}\n{prompts[at].id}") for at in places],
            )
        except Exception as problem:
            if not is_out_of_memory(problem) or len(places) == 1 or self.vllm is not None:
                raise
        hardware.empty_cache()
        self.at_once = len(places) // 2
        self.job.events.status(
            f"Memory ran out in drawing from {len(places)} prompts at once; it goes on with {self.at_once}."
        )
        return None

    def _hand_over(self, update: int) -> None:
        """Gives vLLM the policy as it is."""
        if self.vllm is None:
            return
        shutil.rmtree(self.handed, ignore_errors=True)
        if self.config.trains_adapter:
            self.model.save_pretrained(self.handed, selected_adapters=["default"], save_embedding_layers=False)
            self.vllm.use_adapter(str(self.handed), number=update + 1)
        else:
            inner_model(self.model).save_pretrained(self.handed)
            self.vllm.read_again(str(self.handed))


def failed(problem: Exception, update: int, *, what: str = "The sampler") -> str:
    """What is told of an update (from 0) whose answers could not be drawn, judged or read, as `what` says."""
    said = (str(problem).strip() or "no message").splitlines()[0]
    name = type(problem).__name__
    return f"{what} failed in update {update + 1} with {name}: {said}. The state before it is saved."
