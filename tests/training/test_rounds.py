"""The loop's state machine: from recipe to second round, with the trainers' results given by hand."""

import uuid
from typing import Any

import pytest
from django.db.models.functions import Now

from hone.accounts.models import Project, User
from labeling import assignment, responses, retraction, withdrawal
from labeling.batches import NewItem, open_batch
from labeling.models import Completion, Item, ModelNames, Slot
from tests import factories
from training import lineage, outcomes, rounds, runs, snapshots, stage_data, tasks
from training.models import Checkpoint, Generation, Round, Run
from training.records import CompletionRow, PromptRow, RecordError, read_parquet, write_jsonl

pytestmark = pytest.mark.django_db


@pytest.fixture
def base() -> Checkpoint:
    return factories.make_checkpoint(name="base")


@pytest.fixture
def prompts(project: Project) -> None:
    for _ in range(6):
        factories.make_prompt(project)


def start(project: Project, base: Checkpoint, lead: User, **stages: dict[str, Any]) -> Round:
    recipe = rounds.Recipe(name="", start=base, stages=stages, heldout_percent=0)
    made = rounds.start(project=project, recipe=recipe, actor=lead)
    rounds.advance(made.pk)
    made.refresh_from_db()
    return made


def stage_states(found: Round) -> dict[str, str]:
    return dict(found.stages.order_by("index").values_list("kind", "state"))


def finish(found: Round, tmp_path: Any = None) -> Run:
    """Ends the round's running run as its trainer would, and moves the round on."""
    run = Run.objects.get(stage__round=found, state="queued")
    claimed = runs.claim(run.pk, host="here", boot_id="x")
    assert claimed is not None
    claimed.folder.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"status": "succeeded", "metrics": {}}
    if run.kind == "sample":
        rows = [
            CompletionRow(prompt_id=row.id, index=i, text=f"Reply {i}\x00", finish_reason="stop", token_count=2, seed=i)
            for row in read_parquet(run.snapshot.path, row_type=PromptRow)
            for i in range(4)
        ]
        write_jsonl(claimed.folder / "completions.jsonl", rows)
    else:
        (claimed.folder / "checkpoint").mkdir()
        for name in ("config.json", "model.safetensors"):
            (claimed.folder / "checkpoint" / name).write_text("{}")
        result["checkpoint"] = str(claimed.folder / "checkpoint")
    outcomes.accept(claimed, result)
    rounds.advance(found.pk)
    found.refresh_from_db()
    return claimed


def write_all(project: Project, user: User) -> None:
    while slot := assignment.next_slot(project=project, user=user, kind="write"):
        assert slot.item.prompt is not None and slot.lease_token is not None
        messages = [*slot.item.prompt.messages, {"role": "assistant", "content": "An answer."}]
        responses.submit(
            slot_id=slot.pk,
            user=user,
            lease_token=slot.lease_token,
            client_key=uuid.uuid4(),
            answer={"messages": messages},
        )


def rank_all(project: Project, user: User) -> None:
    while slot := assignment.next_slot(project=project, user=user, kind="rank"):
        assert slot.lease_token is not None
        responses.submit(
            slot_id=slot.pk,
            user=user,
            lease_token=slot.lease_token,
            client_key=uuid.uuid4(),
            answer=factories.rank_answer(slot, [[3], [2], [1], [0]]),
        )


