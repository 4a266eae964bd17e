"""Rows for tests: plain functions with good defaults."""

import itertools
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.utils import timezone

from hone.accounts.models import Membership, Project, User
from labeling import guidelines, qualifying
from labeling.batches import NewItem, open_batch
from labeling.messages import content_hash
from labeling.models import (
    Batch,
    Demonstration,
    Guideline,
    Prompt,
    Qualification,
    Ranking,
    Review,
    ReviewRules,
    Slot,
)
from training.models import Checkpoint, Run, Snapshot

_number = itertools.count(1)


def make_user(username: str | None = None, **fields: Any) -> User:
    name = username or f"user{next(_number)}"
    return User.objects.create_user(username=name, password="correct horse", **fields)


def make_project(slug: str | None = None, *, confirm_guideline: bool = False, **fields: Any) -> Project:
    """Without readings, which are a test's own subject where it wants them."""
    name = slug or f"project-{next(_number)}"
    return Project.objects.create(slug=name, name=name.title(), confirm_guideline=confirm_guideline, **fields)


def make_member(project: Project, role: str = "contractor", **fields: Any) -> User:
    user = make_user(**fields)
    Membership.objects.create(user=user, project=project, role=role)
    return user


def make_guideline(project: Project, *, body: str = "# Spec\n\n## Rules\n\nBe truthful.") -> Guideline:
    draft = guidelines.save_draft(project=project, title="Spec", body=body)
    return guidelines.publish(guideline=draft, actor=make_user())


def make_qualification(project: Project, *, actor: User, words: str = "?", **fields: Any) -> Qualification:
    """A test that is on: one choice question (the first option is right) and one ranking question (A > B > C)."""
    question = {
        "text": words,
        "several": False,
        "options": [f"{words} 1", f"{words} 2"],
        "right": [0],
        "explanation": f"{words} 3",
    }
    ranking = {"prompt": words, "answers": [f"{words} {letter}" for letter in "ABC"], "tiers": [1, 2, 3]}
    values: dict[str, Any] = {
        "is_on": True,
        "pass_percent": 80,
        "attempts": 3,
        "questions": [question],
        "rankings": [ranking],
        "keep": True,
        "based_on": qualifying.stamp(qualifying.test_of(project)),
    }
    made = qualifying.save(project=project, actor=actor, **(values | fields))
    project.refresh_from_db(fields=["asks_qualification"])
    return made


def make_prompt(project: Project, text: str | None = None, messages: Any = None, **fields: Any) -> Prompt:
    messages = messages or [{"role": "user", "content": text or f"Question {next(_number)}?"}]
    values = {"messages": messages, "content_hash": content_hash(messages), "category": "open_qa", **fields}
    return Prompt.objects.create(project=project, **values)


def make_batch(project: Project, kind: str = "rank", *, items: int = 1, answers: int = 4, slots: int = 1) -> Batch:
    new = [
        NewItem(
            prompt=make_prompt(project),
            answers=[f"Answer {n}" for n in range(answers)] if kind == "rank" else (),
        )
        for _ in range(items)
    ]
    return open_batch(project=project, kind=kind, name="Batch", items=new, slots_per_item=slots)


def letters(slot: Slot, *indexes: int) -> list[str]:
    """The letters under which these completions are shown to the slot's holder."""
    assert slot.order_shown is not None
    return ["ABCDEFGHI"[slot.order_shown.index(index)] for index in indexes]


def rank_answer(slot: Slot, order: list[list[int]], unacceptable: list[int] | None = None) -> dict[str, Any]:
    return {
        "tiers": [letters(slot, *tier) for tier in order],
        "unacceptable": letters(slot, *(unacceptable or [])),
    }


def make_ranking(
    user: User, project: Project, order: list[list[int]], unacceptable: list[int] | None = None
) -> Ranking:
    """A ranking submitted through the whole way, on an item of its own."""
    from labeling import assignment, responses

    make_batch(project, answers=sum(len(tier) for tier in order) + len(unacceptable or []))
    slot = assignment.next_slot(project=project, user=user, kind="rank")
    assert slot is not None and slot.lease_token is not None
    answer = rank_answer(slot, order, unacceptable)
    done = responses.submit(
        slot_id=slot.pk, user=user, lease_token=slot.lease_token, client_key=uuid.uuid4(), answer=answer
    )
    assert isinstance(done.label, Ranking)
    return done.label


def make_demonstration(user: User, project: Project, text: str = "Because.", **answer: Any) -> Demonstration:
    """A response submitted through the whole way, on an item of its own."""
    make_batch(project, "write")
    return write_next(user, project, text, **answer)


def write_next(user: User, project: Project, text: str, **answer: Any) -> Demonstration:
    """The next item to write, submitted with this response."""
    from labeling import assignment, responses

    slot = assignment.next_slot(project=project, user=user, kind="write")
    assert slot is not None and slot.lease_token is not None and slot.item.prompt is not None
    # For as long as an answer may claim; less than has passed is what counts.
    Slot.objects.filter(pk=slot.pk).update(leased_at=timezone.now() - timedelta(minutes=10))
    turns = [*slot.item.prompt.messages, {"role": "assistant", "content": text}]
    done = responses.submit(
        slot_id=slot.pk,
        user=user,
        lease_token=slot.lease_token,
        client_key=uuid.uuid4(),
        answer={"messages": turns, **answer},
    )
    assert isinstance(done.label, Demonstration)
    return done.label


def make_review(user: User, project: Project, reviewer: User, text: str = "Because.") -> Review:
    """A demonstration of the user's that this reviewer has in hand; the project reviews all."""
    from labeling.review import queue

    ReviewRules.objects.update_or_create(
        project=project, defaults={"demonstrations_percent": 100, "rankings_percent": 100}
    )
    made = make_demonstration(user, project, text)
    found = queue.next_review(project=project, user=reviewer)
    assert found is not None and found.demonstration == made
    return found


def give_verdict(review: Review, reviewer: User, verdict: str, **more: Any) -> Review:
    from labeling.review import deciding

    assert review.lease_token is not None
    more = {"reason": "wrong", **more} if verdict == "reject" else more
    if verdict == "return":
        more = {"remark": "Please look again.", **more}
    done = deciding.decide(review_id=review.pk, user=reviewer, lease_token=review.lease_token, verdict=verdict, **more)
    return done.review


def make_checkpoint(path: Path | str = "/nowhere", **fields: Any) -> Checkpoint:
    values = {"name": f"model-{next(_number)}", "kind": "base", "path": str(path), **fields}
    return Checkpoint.objects.create(**values)


def make_run(project: Project, **fields: Any) -> Run:
    snapshot = Snapshot.objects.create(
        project=project,
        kind="prompts",
        path="/nowhere.parquet",
        sha256="0" * 64,
        rows=1,
        manifest={"label_ids": []},
    )
    values = {"kind": "sft", "model": make_checkpoint(), "snapshot": snapshot, **fields}
    return Run.objects.create(project=project, **values)


def submit_next(project: Project, user: User) -> Slot:
    """The next ranking, submitted in the order shown."""
    from labeling import assignment, responses

    slot = assignment.next_slot(project=project, user=user, kind="rank")
    assert slot is not None and slot.lease_token is not None and slot.order_shown is not None
    answer = rank_answer(slot, [[index] for index in slot.order_shown])
    responses.submit(slot_id=slot.pk, user=user, lease_token=slot.lease_token, client_key=uuid.uuid4(), answer=answer)
    return slot
