"""Opening work: a batch of items with their slots."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone

from hone.accounts.models import Project
from labeling import identity, lanes
from labeling.models import Batch, Completion, Item, ModelNames, Prompt, Slot
from labeling.models.model_names import Handling


@dataclass(frozen=True)
class NewItem:
    """An item to open: its prompt (None asks the writer for one) and, for ranking, the answers."""

    prompt: Prompt | None
    answers: Sequence[str] = ()
    priority: int = 0


@transaction.atomic
def open_batch(
    *, project: Project, kind: str, name: str, items: Iterable[NewItem], slots_per_item: int | None = None
) -> Batch:
    """Makes the batch, its items, their completions and `slots_per_item` slots each, in one transaction.

    Where the project sets answers aside that name their model, those have no completion, and an item with fewer than
    two others is withdrawn from the start, with all of its answers. An answer's index is its place in `answers`.
    """
    slots = slots_per_item or project.slots_per_item
    project = lanes.lock(project)
    model_names = ModelNames.objects.for_project(project)
    batch = Batch.objects.create(project=project, kind=kind, name=name)
    wanted = list(items)
    kept = [_without_names(new.answers, model_names) for new in wanted]
    now = timezone.now()
    rows = Item.objects.bulk_create(
        Item(
            project=project,
            batch=batch,
            kind=kind,
            prompt=new.prompt,
            priority=new.priority,
            withdrawn="" if shown is not None else Item.Withdrawn.IDENTITY,
            withdrawn_at=None if shown is not None else now,
        )
        for new, shown in zip(wanted, kept, strict=True)
    )
    Completion.objects.bulk_create(
        Completion(item=item, index=index, text=text)
        for item, new, shown in zip(rows, wanted, kept, strict=True)
        for index, text in enumerate(new.answers)
        if shown is None or index in shown
    )
    batch.answers_set_aside = sum(
        len(new.answers) - len(shown) for new, shown in zip(wanted, kept, strict=True) if shown is not None
    )
    if batch.answers_set_aside:
        batch.save(update_fields=["answers_set_aside"])
    draws = [random.random() for _ in rows]
    names = lanes.open_for(project, [new.prompt for new in wanted])
    Slot.objects.bulk_create(
        (
            Slot(
                project=project,
                item=item,
                kind=kind,
                lane=lane,
                priority=item.priority,
                index=index,
                draw=draw,
                state=Slot.State.WITHDRAWN if item.withdrawn else Slot.State.OPEN,
            )
            for item, lane, draw in zip(rows, names, draws, strict=True)
            for index in range(slots)
        ),
        batch_size=2000,
    )
    return batch


def _without_names(answers: Sequence[str], names: ModelNames) -> set[int] | None:
    """The places of the answers to show; None where too few are left for a ranking."""
    if names.handling != Handling.ASIDE or not answers:
        return set(range(len(answers)))
    shown = {
        index
        for index, text in enumerate(answers)
        if not identity.is_named(text, names=names.listed, where=names.where)
    }
    return shown if len(shown) > 1 else None
