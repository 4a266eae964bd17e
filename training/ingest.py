"""Following a trainer's events.jsonl into the database, by byte offset."""

import json
from datetime import UTC, datetime
from typing import Any

from django.db import transaction

from training import runs
from training.models import Metric, Run

_BLOCK = 1 << 20


def follow(run: Run) -> bool:
    """Reads what the trainer appended since the last call; answers whether there was anything.

    A last line without its end is left for the next call. A step that is logged twice (after a resume) keeps its
    newest value. Raises runs.LostRun when the fence has moved.
    """
    try:
        with (run.folder / "events.jsonl").open("rb") as file:
            file.seek(run.events_offset)
            block = file.read(_BLOCK)
    except FileNotFoundError:
        return False
    end = block.rfind(b"\n") + 1
    if not end:
        return False
    fields: dict[str, Any] = {"events_offset": run.events_offset + end}
    metrics: dict[tuple[int, str], Metric] = {}
    for line in block[:end].splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # no line that a trainer writes whole; the run goes on without it
        if event.get("type") == "metrics":
            fields["step"], fields["total_steps"] = event["step"], event["total_steps"]
            at = datetime.fromtimestamp(event["time"], UTC)
            for name, value in event["metrics"].items():
                metrics[event["step"], name] = Metric(run=run, step=event["step"], name=name[:80], value=value, at=at)
        elif event.get("type") == "status":
            fields["status"] = str(event.get("message", ""))[:300]
    with transaction.atomic():
        runs.update(run, **fields)  # first, so that a lost worker adds no metric
        Metric.objects.bulk_create(
            metrics.values(),
            update_conflicts=True,
            unique_fields=["run", "step", "name"],
            update_fields=["value", "at"],
        )
    return True
