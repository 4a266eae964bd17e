"""Freezing labels into immutable data sets for the trainers.

A snapshot is a Parquet file of training.records rows and a manifest: schema version, filters, counts by split,
guideline versions, and the ids of every label in it, so that lineage runs from a checkpoint back to each label.
"""

import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import Prefetch, QuerySet, TextField
from django.db.models.functions import Cast, Length

from hone.accounts.models import Project
from labeling import settling
from labeling.comparisons import ranks
from labeling.export import annotator
from labeling.models import Comparison, Completion, Demonstration, Prompt, Ranking
from labeling.review.exporting import settled
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

# 2: rankings say which of their answers were cut off by the sampler's limit. 3: how probable their comparisons are.
SCHEMA_VERSION = 3
# Rows that are read, and held, at once.
CHUNK_ROWS = 2000


class NothingToFreeze(Exception):
    """No label passes the filters; the text is a sentence for the lead."""


def freeze_demonstrations(
    *, project: Project, include_simulated: bool, heldout_percent: int, at_most: int = 0
) -> Snapshot:
    """All demonstrations of the project; with `at_most` so many of the training ones, the shortest.

    Raises NothingToFreeze when no training row remains.
    """
    labels = _labels(Demonstration.objects.all(), project=project, include_simulated=include_simulated)
    if at_most:
        labels = _shortest(labels, heldout_percent=heldout_percent, count=at_most)
    splits, categories, languages = Counter[str](), Counter[str](), Counter[str]()
    versions: set[int] = set()
    ids: list[int] = []

    def rows() -> Iterator[DemonstrationRow]:
        for label in labels.iterator(chunk_size=CHUNK_ROWS):
            row = DemonstrationRow(
                id=f"d{label.pk}",
                messages=label.messages,
                category=label.prompt.category,
                language=label.prompt.language,
                split=split_of(label.prompt.content_hash, heldout_percent),
            )
            splits[row.split] += 1
            categories[row.category] += 1
            languages[row.language] += 1
            versions.update([label.guideline.number] if label.guideline else [])
            ids.append(label.pk)
            yield row
        _require_training_rows(splits, what="demonstrations", include_simulated=include_simulated)

    return _write(
        project=project,
        kind=Snapshot.Kind.DEMONSTRATIONS,
        rows=rows(),
        row_type=DemonstrationRow,
        manifest=lambda: {
            "filters": {"include_simulated": include_simulated, "heldout_percent": heldout_percent},
            "splits": dict(splits),
            "categories": dict(categories),
            "languages": dict(languages),
            "guideline_versions": sorted(versions),
            "label_ids": ids,
        },
    )


def freeze_rankings(
    *, project: Project, include_simulated: bool, heldout_percent: int, is_renewed: bool = False
) -> Snapshot:
    """All rankings of the project that imply a comparison, with posteriors by the labels of this moment.

    `is_renewed`: the caller has renewed the posteriors just now, in a transaction that has ended.

    Raises NothingToFreeze when no training row remains.
    """
    from labeling.quality import posteriors  # numpy

    if not is_renewed:
        posteriors.renew_for(project=project, include_simulated=include_simulated)
    known = Prefetch(
        "comparisons", queryset=Comparison.objects.only("ranking_id", "chosen_id", "rejected_id", "posterior")
    )
    labels = _labels(
        Ranking.objects.orders().prefetch_related("item__completions__generation", known),
        project=project,
        include_simulated=include_simulated,
    )
    splits, annotators = Counter[str](), Counter[str]()
    versions: set[int] = set()
    ids: list[int] = []
    compared = believed = 0

    def rows() -> Iterator[RankingRow]:
        nonlocal compared, believed
        for label in labels.iterator(chunk_size=CHUNK_ROWS):
            answers = {completion.index: completion for completion in label.item.completions.all()}
            rank = ranks(label.tiers, label.unacceptable)
            if len(set(rank.values())) < 2:
                continue  # all tied: it implies no comparison
            indexes = sorted(rank)
            row = RankingRow(
                id=f"r{label.pk}",
                prompt_id=label.prompt.content_hash,
                prompt=label.prompt.messages,
                completions=[answers[index].text for index in indexes],
                ranks=[rank[index] for index in indexes],
                unacceptable=[index in label.unacceptable for index in indexes],
                annotator=annotator(label.author_id),
                category=label.prompt.category,
                language=label.prompt.language,
                split=split_of(label.prompt.content_hash, heldout_percent),
                ended=[_has_ended(answers[index]) for index in indexes],
                posteriors=_posteriors(label, [answers[index].pk for index in indexes], [rank[i] for i in indexes]),
            )
            believed += bool(row.posteriors)
            splits[row.split] += 1
            annotators[row.annotator] += 1
            versions.update([label.guideline.number] if label.guideline else [])
            ids.append(label.pk)
            compared += len(comparisons(row.ranks))
            yield row
        _require_training_rows(splits, what="rankings with a preference", include_simulated=include_simulated)

    return _write(
        project=project,
        kind=Snapshot.Kind.RANKINGS,
        rows=rows(),
        row_type=RankingRow,
        manifest=lambda: {
            "filters": {"include_simulated": include_simulated, "heldout_percent": heldout_percent},
            "splits": dict(splits),
            "comparisons": compared,
            "rankings_with_posteriors": believed,
            "annotators": dict(annotators),
            "guideline_versions": sorted(versions),
            "label_ids": ids,
        },
    )


