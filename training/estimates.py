"""What a recipe will do, before it is launched: rows, tokens, compute and memory of each stage, and warnings."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from django.db.models import Avg, F, Func, IntegerField, TextField
from django.db.models.functions import Cast
from django.utils.translation import gettext as _

from hone.accounts.models import Project
from labeling.models import Completion, Demonstration, Prompt, Ranking
from training import rounds
from training.forms import TRAINERS, RoundForm
from training.models import Stage
from training.records import split_of
from training.trainers.estimate import Estimate, estimate

# SmolLM2 and Llama 3 both come to about this many bytes of UTF-8 text a token, English and Chinese alike.
BYTES_PER_TOKEN = 3.6


@dataclass
class Plan:
    """The right-hand side of the launch form."""

    stages: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    flops: float = 0.0
    seconds: float = 0.0
    memory_bytes: int = 0


def plan(*, project: Project, form: RoundForm) -> Plan:
    """The plan for the form's values, valid or not; a stage whose values are out of bounds is left out."""
    values = _values(form)
    result = Plan()
    chosen = [kind for kind in rounds.ORDER if values.get(f"use-{kind}")]
    data = _data(project, values)
    model = values.get("start")
    for kind in chosen:
        rows, tokens = data[kind]
        entry: dict[str, Any] = {"kind": str(kind), "label": kind.label, "rows": rows, "tokens": None}
        has_faults = any(name.startswith(f"{kind}-") for name in form.errors)
        if kind in TRAINERS and model is not None and not has_faults:
            params = form.trainer_values(kind, values)
            found = _estimate(str(kind), params, Path(model.path), rows=rows, tokens=tokens, values=values)
            if found is not None:
                entry |= {"estimate": found, "tokens": found.tokens, "memory": found.memory_bytes}
                entry["peak"] = sum(found.memory_bytes.values())
                result.flops += found.flops
                result.seconds += found.seconds or 0.0
                result.memory_bytes = max(result.memory_bytes, entry["peak"])
        result.stages.append(entry)
    result.warnings = _warnings(project, values, data, chosen)
    return result


def _values(form: RoundForm) -> dict[str, Any]:
    """Cleaned values where the form is bound, initial ones where it is not."""
    if form.is_bound:
        form.is_valid()
        return form.cleaned_data
    return {
        name: form.initial.get(name, bound.initial() if callable(bound.initial) else bound.initial)
        for name, bound in form.fields.items()
    }


def _bytes(column: str) -> Any:
    return Avg(Func(Cast(F(column), TextField()), function="octet_length", output_field=IntegerField()), default=0)


def _data(project: Project, values: dict[str, Any]) -> dict[Stage.Kind, tuple[int, int]]:
    """(rows, tokens a pass) for each stage, from what the project holds now and what earlier stages will add."""
    heldout = values.get("heldout_percent") or 0
    labels: dict[str, Any] = {"project": project}
    if not values.get("include_simulated"):
        labels["simulated"] = False
    demonstrations = Demonstration.objects.filter(**labels)
    rankings = Ranking.objects.filter(**labels)
    prompt_bytes = Prompt.objects.filter(project=project).aggregate(n=_bytes("messages"))["n"]
    demonstration_bytes = demonstrations.aggregate(n=_bytes("messages"))["n"] or prompt_bytes * 2
    answer_bytes = Completion.objects.filter(item__project=project).aggregate(n=_bytes("text"))["n"]
    prompt_tokens = prompt_bytes / BYTES_PER_TOKEN
    answer_tokens = answer_bytes / BYTES_PER_TOKEN or float(values.get("sample-max_new_tokens") or 64)
    k = int(values.get("sample-k") or 4)

    will_write = (
        int(values.get("write-min_labels") or values.get("write-prompts") or 0) if values.get("use-write") else 0
    )
    asked = int(values.get("sample-prompts") or 0)
    sampled = min(asked, Prompt.objects.filter(project=project).count()) if asked else 0
    will_rank = sampled * int(values.get("sample-slots_per_item") or 1) if values.get("use-rank") else 0

    train_share = _train_share(project, heldout)
    n_demonstrations = round((demonstrations.count() + will_write) * train_share)
    n_rankings = round((rankings.count() + will_rank) * train_share)
    ranking_tokens = prompt_tokens + k * answer_tokens
    return {
        Stage.Kind.WRITE: (will_write, 0),
        Stage.Kind.SFT: (n_demonstrations, round(n_demonstrations * demonstration_bytes / BYTES_PER_TOKEN)),
        Stage.Kind.SAMPLE: (sampled, round(sampled * (prompt_tokens + k * answer_tokens))),
        Stage.Kind.RANK: (will_rank, 0),
        Stage.Kind.REWARD: (n_rankings, round(n_rankings * ranking_tokens)),
        Stage.Kind.DPO: (n_rankings, round(n_rankings * ranking_tokens)),
    }


def _train_share(project: Project, heldout_percent: int) -> float:
    hashes = list(Prompt.objects.filter(project=project).values_list("content_hash", flat=True)[:10_000])
    if not hashes:
        return 1.0
    return sum(split_of(value, heldout_percent) == "train" for value in hashes) / len(hashes)


def _estimate(
    stage: str, params: dict[str, Any], folder: Path, *, rows: int, tokens: int, values: dict[str, Any]
) -> Estimate | None:
    try:
        model_config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        stats = {"rows": rows, "tokens": tokens, "k": int(values.get("sample-k") or 4)}
        return estimate(stage=stage, params=params, model_config=model_config, stats=stats, device=_device())
    except (OSError, ValueError, KeyError):
        return None


def _device() -> Literal["cpu", "cuda"]:
    return "cuda" if Path("/proc/driver/nvidia/version").exists() else "cpu"


def _warnings(
    project: Project,
    values: dict[str, Any],
    data: dict[Stage.Kind, tuple[int, int]],
    chosen: list[Stage.Kind],
) -> list[str]:
    found = []
    for kind in (Stage.Kind.SFT, Stage.Kind.REWARD, Stage.Kind.DPO):
        if kind in chosen and data[kind][0] == 0:
            found.append(_("%(stage)s would find no label to train on.") % {"stage": kind.label})
    if values.get("include_simulated"):
        found.append(_("Simulated labels are part of the training data: do not ship the resulting model."))
    if Stage.Kind.SAMPLE in chosen and not project.prompts.exists():
        found.append(_("The project has no prompts: import some first."))
    if Stage.Kind.REWARD in chosen and not values.get("heldout_percent"):
        found.append(_("Without a held-out share the reward model's accuracy cannot be measured."))
    return found
