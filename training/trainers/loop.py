"""A plain training loop: micro batches, clipping, schedule, held-out looks, states to resume from.

The order of rows is a function of the seed and the epoch alone, and a state holds weights, optimizer moments and
random numbers, so an interrupted and resumed run takes the very steps of an uninterrupted one (`states.py`). The
gradients of a step, where memory may run out, are `accumulation.py`'s.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from training.trainers import hardware, optimizers, parallel, sharding, states
from training.trainers.accumulation import Gradients, MicroStep
from training.trainers.config import TrainingConfig
from training.trainers.program import Job, Stopped, TrainerError
from training.trainers.schedule import rate_factor, steps_per_epoch, total_steps, warmup_steps

if TYPE_CHECKING:
    import torch

# Turns a step's added numbers into its metrics.
Summary = Callable[[dict[str, float]], dict[str, float]]
# The held-out numbers of the weights as they are, `loss` among them; empty where there is no held-out row.
Evaluate = Callable[[], dict[str, float]]
# Is shown all rows of a step before its first micro batch; draws no random numbers.
BeforeStep = Callable[[list[int]], object]
# Is told of each step that was done, before its state is saved; draws no random numbers.
AfterStep = Callable[[int], object]
# The rows of an epoch in order, in place of all of them shuffled: a function of the epoch alone.
EpochRows = Callable[[int], list[int]]


def fit(
    model: Any,
    *,
    job: Job,
    rows: int,
    micro_step: MicroStep,
    summary: Summary,
    evaluate: Evaluate | None = None,
    before_step: BeforeStep | None = None,
    after_step: AfterStep | None = None,
    epoch_rows: EpochRows | None = None,
) -> dict[str, float]:
    """Train over `rows` rows to the end of the run; gives the last step's metrics and the seconds it took.

    Each step minimises the mean over its rows of their losses. At the end the model holds the weights to keep: those
    of the best look (`patience`), else their moving average (`ema_decay`), else the last ones.
    Raises Stopped once a stopped run has saved its state, TrainerError where the loss is not finite (the state before
    that step is saved) or the state is of another run.
    """
    stage = _Stage(
        rows=rows,
        micro_step=micro_step,
        summary=summary,
        evaluate=evaluate,
        before_step=before_step,
        after_step=after_step,
        epoch_rows=epoch_rows or (lambda epoch: order(rows, seed=job.config.seed, epoch=epoch)),
    )
    return _Loop(model, job=job, stage=stage).run()


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """What a stage hands to `fit`."""

    rows: int
    micro_step: MicroStep
    summary: Summary
    evaluate: Evaluate | None
    before_step: BeforeStep | None
    after_step: AfterStep | None
    epoch_rows: EpochRows


class _Loop:
    """The state of one `fit`, all of which a saved state holds."""

    def __init__(self, model: Any, *, job: Job, stage: _Stage) -> None:
        self.model, self.job, self.stage = model, job, stage
        self.config: TrainingConfig = job.config
        sharding.settle(model)
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        parallel.begin()
        if not sharding.is_sharded(model):
            parallel.same_start(self.parameters.values())
        parallel.own_random_numbers(self.config.seed)
        self.optimizer = optimizers.make(self.parameters, self.config)
        self.gradients = Gradients(model, job=job, parameters=[*self.parameters.values()], micro_step=stage.micro_step)
        self.total, self.warmup = total_steps(self.config, stage.rows), warmup_steps(self.config, stage.rows)
        self.per_epoch = steps_per_epoch(stage.rows, self.config.batch_size)
        self.states = states.States(job)
        self.step = 0
        self.average = _copies(self.parameters) if self.config.ema_decay else {}
        self.best: dict[str, torch.Tensor] = {}
        self.best_step, self.best_loss, self.looks_since = 0, math.inf, 0
        self._shuffled: tuple[int, list[int]] = (-1, [])

    def run(self) -> dict[str, float]:
        metrics: dict[str, float] = {}
        if hardware.autocasts() and hardware.emulates_bfloat16():
            self.job.events.status("This machine has no units for bfloat16: float32 would be faster here.")
        self._restore()
        started = time.monotonic()
        self.model.train()
        while self.step < self.total and not self._is_over():
            clock = time.monotonic()
            metrics, tokens = self._take_step()
            if tokens:
                metrics["tokens_per_s"] = tokens / max(time.monotonic() - clock, 1e-9)
            self._look(metrics)
            self.job.events.metrics(step=self.step, total_steps=self.total, metrics=metrics)
            if self.stage.after_step:
                self._aside(self.stage.after_step, self.step)
            every = self.config.checkpoint_steps
            if every and self.step % every == 0 and self.step < self.total and not self._is_over():
                self._save(states.random_state())
        self._keep_weights()
        if self.gradients.micro < self.config.micro:
            metrics["micro_batch_size"] = self.gradients.micro
        return metrics | {"steps": self.step, "train_seconds": time.monotonic() - started}

    def _take_step(self) -> tuple[dict[str, float], float]:
        """One optimizer step; gives its metrics and the tokens it read."""
        import torch

        if parallel.any_of(bool(self.job.stop)):
            self._save(states.random_state())
            raise Stopped
        batch = self._batch()
        rate = self.config.learning_rate * rate_factor(
            self.step,
            total=self.total,
            warmup=self.warmup,
            kind=self.config.lr_scheduler,
            lowest=self.config.min_rate_ratio,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        random_state = states.random_state()
        if self.stage.before_step:
            self._aside(self.stage.before_step, batch)
        try:
            loss, sums = self.gradients.of(batch, step=self.step + 1, random_state=random_state)
        except Stopped:
            # The gradients of a step cut short are dropped, and its random numbers taken back.
            self._save(random_state)
            raise
        norm = sharding.full(torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.max_grad_norm)).item()
        if not math.isfinite(loss) or not math.isfinite(norm):
            self.gradients.drop()
            self._save(random_state)
            raise TrainerError(
                f"At step {self.step + 1} the loss is not a finite number; a smaller learning_rate may help. "
                f"The state after step {self.step} is saved."
            )
        self.optimizer.step()
        self.gradients.drop()
        self.step += 1
        self._average()
        metrics = {"loss": loss, "grad_norm": norm, "learning_rate": rate}
        return metrics | self.stage.summary(sums) | {"epoch": self.step / self.per_epoch}, sums.get("tokens", 0.0)

    def _batch(self) -> list[int]:
        epoch, at = divmod(self.step, self.per_epoch)
        if self._shuffled[0] != epoch:
            self._shuffled = epoch, self.stage.epoch_rows(epoch)
        return self._shuffled[1][at * self.config.batch_size : (at + 1) * self.config.batch_size]

    def _average(self) -> None:
        import torch

        with torch.no_grad():
            for name, mean in self.average.items():
                mean.lerp_(self.parameters[name].to(mean.dtype), 1 - self.config.ema_decay)

    def _look(self, metrics: dict[str, float]) -> None:
        """Adds the held-out numbers where it is time for them; with `patience` the best weights are remembered."""
        if self.stage.evaluate is None or not self.config.eval_steps or self.step % self.config.eval_steps:
            return
        with self._holding(self.average):
            found = self._aside(self.stage.evaluate)
            if not found:
                return
            metrics |= {f"heldout_{name}": value for name, value in found.items()}
            if not self.config.patience:
                return
            if found["loss"] < self.best_loss:
                self.best_step, self.best_loss, self.looks_since = self.step, found["loss"], 0
                self.best = _copies(self.parameters)
            else:
                self.looks_since += 1

    def _aside(self, call: Callable[..., Any], *given: Any) -> Any:
        """What a stage's function gives that reads the model between passes."""
        found = call(*given)
        sharding.settle(self.model)
        return found

    def _is_over(self) -> bool:
        return 0 < self.config.patience <= self.looks_since

    def _keep_weights(self) -> None:
        if self._is_over():
            self.job.events.status(
                f"The held-out loss has not fallen since step {self.best_step}: training ends after step {self.step} "
                f"of {self.total}."
            )
        if self.best and self.best_step < self.step:
            self.job.events.status(f"The weights of step {self.best_step}, the best of all looks, are kept.")
        _copy_into(self.parameters, self.best or self.average)

    @contextlib.contextmanager
    def _holding(self, weights: Mapping[str, torch.Tensor]) -> Iterator[None]:
        """The model with these weights; its own come back."""
        own = _copies({name: self.parameters[name] for name in weights})
        _copy_into(self.parameters, weights)
        try:
            yield
        finally:
            _copy_into(self.parameters, own)

    def _save(self, random_state: Mapping[str, torch.Tensor]) -> None:
        tensors = {**random_state, **states.moments(self.optimizer, self.parameters)}
        for kind, kept in (("weight", self.parameters), ("average", self.average), ("best", self.best)):
            tensors |= {f"{kind}.{name}": value for name, value in kept.items()}
        facts = {
            "micro": self.gradients.micro,
            "best_step": self.best_step,
            # JSON has no infinity.
            "best_loss": self.best_loss if self.best else None,
            "looks_since": self.looks_since,
        }
        self.states.save(self.step, tensors=tensors, facts=facts)

    def _restore(self) -> None:
        found = self.states.load()
        if found is None:
            return
        facts, tensors = found.facts, found.tensors
        _copy_into(self.parameters, states.part(tensors, "weight"))
        _copy_into(self.average, states.part(tensors, "average"))
        self.best = {
            name: sharding.part_of(value, self.parameters[name]) for name, value in states.part(tensors, "best").items()
        }
        states.restore_moments(self.optimizer, self.parameters, tensors)
        states.restore_random(tensors)
        self.step, self.gradients.micro = int(facts["step"]), int(facts["micro"])
        self.best_step, self.looks_since = int(facts["best_step"]), int(facts["looks_since"])
        self.best_loss = math.inf if facts["best_loss"] is None else float(facts["best_loss"])


def _copies(parameters: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in parameters.items()}


def _copy_into(parameters: Mapping[str, Any], weights: Mapping[str, Any]) -> None:
    import torch

    with torch.no_grad():
        for name, value in weights.items():
            parameters[name].copy_(sharding.part_of(value, parameters[name]))


def order(rows: int, *, seed: int, epoch: int) -> list[int]:
    """The order in which an epoch visits the rows."""
    import torch

    # Apart by a large odd number, so that neighbouring seeds share no epoch's order.
    generator = torch.Generator().manual_seed(seed + 1_000_003 * epoch)
    shuffled: list[int] = torch.randperm(rows, generator=generator).tolist()
    return shuffled
