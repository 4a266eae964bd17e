"""The list of sources that the stage pretrain reads: a JSON file, written by hand or by the platform.

    {
      "sources": [
        {"name": "wiki", "path": "wiki/", "weight": 3, "heldout_percent": 2},
        {"name": "poems", "path": "poems.json", "text_field": "paragraphs", "quality_filter": false, "weight": 1},
        {"name": "book", "path": "book.txt.gz", "documents": "paragraphs", "weight": 1}
      ],
      "evaluation": [{"path": "mt_bench/question.jsonl", "text_field": "turns"}],
      "sample_prompts": ["Once upon a time"]
    }

Only `sources` must be there, and of a source only `name` and `path`; paths are taken from the manifest's folder.
The earlier source keeps a text that two sources hold.
"""

from __future__ import annotations

import codecs
import dataclasses
import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.records import RecordError

# How a text file is cut into documents.
DOCUMENTS = ("file", "lines", "paragraphs")
_NAME = re.compile(r"[\w.-]{1,60}")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Files of one kind: a file, an archive (ZIP) or a folder.

    `weight` is the source's part of the training tokens, beside those of the others; where no source has one, every
    document is read once an epoch. `text_field` names the text in JSON and Parquet; `documents` and `encoding` are
    for text files. `heldout_percent` None takes the stage's field of that name. `quality_filter` false spares the
    source the heuristics, as verse, code and whole books need.
    """

    name: str
    path: Path
    text_field: str = "text"
    documents: str = "file"
    encoding: str = "utf-8"
    weight: float | None = None
    heldout_percent: float | None = None
    quality_filter: bool = True


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All that a manifest names; `evaluation` are the files whose prompts no training text may hold."""

    sources: list[Source]
    evaluation: list[Source] = field(default_factory=list)
    sample_prompts: list[str] = field(default_factory=list)

    @property
    def weights(self) -> list[float] | None:
        """The sources' weights, None where none has one."""
        found = [source.weight for source in self.sources if source.weight is not None]
        return found or None


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest; raises RecordError with one sentence that names the source and the field."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecordError(f"The list of sources {path} does not exist.") from error
    except (OSError, ValueError) as error:
        raise RecordError(f"The list of sources {path} cannot be read as JSON: {error}.") from error
    if not isinstance(values, dict) or not isinstance(values.get("sources"), list):
        raise RecordError(f"The list of sources {path} must be a JSON object with a list named sources.")
    if unknown := sorted(set(values) - {"sources", "evaluation", "sample_prompts"}):
        raise RecordError(f"The list of sources {path} has the unknown field(s) {', '.join(unknown)}.")
    if not values["sources"]:
        raise RecordError(f"The list of sources {path} names no source.")
    folder = path.parent
    sources = [_source(entry, number=n, folder=folder) for n, entry in enumerate(values["sources"], start=1)]
    names = [source.name for source in sources]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise RecordError(f"Two sources have the name {twice[0]}; each needs its own.")
    _check_weights(sources)
    return Manifest(
        sources=sources,
        evaluation=_evaluation(values.get("evaluation", []), folder=folder),
        sample_prompts=_prompts(values.get("sample_prompts", [])),
    )


def _source(entry: Any, *, number: int, folder: Path) -> Source:
    if not isinstance(entry, dict):
        raise RecordError(f"Source {number} must be a JSON object.")
    name = entry.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise RecordError(f"Source {number} needs a name of 1 to 60 letters, digits, dots, dashes or underscores.")
    known = {each.name for each in dataclasses.fields(Source)}
    if unknown := sorted(set(entry) - known):
        raise RecordError(
            f"The source {name} has the unknown field(s) {', '.join(unknown)}; known are {', '.join(sorted(known))}."
        )
    for text in ("path", "text_field", "documents", "encoding"):
        if text in entry and (not isinstance(entry[text], str) or not entry[text]):
            raise RecordError(f"The source {name}: {text} must be a text that is not empty.")
    if "path" not in entry:
        raise RecordError(f"The source {name} needs a path.")
    if entry.get("documents", "file") not in DOCUMENTS:
        raise RecordError(
            f"The source {name}: documents must be one of {', '.join(DOCUMENTS)}, not {entry['documents']!r}."
        )
    try:
        codecs.lookup(entry.get("encoding", "utf-8"))
    except LookupError as error:
        raise RecordError(f"The source {name}: encoding {entry['encoding']!r} is not known.") from error
    if not isinstance(entry.get("quality_filter", True), bool):
        raise RecordError(f"The source {name}: quality_filter must be true or false.")
    _check_number(name, entry, "weight", most=math.inf)
    _check_number(name, entry, "heldout_percent", most=50)
    return Source(**entry | {"path": folder / Path(entry["path"]).expanduser()})


def _check_number(name: str, entry: dict[str, Any], key: str, *, most: float) -> None:
    value = entry.get(key)
    if value is None:
        return
    good = (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value <= most
    )
    if not good:
        bounds = "of at least 0" if most == math.inf else f"from 0 to {most:g}"
        raise RecordError(f"The source {name}: {key} must be a number {bounds}, not {value!r}.")


def _check_weights(sources: list[Source]) -> None:
    given = [source for source in sources if source.weight is not None]
    if not given:
        return
    if len(given) < len(sources):
        lacking = next(source.name for source in sources if source.weight is None)
        raise RecordError(f"The source {lacking} has no weight; give each source one, or none of them.")
    if not any(source.weight for source in sources):
        raise RecordError("The weights of all sources are zero, so there is nothing to train on.")


def _evaluation(entries: Any, *, folder: Path) -> list[Source]:
    if not isinstance(entries, list):
        raise RecordError("The field evaluation must be a list of files, each with a path and a text_field.")
    found = []
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
            raise RecordError(f"Evaluation file {number} must be a JSON object with a path.")
        if unknown := sorted(set(entry) - {"path", "text_field"}):
            raise RecordError(f"Evaluation file {number} has the unknown field(s) {', '.join(unknown)}.")
        # A text file of prompts has one a line.
        found.append(
            _source(entry | {"name": f"evaluation-{number}", "documents": "lines"}, number=number, folder=folder)
        )
    return found


def _prompts(values: Any) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise RecordError("The field sample_prompts must be a list of texts.")
    return list(values)
