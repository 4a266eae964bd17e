"""Reads that pages and the API share."""

import math
from typing import Any

from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from hone.accounts import access
from hone.accounts.models import Project, User
from labeling import days, settling
from labeling.models import Category, Comparison, Demonstration, Prompt, Ranking, Slot
from labeling.models.prompts import WANTED_PERCENT
from labeling.models.work import Kind
from labeling.review.exporting import settled


def counts(project: Project, *, role: str | None = access.MANAGER) -> dict[str, int]:
    """What the project holds. Labels by people and by scripts are counted apart, retracted ones not at all.

    `unjudged`: submissions that say that the answers cannot be judged; they are no rankings. Who does not lead is told
    of prompts alone: hidden checks are in no count, so a count that stays as it was after a submit would betray one.
    """
    found = {"prompts": Prompt.objects.filter(project=project).count()}
    if role not in access.LEADS:
        return found
    labels: dict[str, QuerySet[Any]] = {
        "demonstrations": Demonstration.objects.all(),
        "rankings": Ranking.objects.orders(),
        "unjudged": Ranking.objects.verdicts(),
        "comparisons": Comparison.objects.all(),
    }
    for name, rows in labels.items():
        row = rows.filter(project=project, retraction=None).aggregate(
            people=Count("id", filter=Q(simulated=False)), simulated=Count("id", filter=Q(simulated=True))
        )
        found[name], found[f"{name}_simulated"] = row["people"], row["simulated"]
    slots = Slot.objects.filter(project=project, hidden="").exclude(state=Slot.State.WITHDRAWN)
    states = slots.values("kind").annotate(total=Count("id"), done=Count("id", filter=Q(state="submitted")))
    for kind in ("write", "rank"):
        found[f"{kind}_total"] = found[f"{kind}_open"] = 0
    for state in states:
        found[f"{state['kind']}_total"] = state["total"]
        found[f"{state['kind']}_open"] = state["total"] - state["done"]
    return found


def mix(project: Project) -> list[dict[str, Any]]:
    """Each category's prompts and demonstrations beside the share wanted (InstructGPT, table 1)."""
    prompts = dict(Prompt.objects.filter(project=project).values_list("category").annotate(n=Count("id")).order_by())
    standing = Demonstration.objects.filter(project=project, retraction=None)
    demonstrations = dict(standing.values_list("prompt__category").annotate(n=Count("id")).order_by())
    total = sum(prompts.values())
    return [
        {
            "category": category.value,
            "label": category.label,
            "wanted_percent": WANTED_PERCENT[category],
            "prompts": prompts.get(category, 0),
            "demonstrations": demonstrations.get(category, 0),
            "percent": round(100 * prompts.get(category, 0) / total, 1) if total else 0.0,
        }
        for category in Category
    ]


def most_wanted(project: Project) -> dict[str, Any]:
    """The category whose standing demonstrations by people fall shortest of the mix: {category, label, have, wanted}.

    `wanted` is its number among as many demonstrations as there will be with the next one.
    """
    by_people = Demonstration.objects.filter(project=project, simulated=False, retraction=None)
    have = dict(by_people.values_list("prompt__category").annotate(n=Count("id")).order_by())
    total = sum(have.values()) + 1
    category = max(Category, key=lambda each: WANTED_PERCENT[each] * total / 100 - have.get(each, 0))
    return {
        "category": category.value,
        "label": category.label,
        "have": have.get(category, 0),
        "wanted": math.ceil(WANTED_PERCENT[category] * total / 100),
    }


def people(project: Project) -> list[dict[str, Any]]:
    """Members with what each has submitted."""
    done: dict[str, dict[int, int]] = {}
    for name, model in (("demonstrations", Demonstration), ("rankings", Ranking)):
        standing = model._default_manager.filter(project=project, retraction=None)
        done[name] = dict(standing.values_list("author").annotate(n=Count("id")).order_by())
    members = project.memberships.select_related("user").order_by("user__username")
    return [
        {
            "user": member.user,
            "role": member.get_role_display(),
            "demonstrations": done["demonstrations"].get(member.user_id, 0),
            "rankings": done["rankings"].get(member.user_id, 0),
            "simulated": member.user.is_simulated,
        }
        for member in members
    ]


def done_today(*, project: Project, user: User, kind: str | None = None) -> int:
    return _done_today(user, projects=[project.pk], kinds=[kind] if kind else Kind.values).count()


def done_today_by_project(*, user: User, projects: list[int]) -> dict[int, int]:
    slots = _done_today(user, projects=projects, kinds=Kind.values).values_list("project")
    return dict(slots.annotate(n=Count("id")).order_by())


def _done_today(user: User, *, projects: list[int], kinds: list[str]) -> QuerySet[Slot]:
    """Projects and kinds are named because the index of a person's labels goes by them (slot_done_here)."""
    slots = Slot.objects.filter(holder=user, state="submitted", submitted_at__gte=days.midnight())
    return slots.filter(project__in=projects, kind__in=kinds)


def batch_progress(batch_id: int) -> dict[str, int]:
    """Slots of a batch: total, submitted, submitted by scripts, and `open`: submitted, but the author may take the
    label back (labeling.settling).

    No withdrawn ones, none of retracted labels, no hidden checks; but work that was returned to its author is still to
    come.
    """
    past = Q(state=Slot.State.SUBMITTED) & ~_has_label(retraction=None) & _has_label(retraction__isnull=False)
    own = Slot.objects.filter(item__batch_id=batch_id, hidden="").exclude(state=Slot.State.WITHDRAWN)
    return own.exclude(past).aggregate(
        total=Count("id"),
        submitted=Count("id", filter=Q(state="submitted")),
        simulated=Count("id", filter=Q(state="submitted", holder__is_simulated=True)),
        open=Count("id", filter=Q(final_at__gt=Now())),
    )


def _has_label(**which: Any) -> Any:
    """Whether a slot has such a label."""
    of_slot = [model._default_manager.filter(slot=OuterRef("pk"), **which) for model in (Ranking, Demonstration)]
    return Exists(of_slot[0]) | Exists(of_slot[1])


def comparison_rows(*, project: Project, include_simulated: bool) -> Any:
    """The standing comparisons of a project, oldest first, with just what an export line needs."""
    standing = Comparison.objects.filter(project=project, retraction=None)
    rows = settling.final(standing, project=project, by="ranking__slot")
    rows = settled(rows, project=project, by="ranking__")
    if not include_simulated:
        rows = rows.filter(simulated=False)
    return rows.order_by("id").values(
        "id",
        "margin",
        "simulated",
        "chosen_acceptable",
        "rejected_acceptable",
        "posterior",
        messages=F("prompt__messages"),
        prompt_uid=F("prompt__content_hash"),
        category=F("prompt__category"),
        language=F("prompt__language"),
        chosen_text=F("chosen__text"),
        rejected_text=F("rejected__text"),
        ranking_uid=F("ranking_id"),
        form=F("ranking__form"),
        ratings=F("ranking__ratings"),
        flags=F("ranking__flags"),
        strength=F("ranking__strength"),
        reason=F("ranking__reason"),
        chosen_index=F("chosen__index"),
        rejected_index=F("rejected__index"),
        annotator=F("ranking__author_id"),
        guideline_version=F("ranking__guideline__number"),
        created_at=F("ranking__created_at"),
    )
