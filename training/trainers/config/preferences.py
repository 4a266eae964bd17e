"""The hyper-parameters of the stages that learn from rankings: the reward model and DPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from training.trainers.config.common import TrainingConfig
from training.trainers.config.fields import option

# The losses of the stage dpo that compare with a reference model.
WITH_REFERENCE = ("sigmoid", "ipo", "kto")


def label_option() -> Any:
    return option(
        "hard",
        "How far a preference is believed: hard as it was given; soft and weight by the consensus of all people.",
        choices=("hard", "soft", "weight"),
        expert=True,
        label="Training label",
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
    ties: str = option(
        "leave_out",
        "What two answers of one tier teach: nothing, or that they are about equal (Rao and Kupper 1967).",
        choices=("leave_out", "rao_kupper"),
        expert=True,
    )
    tie_threshold: float = option(
        0.5,
        "How far two scores must lie apart before people see one answer as better; counts with ties = rao_kupper.",
        minimum=0.01,
        maximum=10.0,
        expert=True,
    )
    label: str = label_option()
    annotator_weight: str = option(
        "as_given",
        "How much each person's rankings count: as the data say, or by how often the consensus agrees with them.",
        choices=("as_given", "reliability"),
        expert=True,
    )
    center_coefficient: float = option(
        0.0,
        "How strongly the two rewards of a comparison are drawn to a sum of zero, which keeps scores centred.",
        minimum=0.0,
        maximum=10.0,
        expert=True,
    )


@dataclass(frozen=True, kw_only=True)
class DpoConfig(TrainingConfig):
    """Direct preference optimisation (Rafailov et al. 2023) and its relatives."""

    learning_rate: float = option(
        5e-5,
        "The largest step size; 5e-5 suits LoRA, and about 1e-6 a full run.",
        minimum=0.0,
        maximum=1.0,
    )
    epochs: float = option(
        1.0, "How many times the run passes over the training rankings.", minimum=0.01, maximum=1000.0
    )
    batch_size: int = option(
        4,
        "How many prompts, each with all pairs of its ranking, go into one optimizer step.",
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
    beta: float = option(
        0.1,
        "How closely the policy is held to its reference; smaller lets it move further, and simpo wants about 2.",
        minimum=1e-4,
        maximum=100.0,
    )
    loss: str = option(
        "sigmoid",
        "The loss: sigmoid is DPO's own, ipo resists overfitting to few labels, simpo needs no reference, and kto "
        "takes single good and bad completions.",
        choices=("sigmoid", "ipo", "simpo", "kto"),
        expert=True,
    )
    label: str = label_option()
    label_smoothing: float = option(
        0.0,
        "The share of labels that is taken to be wrong (conservative DPO); not for kto.",
        minimum=0.0,
        maximum=0.49,
        expert=True,
    )
    simpo_gamma: float = option(
        1.0,
        "By how much the reward of the better completion must be above that of the worse; for simpo alone.",
        minimum=0.0,
        maximum=100.0,
        expert=True,
        label="SimPO margin",
    )
    desirable_weight: float = option(
        1.0, "How much a good completion counts; for kto alone.", minimum=0.0, maximum=1000.0, expert=True
    )
    undesirable_weight: float = option(
        1.0, "How much a bad completion counts; for kto alone.", minimum=0.0, maximum=1000.0, expert=True
    )
    pairs_per_prompt: int = option(
        0,
        "How many pairs each ranking gives, the widest rank gaps first; 0 takes them all.",
        minimum=0,
        maximum=1000,
        unit="pairs",
    )