def test_a_whole_round_and_the_next(
    project: Project, prompts: None, base: Checkpoint, lead: User, contractor: User, reviewer: User, woken: list[int],
    django_capture_on_commit_callbacks: Any,
) -> None:  # fmt: skip
    first = start(
        project,
        base,
        lead,
        write={"prompts": 3},
        sft={"epochs": 1.0},
        sample={"prompts": 2, "slots_per_item": 1, "k": 4},
        rank={},
        reward={},
        dpo={},
    )
    assert first.state == "waiting" and first.name == "Round 1"
    assert Slot.objects.filter(kind="write").count() == 3
    write_all(project, contractor)
    rounds.advance(first.pk)
    assert stage_states(first) | {"sft": "running"} == {
        "write": "done", "sft": "running", "sample": "pending", "rank": "pending", "reward": "pending", "dpo": "pending"
    }  # fmt: skip
    sft = finish(first)
    assert sft.params == {"epochs": 1.0} and sft.model == base
    sample = finish(first)
    assert sample.model.run == sft
    assert first.state == "waiting" and stage_states(first)["rank"] == "waiting"
    # Prompts that have a demonstration are asked last, and the texts hold no NUL.
    assert not Item.objects.filter(kind="rank", prompt__demonstrations__isnull=False).exists()
    assert set(Completion.objects.values_list("text", flat=True)) == {f"Reply {i}" for i in range(4)}
    assert Generation.objects.filter(checkpoint=sample.model).count() == 8
    rank_all(project, reviewer)
    rounds.advance(first.pk)
    reward = finish(first)
    assert reward.kind == "reward" and reward.model == sample.model and reward.snapshot.rows == 2
    dpo = finish(first)
    assert first.state == "done" and first.ended_at is not None
    policy = stage_data.policy_of(first)
    assert policy is not None and policy.run == dpo and policy.kind == "policy"

    second = start(project, policy, lead, sample={"prompts": 2, "k": 4}, rank={"auto": False})
    assert second.number == 2
    again = finish(second)
    assert again.model == policy
    asked = Item.objects.filter(kind="rank").values_list("prompt", flat=True)
    assert len(set(asked)) == 4, "the second round asks other prompts"
    newest = assignment.next_slot(project=project, user=reviewer, kind="rank")
    assert newest is not None and newest.item.batch == second.stages.get(kind="rank").batch

    chain = lineage.of(policy)
    assert [step["checkpoint"].kind for step in chain] == ["policy", "sft", "base"]
    assert chain[0]["labels"]["authors"] == {"reviewer": 2}
    assert chain[0]["labels"]["sampled"] == [sample.model]
    assert chain[1]["labels"]["authors"] == {"contractor": 3}


def test_a_gate_that_is_not_automatic_waits_for_the_lead(
    project: Project, prompts: None, base: Checkpoint, lead: User, contractor: User, woken: list[int]
) -> None:
    found = start(project, base, lead, write={"prompts": 1, "auto": False}, sft={})
    write_all(project, contractor)
    rounds.advance(found.pk)
    assert stage_states(found) == {"write": "ready", "sft": "pending"}
    rounds.continue_past_gate(stage_id=found.stages.get(kind="write").pk, actor=lead)
    rounds.advance(found.pk)
    assert stage_states(found) == {"write": "done", "sft": "running"}
    with pytest.raises(runs.NotPossible):
        rounds.continue_past_gate(stage_id=found.stages.get(kind="write").pk, actor=lead)


def test_a_gate_stays_shut_when_every_label_is_taken_back(
    project: Project, prompts: None, base: Checkpoint, lead: User, contractor: User, manager: User, woken: list[int]
) -> None:
    """With no place left nothing is wanted and nothing there: 0 of 0 is no reason to train."""
    found = start(project, base, lead, write={"prompts": 2}, sft={})
    write_all(project, contractor)
    taken = retraction.retract(
        project=project, author=contractor, since=None, reason="No", ask_again=False, actor=manager
    )
    rounds.advance(found.pk)
    assert stage_states(found) == {"write": "waiting", "sft": "pending"}
    retraction.undo(retraction=taken, actor=manager)
    rounds.advance(found.pk)
    assert stage_states(found) == {"write": "done", "sft": "running"}


def test_a_stage_with_nothing_to_ask_people_for_is_passed(
    project: Project, prompts: None, base: Checkpoint, lead: User, contractor: User, woken: list[int]
) -> None:
    for prompt in stage_data.prompts_to_write(project):
        messages = [*prompt.messages, {"role": "assistant", "content": "An answer."}]
        prompt.demonstrations.create(project=project, author=contractor, messages=messages)
    found = start(project, base, lead, write={}, sft={})
    assert stage_states(found) == {"write": "done", "sft": "running"}


def test_enough_labels_open_the_gate_before_all_slots_are_done(
    project: Project, prompts: None, base: Checkpoint, lead: User, contractor: User, woken: list[int]
) -> None:
    found = start(project, base, lead, write={"prompts": 4, "min_labels": 1}, sft={})
    slot = assignment.next_slot(project=project, user=contractor, kind="write")
    assert slot is not None and slot.item.prompt is not None and slot.lease_token is not None
    rounds.advance(found.pk)
    assert stage_states(found)["write"] == "waiting"
    messages = [*slot.item.prompt.messages, {"role": "assistant", "content": "x"}]
    responses.submit(
        slot_id=slot.pk,
        user=contractor,
        lease_token=slot.lease_token,
        client_key=uuid.uuid4(),
        answer={"messages": messages},
    )
    rounds.advance(found.pk)
    assert stage_states(found) == {"write": "done", "sft": "running"}


