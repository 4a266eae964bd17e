"""What reviews say about people: whose work passes at first sight, and who reviews how much."""

from collections.abc import Iterable
from typing import Any

from django.db.models import Count, Q

from hone.accounts.models import Project, User
from labeling.models import Review
from labeling.models.quality import Retraction
from labeling.quality.intervals import wilson


def share(passed: int, n: int) -> dict[str, Any] | None:
    """A share with its 95 % interval, as a Share in JSON; None of nothing."""
    if not n:
        return None
    low, high = wilson(passed / n, n)
    return {"value": passed / n, "low": low, "high": high, "n": n}


def of_people(project: Project, users: Iterable[User]) -> dict[int, dict[str, Any]]:
    """By user: `first_pass` (the share approved at the first review, or None), `returned` (with them now), `rejected`,
    and `reviews`, how many they decided themselves. Two queries. Labels that a lead retracted count no more."""
    chosen = list(users)
    found: dict[int, dict[str, Any]] = {
        user.pk: {"first_pass": None, "returned": 0, "rejected": 0, "reviews": 0} for user in chosen
    }
    lead = Q(ranking__retraction__cause=Retraction.Cause.LEAD) | Q(
        demonstration__retraction__cause=Retraction.Cause.LEAD
    )
    of_project = Review.objects.filter(project=project, decided_at__isnull=False).order_by()
    made = of_project.exclude(lead).filter(author__in=chosen).values("author")
    first = Q(round=1)
    for row in made.annotate(
        passed=Count("id", filter=first & Q(state=Review.State.APPROVED)),
        reviewed=Count("id", filter=first),
        returned=Count("id", filter=Q(state=Review.State.RETURNED)),
        rejected=Count("id", filter=Q(state=Review.State.REJECTED)),
    ):
        found[row["author"]] |= {
            "first_pass": share(row["passed"], row["reviewed"]),
            "returned": row["returned"],
            "rejected": row["rejected"],
        }
    for reviewer, n in of_project.filter(reviewer__in=chosen).values_list("reviewer").annotate(n=Count("id")):
        found[reviewer]["reviews"] = n
    return found
