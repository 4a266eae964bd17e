"""Importing prompts and demonstrations from files: all or nothing, errors with file, line and reason.

Read are JSON Lines and JSON lists, plain or gzip, by their content rather than their name, in the shapes that
public files have: Hone's own, chat `messages`, ShareGPT `conversations`, Alpaca `instruction`/`input`/`output`,
MT-bench `turns`, self-instruct `instances`, and single `prompt`/`question`/`user_prompt` texts.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from django.db import connection, transaction
from django.utils.translation import gettext as _

from hone.accounts.models import Project, User
from hone.audit.models import record
from labeling import lanes
from labeling.messages import Messages, MessagesError, check_messages, clean_text, content_hash
from labeling.models import Category, Demonstration, Prompt
from labeling.reading import BadJson, json_values

MAX_ERRORS = 50
_CHUNK = 1000


@dataclass(frozen=True)
class Fault:
    """Why a line cannot be imported. `line` counts from 1; in a JSON list it is the entry's place."""

    line: int
    reason: str


class ImportRefused(Exception):
    """Nothing was imported. `faults` holds the first 50 faults, `file` the file's name."""

    def __init__(self, file: str, faults: list[Fault]) -> None:
        super().__init__(f"{file}, line {faults[0].line}: {faults[0].reason}")
        self.file, self.faults = file, faults


@dataclass
class Imported:
    """What a file brought. `prompts` are the ids of its prompts, new or known, in the file's order."""

    file: str
    created: int = 0
    duplicates: int = 0
    prompts: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """One checked row: the prompt, and the conversation with its answer (the prompt alone where it has none)."""

    prompt: Messages
    messages: Messages
    category: str
    language: str
    source: str
    skills: tuple[str, ...] = ()


def import_prompts(*, project: Project, file: IO[bytes], name: str, actor: User) -> Imported:
    """Adds the file's prompts; those that the project has already are counted as duplicates.

    Raises ImportRefused and adds nothing when any line is malformed.
    """
    result = Imported(name)
    with transaction.atomic():
        one_at_a_time(project)
        for chunk in _chunks(read_rows(file=file, name=name, max_chars=project.max_chars, needs_answer=False)):
            _add_prompts(project=project, rows=chunk, actor=actor, result=result)
        record("prompts.imported", project, actor=actor, file=name, created=result.created)
    return result


def import_demonstrations(*, project: Project, file: IO[bytes], name: str, actor: User) -> Imported:
    """Adds the file's conversations as demonstrations by `actor`, and their prompts where they are new.

    A conversation that stands in the project already is counted as a duplicate. Raises ImportRefused as above.
    """
    result = Imported(name)
    with transaction.atomic():
        one_at_a_time(project)
        for chunk in _chunks(read_rows(file=file, name=name, max_chars=project.max_chars, needs_answer=True)):
            prompts = _add_prompts(project=project, rows=chunk, actor=actor, result=Imported(name))
            hashes = [content_hash(row.messages) for row in chunk]
            known = set(
                Demonstration.objects.filter(project=project, content_hash__in=hashes, retraction=None).values_list(
                    "content_hash", flat=True
                )
            )
            new = []
            for row, hashed in zip(chunk, hashes, strict=True):
                if hashed in known:
                    result.duplicates += 1
                    continue
                known.add(hashed)
                new.append(
                    Demonstration(
                        project=project,
                        author=actor,
                        prompt_id=prompts[content_hash(row.prompt)],
                        messages=row.messages,
                        content_hash=hashed,
                        simulated=actor.is_simulated,
                    )
                )
            Demonstration.objects.bulk_create(new, ignore_conflicts=True)
            result.created += len(new)
            result.prompts += [prompts[content_hash(row.prompt)] for row in chunk]
        record("demonstrations.imported", project, actor=actor, file=name, created=result.created)
    return result


