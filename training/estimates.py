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
from labeling.review.exporting import settled
from training import corpora, rounds, stage_data
from training.forms import TRAINERS, RoundForm, to_reinforce
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
    k = _answers_per_ranking(project, values)
    data = _data(project, values, k)
    model = values.get("start")
    for kind in chosen:
        rows, tokens = data[kind]
        entry: dict[str, Any] = {"kind": str(kind), "label": kind.label, "rows": rows, "tokens": None}
        has_faults = any(name.startswith(f"{kind}-") for name in form.errors)
        if kind in TRAINERS and model is not None and not has_faults:
            params = form.trainer_values(kind, values)
            stats = {"rows": rows, "tokens": tokens, "k": k, **_models_read(project, values, chosen)}
            found = _estimate(str(kind), params, Path(model.path), stats)
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


def _data(project: Project, values: dict[str, Any], k: int) -> dict[Stage.Kind, tuple[int, int]]:
    """(rows, tokens a pass) for each stage, from what the project holds now and what earlier stages will add."""
    heldout = values.get("heldout_percent") or 0
    labels: dict[str, Any] = {"project": project, "retraction": None}
    if not values.get("include_simulated"):
        labels["simulated"] = False
    demonstrations = settled(Demonstration.objects.filter(**labels), project=project)
    rankings = settled(Ranking.objects.orders().filter(**labels), project=project)
    prompt_bytes = Prompt.objects.filter(project=project).aggregate(n=_bytes("messages"))["n"]
    demonstration_bytes = demonstrations.aggregate(n=_bytes("messages"))["n"] or prompt_bytes * 2
    answer_bytes = Completion.objects.filter(item__project=project).aggregate(n=_bytes("text"))["n"]
    prompt_tokens = prompt_bytes / BYTES_PER_TOKEN
    answer_tokens = answer_bytes / BYTES_PER_TOKEN or float(values.get("sample-max_new_tokens") or 64)

    will_write = _will_write(project, values) if values.get("use-write") else 0
    asked = int(values.get("sample-prompts") or 0)
    sampled = min(asked, Prompt.objects.filter(project=project).count()) if asked else 0
    places = sampled * int(values.get("sample-slots_per_item") or 1)
    will_rank = _labels(places, values.get("rank-min_labels")) if values.get("use-rank") else 0

    train_share = _train_share(project, heldout)
    to_choose = min(int(values.get("best_of_n-prompts") or 0), Prompt.objects.filter(project=project).count())
    reinforced = to_reinforce(project, values).count() if values.get("use-ppo") else 0
    heldout_prompts = stage_data.prompts_to_evaluate(
        project, heldout_percent=heldout, wanted=int(values.get("evaluate-prompts") or 0)
    )
    to_evaluate = heldout_prompts.count() if values.get("use-evaluate") else 0

    n_demonstrations = round((demonstrations.count() + will_write) * train_share)
    n_rankings = round((rankings.count() + will_rank) * train_share)
    ranking_tokens = prompt_tokens + k * answer_tokens
    return {
        Stage.Kind.WRITE: (will_write, 0),
        Stage.Kind.SFT: (n_demonstrations, round(n_demonstrations * demonstration_bytes / BYTES_PER_TOKEN)),
        # Prompts alone: the estimate adds the answers, k times max_new_tokens.
        Stage.Kind.SAMPLE: (sampled, round(sampled * prompt_tokens)),
        Stage.Kind.RANK: (will_rank, 0),
        Stage.Kind.REWARD: (n_rankings, round(n_rankings * ranking_tokens)),
        Stage.Kind.DPO: (n_rankings, round(n_rankings * ranking_tokens)),
        Stage.Kind.PRETRAIN: _corpora(values),
        # As for sampling: prompts alone.
        Stage.Kind.PPO: (reinforced, round(reinforced * prompt_tokens)),
        Stage.Kind.BEST_OF_N: (to_choose, round(to_choose * prompt_tokens)),
        Stage.Kind.EVALUATE: (to_evaluate, round(to_evaluate * prompt_tokens)),
    }


def _corpora(values: dict[str, Any]) -> tuple[int, int]:
    """(corpora, tokens) as the sizes of their files say; a compressed one has more."""
    try:
        named = corpora.parse(str(values.get("pretrain-corpora") or ""))
        return len(named), round(sum(corpora.size(name) for name in named) / BYTES_PER_TOKEN)
    except (OSError, ValueError):
        return 0, 0


def _models_read(project: Project, values: dict[str, Any], chosen: list[Stage.Kind]) -> dict[str, int]:
    """What an evaluation reads: the model alone or a reference too, and a reward model where there is one."""
    makes = {Stage.Kind.PRETRAIN, Stage.Kind.SFT, Stage.Kind.DPO, Stage.Kind.PPO, Stage.Kind.BEST_OF_N} & set(chosen)
    judged = Stage.Kind.REWARD in chosen or stage_data.reward_models(project).exists()
    return {"models": 2 if makes or values.get("evaluate-reference") else 1, "judges": int(judged)}


def _will_write(project: Project, values: dict[str, Any]) -> int:
    """How many demonstrations the write stage waits for."""
    waiting = stage_data.prompts_to_write(project).count()
    asked = int(values.get("write-prompts") or 0)
    opened = min(asked, waiting) if asked else waiting
    return _labels(opened * project.slots_per_item, values.get("write-min_labels"))


def _labels(places: int, wanted: int | None) -> int:
    """How many labels a people's stage waits for: every place, or fewer if the recipe says so (`labels_wanted`)."""
    return min(int(wanted or 0) or places, places)


def _answers_per_ranking(project: Project, values: dict[str, Any]) -> int:
    """The recipe's own k, or without sampling what the project's rankings have on average."""
    if values.get("use-sample"):
        return int(values.get("sample-k") or 4)
    completions = Completion.objects.filter(item__project=project)
    items = completions.values("item").distinct().count()
    return max(2, round(completions.count() / items)) if items else 4


def _train_share(project: Project, heldout_percent: int) -> float:
    hashes = list(Prompt.objects.filter(project=project).values_list("content_hash", flat=True)[:10_000])
    if not hashes:
        return 1.0
    return sum(split_of(value, heldout_percent) == "train" for value in hashes) / len(hashes)


def _estimate(stage: str, params: dict[str, Any], folder: Path, stats: dict[str, int]) -> Estimate | None:
    try:
        model_config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
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
