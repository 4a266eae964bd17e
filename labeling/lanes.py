"""Lanes: what an item asks of whoever takes it, as one short name on its slots.

"zh" asks for a language, "|law,medicine" for two skills, "zh|law" for both, and "" for nothing. The hand-out looks at
the heads of the lanes that a person may take (labeling.statements), and never steps over what they may not.
"""

import re
import time
from collections.abc import Iterable
from typing import Any

from django.db import connection, transaction
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from hone import prepared
from hone.accounts.models import Membership, Project, User
from hone.audit.models import record
from labeling import statements
from labeling.models import Lane, Prompt, Slot

MOST_LANGUAGES = 12
MOST_SKILLS = 24  # of a person
MOST_SKILLS_ASKED = 5  # by a prompt, so that a lane's name stays short
_LANGUAGE = re.compile(r"[a-z]{2,8}")
_SKILL = re.compile(r"\w[\w-]{0,23}")


class BadTag(ValueError):
    """A language or skill that cannot be taken; the text is a sentence."""


def language_of(tag: str) -> str:
    """The language alone, in small letters: "zh" of "zh-CN"; empty for what is no tag, which nobody could match."""
    first = re.split(r"[-_]", tag.strip().lower(), maxsplit=1)[0]
    return first if _LANGUAGE.fullmatch(first) else ""


def is_read(tag: str, *, by: list[str] | None) -> bool:
    """Whether somebody of these languages may be handed such a prompt; who names none reads all."""
    return not by or language_of(tag) in {"", *by}


def split(text: str) -> list[str]:
    """The words of a field, parted by commas or spaces."""
    return [word for word in re.split(r"[\s,;，；、]+", text) if word]


def parse_languages(text: str) -> list[str]:
    """Tags parted by commas or spaces, each once, sorted. Raises BadTag."""
    found = set()
    for word in split(text):
        if not language_of(word):
            raise BadTag(_("“%(word)s” is no language tag, such as en or zh.") % {"word": word[:40]})
        found.add(language_of(word))
    return _few(sorted(found), MOST_LANGUAGES)


def parse_skills(words: Iterable[str], *, most: int = MOST_SKILLS) -> list[str]:
    """Short tags in small letters, each once, sorted. Raises BadTag."""
    found = set()
    for word in (word.strip().lower() for word in words):
        if word and not _SKILL.fullmatch(word):
            raise BadTag(
                _("“%(word)s” is no skill: one word of at most 24 letters, digits, - and _.") % {"word": word[:40]}
            )
        found.add(word)
    found.discard("")
    return _few(sorted(found), most)


def _few(tags: list[str], most: int) -> list[str]:
    if len(tags) > most:
        raise BadTag(ngettext("At most %(n)d may be named.", "At most %(n)d may be named.", most) % {"n": most})
    return tags


def _required(project: Project, prompt: Prompt | None) -> tuple[str, list[str]]:
    if prompt is None:  # whoever takes it writes the prompt too
        return "", []
    return language_of(prompt.language) if project.match_languages else "", prompt.skills


def _name(language: str, skills: list[str]) -> str:
    return f"{language}|{','.join(skills)}" if skills else language


def open_for(project: Project, prompts: Iterable[Prompt | None]) -> list[str]:
    """The lane of each prompt's item, with rows for lanes that are new to the project.

    The caller's transaction holds the project (`lock`, or `hold_matching`) until it has written the slots.
    """
    required = [_required(project, prompt) for prompt in prompts]
    names = [_name(*one) for one in required]
    new = {
        name: Lane(project=project, name=name, language=language, skills=skills)
        for name, (language, skills) in zip(names, required, strict=True)
        if name
    }
    if new:
        Lane.objects.bulk_create(new.values(), ignore_conflicts=True)
    return names


def lock(project: Project) -> Project:
    """The project as it stands; until the caller's transaction ends, nobody else changes its settings or opens work.

    Not the whole row: who submits meanwhile may refer to it. Who wants a person's lock as well takes that one first.
    """
    return Project.objects.select_for_update(no_key=True).get(pk=project.pk)