def test_advance_twice_launches_one_run(
    project: Project, prompts: None, base: Checkpoint, lead: User, woken: list[int]
) -> None:
    found = start(project, base, lead, sample={"prompts": 2}, rank={})
    rounds.advance(found.pk)
    rounds.advance(found.pk)
    assert Run.objects.filter(stage__round=found).count() == 1


def test_no_data_fails_the_stage_with_a_sentence_and_resume_tries_again(
    project: Project, prompts: None, base: Checkpoint, lead: User, contractor: User, woken: list[int]
) -> None:
    found = start(project, base, lead, sft={})
    assert found.state == "failed"
    assert "no demonstrations by people" in found.stages.get().params["problem"]
    factories.make_batch(project, "write")
    write_all(project, contractor)
    rounds.resume(round_id=found.pk, actor=lead)
    rounds.advance(found.pk)
    found.refresh_from_db()
    assert found.state == "running" and "problem" not in found.stages.get().params


def test_a_failed_run_fails_the_round_which_resumes_from_that_stage(
    project: Project, prompts: None, base: Checkpoint, lead: User, woken: list[int]
) -> None:
    found = start(project, base, lead, sample={"prompts": 2}, rank={})
    Run.objects.filter(stage__round=found).update(state="failed", error="No space left.")
    rounds.advance(found.pk)
    found.refresh_from_db()
    assert found.state == "failed" and stage_states(found) == {"sample": "failed", "rank": "pending"}
    rounds.resume(round_id=found.pk, actor=lead)
    finish(found)
    assert stage_states(found) == {"sample": "done", "rank": "waiting"}


def test_cancel_ends_round_and_run_and_resume_takes_them_up(
    project: Project, prompts: None, base: Checkpoint, lead: User, woken: list[int]
) -> None:
    found = start(project, base, lead, sample={"prompts": 2}, rank={})
    rounds.cancel(round_id=found.pk, actor=lead)
    found.refresh_from_db()
    assert found.state == "cancelled" and Run.objects.get().state == "cancelled"
    with pytest.raises(runs.NotPossible):
        rounds.cancel(round_id=found.pk, actor=lead)
    rounds.resume(round_id=found.pk, actor=lead)
    found.refresh_from_db()
    assert found.state == "running" and Run.objects.get().state == "queued"


@pytest.mark.parametrize(
    ("stages", "words"), [({}, "at least one"), ({"rank": {}}, "needs answers"), ({"sample": {}}, "wait to be ranked")]
)
def test_a_recipe_that_makes_no_round_is_refused(
    project: Project, base: Checkpoint, lead: User, stages: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        start(project, base, lead, **stages)
    assert not Round.objects.exists()


def test_a_click_leaves_the_freezing_of_data_to_the_tick(
    project: Project, prompts: None, base: Checkpoint, lead: User, woken: list[int]
) -> None:
    recipe = rounds.Recipe(name="", start=base, stages={"sample": {"prompts": 2}, "rank": {}})
    found = rounds.start(project=project, recipe=recipe, actor=lead)
    assert found.state == "running" and stage_states(found) == {"sample": "pending", "rank": "pending"}
    assert not Run.objects.exists()
    tasks.advance_rounds()
    assert stage_states(found)["sample"] == "running" and Run.objects.count() == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (RecordError("The conversation has no messages."), "has no messages."),
        (KeyError(3), "KeyError: 3"),
    ],
)
def test_data_that_cannot_be_frozen_fails_the_stage_with_a_sentence_and_can_be_resumed(
    project: Project, prompts: None, base: Checkpoint, lead: User, woken: list[int], monkeypatch: pytest.MonkeyPatch,
    error: Exception, words: str,
) -> None:  # fmt: skip
    def breaks(**_: Any) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(snapshots, "freeze_prompts", breaks)
        found = start(project, base, lead, sample={"prompts": 2}, rank={})
    assert found.state == "failed" and stage_states(found)["sample"] == "failed"
    problem = found.stages.get(kind="sample").params["problem"]
    assert words in problem and ".." not in problem
    rounds.resume(round_id=found.pk, actor=lead)
    assert "problem" not in found.stages.get(kind="sample").params
    tasks.advance_rounds()
    assert stage_states(found)["sample"] == "running"


