"""From a checkpoint back to everything it came from: models, runs, data, labels, and the models that were sampled."""

from typing import Any

from labeling.models import Demonstration, Ranking
from training.models import Checkpoint, Generation, Snapshot


def ancestors(checkpoint: Checkpoint) -> list[Checkpoint]:
    """The checkpoint, the one that it was trained from, and so on down to the base model."""
    chain = [checkpoint]
    while chain[-1].parent_id is not None:
        chain.append(
            Checkpoint.objects.select_related("run__snapshot", "run__stage__round").get(pk=chain[-1].parent_id)
        )
    return chain


def of(checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """One entry a model, newest first: its run, its data, who labeled them under which spec, and whose answers.

    `inputs` are what the run read beside them, such as the reward model that chose among completions.
    """
    return [
        {
            "checkpoint": model,
            "run": model.run,
            "snapshot": model.run.snapshot if model.run else None,
            "labels": labels_of(model.run.snapshot) if model.run else None,
            "inputs": list(model.run.inputs.select_related("checkpoint", "snapshot")) if model.run else [],
        }
        for model in ancestors(checkpoint)
    ]


def labels_of(snapshot: Snapshot) -> dict[str, Any]:
    """The labels in a snapshot: ids, authors with counts, guideline versions, and the checkpoints sampled.

    `retracted` counts those that a lead has taken back since.
    """
    ids = snapshot.manifest.get("label_ids", [])
    model = {Snapshot.Kind.DEMONSTRATIONS: Demonstration, Snapshot.Kind.RANKINGS: Ranking}.get(
        Snapshot.Kind(snapshot.kind)
    )
    authors: dict[str, int] = {}
    simulated = retracted = 0
    sampled: list[Checkpoint] = []
    if model is not None:
        rows = model._default_manager.filter(pk__in=ids)
        for name, is_simulated, taken in rows.values_list("author__username", "simulated", "retraction"):
            authors[name] = authors.get(name, 0) + 1
            simulated += is_simulated
            retracted += taken is not None
    if model is Ranking:
        items = Ranking.objects.filter(pk__in=ids).values("item")
        generations = Generation.objects.filter(completion__item__in=items)
        sampled = list(Checkpoint.objects.filter(pk__in=generations.values("checkpoint")))
    return {
        "ids": ids,
        "authors": authors,
        "simulated": simulated,
        "retracted": retracted,
        "guideline_versions": snapshot.manifest.get("guideline_versions", []),
        "sampled": sampled,
    }
