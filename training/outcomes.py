"""What a successful run leaves behind: a checkpoint, completions to rank, or a report alone."""

from pathlib import Path
from typing import Any

from django.db import transaction
from django.utils import timezone

from labeling.batches import NewItem, open_batch
from labeling.messages import clean_text
from labeling.models import Completion, Prompt
from training import runs
from training.models import Checkpoint, Generation, Run, Stage
from training.records import CompletionRow, read_jsonl

_CHECKPOINT_KIND = {
    "pretrain": Checkpoint.Kind.BASE,
    "sft": Checkpoint.Kind.SFT,
    "reward": Checkpoint.Kind.REWARD,
    "dpo": Checkpoint.Kind.POLICY,
    "ppo": Checkpoint.Kind.POLICY,
    "best_of_n": Checkpoint.Kind.POLICY,
}
# What a stage leaves that makes no checkpoint, in the run's folder.
_FILES = {"sample": "completions.jsonl", "evaluate": "report.json"}


def problem_with(run: Run, result: dict[str, Any]) -> str | None:
    """The sentence that says why the products that a result names cannot be taken, or None when they are all there."""
    if run.kind in _FILES:
        file = run.folder / _FILES[run.kind]
        return None if file.is_file() else f"The run said that it succeeded, but there is no {file}."
    named = result.get("checkpoint")
    if not isinstance(named, str) or not named:
        return "The run said that it succeeded, but it names no checkpoint folder."
    folder = Path(named)
    if not folder.is_dir():
        return f"The run said that it succeeded, but there is no checkpoint folder {folder}."
    if not (folder / "config.json").is_file():
        return f"The run said that it succeeded, but its checkpoint {folder} has no config.json."
    if not any(folder.glob("*.safetensors")):
        return f"The run said that it succeeded, but its checkpoint {folder} has no safetensors weights."
    return None


@transaction.atomic
def accept(run: Run, result: dict[str, Any]) -> None:
    """Writes the run's end and its products in one transaction. Raises runs.LostRun when the fence has moved.

    The caller has looked with `problem_with` whether the products are there.
    """
    runs.update(
        run,
        result=result,
        ended_at=timezone.now(),
        lease_expires_at=None,
        step=run.total_steps,
        state=Run.State.SUCCEEDED,
    )
    if run.kind == "sample":
        _open_ranking(run)
    elif run.kind in _CHECKPOINT_KIND:
        _add_checkpoint(run, result)


def _add_checkpoint(run: Run, result: dict[str, Any]) -> Checkpoint:
    folder = Path(result["checkpoint"])
    where = f"r{run.stage.round.number}-" if run.stage else ""
    return Checkpoint.objects.create(
        name=f"{run.project.slug}-{where}{run.kind}-{run.pk}",
        project=run.project,
        kind=_CHECKPOINT_KIND[run.kind],
        path=str(folder),
        # Random weights come from no model, whichever the round started from.
        parent=None if run.params.get("start", "checkpoint") != "checkpoint" else run.model,
        run=run,
        size_bytes=sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
        metrics=result.get("metrics") or {},
    )


def _open_ranking(run: Run) -> None:
    """The sampled completions as a batch of ranking items, each completion with the model that wrote it."""
    rows = read_jsonl(run.folder / "completions.jsonl", row_type=CompletionRow, torn_end=True)
    by_prompt: dict[int, list[CompletionRow]] = {}
    for row in rows:
        by_prompt.setdefault(int(row.prompt_id), []).append(row)
    for answers in by_prompt.values():
        answers.sort(key=lambda row: row.index)
    prompts = Prompt.objects.in_bulk(by_prompt)
    stage = run.stage
    batch = open_batch(
        project=run.project,
        kind="rank",
        name=stage.round.batch_name("rank") if stage else f"Answers of {run}",
        items=[
            NewItem(
                prompt=prompts[prompt_id],
                answers=[clean_text(row.text) for row in answers],  # models do write NUL characters
                # A later round's answers come first: they are the newer model's.
                priority=stage.round.number if stage else 0,
            )
            for prompt_id, answers in by_prompt.items()
        ],
        slots_per_item=int(stage.params.get("slots_per_item") or 0) or None if stage else None,
    )
    written = {
        (completion.item.prompt_id, completion.index): completion
        for completion in Completion.objects.filter(item__batch=batch).select_related("item")
    }
    Generation.objects.bulk_create(
        Generation(
            completion=written[prompt_id, row.index],
            checkpoint=run.model,
            run=run,
            seed=row.seed,
            finish_reason=row.finish_reason,
            token_count=row.token_count,
        )
        for prompt_id, answers in by_prompt.items()
        for row in answers
        if (prompt_id, row.index) in written  # the others were set aside (labeling.batches)
    )
    if stage:
        Stage.objects.filter(round=stage.round, index=stage.index + 1, kind=Stage.Kind.RANK).update(batch=batch)