def test_a_round_that_breaks_does_not_hold_up_the_others(
    project: Project, prompts: None, base: Checkpoint, lead: User, woken: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = rounds.Recipe(name="", start=base, stages={"sample": {"prompts": 2}, "rank": {}})
    broken, whole = (rounds.start(project=project, recipe=recipe, actor=lead) for _ in range(2))
    advance = rounds.advance

    def breaks(round_id: int, **options: Any) -> None:
        if round_id == broken.pk:
            raise KeyError("params")
        advance(round_id, **options)

    monkeypatch.setattr(rounds, "advance", breaks)
    tasks.advance_rounds()
    assert stage_states(broken)["sample"] == "pending" and stage_states(whole)["sample"] == "running"


def test_prompts_to_write_leaves_out_those_that_are_being_written_alone(project: Project, contractor: User) -> None:
    """Not one whose demonstration was taken back and of which something else is open, as its answers to be ranked."""
    being_written, again, never = (factories.make_prompt(project) for _ in range(3))
    for prompt in (being_written, again):
        open_batch(project=project, kind="write", name="w", items=[NewItem(prompt=prompt)], slots_per_item=1)
    Slot.objects.filter(item__prompt=again).update(state="submitted", holder=contractor, submitted_at=Now())
    ranked = NewItem(prompt=again, answers=["a", "b"])
    open_batch(project=project, kind="rank", name="r", items=[ranked], slots_per_item=1)
    assert list(stage_data.prompts_to_write(project)) == [again, never]
    holding = {"holder": contractor, "lease_token": uuid.uuid4(), "lease_expires_at": Now()}
    Slot.objects.filter(item__prompt=being_written).update(state="leased", **holding)
    assert list(stage_data.prompts_to_write(project)) == [again, never]


def test_a_name_as_long_as_the_form_allows_fits_its_batches(
    project: Project, prompts: None, base: Checkpoint, lead: User, contractor: User, woken: list[int]
) -> None:
    recipe = rounds.Recipe(
        name="r" * 120, start=base, stages={"write": {"prompts": 1}, "sample": {"prompts": 1}, "rank": {}}
    )
    found = rounds.start(project=project, recipe=recipe, actor=lead)
    write_all(project, contractor)
    rounds.advance(found.pk)
    finish(found)
    names = [found.stages.get(kind=kind).batch.name for kind in ("write", "rank")]
    assert [(len(name), name[-8:]) for name in names] == [(120, "…: write"), (120, "r…: rank")]


def test_answers_that_name_their_model_are_set_aside_and_the_round_goes_on(
    project: Project, prompts: None, base: Checkpoint, lead: User, contractor: User, woken: list[int]
) -> None:
    """Of each prompt's four answers one is set aside; the lead withdraws one item, which the gate does not wait for."""
    ModelNames.objects.create(project=project, handling="aside", where="any", names="Reply 1")
    made = start(project, base, lead, sample={"k": 4}, rank={})
    run = Run.objects.get(stage__round=made, state="queued")
    first = min(int(row.id) for row in read_parquet(run.snapshot.path, row_type=PromptRow))
    finish(made)
    batch = made.stages.get(kind="rank").batch
    assert batch is not None and batch.answers_set_aside == 6
    kept = Completion.objects.filter(item__batch=batch)
    assert {row.index for row in kept} == {0, 2, 3} and kept.count() == 18
    assert Generation.objects.filter(completion__in=kept).count() == 18
    assert {row.generation.seed for row in kept.select_related("generation")} == {0, 2, 3}
    item = batch.items.get(prompt=first)
    withdrawal.withdraw(item=item, actor=lead)
    while slot := assignment.next_slot(project=project, user=contractor, kind="rank"):
        assert slot.item_id != item.pk
        factories.submit_next(project, contractor)
    rounds.advance(made.pk)
    made.refresh_from_db()
    assert stage_states(made)["rank"] == "done" and made.state == "done"
