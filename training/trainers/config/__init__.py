"""The hyper-parameters of each stage: one frozen dataclass a stage, with the words and bounds a form needs.

Imported by the web process to draw and check launch forms, so it imports no torch. What depends on the machine
(device, threads) is no field: `hardware.py` chooses it. Paths and addresses are none either: `inputs.py`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, get_type_hints

from training.trainers.config.common import OptimizingConfig, StageConfig, TrainingConfig
from training.trainers.config.drawing import EvaluateConfig, SampleConfig
from training.trainers.config.fields import ConfigError, FieldSpec, FieldType
from training.trainers.config.ppo import PpoConfig
from training.trainers.config.preferences import WITH_REFERENCE, DpoConfig, RewardConfig
from training.trainers.config.pretrain import PretrainConfig
from training.trainers.config.sft import BestOfNConfig, SftConfig

__all__ = [
    "STAGES",
    "WITH_REFERENCE",
    "BestOfNConfig",
    "ConfigError",
    "DpoConfig",
    "EvaluateConfig",
    "FieldSpec",
    "OptimizingConfig",
    "PpoConfig",
    "PretrainConfig",
    "RewardConfig",
    "SampleConfig",
    "SftConfig",
    "StageConfig",
    "TrainingConfig",
    "build",
    "fields_of",
    "fields_that_may_change",
    "validate",
]

STAGES: dict[str, type[StageConfig]] = {
    "pretrain": PretrainConfig,
    "sft": SftConfig,
    "reward": RewardConfig,
    "dpo": DpoConfig,
    "ppo": PpoConfig,
    "sample": SampleConfig,
    "evaluate": EvaluateConfig,
    "best_of_n": BestOfNConfig,
}

_TYPE_NAMES: dict[type, FieldType] = {int: "int", float: "float", bool: "bool", str: "text"}
_KIND_WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "text": "text"}


def fields_of(stage: str) -> list[FieldSpec]:
    """The fields of a stage in the order a form shows them; raises ConfigError for an unknown stage."""
    config = _stage(stage)
    hints = get_type_hints(config)
    specs = []
    for field in dataclasses.fields(config):
        if field.name in config.NOT_HERE:
            continue
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
                check=meta["check"],
            )
        )
    # By inheritance what all stages have comes first; people look for what is the stage's own, and for the seed last.
    common = {field.name for field in dataclasses.fields(TrainingConfig)}
    return sorted(specs, key=lambda spec: (spec.name == "seed", spec.name in common))


def fields_that_may_change(stage: str) -> list[FieldSpec]:
    """Those whose values may be others when an interrupted run goes on, the stage's own limits first."""
    may, of_all = _stage(stage).MAY_CHANGE, OptimizingConfig.MAY_CHANGE
    specs = [spec for spec in fields_of(stage) if spec.name in may]
    return sorted(specs, key=lambda spec: (spec.name in of_all, spec.type == "bool"))


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
    return errors or _made(stage, values).faults()


def build(stage: str, values: Mapping[str, Any]) -> Any:
    """The stage's config from plain values, defaults for what is left out; raises ConfigError."""
    if errors := validate(stage, values):
        raise ConfigError(errors)
    return _made(stage, values)


def _made(stage: str, values: Mapping[str, Any]) -> Any:
    kinds = {spec.name: spec.type for spec in fields_of(stage)}
    casts = {"int": int, "float": float}
    return _stage(stage)(**{k: casts[kinds[k]](v) if kinds[k] in casts else v for k, v in values.items()})


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
    if spec.check is not None and (problem := spec.check(value)):
        return f"{spec.name} cannot be read: {problem}."
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
