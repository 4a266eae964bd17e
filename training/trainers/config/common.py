"""What all stages have, and all that change weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.trainers.config.fields import option


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """What every stage has."""

    # Inherited fields that the stage has no use for: no form shows them, and nothing may set them.
    NOT_HERE: ClassVar[frozenset[str]] = frozenset()
    # What may be another when an interrupted run goes on.
    MAY_CHANGE: ClassVar[frozenset[str]] = frozenset()

    seed: int = option(
        0,
        "The number every random choice starts from, so that a run can be repeated.",
        minimum=0,
        maximum=2**31 - 1,
        expert=True,
    )

    @property
    def reads_model(self) -> bool:
        """Whether the stage reads the run's model, which is then checked before anything else."""
        return True

    def faults(self) -> dict[str, str]:
        """A sentence for each field that does not go together with another."""
        return {}


@dataclass(frozen=True, kw_only=True)
class OptimizingConfig(StageConfig):
    """What every stage that changes weights has."""

    MAY_CHANGE: ClassVar[frozenset[str]] = frozenset({"processes", "sharding"})

    method: str = option(
        "lora",
        "LoRA trains a small adapter and merges it at the end, qlora does so over 4-bit weights in less memory and "
        "more time; full trains every weight and needs far more memory.",
        choices=("lora", "qlora", "full"),
    )
    learning_rate: float = option(
        2e-4,
        "The largest step size; a full run usually wants about a tenth of what LoRA wants.",
        minimum=0.0,
        maximum=1.0,
    )
    epochs: float = option(2.0, "How many times the run passes over the training rows.", minimum=0.01, maximum=1000.0)
    batch_size: int = option(8, "How many rows go into one optimizer step.", minimum=1, maximum=65_536, unit="rows")
    micro_batch_size: int = option(
        4,
        "How many rows are computed at once at most; smaller needs less memory and gives the same result.",
        minimum=1,
        maximum=4096,
        expert=True,
    )
    max_length: int = option(
        1024,
        "The longest sequence of tokens the model reads; longer ones are cut and counted.",
        minimum=16,
        maximum=1_000_000,
        unit="tokens",
    )
    lora_r: int = option(
        16, "The rank of the LoRA adapter: more can learn more.", minimum=1, maximum=1024, label="LoRA rank"
    )
    lora_alpha: int = option(
        32,
        "The scale of the LoRA adapter, usually twice its rank.",
        minimum=1,
        maximum=4096,
        expert=True,
        label="LoRA alpha",
    )
    lora_dropout: float = option(
        0.0,
        "The share of adapter inputs dropped at random against learning by heart.",
        minimum=0.0,
        maximum=0.9,
        expert=True,
        label="LoRA dropout",
    )
    warmup_ratio: float = option(
        0.1,
        "The share of the steps over which the learning rate rises from zero.",
        minimum=0.0,
        maximum=1.0,
        expert=True,
    )
    lr_scheduler: str = option(
        "cosine",
        "How the learning rate falls after the warm-up; inverse_sqrt as one over the root of the step.",
        choices=("cosine", "linear", "constant", "inverse_sqrt"),
        expert=True,
        label="Learning rate schedule",
    )
    min_rate_ratio: float = option(
        0.0,
        "The learning rate falls no lower than this share of the largest.",
        minimum=0.0,
        maximum=1.0,
        expert=True,
        label="Lowest learning rate, share",
    )
    optimizer: str = option(
        "adamw",
        "AdamW keeps two numbers for each trained weight; adafactor far less; sgd with momentum keeps one.",
        choices=("adamw", "adafactor", "sgd"),
        expert=True,
    )
    beta1: float = option(
        0.9,
        "How long AdamW's mean of gradients, or SGD's momentum, remembers.",
        minimum=0.0,
        maximum=0.9999,
        expert=True,
    )
    beta2: float = option(
        0.999,
        "How long AdamW's mean of squared gradients remembers.",
        minimum=0.0,
        maximum=0.99999,
        expert=True,
    )
    weight_decay: float = option(
        0.0, "How strongly weights are drawn to zero at each step.", minimum=0.0, maximum=1.0, expert=True
    )
    max_grad_norm: float = option(
        1.0,
        "Gradients longer than this are shortened to it before a step.",
        minimum=1e-6,
        maximum=1e6,
        expert=True,
        label="Largest gradient norm",
    )
    gradient_checkpointing: str = option(
        "auto",
        "Computes activations twice to save memory; auto does so on a GPU in pretraining and SFT, where logits take "
        "most of it.",
        choices=("auto", "on", "off"),
        expert=True,
    )
    precision: str = option(
        "auto",
        "What passes through the model compute in, over weights in float32: auto takes bfloat16 on a GPU that has it, "
        "else float32; a processor with AVX512_BF16 or AMX is faster in bfloat16.",
        choices=("auto", "float32", "bfloat16"),
        expert=True,
    )
    ema_decay: float = option(
        0.0,
        "Keeps a moving average of the weights and saves it in their place; 0.992 is InstructGPT's, 0 keeps none.",
        minimum=0.0,
        maximum=0.99999,
        expert=True,
        label="Average of weights, decay",
    )
    processes: int = option(
        1,
        "How many processes share each batch, one a GPU; the result is that of one process.",
        minimum=1,
        maximum=64,
        expert=True,
    )
    sharding: str = option(
        "none",
        "What processes divide besides the batch, to need less memory each: nothing, gradients with the optimizer's "
        "numbers (ZeRO-2), or the weights too (ZeRO-3).",
        choices=("none", "gradients", "weights"),
        expert=True,
    )
    checkpoint_steps: int = option(
        50,
        "A state to resume from is saved every so many steps; 0 saves one only when the run is stopped.",
        minimum=0,
        maximum=1_000_000,
        unit="steps",
        expert=True,
    )

    def faults(self) -> dict[str, str]:
        """As StageConfig's."""
        sentence = self._sharding_fault()
        return {"sharding": sentence} if sentence else {}

    def _sharding_fault(self) -> str | None:
        if self.sharding == "none":
            return None
        if self.processes < 2:
            return "sharding divides a model among processes, so processes must be at least 2."
        if self.method == "qlora":
            return "sharding must be none with the method qlora, whose 4-bit weights cannot be divided."
        if self.optimizer == "adafactor":
            return "sharding must be none with the optimizer adafactor, whose means are of whole matrices."
        return None

    @property
    def trains_adapter(self) -> bool:
        """Whether a LoRA adapter is trained and the base's weights are frozen."""
        return self.method != "full"

    @property
    def micro(self) -> int:
        """Rows computed at once: the largest divisor of `batch_size` that is not above `micro_batch_size`."""
        return max(n for n in range(1, self.micro_batch_size + 1) if self.batch_size % n == 0)

    @property
    def accumulation(self) -> int:
        """Micro batches in one optimizer step."""
        return self.batch_size // self.micro


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(OptimizingConfig):
    """What every stage has that passes over rows of data, some of which may be held out."""

    max_steps: int = option(
        0,
        "Trains exactly this many optimizer steps, whatever the epochs say; 0 leaves it to the epochs.",
        minimum=0,
        maximum=10_000_000,
        unit="steps",
        expert=True,
    )
    eval_steps: int = option(
        0,
        "Looks at the held-out rows every so many steps; 0 does so before the first and after the last step only.",
        minimum=0,
        maximum=1_000_000,
        unit="steps",
        expert=True,
    )
    patience: int = option(
        0,
        "Stops when the held-out loss has not fallen for so many looks, and keeps the best weights; 0 never does.",
        minimum=0,
        maximum=1000,
        unit="looks",
        expert=True,
    )

    def faults(self) -> dict[str, str]:
        """As StageConfig's."""
        found = super().faults()
        if self.patience and not self.eval_steps:
            found["patience"] = "patience counts looks at the held-out rows, so eval_steps must be at least 1."
        return found
