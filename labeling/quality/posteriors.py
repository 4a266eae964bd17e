"""The consensus of a project's standing rankings: read, fitted, reported, and kept with each comparison.

People's comparisons are judged by people's rankings alone; those of scripted contractors by all rankings together.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db import connection, transaction

from hone.accounts.models import Project
from labeling.comparisons import ranks
from labeling.models import Comparison, Completion, Ranking
from labeling.quality.consensus import Consensus, Votes, fit

_CHUNK = 5000
# People and consensus disagree where it finds most of an item's pairs improbable; so many such items are reported.
ITEMS_REPORTED = 20
# A gold item is suggested where so many people judged it and the consensus is so sure of each step of its order.
PEOPLE_FOR_GOLD, SURE_FOR_GOLD = 3, 0.7


@dataclass(frozen=True)
class Judged:
    """A project's rankings as votes, with whose and which they are. rankings: [n] of each vote."""

    votes: Votes
    rankings: np.ndarray
    item_ids: np.ndarray
    person_ids: np.ndarray


def read(project: Project, *, include_simulated: bool) -> Judged:
    """The votes of the rankings that stand. A ranking of K answers weighs as its K - 1 independent choices."""
    found = Ranking.objects.orders().filter(project=project, retraction=None)
    if not include_simulated:
        found = found.filter(simulated=False)
    columns: list[list[Any]] = [[] for _ in range(6)]
    query = found.order_by("id").values_list("id", "item_id", "author_id", "tiers", "unacceptable")
    for pk, item, author, tiers, unacceptable in query.iterator(chunk_size=_CHUNK):
        rank = ranks(tiers, unacceptable)
        answers = sorted(rank)
        weight = 2 / max(len(answers), 2)
        for place, a in enumerate(answers):
            for b in answers[place + 1 :]:
                if rank[a] == rank[b]:
                    pairs = [(a, b, weight / 2), (b, a, weight / 2)]
                else:
                    pairs = [(a, b, weight) if rank[a] < rank[b] else (b, a, weight)]
                for above, below, part in pairs:
                    for column, value in zip(columns, (pk, item, author, above, below, part), strict=True):
                        column.append(value)
    number = [np.array(column, dtype=np.int64) for column in columns[:5]]
    items, item_rows = np.unique(number[1], return_inverse=True)
    people, person_rows = np.unique(number[2], return_inverse=True)
    width = 1 + int(max(number[3].max(initial=1), number[4].max(initial=1)))
    parts = np.array(columns[5], dtype=float)
    votes = Votes(item_rows, person_rows, number[3], number[4], parts, len(items), len(people), width)
    return Judged(votes, number[0], items, people)


@transaction.atomic
def renew(*, project: Project, include_simulated: bool) -> dict[str, Any]:
    """Fits the consensus and keeps each comparison's posterior; answers with its part of the quality report.

    Without simulated labels people's comparisons are renewed, with them the scripted contractors' alone.
    """
    with connection.cursor() as cursor:
        cursor.execute(_ONE_AT_A_TIME, [project.pk % 2**31])
    judged = read(project, include_simulated=include_simulated)
    if not len(judged.rankings):
        return {"people": [], "disagreements": [], "suggestions": []}
    found = fit(judged.votes)
    _keep(project, judged, found, simulated=include_simulated)
    return {
        "people": _people(judged, found),
        "disagreements": _disagreements(judged, found),
        "suggestions": _suggestions(project, judged, found),
    }


def renew_for(*, project: Project, include_simulated: bool) -> None:
    """Before labels are frozen: the posteriors of all that will be in the data."""
    renew(project=project, include_simulated=False)
    if include_simulated:
        renew(project=project, include_simulated=True)


def _keep(project: Project, judged: Judged, found: Consensus, *, simulated: bool) -> None:
    """Writes what changed, some thousands a statement: the values travel as two arrays."""
    votes = judged.votes
    probability = np.round(found.posterior(votes.item, votes.above, votes.below), 4)
    # A tie's two halves stand here too; they have no comparison that would ask for them.
    columns = (judged.rankings, votes.above, votes.below)
    known = dict(zip(zip(*(column.tolist() for column in columns), strict=True), probability.tolist(), strict=True))
    rows = Comparison.objects.filter(project=project, simulated=simulated, retraction=None).order_by("id")
    query = rows.values_list("id", "ranking_id", "chosen__index", "rejected__index", "posterior")
    changed: list[tuple[int, float]] = []
    for pk, ranking, chosen, rejected, before in query.iterator(chunk_size=_CHUNK):
        value = known.get((ranking, chosen, rejected))
        if value is not None and value != before:
            changed.append((pk, value))
    with connection.cursor() as cursor:
        for at in range(0, len(changed), _CHUNK):
            part = changed[at : at + _CHUNK]
            cursor.execute(_UPDATE, [[pk for pk, _value in part], [value for _pk, value in part]])


