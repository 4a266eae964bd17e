"""A plain training loop with AdamW (Loshchilov and Hutter 2019): micro batches, clipping, schedule, states.

The order of rows is a function of the seed and the epoch alone, and a state holds weights, optimizer moments and
random numbers, so an interrupted and resumed run takes the very steps of an uninterrupted one. States are
safetensors and JSON: nothing is unpickled.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.records import sha256_file
from training.trainers.config import TrainingConfig
from training.trainers.program import Job, Stopped, TrainerError
from training.trainers.resume import clear_states, latest_state, publish_state
from training.trainers.schedule import rate_factor, steps_per_epoch, total_steps, warmup_steps

if TYPE_CHECKING:
    import torch

# Gives the summed loss of some rows (with gradients) and numbers to add up over a step.
MicroStep = Callable[[list[int]], "tuple[torch.Tensor, dict[str, float]]"]
# Turns a step's added numbers into its metrics.
Summary = Callable[[dict[str, float]], dict[str, float]]


def fit(model: Any, *, job: Job, rows: int, micro_step: MicroStep, summary: Summary) -> dict[str, float]:
    """Train over `rows` rows to the end of the run; gives the last step's metrics and the seconds it took.

    Each step minimises the mean over its rows of their losses. Raises Stopped once a stopped run has saved its
    state, TrainerError where the loss is not finite or the state is of another run.
    """
    import torch

    config: TrainingConfig = job.config
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(parameters.values(), lr=config.learning_rate, weight_decay=config.weight_decay)
    total, warmup = total_steps(config, rows), warmup_steps(config, rows)
    per_epoch = steps_per_epoch(rows, config.batch_size)
    identity = {"data_sha256": sha256_file(job.data), "config": vars(config)}
    step = _restore(job, parameters=parameters, optimizer=optimizer, identity=identity)
    shuffled: tuple[int, list[int]] = (-1, [])
    metrics: dict[str, float] = {}
    started = time.monotonic()
    model.train()
    while step < total:
        clock = time.monotonic()
        epoch, at = divmod(step, per_epoch)
        if shuffled[0] != epoch:
            shuffled = epoch, order(rows, seed=config.seed, epoch=epoch)
        batch = shuffled[1][at * config.batch_size : (at + 1) * config.batch_size]
        random_state = _random_state()
        loss_sum, sums = 0.0, dict[str, float]()
        rate = config.learning_rate * rate_factor(step, total=total, warmup=warmup, kind=config.lr_scheduler)
        for group in optimizer.param_groups:
            group["lr"] = rate
        for start in range(0, len(batch), config.micro):
            if job.stop:
                # The gradients of a step cut short are dropped, and its random numbers taken back.
                _save(job, step, parameters, optimizer, identity, random_state)
                raise Stopped
            loss, numbers = micro_step(batch[start : start + config.micro])
            (loss / len(batch)).backward()
            loss_sum += loss.item()
            for name, value in numbers.items():
                sums[name] = sums.get(name, 0.0) + value
        norm = torch.nn.utils.clip_grad_norm_(parameters.values(), config.max_grad_norm).item()
        if not math.isfinite(loss_sum) or not math.isfinite(norm):
            raise TrainerError(f"At step {step + 1} the loss is not a finite number; a smaller learning_rate may help.")
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        seconds = max(time.monotonic() - clock, 1e-9)
        metrics = {"loss": loss_sum / len(batch), "grad_norm": norm, "learning_rate": rate}
        metrics |= summary(sums) | {"epoch": step / per_epoch}
        if "tokens" in sums:
            metrics["tokens_per_s"] = sums["tokens"] / seconds
        job.events.metrics(step=step, total_steps=total, metrics=metrics)
        if config.checkpoint_steps and step % config.checkpoint_steps == 0 and step < total:
            _save(job, step, parameters, optimizer, identity, _random_state())
    return metrics | {"steps": step, "train_seconds": time.monotonic() - started}


def order(rows: int, *, seed: int, epoch: int) -> list[int]:
    """The order in which an epoch visits the rows."""
    import torch

    # Apart by a large odd number, so that neighbouring seeds share no epoch's order.
    generator = torch.Generator().manual_seed(seed + 1_000_003 * epoch)
    shuffled: list[int] = torch.randperm(rows, generator=generator).tolist()
    return shuffled


def _random_state() -> dict[str, torch.Tensor]:
    import torch

    state = {"random.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["random.cuda"] = torch.cuda.get_rng_state()
    return state


def _save(
    job: Job,
    step: int,
    parameters: dict[str, torch.Tensor],
    optimizer: Any,
    identity: dict[str, Any],
    random_state: dict[str, torch.Tensor],
) -> None:
    from safetensors.torch import save_file

    tensors = dict(random_state)
    for name, parameter in parameters.items():
        tensors[f"weight.{name}"] = parameter.detach().contiguous()
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{key}.{name}"] = value.contiguous()
    temporary = job.run_dir / "resume" / ".incomplete"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file(tensors, temporary / "state.safetensors")
    (temporary / "state.json").write_text(json.dumps({"step": step} | identity), encoding="utf-8")
    path = publish_state(temporary, run_dir=job.run_dir, step=step)
    job.events.checkpoint(step=step, path=path)


def _restore(job: Job, *, parameters: dict[str, Any], optimizer: Any, identity: dict[str, Any]) -> int:
    """Load the newest state into the weights, the optimizer and the random numbers; gives the steps done."""
    import torch
    from safetensors.torch import load_file

    path: Path | None = latest_state(job.run_dir) if job.resume else None
    if path is None:
        clear_states(job.run_dir)
        return 0
    facts = json.loads((path / "state.json").read_text(encoding="utf-8"))
    for name, value in identity.items():
        if facts[name] != json.loads(json.dumps(value)):
            raise TrainerError(f"The state {path} cannot be resumed: it was saved with another {name}.")
    tensors = load_file(path / "state.safetensors")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"weight.{name}"])
            state = {
                key: tensors[f"optimizer.{key}.{name}"]
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"optimizer.{key}.{name}" in tensors
            }
            if state:
                # The step count stays on the CPU, as AdamW keeps it there.
                optimizer.state[parameter] = {
                    key: value if key == "step" else value.to(parameter.device) for key, value in state.items()
                }
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])
    step = int(facts["step"])
    job.events.status(f"Resuming after step {step}.")
    return step