def one_at_a_time(project: Project) -> None:
    """Makes other imports into the project wait until the transaction ends.

    So each counts right, and none waits for the other in turn.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('labeling.importing'), %s)", [project.pk % 2**31])


def _add_prompts(*, project: Project, rows: list[Row], actor: User, result: Imported) -> dict[str, int]:
    by_hash = {content_hash(row.prompt): row for row in rows}
    existing = Prompt.objects.filter(project=project, content_hash__in=by_hash)
    known = dict(existing.values_list("content_hash", "id"))
    Prompt.objects.bulk_create(
        (
            Prompt(
                project=project,
                messages=row.prompt,
                category=row.category,
                language=row.language,
                skills=list(row.skills),
                source=row.source,
                content_hash=hashed,
                author=actor,
                simulated=actor.is_simulated,
            )
            for hashed, row in by_hash.items()
            if hashed not in known
        ),
        ignore_conflicts=True,  # somebody may be writing the same prompt
    )
    ids = dict(existing.values_list("content_hash", "id"))
    created = len(ids) - len(known)
    result.created += created
    result.duplicates += len(rows) - created
    result.prompts += [ids[content_hash(row.prompt)] for row in rows]
    return ids


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while chunk := list(itertools.islice(rows, _CHUNK)):
        yield chunk


def read_rows(*, file: IO[bytes], name: str, max_chars: int, needs_answer: bool) -> Iterator[Row]:
    """Every row of a file, checked. Goes on after a fault to name more of them, then raises ImportRefused."""
    faults: list[Fault] = []
    count = 0
    for line, value in json_values(file):
        count += 1
        try:
            if isinstance(value, BadJson):
                raise value
            row = _read(value, max_chars=max_chars, needs_answer=needs_answer, source=name)
        except (MessagesError, BadJson) as error:
            faults.append(Fault(line, str(error)))
        else:
            if not faults:
                yield row
        if len(faults) >= MAX_ERRORS:
            break
    if faults:
        raise ImportRefused(name, faults)
    if not count:
        raise ImportRefused(name, [Fault(1, _("The file holds no rows."))])


_SHAREGPT = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}
_CATEGORY = {
    "extract": "extraction", "summarisation": "summarization", "open qa": "open_qa", "closed qa": "closed_qa",
    "writing": "generation", "roleplay": "chat", "brainstorm": "brainstorming",
}  # fmt: skip


def _read(value: Any, *, max_chars: int, needs_answer: bool, source: str) -> Row:
    if not isinstance(value, dict):
        raise MessagesError(_("a row must be an object."))
    turns = _turns(value)
    # A prompt file may carry answers (a demonstration file, an Alpaca file): they are left out of the prompt.
    prompt = list(turns)
    while prompt and isinstance(prompt[-1], dict) and prompt[-1].get("role") == "assistant":
        prompt.pop()
    if needs_answer and len(prompt) == len(turns):
        raise MessagesError(_("there is no answer: the last message must be by the assistant."))
    checked = check_messages(prompt, ends_with="user", max_chars=max_chars)
    try:
        messages = check_messages(turns, ends_with="assistant", max_chars=max_chars)
    except MessagesError:
        if needs_answer:
            raise
        messages = checked  # an answer that nobody asked for refuses no prompt
    category = (_word(value, "category") or _word(value, "class")).replace("\xa0", " ").lower()
    category = _CATEGORY.get(category, category)
    return Row(
        prompt=checked,
        messages=messages,
        category=category if category in Category.values else Category.OTHER,
        language=(_word(value, "language") or _language(checked))[:16],
        source=(_word(value, "source") or clean_text(source))[:120],
        skills=_skills(value.get("skills")),
    )


def _skills(found: Any) -> tuple[str, ...]:
    """A list of tags, or one text with commas; absent or null for none."""
    words = lanes.split(found) if isinstance(found, str) else found or []
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise MessagesError(_("skills must be a list of short words."))
    try:
        return tuple(lanes.parse_skills(words, most=lanes.MOST_SKILLS_ASKED))
    except lanes.BadTag as error:
        raise MessagesError(_("skills: %(why)s") % {"why": error}) from error


def _word(value: dict[str, Any], key: str) -> str:
    found = value.get(key)
    return clean_text(found).strip() if isinstance(found, str) else ""


def _turns(value: dict[str, Any]) -> list[Any]:
    """The row's messages, whichever of the known shapes it has."""
    if isinstance(value.get("messages"), list):
        return list(value["messages"])
    if isinstance(value.get("conversations"), list):
        turns = value["conversations"]
        if not all(isinstance(turn, dict) for turn in turns):
            raise MessagesError(_("conversations must be a list of objects."))
        return [
            {"role": _SHAREGPT.get(_word(turn, "from"), turn.get("from")), "content": turn.get("value")}
            for turn in turns
        ]
    if isinstance(value.get("turns"), list) and value["turns"]:
        # MT-bench asks its second question after an answer, so the first turn is the prompt.
        return [{"role": "user", "content": value["turns"][0]}]
    if isinstance(value.get("instruction"), str):
        return _instruction(value)
    for key in ("prompt", "question", "user_prompt"):
        if isinstance(value.get(key), list):
            return list(value[key])
        if isinstance(value.get(key), str):
            answer = value.get("std_answer") or value.get("response") or value.get("completion")
            return _pair(value[key], answer if isinstance(answer, str) else "")
    raise MessagesError(
        _("no prompt found; expected messages, conversations, turns, instruction, prompt, question or user_prompt.")
    )


def _instruction(value: dict[str, Any]) -> list[dict[str, str]]:
    """Alpaca's row, or self-instruct's with its first instance."""
    instances = value.get("instances")
    case = instances[0] if isinstance(instances, list) and instances and isinstance(instances[0], dict) else value
    question, extra = value["instruction"], case.get("input")
    if isinstance(extra, str) and extra.strip():
        question = f"{question}\n\n{extra}"
    answer = case.get("output")
    return _pair(question, answer if isinstance(answer, str) else "")


def _pair(question: str, answer: str) -> list[dict[str, str]]:
    turns = [{"role": "user", "content": question}]
    return [*turns, {"role": "assistant", "content": answer}] if answer.strip() else turns


def _language(messages: Messages) -> str:
    """ "zh" where a tenth of the letters are Han characters, "en" otherwise; a row's own field comes first."""
    letters = [c for turn in messages for c in turn["content"] if c.isalpha()]
    han = sum("\u4e00" <= c <= "\u9fff" for c in letters)
    return "zh" if letters and han * 10 >= len(letters) else "en"