# Rows that a retraction writes at this moment are left out, so that a renewal waits for none. A retraction that comes
# now waits until the renewal's transaction ends: let that be a short one.
_UPDATE = """
UPDATE labeling_comparison AS row SET posterior = found.value, posterior_at = statement_timestamp()
  FROM (SELECT kept.id, given.value
          FROM unnest(%s::bigint[], %s::float8[]) AS given(id, value)
          JOIN labeling_comparison AS kept ON kept.id = given.id
           FOR NO KEY UPDATE OF kept SKIP LOCKED) AS found
 WHERE row.id = found.id
"""
# Renewals of one project go one after another: a freeze must not miss what another renewal is writing.
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtext('labeling.consensus'), %s::int)"


def _people(judged: Judged, found: Consensus) -> list[dict[str, Any]]:
    """Each person's reliability, the least reliable first. is_reversed: the whole interval is below a coin's."""
    rows = [
        {
            "person": person,
            "reliability": round(value, 4),
            "low": round(low, 4),
            "high": round(high, 4),
            "is_reversed": high < 0.5,
        }
        for person, value, low, high in zip(
            judged.person_ids.tolist(),
            found.reliability.tolist(),
            found.low.tolist(),
            found.high.tolist(),
            strict=True,
        )
    ]
    return sorted(rows, key=lambda row: (row["reliability"], row["person"]))


def _disagreements(judged: Judged, found: Consensus) -> list[dict[str, Any]]:
    """The items whose votes the consensus finds least probable, of those that two people judged or more."""
    votes = judged.votes
    probable = found.posterior(votes.item, votes.above, votes.below)
    total = np.bincount(votes.item, weights=votes.weight, minlength=votes.items)
    mean = np.bincount(votes.item, weights=votes.weight * probable, minlength=votes.items) / total
    people = _people_of_items(votes)
    order = [n for n in np.argsort(mean, kind="stable").tolist() if people[n] > 1 and mean[n] < 0.6]
    return [
        {"item": int(judged.item_ids[n]), "people": int(people[n]), "agreement": round(float(mean[n]), 4)}
        for n in order[:ITEMS_REPORTED]
    ]


def _suggestions(project: Project, judged: Judged, found: Consensus) -> list[dict[str, Any]]:
    """Items that could be gold: their order by the consensus, and how sure it is of its least sure step."""
    votes = judged.votes
    people = _people_of_items(votes)
    answers = _answers_judged(votes)
    rows: list[dict[str, Any]] = []
    for n in np.flatnonzero(people >= PEOPLE_FOR_GOLD).tolist():
        order = sorted(answers[n], key=lambda answer: -found.scores[n, answer])
        above, below = np.array(order[:-1]), np.array(order[1:])
        sure = float(found.posterior(np.full(len(above), n), above, below).min())
        if sure >= SURE_FOR_GOLD:
            tiers = [[answer] for answer in order]
            rows.append(
                {"item": int(judged.item_ids[n]), "people": int(people[n]), "sure": round(sure, 4), "tiers": tiers}
            )
    return sorted(rows, key=lambda row: (-row["sure"], row["item"]))[:ITEMS_REPORTED]


def _people_of_items(votes: Votes) -> np.ndarray:
    """[items] how many people judged each."""
    both = np.unique(votes.item.astype(np.int64) * votes.people + votes.person)
    return np.bincount(both // votes.people, minlength=votes.items)


def _answers_judged(votes: Votes) -> dict[int, set[int]]:
    found: dict[int, set[int]] = defaultdict(set)
    for side in (votes.above, votes.below):
        for item, answer in np.unique(np.stack([votes.item, side], axis=1), axis=0).tolist():
            found[item].add(answer)
    return found


def strengths(item_id: int) -> dict[int, float]:
    """Each answer's Bradley-Terry strength by all who ranked the item alike, ties as half wins; {} without a ranking.

    By choix (Maystre): small, tested, numpy and scipy alone, and the method's author's own code.
    """
    import choix

    wins = np.zeros((0, 0))
    size = Completion.objects.filter(item=item_id).count()
    rows = Ranking.objects.orders().filter(item=item_id, retraction=None).values_list("tiers", "unacceptable")
    for tiers, unacceptable in rows:
        wins = wins if wins.size else np.zeros((size, size))
        rank = ranks(tiers, unacceptable)
        for a in rank:
            for b in rank:
                if a != b:
                    wins[a, b] += 0.5 if rank[a] == rank[b] else float(rank[a] < rank[b])
    if not wins.any():
        return {}
    # alpha: a little of a win for everybody over everybody, without which an answer that never lost has no strength.
    found = choix.ilsr_pairwise_dense(wins, alpha=0.1)
    return dict(enumerate(np.asarray(found).tolist()))
