"""The hyper-parameters of each stage: one frozen dataclass a stage, with the words and bounds a form needs.

Imported by the web process to draw and check launch forms, so it imports no torch. What depends on the machine
(number format, gradient checkpointing, device) is no field: `hardware.py` chooses it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_type_hints

FieldType = Literal["int", "float", "bool", "choice", "text"]


class ConfigError(ValueError):
    """Values that do not make a config; `errors` holds one sentence a field."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__(" ".join(errors.values()))
        self.errors = dict(errors)


@dataclass(frozen=True, kw_only=True)
class FieldSpec:
    """All a form needs to draw one field."""

    name: str
    type: FieldType
    default: Any
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    help: str
    expert: bool
    label: str
    unit: str


def option(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    expert: bool = False,
    label: str = "",
    unit: str = "",
) -> Any:
    """A dataclass field that carries its bounds and its one sentence of help."""
    metadata = {"help": help, "minimum": minimum, "maximum": maximum, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata | {"expert": expert, "label": label, "unit": unit})


def label_option() -> Any:
    return option(
        "hard",
        "How far a preference is believed: hard as it was given; soft and weight by the consensus of all people.",
        choices=("hard", "soft", "weight"),
        expert=True,
        label="Training label",
    )


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """What every stage has."""

    seed: int = option(
        0,
        "The number every random choice starts from, so that a run can be repeated.",
        minimum=0,
        maximum=2**31 - 1,
        expert=True,
    )


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(StageConfig):
    """What every stage that changes weights has."""

    method: str = option(
        "lora",
        "LoRA trains a small adapter and merges it at the end; full trains every weight and needs far more memory.",
        choices=("lora", "full"),
    )
    learning_rate: float = option(
        2e-4,
        "The largest step size; a full run usually wants about a tenth of what LoRA wants.",
        minimum=0.0,
        maximum=1.0,
    )
    epochs: float = option(2.0, "How many times the run passes over the training rows.", minimum=0.01, maximum=1000.0)
    max_steps: int = option(
        0,
        "Trains exactly this many optimizer steps, whatever the epochs say; 0 leaves it to the epochs.",
        minimum=0,
        maximum=10_000_000,
        unit="steps",
        expert=True,
    )
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
        "How the learning rate falls after the warm-up.",
        choices=("cosine", "linear", "constant"),
        expert=True,
        label="Learning rate schedule",
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
    checkpoint_steps: int = option(
        50,
        "A state to resume from is saved every so many steps; 0 saves one only when the run is stopped.",
        minimum=0,
        maximum=1_000_000,
        unit="steps",
        expert=True,
    )

    @property
    def micro(self) -> int:
        """Rows computed at once: the largest divisor of `batch_size` that is not above `micro_batch_size`."""
        return max(n for n in range(1, self.micro_batch_size + 1) if self.batch_size % n == 0)

    @property
    def accumulation(self) -> int:
        """Micro batches in one optimizer step."""
        return self.batch_size // self.micro


@dataclass(frozen=True, kw_only=True)
class SftConfig(TrainingConfig):
    """Supervised fine-tuning on demonstrations."""

    batch_size: int = option(
        8, "How many conversations go into one optimizer step.", minimum=1, maximum=65_536, unit="conversations"
    )


@dataclass(frozen=True, kw_only=True)
class RewardConfig(TrainingConfig):
    """A reward model from rankings (Ouyang et al. 2022, section 3.5)."""

    learning_rate: float = option(
        1e-4,
        "The largest step size; 1e-4 suits LoRA, and about 1e-5 a full run.",
        minimum=0.0,
        maximum=1.0,
    )
    batch_size: int = option(
        4,
        "How many prompts, each with all of its ranked completions, go into one optimizer step.",
        minimum=1,
        maximum=65_536,
        unit="prompts",
    )
    micro_batch_size: int = option(
        2,
        "How many prompts are computed at once at most; smaller needs less memory and gives the same result.",
        minimum=1,
        maximum=4096,
        expert=True,
    )
    max_completion_length: int = option(
        512,
        "The longest completion that is scored; a longer one is cut at its end and counted.",
        minimum=1,
        maximum=1_000_000,
        unit="tokens",
        expert=True,
    )
    margin: str = option(
        "none",
        "Whether a better completion must win by a margin: none, the same for all, or more for tiers further apart.",
        choices=("none", "constant", "tier_distance"),
        expert=True,
    )
    margin_size: float = option(
        0.3, "The margin of one comparison, or of one tier of distance.", minimum=0.0, maximum=100.0, expert=True
    )
    label: str = label_option()
    center_coefficient: float = option(
        0.0,
        "How strongly the two rewards of a comparison are drawn to a sum of zero, which keeps scores centred.",
        minimum=0.0,
        maximum=10.0,
        expert=True,
    )


