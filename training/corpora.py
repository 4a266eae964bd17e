"""Corpora to pretrain on: files and folders that whoever runs the site puts under HONE_VAR/corpora.

A recipe names them with their parts of the training tokens, `wiki=3, books=1`, and never a path. How a corpus is read
(`text_field`, `documents`, `encoding`, `quality_filter`, `heldout_percent` of trainers.corpus.manifest.Source) may be
written beside it in `<name>.source.json`.
"""

import json
import math
import os
import re
import uuid
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from hone.accounts.models import Project
from training.models import Snapshot
from training.records import RecordError, replacing, sha256_file, split_of
from training.trainers.corpus.manifest import read_manifest

_DESCRIPTION = ".source.json"
# As the trainers name a source, without the names that are folders of their own or hidden.
_NAME = re.compile(r"[\w-][\w.-]{0,59}")


def names() -> list[str]:
    """The corpora that are there."""
    try:
        found = os.listdir(settings.CORPORA_DIR)
    except FileNotFoundError:
        return []
    return sorted(name for name in found if _NAME.fullmatch(name) and not name.endswith(_DESCRIPTION))


def parse(text: str) -> dict[str, float | None]:
    """Each corpus that a recipe names with its weight, None where none is given: "wiki=3, books=1".

    Raises ValueError with a sentence for the lead where it cannot be read, or a corpus is not there.
    """
    weights: dict[str, float | None] = {}
    there = names()
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, sign, number = (piece.strip() for piece in part.partition("="))
        if name not in there:
            known = ", ".join(there) or _("none yet")
            raise ValueError(_("There is no corpus %(name)s; there are: %(known)s.") % {"name": name, "known": known})
        if name in weights:
            raise ValueError(_("The corpus %(name)s stands there twice.") % {"name": name})
        weights[name] = _weight(number, of=name) if sign else None
    if not weights:
        raise ValueError(_("Name at least one corpus."))
    given = [weight for weight in weights.values() if weight is not None]
    if given and len(given) < len(weights):
        raise ValueError(_("Give each corpus a weight, or none of them."))
    if given and not any(given):
        raise ValueError(_("At least one weight must be above 0."))
    return weights


def _weight(number: str, *, of: str) -> float:
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not (math.isfinite(weight) and weight >= 0):
        raise ValueError(_("The weight of %(name)s must be a number of at least 0.") % {"name": of})
    return weight


def files(name: str) -> list[Path]:
    """The files of a corpus, in order."""
    path = Path(settings.CORPORA_DIR) / name
    if not path.is_dir():
        return [path]
    return sorted(Path(folder) / file for folder, _folders, found in os.walk(path) for file in found)


def size(name: str) -> int:
    """Bytes on disk, compressed where the files are."""
    return sum(file.stat().st_size for file in files(name))


def source(name: str, weight: float | None) -> dict[str, Any]:
    """The corpus as an entry of the list of sources; raises RecordError where its description cannot be read."""
    path = Path(settings.CORPORA_DIR) / name
    described = path.with_name(name + _DESCRIPTION)
    entry: dict[str, Any] = {}
    if described.exists():
        try:
            entry = json.loads(described.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RecordError(f"The description {described.name} of a corpus cannot be read: {error}.") from error
        if not isinstance(entry, dict) or {"name", "path", "weight"} & set(entry):
            raise RecordError(
                f"The description {described.name} must be a JSON object that says how the corpus is read, "
                "without name, path and weight."
            )
    entry |= {"name": name, "path": str(path)}
    return entry if weight is None else entry | {"weight": weight}


def freeze(*, project: Project, named: str, heldout_percent: int) -> Snapshot:
    """The list of sources of these corpora, with the project's held-out prompts as what no document may hold.

    The files themselves stay where they are: their sizes stand in the manifest, what was read of them in the run's own
    report. Raises RecordError where a corpus is not there, holds no file, or its description cannot be read.
    """
    try:
        weights = parse(named)
    except ValueError as error:
        raise RecordError(str(error)) from error
    sizes = {name: size(name) for name in weights}
    if empty := next((name for name, count in sizes.items() if not count), None):
        raise RecordError(f"The corpus {empty} holds no text.")
    path = Path(settings.SNAPSHOTS_DIR) / f"{Snapshot.Kind.CORPUS}-{uuid.uuid4().hex}.json"
    evaluation = path.with_suffix(".evaluation.jsonl")
    prompts = _heldout_prompts(project, heldout_percent)
    facts: dict[str, Any] = {"sources": [source(name, weight) for name, weight in weights.items()]}
    try:
        if prompts:
            _write(evaluation, "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in prompts))
            facts["evaluation"] = [{"path": str(evaluation), "text_field": "text"}]
        _write(path, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
        read_manifest(path)  # a description may say what no source can be
        return Snapshot.objects.create(
            project=project,
            kind=Snapshot.Kind.CORPUS,
            path=str(path),
            sha256=sha256_file(path),
            rows=len(weights),
            manifest={
                "schema_version": 1,
                "project": project.slug,
                "kind": Snapshot.Kind.CORPUS,
                "bytes": sizes,
                "weights": {name: weight for name, weight in weights.items() if weight is not None},
                "evaluation_prompts": len(prompts),
                "label_ids": [],
            },
        )
    except BaseException:
        path.unlink(missing_ok=True)  # no row would ever name them
        evaluation.unlink(missing_ok=True)
        raise


def _heldout_prompts(project: Project, heldout_percent: int) -> list[str]:
    """What people ask in the project's held-out prompts, as text."""
    rows = project.prompts.order_by("content_hash").values_list("content_hash", "messages")
    return [
        "\n".join(message["content"] for message in messages if message["role"] == "user")
        for content_hash, messages in rows.iterator()
        if split_of(content_hash, heldout_percent) == "heldout"
    ]


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    path.chmod(0o444)