# The first key of the advisory locks, which belong to the whole database.
_LOCK = 0x1A9E5


def hold_matching(project_id: int) -> None:
    """Until the caller's transaction ends, nobody switches the matching of languages there.

    For who holds slots or their items already, and so may not wait for the project.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s, %s)", [_LOCK, project_id % 2**31])


def settle(slots: list[int]) -> int:
    """Puts slots into the lanes of today, since a switch passes over held ones; says how many were in another.

    The caller locks them, and withdraws those of withdrawn items before this.
    """
    some = Slot.objects.filter(pk__in=slots, item__prompt__isnull=False)
    for project_id in some.order_by("project").values_list("project", flat=True).distinct():
        hold_matching(project_id)
    stale: dict[Project, list[Slot]] = {}
    for slot in some.select_related("project", "item__prompt").order_by("pk"):
        if slot.lane != _name(*_required(slot.project, slot.item.prompt)):
            stale.setdefault(slot.project, []).append(slot)
    for project, own in stale.items():
        for slot, lane in zip(own, open_for(project, [slot.item.prompt for slot in own]), strict=True):
            Slot.objects.filter(pk=slot.pk).update(lane=lane)
    return sum(map(len, stale.values()))


@transaction.atomic
def match_languages(*, project: Project, on: bool, actor: User) -> None:
    """Switches the matching of languages, and moves the slots that nobody holds to their new lanes.

    Held slots follow when they are freed (`settle`), by the rule that stands then.
    """
    found = lock(project)  # a batch that is being opened meanwhile must not keep the old lanes
    if found.match_languages == on:
        return
    # Whoever frees a slot meanwhile does so before this looks at the slots, or waits and sees the new rule.
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_LOCK, found.pk % 2**31])
    found.match_languages = project.match_languages = on
    found.save(update_fields=["match_languages"])
    waiting = Slot.objects.filter(project=found, state__in=[Slot.State.OPEN, Slot.State.WITHDRAWN])
    kinds = Prompt.objects.filter(items__slots__in=waiting).order_by().values_list("language", "skills").distinct()
    prompts = [Prompt(language=language, skills=skills) for language, skills in kinds]
    moving = {
        "project": found.pk,
        "languages": [prompt.language for prompt in prompts],
        "skills": [",".join(prompt.skills) for prompt in prompts],
        "lanes": open_for(found, prompts),
    }
    # A row that is locked now is being handed out or given back: it is looked at again. Waiting for it while holding
    # the others could wait for who waits for those.
    while prepared.rows(statements.MOVE_TO_LANES, moving)[0]["left"]:
        time.sleep(0.01)
    record("project.languages_matched" if on else "project.languages_not_matched", found, actor=actor)


@transaction.atomic
def set_tags(*, member: Membership, languages: list[str], skills: list[str], actor: User) -> None:
    """What a member brings, as parse_languages and parse_skills return it; holds from their next hand-out."""
    before = {"languages_before": member.languages, "skills_before": member.skills}
    member.languages, member.skills = languages, skills
    member.save(update_fields=["languages", "skills"])
    record("member.tags_changed", member, actor=actor, languages=languages, skills=skills, **before)


def is_work_elsewhere(*, project: Project, user: User, kind: str) -> bool:
    """Whether items are open that the user could take, had they other languages or skills."""
    asked = {"project": project.pk, "user": user.pk}
    return bool(prepared.rows(statements.ELSEWHERE[kind], asked))


def brought_by(*, project: Project, user: User) -> dict[str, Any]:
    """The user's own languages and skills, and whether the project's items ask for any."""
    member = project.memberships.filter(user=user, is_active=True).first()
    return {
        "languages": member.languages if member else [],
        "skills": member.skills if member else [],
        "is_matched": project.match_languages or project.lanes.exists(),
    }
