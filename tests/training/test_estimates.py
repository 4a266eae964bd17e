"""What the launch form says will happen: labels, tokens and memory, counted by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from hone.accounts.models import Project, User
from tests import factories
from training import estimates
from training.estimates import BYTES_PER_TOKEN, Plan
from training.forms import RoundForm
from training.models import Checkpoint
from training.trainers.estimate import parameters

pytestmark = pytest.mark.django_db

MODEL = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 1000,
    "tie_word_embeddings": True,
}


@pytest.fixture
def base(tmp_path: Path) -> Checkpoint:
    (tmp_path / "config.json").write_text(json.dumps(MODEL))
    return factories.make_checkpoint(tmp_path, name="base-model")


def plan_of(project: Project, base: Checkpoint, *stages: str, **changes: Any) -> Plan:
    """The plan of the form's defaults with these stages and changes (`sample__k=2`)."""
    initial: dict[str, Any] = {f"use-{kind}": kind in stages for kind in estimates.rounds.ORDER}
    initial |= {"start": base, "heldout_percent": 0}
    initial |= {name.replace("__", "-"): value for name, value in changes.items()}
    return estimates.plan(project=project, form=RoundForm(project=project, initial=initial))


def stage_of(plan: Plan, kind: str) -> dict[str, Any]:
    return next(stage for stage in plan.stages if stage["kind"] == kind)


def test_sampling_counts_each_completion_once(project: Project, base: Checkpoint) -> None:
    """Prompts of about 15 tokens, 4 completions of 64 each: the prompts' tokens and 3 x 4 x 64."""
    for n in range(3):
        prompt = factories.make_prompt(project, f"Question {n}?")
    prompt_tokens = len(json.dumps(prompt.messages)) / BYTES_PER_TOKEN
    plan = plan_of(project, base, "sample", "rank", sample__prompts=3, sample__k=4, sample__max_new_tokens=64)
    tokens = round(3 * prompt_tokens) + 3 * 4 * 64
    assert stage_of(plan, "sample")["tokens"] == pytest.approx(tokens, abs=3)
    assert plan.flops == pytest.approx(2 * parameters(MODEL) * tokens, rel=0.01)


def test_writing_zero_prompts_means_all_of_them_and_warns_of_nothing(project: Project, base: Checkpoint) -> None:
    for _ in range(5):
        factories.make_prompt(project)
    plan = plan_of(project, base, "write", "sft", write__prompts=0)
    assert stage_of(plan, "write")["rows"] == 5 and stage_of(plan, "sft")["rows"] == 5
    assert plan.warnings == []


@pytest.mark.parametrize(("wanted", "rows"), [(0, 4), (3, 3), (100, 4)])
def test_labels_to_wait_for_are_never_more_than_the_places(
    project: Project, base: Checkpoint, wanted: int, rows: int
) -> None:
    """Two prompts for two people each."""
    Project.objects.update(slots_per_item=2)
    project.refresh_from_db()
    for _ in range(5):
        factories.make_prompt(project)
    plan = plan_of(
        project, base, "write", "sample", "rank",
        write__prompts=2, write__min_labels=wanted,
        sample__prompts=2, sample__slots_per_item=2, rank__min_labels=wanted,
    )  # fmt: skip
    assert stage_of(plan, "write")["rows"] == rows and stage_of(plan, "rank")["rows"] == rows


def test_a_reward_models_memory_grows_with_the_answers_of_a_ranking(project: Project, base: Checkpoint) -> None:
    for _ in range(4):
        factories.make_prompt(project)
    stages, changes = ("sample", "rank", "reward", "dpo"), {"sample__prompts": 4, "dpo__pairs_per_prompt": 0}
    four, eight = (plan_of(project, base, *stages, sample__k=k, **changes) for k in (4, 8))
    assert stage_of(eight, "reward")["memory"]["activations"] > 1.5 * stage_of(four, "reward")["memory"]["activations"]
    # However many pairs they make, 8 answers are read once, as 4 are.
    assert (
        1.5 * stage_of(four, "dpo")["tokens"] < stage_of(eight, "dpo")["tokens"] <= 2 * stage_of(four, "dpo")["tokens"]
    )


def test_without_sampling_the_projects_own_rankings_say_how_many_answers(
    project: Project, base: Checkpoint, contractor: User
) -> None:
    read = [factories.make_ranking(contractor, project, [[0], [1]]).slot.item.prompt for _ in range(2)]
    characters = sum(len(json.dumps(prompt.messages)) for prompt in read if prompt is not None)
    plan = plan_of(project, base, "dpo", dpo__pairs_per_prompt=0, dpo__epochs=1.0, dpo__batch_size=1)
    [entry] = plan.stages
    # The prompt and both answers of each, once.
    assert entry["rows"] == 2 and entry["tokens"] == pytest.approx((characters + 2 * 16) / BYTES_PER_TOKEN, rel=0.05)


def test_ppo_counts_what_it_draws_reads_and_learns_from(project: Project, base: Checkpoint) -> None:
    """3 updates of 2 prompts with 2 answers of 16 tokens: drawn once, read by four models, learnt by two, twice."""
    for n in range(4):
        prompt = factories.make_prompt(project, f"Question {n}?")
    each = len(json.dumps(prompt.messages)) / BYTES_PER_TOKEN + 2 * 16
    size = {"ppo__rollout_prompts": 2, "ppo__updates": 3, "ppo__answers_each": 2, "ppo__max_new_tokens": 16}
    size |= {"ppo__epochs": 2, "ppo__prompts": 4, "ppo__batch_size": 2}
    plan = plan_of(project, base, "ppo", ppo__method="full", **size)
    tokens, count = 3 * 2 * each, parameters(MODEL)
    assert stage_of(plan, "ppo")["rows"] == 4 and stage_of(plan, "ppo")["tokens"] == pytest.approx(tokens, rel=0.02)
    assert plan.flops == pytest.approx((2 + 8 + 2 * 2 * 6) * count * tokens, rel=0.02)
    assert stage_of(plan, "ppo")["estimate"].trained_parameters == count
    memory = stage_of(plan, "ppo")["memory"]
    # Reference and reward model rest while policy and critic learn.
    assert memory["weights"] == 2 * 4 * count and memory["optimizer"] == 8 * 2 * count
    mixed = {"ppo__ptx_coefficient": 27.8, "ppo__ptx_rows": 4, "ppo__ptx_length": 64}
    with_text = plan_of(project, base, "ppo", ppo__method="full", **size, **mixed)
    assert with_text.flops - plan.flops == pytest.approx(6 * count * 3 * 2 * 2 * 4 * 64, rel=0.02)
    assert stage_of(with_text, "ppo")["memory"]["activations"] > memory["activations"]
    for beta, models in ((0.05, 4), (0.0, 3)):
        kept = {"ppo__method": "full", "ppo__beta": beta, "ppo__offload_frozen": False}
        found = stage_of(plan_of(project, base, "ppo", **kept, **size), "ppo")
        assert found["memory"]["weights"] == models * 4 * count
    assert stage_of(plan_of(project, base, "ppo", **size), "ppo")["memory"]["weights"] == 2 * 4 * count
