"""A batch's gradients, summed over micro batches and processes; memory that runs out costs time and nothing else.

Where memory runs out the step is done again with micro batches of half the size: its loss is a sum over rows, so it
is the same step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from training.trainers import hardware, parallel, sharding, states
from training.trainers.program import Job, Stopped, TrainerError, is_out_of_memory

if TYPE_CHECKING:
    import torch

_LOSS = "summed loss"

# Gives the summed loss of some rows (with gradients) and numbers to add up over a step.
MicroStep = Callable[[list[int]], "tuple[torch.Tensor, dict[str, float]]"]


class Gradients:
    """Computes the gradients of one step after another; `micro` is the number of rows at once that memory allows."""

    def __init__(self, model: Any, *, job: Job, parameters: Sequence[Any], micro_step: MicroStep) -> None:
        self.model, self.job, self.parameters, self.micro_step = model, job, parameters, micro_step
        self.micro = job.config.micro
        self.is_sharded = sharding.is_sharded(model)

    def of(
        self, batch: list[int], *, step: int, random_state: dict[str, torch.Tensor]
    ) -> tuple[float, dict[str, float]]:
        """The batch's mean loss, with its gradients in the parameters, and the numbers added up.

        `step` is the number of the step in words, `random_state` that before it. Raises Stopped where a single process
        was asked to stop meanwhile; TrainerError where memory runs out and the model is divided among processes.
        """
        while True:
            found = None
            try:
                found = self._accumulate(batch)
            except Exception as problem:
                if not is_out_of_memory(problem) or self.micro == 1:
                    raise
                if self.is_sharded:
                    # The others wait in the middle of a pass, where nothing can be told them.
                    raise TrainerError(
                        f"Step {step} ran out of memory with {self.micro} rows at once, which sharding cannot halve "
                        "by itself; a smaller micro_batch_size needs less."
                    ) from problem
            # Behind the except, which would hold on to the tensors of the failed pass.
            if not parallel.any_of(found is None):
                assert found is not None
                break
            if self.micro == 1:
                raise MemoryError("another process of this run ran out of memory")
            self._halve_micro(step, random_state)
        if not self.is_sharded:  # a backward pass has summed them there
            parallel.sum_gradients(self.parameters)
        loss, sums = found
        sums = parallel.sum_numbers({**sums, _LOSS: loss})
        return sums.pop(_LOSS) / len(batch), sums

    def drop(self) -> None:
        """Forgets the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def _accumulate(self, batch: list[int]) -> tuple[float, dict[str, float]]:
        """The summed loss of this process's share, with its part of the mean's gradients, and the numbers added up."""
        loss_sum, sums = 0.0, dict[str, float]()
        for rows, count in parallel.share(batch, micro=self.micro, alike=self.is_sharded):
            if self.job.stop and parallel.world_size() == 1:  # several stop together, between steps
                raise Stopped
            loss, numbers = sharding.inside(self.model, self.micro_step, rows)
            (loss * count / len(batch)).backward()
            if not count:
                continue
            loss_sum += loss.item()
            for name, value in numbers.items():
                sums[name] = sums.get(name, 0.0) + value
        return loss_sum, sums

    def _halve_micro(self, step: int, random_state: dict[str, torch.Tensor]) -> None:
        self.drop()
        states.restore_random(random_state)
        hardware.empty_cache()
        before, self.micro = self.micro, max(1, self.micro // 2)
        self.job.events.status(
            f"Step {step} ran out of memory with {before} rows at once; it goes on with {self.micro}."
        )
