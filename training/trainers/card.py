"""The model card in each checkpoint (Mitchell et al. 2019): what it is, what it was made of, and what is known of it.

Only what the run itself knows: the numbers of `result.json`, in words for people who meet the folder alone. The front
matter uses the keys that model hubs read.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.records import replacing

_WHAT = {
    "pretrain": "A language model trained on plain text",
    "sft": "A language model fine-tuned on demonstrations by people",
    "reward": "A reward model: one number for an answer to a prompt, higher where people would rank it higher",
    "dpo": "A language model tuned on people's preferences",
    "ppo": "A language model that learnt from what a reward model says of its own answers",
    "best_of_n": "A language model fine-tuned on the best of several of its own answers, as a reward model judged them",
}
_TAGS = {"reward": ["reward-model", "text-classification"]}
# What a reader has to know before they trust it, by stage.
_LIMITS = {
    "reward": "Its scores compare answers to one prompt. Between prompts they mean little, and a policy that is "
    "trained against it finds what it gets wrong (Gao et al. 2022).",
    "ppo": "It was taught to please a reward model. Where that is wrong it is wrong as well, and the more so the "
    "further it has gone (Gao et al. 2022): only people can say whether it became better.",
}
_LIMITS_OF_ALL = (
    "It has learnt what the people who wrote its data believed and preferred, with their mistakes. Nobody has tested "
    "it beyond the numbers above."
)


def write(folder: Path, result: Mapping[str, Any]) -> None:
    """Writes README.md into a checkpoint's folder from its run's result."""
    with replacing(folder / "README.md") as temporary:
        temporary.write_text(text(result), encoding="utf-8")


def text(result: Mapping[str, Any]) -> str:
    """The card of a result as `program` writes it."""
    stage, params = str(result["stage"]), result["params"]
    base = Path(str(result["model"])).name
    tags = ["hone", stage, *_TAGS.get(stage, ["text-generation"])]
    # JSON is YAML, and knows how to quote.
    front = {"base_model": base, "tags": tags, "library_name": "transformers", "pipeline_tag": tags[-1]}
    made = datetime.datetime.fromtimestamp(float(result["finished_at"]), datetime.UTC)
    rows = {
        "Started from": f"`{base}`",
        "Stage": f"`python -m training.trainers.{stage}`",
        "Finished": f"{made:%Y-%m-%d %H:%M} UTC, after {_duration(result)}",
        "Data (SHA-256)": f"`{result['data_sha256']}`" if result.get("data_sha256") else "not one file",
        "Consumed": ", ".join(f"{count:,} {name}" for name, count in result["consumed"].items()) or "not counted",
        "Seed": str(result["seed"]),
        "Code": f"`{result['commit']}`" if result.get("commit") else "not known",
        "Machine": _machine(result["hardware"]),
        "Versions": ", ".join(f"{name} {version}" for name, version in result["versions"].items()),
    }
    parts = [
        "---",
        *(f"{name}: {json.dumps(value)}" for name, value in front.items()),
        "---",
        f"# {base}, {stage}",
        f"{_WHAT.get(stage, 'A model')}. Made by a training run of Hone.",
        "## How it was made",
        _table("Fact", "Value", rows),
        "## Settings",
        _table("Field", "Value", {name: f"`{value}`" for name, value in sorted(params.items())})
        if params
        else "All fields at their defaults.",
        "## Numbers",
        _table("Metric", "Value", {name: f"{value:.6g}" for name, value in sorted(result["metrics"].items())}),
        "## Limits",
        " ".join(filter(None, (_LIMITS.get(stage), _LIMITS_OF_ALL))),
    ]
    front_end = len(front) + 2
    return "\n".join(parts[:front_end]) + "\n\n" + "\n\n".join(parts[front_end:]) + "\n"


def _table(name: str, value: str, rows: Mapping[str, str]) -> str:
    lines = [f"| {key} | {cell.replace('|', chr(92) + '|')} |" for key, cell in rows.items()]
    return "\n".join([f"| {name} | {value} |", "| --- | --- |", *lines])


def _duration(result: Mapping[str, Any]) -> str:
    return str(datetime.timedelta(seconds=round(float(result["finished_at"]) - float(result["started_at"]))))


def _machine(hardware: Mapping[str, Any]) -> str:
    parts = [hardware.get("gpu") or hardware.get("device", ""), f"{hardware['cores']} cores", hardware["machine"]]
    return ", ".join(filter(None, parts))
