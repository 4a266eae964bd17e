"""A label as the draft of which it was made: for its author, who goes on with it."""

from typing import Any

from labeling.models import Demonstration, Ranking
from labeling.responses import LETTERS


def of_label(label: Demonstration | Ranking, *, with_time: bool = True) -> dict[str, Any]:
    """What the working page restores. Without its time where the label keeps that, and going on is other work.

    The order shown is the same for the same person, so the letters are.
    """
    common: dict[str, Any] = {"note": label.note}
    if with_time:
        common["active_seconds"] = label.active_seconds
    if isinstance(label, Demonstration):
        about = {"category": label.prompt.category, "language": label.prompt.language}
        return {"messages": label.messages, **about, **common}
    letter = {index: LETTERS[place] for place, index in enumerate(label.order_shown)}
    content = {
        "tiers": [sorted(letter[index] for index in tier) for tier in label.tiers],
        "unacceptable": sorted(letter[index] for index in label.unacceptable),
        "ratings": {letter[int(index)]: given for index, given in label.ratings.items()},
        "flags": {letter[int(index)]: given for index, given in label.flags.items()},
        "strength": label.strength,
        "reason": label.reason,
        **({"verdict": label.verdict} if label.verdict else {}),
    }
    return {**content, **common}
