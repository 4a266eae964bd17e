"""“Cannot judge”: a submission that says why nobody could rank the answers, and what leads see of them.

A skip passes the item on to somebody else; a verdict is this person's judgement of it. It fills the slot and makes a
Ranking without tiers, which nothing measures and nothing trains on.
"""

from collections import Counter
from typing import Any

from django.db.models import Count, Q, QuerySet, Sum
from django.utils.translation import gettext as _

from hone.accounts.models import Project
from labeling.models import Item, Ranking, Slot, Verdict
from labeling.ranking_answers import AnswerError

# So many people who cannot judge an item make it one for a lead to look at.
ENOUGH = 2

_OF_AN_ORDER = ("tiers", "unacceptable", "ratings", "flags", "strength", "reason")


def given(answer: dict[str, Any]) -> dict[str, Any] | None:
    """The ranking's columns where the answer holds a verdict, None where it holds an order. Raises AnswerError."""
    verdict = answer.get("verdict")
    if verdict is None or verdict == "":
        return None
    if verdict not in Verdict.values:
        raise AnswerError("verdict", _("Choose one of the reasons why it cannot be judged."))
    if any(answer.get(field) for field in _OF_AN_ORDER):
        raise AnswerError("verdict", _("Give either an order or the reason why there is none, not both."))
    return {"verdict": verdict, "tiers": [], "unacceptable": [], "moved": False}


def overview(project: Project) -> dict[str, Any]:
    """How often and why people could not judge: standing verdicts by people, the items, and those with ENOUGH."""
    found = _standing(project)
    reasons = Counter(dict(found.values_list("verdict").annotate(n=Count("id")).order_by()))
    return {
        "verdicts": reasons.total(),
        "items": found.values("item").distinct().count(),
        "enough": items(project).count(),
        "reasons": [(Verdict(code).label, n) for code, n in reasons.most_common()],
        "set_aside": project.batches.aggregate(n=Sum("answers_set_aside", default=0))["n"],
    }


def items(project: Project, *, least: int = ENOUGH) -> QuerySet[Item]:
    """Items that stand and that so many people could not judge, those with the most first.

    Each has how many `verdicts`, `orders` by others and `open` slots.
    """
    stands = Q(rankings__retraction=None, rankings__hidden="")
    cannot = stands & Q(rankings__simulated=False, rankings__verdict__gt="")
    ids = _standing(project).values("item").annotate(n=Count("id")).filter(n__gte=least).order_by().values("item")
    return (
        Item.objects.filter(pk__in=ids, withdrawn="")
        .annotate(
            verdicts=Count("rankings", filter=cannot, distinct=True),
            orders=Count("rankings", filter=stands & Q(rankings__verdict=""), distinct=True),
            open=Count("slots", filter=Q(slots__state=Slot.State.OPEN), distinct=True),
        )
        .select_related("prompt")
        .order_by("-verdicts", "pk")
    )


def said_of(shown: list[Item]) -> dict[int, list[dict[str, Any]]]:
    """By item what people said who could not judge it: {label, note, author}, oldest first."""
    rows = Ranking.objects.verdicts().filter(item__in=shown, retraction=None).select_related("author")
    found: dict[int, list[dict[str, Any]]] = {}
    for row in rows.order_by("pk"):
        said = {"label": row.get_verdict_display(), "note": row.note, "author": row.author}
        found.setdefault(row.item_id, []).append(said)
    return found


def _standing(project: Project) -> QuerySet[Ranking]:
    return Ranking.objects.verdicts().filter(project=project, retraction=None, simulated=False)
