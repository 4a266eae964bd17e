"""What a stage may read beside its model and its data: the names in the `inputs` of a run's config.json.

They are paths and addresses, so they are no hyper-parameters: the platform fills them in from its own rows, and no
launch form asks for one. By hand they are written into the config:

    {"stage": "evaluate", …, "inputs": {"reference": "models/sft", "reward_model": "models/rm"}}

No torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.records import sha256_file

DEMONSTRATIONS = "demonstrations"
REFERENCE = "reference"
REWARD_MODEL = "reward_model"
FEW_SHOT = "few_shot"
ADAPTER = "adapter"
PRETRAINING = "pretraining"
ENDPOINT = "endpoint"
ENDPOINT_MODEL = "endpoint_model"

# The names that each stage knows, and what each one holds.
KNOWN: Mapping[str, Mapping[str, str]] = {
    "sample": {
        FEW_SHOT: "a file of example conversations shown before each prompt to a model without a chat template",
        ADAPTER: "the folder of a LoRA adapter that is laid over the model",
        ENDPOINT: "the address of an OpenAI-compatible server that holds this model, ending in /v1",
        ENDPOINT_MODEL: "the model's name at the endpoint; without it the only one that the server lists",
    },
    "reward": {DEMONSTRATIONS: "Parquet of demonstrations, whose mean reward is the zero point"},
    "evaluate": {
        REFERENCE: "the folder of the model to compare with, of the same tokenizer",
        REWARD_MODEL: "the folder of the reward model that scores the completions",
        DEMONSTRATIONS: "Parquet of demonstrations whose perplexity is measured, the held-out ones where it has any",
    },
    "ppo": {
        REWARD_MODEL: "the folder of the reward model that judges the answers, and that the critic begins as",
        DEMONSTRATIONS: "Parquet of the demonstrations of SFT, whose prompts are to be others than these",
        PRETRAINING: "a list of sources as the stage pretrain reads it, whose loss is mixed in by ptx_coefficient",
    },
    "best_of_n": {REWARD_MODEL: "the folder of the reward model that scores the completions"},
}


def fault(stage: str, inputs: Any) -> str | None:
    """The sentence that says what is wrong with a config's `inputs`, or None."""
    if not isinstance(inputs, dict):
        return "inputs must be an object"
    known = KNOWN.get(stage, {})
    if unknown := sorted(set(inputs) - set(known)):
        names = f"its inputs are {', '.join(known)}" if known else "it has none"
        return f"{unknown[0]} is no input of the stage {stage}; {names}"
    for name, value in inputs.items():
        if not isinstance(value, str) or not value:
            return f"the input {name} must be a text that is not empty"
    return None


def hashes(inputs: Mapping[str, str]) -> dict[str, str]:
    """sha256 (hex) of each input that is a file."""
    return {name: sha256_file(value) for name, value in inputs.items() if Path(value).is_file()}