def freeze_prompts(*, project: Project, prompts: Iterable[Prompt]) -> Snapshot:
    """These prompts, to sample answers for. The row id is the prompt's primary key. Raises NothingToFreeze."""
    categories, languages = Counter[str](), Counter[str]()
    chosen = prompts.iterator(chunk_size=CHUNK_ROWS) if isinstance(prompts, QuerySet) else prompts

    def rows() -> Iterator[PromptRow]:
        for prompt in chosen:
            row = PromptRow(
                id=str(prompt.pk), prompt=prompt.messages, category=prompt.category, language=prompt.language
            )
            categories[row.category] += 1
            languages[row.language] += 1
            yield row
        if not categories:
            raise NothingToFreeze("There is no prompt to sample: import prompts first.")

    return _write(
        project=project,
        kind=Snapshot.Kind.PROMPTS,
        rows=rows(),
        row_type=PromptRow,
        manifest=lambda: {"categories": dict(categories), "languages": dict(languages), "label_ids": []},
    )


def _shortest(labels: QuerySet[Any], *, heldout_percent: int, count: int) -> QuerySet[Any]:
    """So many labels of the training split, the shortest: they are to stand before each prompt of a base model."""
    by_length = labels.annotate(length=Length(Cast("messages", TextField()))).order_by("length", "id")
    rows = by_length.values_list("pk", "prompt__content_hash").iterator()
    training = (pk for pk, content_hash in rows if split_of(content_hash, heldout_percent) == "train")
    return labels.filter(pk__in=list(islice(training, count)))


def _labels(labels: QuerySet[Any], *, project: Project, include_simulated: bool) -> QuerySet[Any]:
    labels = settling.final(labels.filter(project=project, retraction=None), project=project)
    labels = settled(labels, project=project).select_related("prompt", "guideline").order_by("id")
    return labels if include_simulated else labels.filter(simulated=False)


def _posteriors(label: Ranking, answers: list[int], tiers: list[int]) -> list[float]:
    """Of each comparison in the row's order; none where the label came after they were computed."""
    known = {(row.chosen_id, row.rejected_id): row.posterior for row in label.comparisons.all()}
    found = [known.get((answers[i], answers[j])) for i, j in comparisons(tiers)]
    return [] if None in found else [value for value in found if value is not None]


def _has_ended(completion: Completion) -> bool:
    """Whether its writer came to an end; an answer that was imported has no other word on it."""
    generation = getattr(completion, "generation", None)
    return generation is None or generation.finish_reason != "length"


def _require_training_rows(splits: Counter[str], *, what: str, include_simulated: bool) -> None:
    if not splits["train"]:
        whose = "" if include_simulated else " by people"
        raise NothingToFreeze(f"There are no {what}{whose} to train on yet.")


def _write(
    *,
    project: Project,
    kind: str,
    rows: Iterator[Any],
    row_type: type[Any],
    manifest: Callable[[], dict[str, Any]],
) -> Snapshot:
    """The rows as a file, one chunk in memory at a time, and its row; `manifest` is asked once all were seen."""
    path = Path(settings.SNAPSHOTS_DIR) / f"{kind}-{uuid.uuid4().hex}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    count = write_parquet(path, rows, row_type=row_type)
    try:
        path.chmod(0o444)
        return Snapshot.objects.create(
            project=project,
            kind=kind,
            path=str(path),
            sha256=sha256_file(path),
            rows=count,
            manifest={"schema_version": SCHEMA_VERSION, "project": project.slug, "kind": kind, **manifest()},
        )
    except BaseException:
        path.unlink()  # no row would ever name it
        raise
