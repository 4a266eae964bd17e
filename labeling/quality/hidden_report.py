"""The part of a project's quality report that hidden checks give: people, and gold items."""

from dataclasses import asdict
from typing import Any

from hone.accounts.models import Project
from labeling.comparisons import ranks
from labeling.models import GoldItem, Hidden, Ranking
from labeling.quality.hidden_scores import (
    GoldAnswer,
    Ranks,
    Repeat,
    consistency_by_person,
    gold_by_item,
    gold_by_person,
)


def body(*, project: Project, include_simulated: bool) -> dict[str, Any]:
    """{people: [{person, gold, consistency, tau_b}], gold_items: [{item, answers, wrong, …}]} as JSON.

    Retracted labels count here: whether a person can be relied on does not change by taking their labels back.
    """
    answers, repeats = _gold_answers(project, include_simulated), _repeats(project, include_simulated)
    gold, consistency = gold_by_person(answers), consistency_by_person(repeats)
    return {
        "people": [
            {
                "person": person,
                "gold": asdict(gold[person]) if person in gold else None,
                "consistency": asdict(consistency[person].pairs) if person in consistency else None,
                "tau_b": consistency[person].tau_b if person in consistency else None,
            }
            for person in sorted({*gold, *consistency})
        ],
        "gold_items": [{**asdict(row), "is_suspect": row.is_suspect} for row in gold_by_item(answers)],
    }


def _gold_answers(project: Project, include_simulated: bool) -> list[GoldAnswer]:
    references = {
        gold.item_id: ranks(gold.tiers, gold.unacceptable)
        for gold in GoldItem.objects.filter(project=project, is_active=True)
    }
    return [
        GoldAnswer(author, item, references[item], ranks(tiers, unacceptable))
        for _pk, item, author, tiers, unacceptable in _hidden(project, Hidden.GOLD, include_simulated)
        if item in references
    ]


def _repeats(project: Project, include_simulated: bool) -> list[Repeat]:
    """One for each repeat, beside the last ranking before it: of returned work there are the first one and the
    correction, and a correction after the repeat may follow a reviewer's words."""
    again = {
        (item, author): (pk, ranks(tiers, unacceptable))
        for pk, item, author, tiers, unacceptable in _hidden(project, Hidden.REPEAT, include_simulated)
    }
    firsts = Ranking.objects.orders().filter(project=project, item__in={item for item, _author in again})
    before: dict[tuple[int, int], Ranks] = {}
    columns = firsts.order_by("id").values_list("id", "item_id", "author_id", "tiers", "unacceptable")
    for pk, item, author, tiers, unacceptable in columns:
        if (item, author) in again and pk < again[item, author][0]:
            before[item, author] = ranks(tiers, unacceptable)
    return [Repeat(author, first, again[item, author][1]) for (item, author), first in before.items()]


def _hidden(project: Project, kind: str, include_simulated: bool) -> Any:
    found = Ranking.objects.filter(project=project, hidden=kind, verdict="")
    if not include_simulated:
        found = found.filter(simulated=False)
    return found.order_by("id").values_list("id", "item_id", "author_id", "tiers", "unacceptable").iterator()
