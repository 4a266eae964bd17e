"""Whether a model's folder is whole, known from its files before anything is loaded; no torch.

A copy that broke off, weights of which a part is missing, and a tokenizer that belongs to another model would else show
themselves after minutes of loading, or never.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from training.records import RecordError, sha256_file
from training.trainers.token_files import token_ids

# What our own checkpoints say of themselves.
FACTS = "hone.json"
# A header longer than this is no header (safetensors' own limit, in bytes).
_LONGEST_HEADER = 100_000_000
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")


def sign(folder: Path) -> None:
    """Writes into a new checkpoint which tokenizer it was saved with, so that an exchanged one is noticed."""
    text = json.dumps({"tokenizer_sha256": _tokenizer_hash(folder)}, indent=2)
    (folder / FACTS).write_text(text + "\n", encoding="utf-8")


def _tokenizer_hash(folder: Path) -> str | None:
    path = folder / "tokenizer.json"
    return sha256_file(path) if path.is_file() else None


def fault(folder: Path) -> str | None:
    """One sentence that says what is wrong with a folder of config, safetensors weights and tokenizer, or None."""
    if not folder.is_dir():
        return f"The model folder {folder} does not exist."
    if not (folder / "config.json").is_file():
        return f"The model folder {folder} has no config.json."
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        return f"The model folder {folder} has no safetensors weights."
    tensors: dict[str, list[int]] = {}
    for file in weights:
        header = _header(file)
        if header is None:
            return f"The file {file} is no whole safetensors file: it was cut off, or is of another kind."
        tensors |= {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
    return _missing_part(folder, tensors) or _other_tokenizer(folder, tensors)


def _header(file: Path) -> dict[str, Any] | None:
    """The header of a safetensors file whose data are all there, else None."""
    size = file.stat().st_size
    with open(file, "rb") as stream:
        start = stream.read(8)
        if len(start) < 8 or not 2 <= (length := struct.unpack("<Q", start)[0]) <= min(size - 8, _LONGEST_HEADER):
            return None
        try:
            header = json.loads(stream.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, AttributeError, KeyError, TypeError, IndexError):
            return None
    return header if size == 8 + length + max(ends, default=0) else None


def _missing_part(folder: Path, tensors: dict[str, list[int]]) -> str | None:
    """Where the weights are in several files, whether each tensor that their index names is there."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return None
    try:
        named = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"The file {index} cannot be read."
    lacking = next((name for name in named if name not in tensors), None)
    return (
        f"The weights in {folder} lack {lacking}, which {index.name} places in {named[lacking]}." if lacking else None
    )


def _other_tokenizer(folder: Path, tensors: dict[str, list[int]]) -> str | None:
    """Whether the tokenizer was exchanged since the checkpoint was made, or has ids without an embedding."""
    try:
        known = json.loads((folder / FACTS).read_text(encoding="utf-8")).get("tokenizer_sha256")
    except (OSError, ValueError, AttributeError):
        known = None  # made by another program
    if known and _tokenizer_hash(folder) != known:
        return (
            f"The tokenizer.json in {folder} is not the one that its model was saved with: they do not belong together."
        )
    try:
        ids = token_ids(str(folder))
    except RecordError as error:
        return str(error)
    rows = next((shape[0] for name, shape in tensors.items() if name.endswith(_EMBEDDINGS) and shape), None)
    largest = max(ids.values(), default=0) if ids else 0
    if rows is not None and largest >= rows:
        return (
            f"The tokenizer of {folder} has ids up to {largest}, but its model has embeddings for {rows} tokens only: "
            "they do not belong together."
        )
    return None
