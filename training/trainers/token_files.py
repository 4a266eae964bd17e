"""What a model folder's tokenizer.json says, read without any library; no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from training.records import RecordError


def token_ids(model: str) -> dict[str, int] | None:
    """Every token of a folder's tokenizer.json with its id; None where there is no such file.

    Raises RecordError where it cannot be read.
    """
    try:
        facts: dict[str, Any] = json.loads((Path(model) / "tokenizer.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RecordError(f"The file tokenizer.json of {model} cannot be read: {error}.") from error
    held = facts.get("model", {}).get("vocab", {})
    # Unigram models list pairs of a token and its score, in the order of their ids.
    ids = dict(held) if isinstance(held, dict) else {token: id for id, (token, _) in enumerate(held)}
    return ids | {token["content"]: token["id"] for token in facts.get("added_tokens", [])}
