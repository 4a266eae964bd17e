"""TRL's side of a benchmark: the arguments that make its trainers take the steps of ours."""

from __future__ import annotations

from typing import Any

from training.trainers import hardware
from training.trainers.config import TrainingConfig
from training.trainers.program import Job
from training.trainers.schedule import warmup_steps


def arguments(job: Job, *, rows: int) -> dict[str, Any]:
    """For `rows` training rows. Without states; precision and memory by the hardware, as our stages choose them.

    TRL's defaults turn bfloat16 and gradient checkpointing on, which make a run on a CPU 2.5 x slower.
    """
    config: TrainingConfig = job.config
    on_cuda = hardware.device().type == "cuda"
    return {
        "output_dir": str(job.run_dir / "trainer"),
        "per_device_train_batch_size": config.micro,
        "gradient_accumulation_steps": config.accumulation,
        "num_train_epochs": config.epochs,
        "max_steps": config.max_steps or -1,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": "constant_with_warmup" if config.lr_scheduler == "constant" else config.lr_scheduler,
        "warmup_steps": warmup_steps(config, rows),
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "seed": config.seed,
        "data_seed": config.seed,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "bf16": hardware.autocasts(),
        "gradient_checkpointing": hardware.checkpoints_gradients(),
        "use_cpu": not on_cuda,
        "dataloader_pin_memory": on_cuda,
        "eval_strategy": "no",
    }
