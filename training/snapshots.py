"""Freezing labels into immutable data sets for the trainers.

A snapshot is a Parquet file of training.records rows and a manifest: schema version, filters, counts by split,
guideline versions, and the ids of every label in it, so that lineage runs from a checkpoint back to each label.
"""

import uuid
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import QuerySet

from hone.accounts.models import Project
from labeling.comparisons import ranks
from labeling.models import Demonstration, Prompt, Ranking
from training.models import Snapshot
from training.records import (
    DemonstrationRow,
    PromptRow,
    RankingRow,
    comparisons,
    sha256_file,
    split_of,
    write_parquet,
)

SCHEMA_VERSION = 1


class NothingToFreeze(Exception):
    """No label passes the filters; the text is a sentence for the lead."""


def freeze_demonstrations(*, project: Project, include_simulated: bool, heldout_percent: int) -> Snapshot:
    """All demonstrations of the project. Raises NothingToFreeze when no training row remains."""
    labels = _labels(Demonstration.objects.all(), project=project, include_simulated=include_simulated)
    rows = [
        DemonstrationRow(
            id=f"d{label.pk}",
            messages=label.messages,
            category=label.prompt.category,
            language=label.prompt.language,
            split=split_of(label.prompt.content_hash, heldout_percent),
        )
        for label in labels
    ]
    _require_training_rows(rows, what="demonstrations", include_simulated=include_simulated)
    return _write(
        project=project,
        kind=Snapshot.Kind.DEMONSTRATIONS,
        rows=rows,
        row_type=DemonstrationRow,
        manifest={
            "filters": {"include_simulated": include_simulated, "heldout_percent": heldout_percent},
            "splits": dict(Counter(row.split for row in rows)),
            "categories": dict(Counter(row.category for row in rows)),
            "languages": dict(Counter(row.language for row in rows)),
            "guideline_versions": _guideline_versions(labels),
            "label_ids": [label.pk for label in labels],
        },
    )


def freeze_rankings(*, project: Project, include_simulated: bool, heldout_percent: int) -> Snapshot:
    """All rankings of the project that imply a comparison. Raises NothingToFreeze when no training row remains."""
    labels = _labels(
        Ranking.objects.prefetch_related("item__completions"),
        project=project,
        include_simulated=include_simulated,
    )
    rows, kept = [], []
    for label in labels:
        texts = {completion.index: completion.text for completion in label.item.completions.all()}
        rank = ranks(label.tiers, label.unacceptable)
        if len(set(rank.values())) < 2:
            continue  # all tied: it implies no comparison
        indexes = sorted(rank)
        kept.append(label)
        rows.append(
            RankingRow(
                id=f"r{label.pk}",
                prompt_id=label.prompt.content_hash,
                prompt=label.prompt.messages,
                completions=[texts[index] for index in indexes],
                ranks=[rank[index] for index in indexes],
                unacceptable=[index in label.unacceptable for index in indexes],
                annotator=f"a{label.author_id}",
                category=label.prompt.category,
                language=label.prompt.language,
                split=split_of(label.prompt.content_hash, heldout_percent),
            )
        )
    _require_training_rows(rows, what="rankings with a preference", include_simulated=include_simulated)
    return _write(
        project=project,
        kind=Snapshot.Kind.RANKINGS,
        rows=rows,
        row_type=RankingRow,
        manifest={
            "filters": {"include_simulated": include_simulated, "heldout_percent": heldout_percent},
            "splits": dict(Counter(row.split for row in rows)),
            "comparisons": sum(len(comparisons(row.ranks)) for row in rows),
            "annotators": dict(Counter(row.annotator for row in rows)),
            "guideline_versions": _guideline_versions(kept),
            "label_ids": [label.pk for label in kept],
        },
    )


def freeze_prompts(*, project: Project, prompts: Iterable[Prompt]) -> Snapshot:
    """These prompts, to sample answers for. The row id is the prompt's primary key. Raises NothingToFreeze."""
    chosen = list(prompts)
    if not chosen:
        raise NothingToFreeze("There is no prompt to sample: import prompts first.")
    rows = [
        PromptRow(id=str(prompt.pk), prompt=prompt.messages, category=prompt.category, language=prompt.language)
        for prompt in chosen
    ]
    return _write(
        project=project,
        kind=Snapshot.Kind.PROMPTS,
        rows=rows,
        row_type=PromptRow,
        manifest={
            "categories": dict(Counter(row.category for row in rows)),
            "languages": dict(Counter(row.language for row in rows)),
            "label_ids": [],
        },
    )


def _labels(labels: QuerySet[Any], *, project: Project, include_simulated: bool) -> list[Any]:
    labels = labels.filter(project=project).select_related("prompt", "guideline").order_by("id")
    if not include_simulated:
        labels = labels.filter(simulated=False)
    return list(labels)


def _require_training_rows(rows: list[Any], *, what: str, include_simulated: bool) -> None:
    if not any(row.split == "train" for row in rows):
        whose = "" if include_simulated else " by people"
        raise NothingToFreeze(f"There are no {what}{whose} to train on yet.")


def _guideline_versions(labels: list[Any]) -> list[int]:
    return sorted({label.guideline.number for label in labels if label.guideline})


def _write(*, project: Project, kind: str, rows: list[Any], row_type: type[Any], manifest: dict[str, Any]) -> Snapshot:
    path = Path(settings.SNAPSHOTS_DIR) / f"{kind}-{uuid.uuid4().hex}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_parquet(path, rows, row_type=row_type)
    path.chmod(0o444)
    return Snapshot.objects.create(
        project=project,
        kind=kind,
        path=str(path),
        sha256=sha256_file(path),
        rows=len(rows),
        manifest={"schema_version": SCHEMA_VERSION, "project": project.slug, "kind": kind, **manifest},
    )
