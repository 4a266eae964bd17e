"""How a scripted contractor judges answers: by a rule on the text alone, which is not the trained reward model."""

import re
from typing import Any

# Two answers whose scores lie closer than this are a tie to a scripted contractor.
TIE = 0.05
# Below this an answer is unacceptable: empty, or mostly repeating itself.
UNACCEPTABLE = -1.0
# The scores that the lowest and the highest value of a scale stand for.
LOWEST, HIGHEST = -1.0, 3.0


def score(*, prompt: str, answer: str) -> float:
    """The rule by which a scripted contractor ranks; higher is better.

    +1 for the prompt's language, +0.5 for ending a sentence, up to +1 for taking up the prompt's words, up to +0.5
    for 15 to 80 words, minus 3 times the share of repeated word triples. An empty answer scores -10.
    """
    words = _words(answer)
    if not words:
        return -10.0
    asked = {word for word in _words(prompt) if len(word) > 3 or _is_han(word)}
    taken_up = len(asked & set(words)) / max(1, min(len(asked), 8))
    triples = list(zip(words, words[1:], words[2:], strict=False))
    repeated = 1 - len(set(triples)) / len(triples) if triples else 0.0
    length = 1.0 if 15 <= len(words) <= 80 else max(0.0, 1 - abs(len(words) - 40) / 60)
    return (
        1.0 * (_is_chinese(prompt) == _is_chinese(answer))
        + 0.5 * (answer.rstrip()[-1:] in '.!?。！？)）”"`:：')
        + 1.0 * min(1.0, taken_up)
        + 0.5 * length
        - 3.0 * repeated
    )


def _words(text: str) -> list[str]:
    """Lower-case words; each Chinese character counts as one."""
    return re.findall(r"[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+", text.lower())


def _is_han(word: str) -> bool:
    return "\u4e00" <= word[0] <= "\u9fff"


def _is_chinese(text: str) -> bool:
    words = _words(text)
    return bool(words) and sum(_is_han(word) for word in words) > 0.3 * len(words)


def judged(*, scores: dict[str, float], form: dict[str, Any] | None) -> dict[str, Any]:
    """The body of a submit: tiers of letters from best to worst, the unacceptable ones, and what the form asks for.

    `scores` holds each letter's score, with the contractor's own noise in it. No flag is ever raised: the rule knows
    nothing of what flags say.
    """
    asked = form or {"scales": [], "strength": False, "ties": True, "reason": "off"}
    unacceptable = sorted(letter for letter, value in scores.items() if value < UNACCEPTABLE)
    tiers = _tiers({letter: scores[letter] for letter in scores if letter not in unacceptable}, ties=asked["ties"])
    body: dict[str, Any] = {"tiers": tiers, "unacceptable": unacceptable}
    if asked["scales"]:
        body["ratings"] = {
            letter: {scale["key"]: _rating(value, low=scale["low"], high=scale["high"]) for scale in asked["scales"]}
            for letter, value in scores.items()
        }
    if asked["strength"] and len(scores) == 2 and len(tiers) + bool(unacceptable) == 2:
        body["strength"] = _strength(abs(scores["A"] - scores["B"]))
    if asked["reason"] == "required":
        body["reason"] = "The rule's scores: " + ", ".join(
            f"{letter} {scores[letter]:.2f}" for letter in sorted(scores)
        )
    return body


def _tiers(scores: dict[str, float], *, ties: bool) -> list[list[str]]:
    tiers: list[list[str]] = []
    last = 0.0
    for letter in sorted(scores, key=lambda one: -scores[one]):
        if ties and tiers and last - scores[letter] < TIE:
            tiers[-1].append(letter)
        else:
            tiers.append([letter])
        last = scores[letter]
    return tiers


def _rating(score: float, *, low: int, high: int) -> int:
    share = (min(max(score, LOWEST), HIGHEST) - LOWEST) / (HIGHEST - LOWEST)
    return low + round(share * (high - low))


def _strength(difference: float) -> int:
    """1 negligibly better to 4 significantly better."""
    return 1 + sum(difference > bound for bound in (0.25, 0.75, 1.5))
