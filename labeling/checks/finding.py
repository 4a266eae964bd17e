"""What a check says about a text."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One remark. `start` and `end` are a span of characters (code points) in the text; None where the whole is meant.

    `message` is the place of the text in the conversation, from 0; `prompt` the id of an earlier prompt that is alike.
    """

    check: str
    action: str
    sentence: str
    start: int | None = None
    end: int | None = None
    message: int = 0
    prompt: int | None = None

    @property
    def blocks(self) -> bool:
        return self.action == "block"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)
