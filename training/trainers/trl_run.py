"""What SFT and DPO share on TRL's trainers: their arguments, progress, stopping and resuming.

TRL writes its state (weights or adapter, optimizer, schedule, random numbers) into a folder of its own; once that
folder is whole it is renamed to `run_dir/resume/step-N`, so a state cut short is never resumed.
"""

from __future__ import annotations

import math
import random
import shutil
import time
from pathlib import Path
from typing import Any

from training.trainers import hardware
from training.trainers.config import TrainingConfig
from training.trainers.program import Job, Stopped, TrainerError
from training.trainers.resume import clear_states, latest_state, publish_state
from training.trainers.schedule import warmup_steps

_SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}
# TRL's names on the left; names it shares with us and names for its own use only are left as they are.
_METRIC_NAMES = {"mean_token_accuracy": "token_accuracy"}
_NOT_METRICS = {"num_tokens", "total_flos"}


def arguments(job: Job, *, rows: int) -> dict[str, Any]:
    """The arguments common to TRL's configs, for `rows` training rows. Precision and memory go by the hardware.

    TRL's defaults turn bfloat16 and gradient checkpointing on, which make a run on a CPU 2.5 x slower.
    """
    config: TrainingConfig = job.config
    on_cuda = hardware.device().type == "cuda"
    return {
        "output_dir": str(_work_folder(job)),
        "per_device_train_batch_size": config.micro,
        "gradient_accumulation_steps": config.accumulation,
        "num_train_epochs": config.epochs,
        "max_steps": config.max_steps or -1,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": _SCHEDULES[config.lr_scheduler],
        "warmup_steps": warmup_steps(config, rows),
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "seed": config.seed,
        "data_seed": config.seed,
        "logging_steps": 1,
        # The filter would hide a diverged run behind the last good loss.
        "logging_nan_inf_filter": False,
        "save_strategy": "steps" if config.checkpoint_steps else "no",
        "save_steps": config.checkpoint_steps or 500,
        "report_to": "none",
        "disable_tqdm": True,
        "bf16": hardware.autocasts(),
        "gradient_checkpointing": hardware.checkpoints_gradients(),
        "use_cpu": not on_cuda,
        "dataloader_pin_memory": on_cuda,
        "eval_strategy": "no",
    }


def train(trainer: Any, *, job: Job) -> dict[str, float]:
    """Run a TRL trainer to its end, resuming where asked; gives the last step's metrics.

    Raises Stopped once a stopped run has saved its state, TrainerError where the loss stops being a number.
    """
    trainer.add_callback(_callback(job))
    shutil.rmtree(_work_folder(job), ignore_errors=True)
    state = latest_state(job.run_dir) if job.resume else None
    if state is None:
        clear_states(job.run_dir)
    else:
        job.events.status(f"Resuming after step {int(state.name.removeprefix('step-'))}.")
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=str(state) if state else None)
    shutil.rmtree(_work_folder(job), ignore_errors=True)
    if trainer.state.global_step < trainer.state.max_steps:
        raise Stopped
    last: dict[str, Any] = next((entry for entry in reversed(trainer.state.log_history) if "loss" in entry), {})
    final = {name: value for name, value in _renamed(last).items() if name != "step"}
    return final | {"steps": trainer.state.global_step, "train_seconds": time.monotonic() - started}


def _work_folder(job: Job) -> Path:
    return job.run_dir / "trainer"


def _renamed(logs: dict[str, Any]) -> dict[str, float]:
    return {
        _METRIC_NAMES.get(name, name): float(value)
        for name, value in logs.items()
        if isinstance(value, int | float) and name not in _NOT_METRICS
    }


def _callback(job: Job) -> Any:
    import numpy
    import torch
    from transformers import TrainerCallback

    def random_state() -> tuple[Any, ...]:
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None
        return random.getstate(), numpy.random.get_state(), torch.get_rng_state(), cuda

    def restore(state: tuple[Any, ...]) -> None:
        random.setstate(state[0])
        numpy.random.set_state(state[1])
        torch.set_rng_state(state[2])
        if state[3] is not None:
            torch.cuda.set_rng_state_all(state[3])

    class Follow(TrainerCallback):
        """Tells of each step, stops between micro steps, and publishes whole states."""

        at_step_begin: tuple[Any, ...] | None = None
        saved_step = -1
        tokens = 0.0
        clock = time.monotonic()

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.clock = time.monotonic()

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.at_step_begin = random_state()

        def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if job.stop:
                control.should_training_stop = True

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.at_step_begin = None
            if job.stop and state.global_step < state.max_steps:
                control.should_training_stop = True
                control.should_save = True

        def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if not job.stop or state.global_step >= state.max_steps or self.saved_step == state.global_step:
                return
            if self.at_step_begin is not None:
                # Stopped inside a step: its gradients are dropped, so its random numbers are taken back too.
                restore(self.at_step_begin)
            control.should_save = True

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            step = state.global_step
            self.saved_step = step
            written = Path(args.output_dir) / f"checkpoint-{step}"
            path = publish_state(written, run_dir=job.run_dir, step=step)
            job.events.checkpoint(step=step, path=path)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if not logs or "loss" not in logs:
                return
            if not math.isfinite(logs["loss"]):
                raise TrainerError(
                    f"At step {state.global_step} the loss is not a finite number; a smaller learning_rate may help."
                )
            metrics = _renamed(logs)
            now = time.monotonic()
            if (tokens := float(logs.get("num_tokens", 0))) > self.tokens:
                metrics["tokens_per_s"] = (tokens - self.tokens) / max(now - self.clock, 1e-9)
            self.tokens, self.clock = tokens, now
            job.events.metrics(step=state.global_step, total_steps=state.max_steps, metrics=metrics)

    return Follow()
