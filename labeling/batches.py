"""Opening work: a batch of items with their slots."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db import transaction

from hone.accounts.models import Project
from labeling import lanes
from labeling.models import Batch, Completion, Item, Prompt, Slot


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
    """Makes the batch, its items, their completions and `slots_per_item` slots each, in one transaction."""
    slots = slots_per_item or project.slots_per_item
    project = lanes.lock(project)
    batch = Batch.objects.create(project=project, kind=kind, name=name)
    wanted = list(items)
    rows = Item.objects.bulk_create(
        Item(project=project, batch=batch, kind=kind, prompt=new.prompt, priority=new.priority) for new in wanted
    )
    Completion.objects.bulk_create(
        Completion(item=item, index=index, text=text)
        for item, new in zip(rows, wanted, strict=True)
        for index, text in enumerate(new.answers)
    )
    draws = [random.random() for _ in rows]
    names = lanes.open_for(project, [new.prompt for new in wanted])
    Slot.objects.bulk_create(
        (
            Slot(project=project, item=item, kind=kind, lane=lane, priority=item.priority, index=index, draw=draw)
            for item, lane, draw in zip(rows, names, draws, strict=True)
            for index in range(slots)
        ),
        batch_size=2000,
    )
    return batch
