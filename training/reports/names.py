"""Who is meant by what a trainer knew them by: a model by its folder, a person by the letter a and a number."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hone.accounts.models import User
from training.models import Checkpoint


def fill(body: dict[str, Any]) -> dict[str, Any]:
    """The same report with models in place of their folders' paths, and users beside annotators."""
    paths = {key: body[key] for key in ("reference", "reward_model") if isinstance(body.get(key), str)}
    known = models(paths.values())
    rows = body.get("annotators", [])
    users = people(row["name"] for row in rows)
    filled = body | {key: known.get(path) for key, path in paths.items()}
    if rows:
        filled["annotators"] = [row | {"user": users.get(row["name"])} for row in rows]
    return filled


def models(paths: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Path -> `name` and, where the folder is a checkpoint's, `pk`; else the folder's last two names."""
    wanted = {path for path in paths if path}
    known = {row.path: {"name": row.name, "pk": row.pk} for row in Checkpoint.objects.filter(path__in=wanted)}
    return {path: known.get(path) or {"name": "/".join(Path(path).parts[-2:]), "pk": None} for path in wanted}


def people(annotators: Iterable[str]) -> dict[str, User]:
    """Annotator -> user, of those named as labeling.export.annotator names them."""
    numbers = {name: int(name[1:]) for name in annotators if re.fullmatch(r"a[0-9]{1,9}", name)}
    users = User.objects.in_bulk(numbers.values())
    return {name: users[number] for name, number in numbers.items() if number in users}
