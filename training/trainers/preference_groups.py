"""What a direct preference loss takes of a ranking: its pairs, or labels of its single completions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from training.records import RankingRow, RecordError, UnpairedRow
from training.trainers.rankings import EncodedRanking


@dataclass(frozen=True, kw_only=True)
class Group:
    """One prompt with its distinct completions (token ids), and what is said of them.

    `pairs` are (better, worse), each with its posterior; `labels` (completion, desirable). One of the two is empty.
    """

    prompt_id: str
    prompt: list[int]
    completions: list[list[int]]
    pairs: list[tuple[int, int]] = field(default_factory=list)
    posteriors: list[float] = field(default_factory=list)
    labels: list[tuple[int, bool]] = field(default_factory=list)
    weight: float = 1.0

    @property
    def tokens(self) -> int:
        """Tokens read when the prompt is read once."""
        return len(self.prompt) + sum(len(ids) for ids in self.completions)


def widest_pairs(ranks: Sequence[int], pairs: Sequence[tuple[int, int]], *, limit: int) -> list[tuple[int, int]]:
    """The `limit` pairs with the widest rank gap (0: all), ties between gaps in the order of the completions."""
    ordered = sorted(pairs, key=lambda pair: (ranks[pair[0]] - ranks[pair[1]], pair))
    return ordered[:limit] if limit else ordered


def paired(ranking: EncodedRanking, *, limit: int) -> Group | None:
    """A ranking's `limit` widest pairs (0: all); pairs of the same text give none, and None where that leaves none.

    A ranking without posteriors has 1 for each.
    """
    texts = ranking.completions
    distinct = [(i, j) for i, j in ranking.pairs if texts[i] != texts[j]]
    posterior = dict(zip(ranking.pairs, ranking.posteriors, strict=True)) if ranking.posteriors else {}
    pairs = widest_pairs(ranking.ranks, distinct, limit=limit)
    if not pairs:
        return None
    completions, place = _distinct(texts, [number for pair in pairs for number in pair])
    return Group(
        prompt_id=ranking.prompt_id,
        prompt=ranking.prompt,
        completions=completions,
        pairs=[(place[i], place[j]) for i, j in pairs],
        posteriors=[posterior.get(pair, 1.0) for pair in pairs],
        weight=ranking.weight,
    )


def labels_of(ranks: Sequence[int], unacceptable: Sequence[bool]) -> dict[int, bool]:
    """Which completions of a ranking are desirable, by their number; those without a label are absent.

    Undesirable is what is marked unacceptable, and the last tier; desirable is the first tier, where it is not marked;
    those between have no label. The ranking has at least two tiers.
    """
    first, last = min(ranks), max(ranks)
    return {
        number: rank == first and not bad
        for number, (rank, bad) in enumerate(zip(ranks, unacceptable, strict=True))
        if bad or rank in (first, last)
    }


def labelled(ranking: EncodedRanking, unacceptable: Sequence[bool]) -> Group:
    """A ranking as labels of single completions (`labels_of`)."""
    labels = labels_of(ranking.ranks, unacceptable)
    completions, place = _distinct(ranking.completions, list(labels))
    return Group(
        prompt_id=ranking.prompt_id,
        prompt=ranking.prompt,
        completions=completions,
        labels=[(place[number], desirable) for number, desirable in labels.items()],
        weight=ranking.weight,
    )


def encode_unpaired(tokenizer: Any, rows: Sequence[UnpairedRow], *, max_length: int) -> tuple[list[Group], int]:
    """Single judged completions as groups of one label, cut by the rule of `rankings.encode`, and how many were cut."""
    from training.trainers.chat import encode_completion, encode_prompt

    groups, cut = [], 0
    for row in rows:
        prompt = encode_prompt(tokenizer, row.prompt)
        ids = encode_completion(tokenizer, row.prompt, row.completion)
        kept = ids[: max(max_length // 2, max_length - len(prompt))]
        room = max_length - len(kept)
        cut += (len(kept) < len(ids)) + (len(prompt) > room)
        groups.append(
            Group(
                prompt_id=row.id,
                prompt=prompt[-room:],
                completions=[kept],
                labels=[(0, row.desirable)],
                weight=row.weight,
            )
        )
    return groups, cut


def groups_of(rows: Sequence[RankingRow], encoded: Sequence[EncodedRanking], *, loss: str, limit: int) -> list[Group]:
    """What the loss takes of each ranking, in their order; rankings that give nothing are left out."""
    found = [
        labelled(ranking, row.unacceptable) if loss == "kto" else paired(ranking, limit=limit)
        for row, ranking in zip(rows, encoded, strict=True)
    ]
    return [group for group in found if group is not None]


def mismatched(groups: Sequence[Group], others: Sequence[Group]) -> list[Group]:
    """Each prompt with one completion of another prompt among `others`, the next one: what KTO's baseline is taken of.

    Raises RecordError where there is no other prompt.
    """
    found = []
    for at, group in enumerate(groups):
        for step in range(1, len(others) + 1):
            other = others[(at + step) % len(others)]
            if other.prompt != group.prompt:
                found.append(dataclasses.replace(group, completions=other.completions[:1], pairs=[], labels=[]))
                break
        else:
            raise RecordError("The loss kto needs at least two different prompts to train on.")
    return found


def _distinct(completions: list[list[int]], used: Sequence[int]) -> tuple[list[list[int]], dict[int, int]]:
    """The distinct ones of the completions `used`, and the place among them of each number in `used`."""
    places: dict[tuple[int, ...], int] = {}
    place = {number: places.setdefault(tuple(completions[number]), len(places)) for number in used}
    return [list(ids) for ids in places], place