@dataclass(frozen=True, kw_only=True)
class DpoConfig(TrainingConfig):
    """Direct preference optimisation (Rafailov et al. 2023)."""

    learning_rate: float = option(
        5e-5,
        "The largest step size; 5e-5 suits LoRA, and about 1e-6 a full run.",
        minimum=0.0,
        maximum=1.0,
    )
    epochs: float = option(1.0, "How many times the run passes over the training pairs.", minimum=0.01, maximum=1000.0)
    batch_size: int = option(8, "How many pairs go into one optimizer step.", minimum=1, maximum=65_536, unit="pairs")
    beta: float = option(
        0.1,
        "How closely the policy is held to its reference; smaller lets it move further.",
        minimum=1e-4,
        maximum=100.0,
    )
    loss: str = option(
        "sigmoid",
        "The DPO loss: sigmoid is the original one, ipo resists overfitting to few labels.",
        choices=("sigmoid", "ipo"),
        expert=True,
    )
    label: str = label_option()
    pairs_per_prompt: int = option(
        2,
        "How many pairs each ranking gives, the widest rank gaps first; 0 takes them all.",
        minimum=0,
        maximum=1000,
        unit="pairs",
    )


@dataclass(frozen=True, kw_only=True)
class SampleConfig(StageConfig):
    """Drawing K completions for each prompt."""

    k: int = option(4, "How many completions each prompt gets.", minimum=1, maximum=64, label="Completions each")
    max_new_tokens: int = option(
        256, "The longest completion.", minimum=1, maximum=32_768, unit="tokens", label="Longest completion"
    )
    temperature: float = option(
        0.8, "How random the words are; 0 always takes the likeliest.", minimum=0.0, maximum=5.0
    )
    top_p: float = option(
        0.95,
        "Only the likeliest words that together reach this probability are drawn from.",
        minimum=0.01,
        maximum=1.0,
        label="Top-p",
    )
    batch_size: int = option(
        16, "How many prompts are sampled at once.", minimum=1, maximum=4096, unit="prompts", expert=True
    )
    engine: str = option(
        "auto",
        "What runs the model: auto takes vLLM where it is installed, else transformers.",
        choices=("auto", "transformers", "vllm"),
        expert=True,
    )


STAGES: dict[str, type[StageConfig]] = {
    "sft": SftConfig,
    "reward": RewardConfig,
    "dpo": DpoConfig,
    "sample": SampleConfig,
}

_TYPE_NAMES: dict[type, FieldType] = {int: "int", float: "float", bool: "bool", str: "text"}
_KIND_WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "text": "text"}


def fields_of(stage: str) -> list[FieldSpec]:
    """The fields of a stage in the order a form shows them; raises ConfigError for an unknown stage."""
    config = _stage(stage)
    hints = get_type_hints(config)
    specs = []
    for field in dataclasses.fields(config):
        meta = field.metadata
        label = meta["label"] or field.name.replace("_", " ").capitalize()
        kind: FieldType = "choice" if meta["choices"] else _TYPE_NAMES[hints[field.name]]
        specs.append(
            FieldSpec(
                name=field.name,
                type=kind,
                default=field.default,
                minimum=meta["minimum"],
                maximum=meta["maximum"],
                choices=meta["choices"],
                help=meta["help"],
                expert=meta["expert"],
                label=label,
                unit=meta["unit"],
            )
        )
    # The seed comes first by inheritance, yet interests people last.
    return sorted(specs, key=lambda spec: spec.name == "seed")


def validate(stage: str, values: Mapping[str, Any]) -> dict[str, str]:
    """A sentence for each field that is unknown, of a wrong type or out of bounds; empty when all is well."""
    specs = {spec.name: spec for spec in fields_of(stage)}
    errors = {}
    for name, value in values.items():
        if name not in specs:
            known = ", ".join(sorted(specs))
            errors[name] = f"{name} is no field of the stage {stage}; its fields are {known}."
        elif sentence := _fault(specs[name], value):
            errors[name] = sentence
    return errors


def build(stage: str, values: Mapping[str, Any]) -> Any:
    """The stage's config from plain values, defaults for what is left out; raises ConfigError."""
    if errors := validate(stage, values):
        raise ConfigError(errors)
    config = _stage(stage)
    kinds = {spec.name: spec.type for spec in fields_of(stage)}
    casts = {"int": int, "float": float}
    return config(**{k: casts[kinds[k]](v) if kinds[k] in casts else v for k, v in values.items()})


def _stage(stage: str) -> type[StageConfig]:
    if stage not in STAGES:
        raise ConfigError({"stage": f"stage must be one of {', '.join(STAGES)}, not {stage!r}."})
    return STAGES[stage]


def _fault(spec: FieldSpec, value: Any) -> str | None:
    if spec.type == "choice":
        if value in spec.choices:
            return None
        return f"{spec.name} must be one of {', '.join(spec.choices)}, not {value!r}."
    if not _is_kind(spec.type, value):
        return f"{spec.name} must be {_KIND_WORDS[spec.type]}{_bounds(spec)}, not {value!r}."
    if spec.type in ("int", "float"):
        below = spec.minimum is not None and value < spec.minimum
        above = spec.maximum is not None and value > spec.maximum
        if below or above:
            return f"{spec.name} must be {_KIND_WORDS[spec.type]}{_bounds(spec)}, not {value!r}."
    return None


def _is_kind(kind: FieldType, value: Any) -> bool:
    # bool is a subclass of int in Python, yet `true` is no batch size.
    if kind == "bool" or isinstance(value, bool):
        return kind == "bool" and isinstance(value, bool)
    if kind == "int":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if kind == "float":
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, str)


def _bounds(spec: FieldSpec) -> str:
    if spec.minimum is None or spec.maximum is None:
        return ""
    return f" from {spec.minimum:g} to {spec.maximum:g}" if spec.maximum < 1e6 else f" of at least {spec.minimum:g}"
