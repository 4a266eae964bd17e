"""What the engine's later stages are given: models, frozen data, and what else their runs read."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from hone.accounts.models import Project, User
from labeling.batches import NewItem, open_batch
from labeling.models import Demonstration, Prompt
from tests import factories
from training import corpora, lineage, outcomes, rounds, runs, stage_data
from training.forms import RoundForm
from training.models import Checkpoint, Round, Run, RunInput
from training.records import DemonstrationRow, PromptRow, RecordError, read_parquet, split_of
from training.trainers import few_shot
from training.trainers.corpus.manifest import read_manifest
from training.trainers.program import read_envelope
from training.trainers.prompts_of_sft import shared

pytestmark = pytest.mark.django_db

TOKENIZER = {"model": {"vocab": {"a": 0, "b": 1}}, "added_tokens": [{"content": "<end>", "id": 2}]}


def model(folder: Path, name: str, **fields: Any) -> Checkpoint:
    (folder / name).mkdir()
    (folder / name / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    return factories.make_checkpoint(folder / name, name=name, **fields)


@pytest.fixture
def base(tmp_path: Path) -> Checkpoint:
    return model(tmp_path, "base")


@pytest.fixture
def judge(tmp_path: Path, project: Project) -> Checkpoint:
    return model(tmp_path, "judge", kind="reward", project=project)


@pytest.fixture
def texts(settings: Any, tmp_path: Path) -> Path:
    settings.CORPORA_DIR = tmp_path / "corpora"
    (settings.CORPORA_DIR / "wiki").mkdir(parents=True)
    for n in range(2):
        (settings.CORPORA_DIR / "wiki" / f"{n}.txt").write_text("Text. " * 100)
    (settings.CORPORA_DIR / "poems.jsonl").write_text('{"lines": "Verse"}\n')
    (settings.CORPORA_DIR / "poems.jsonl.source.json").write_text('{"text_field": "lines", "quality_filter": false}')
    return Path(settings.CORPORA_DIR)


def prompts(project: Project, count: int = 20) -> list[str]:
    return [factories.make_prompt(project).content_hash for _ in range(count)]


def start(project: Project, base: Checkpoint, lead: User, *, heldout: int = 0, **stages: dict[str, Any]) -> Round:
    recipe = rounds.Recipe(name="", start=base, stages=stages, heldout_percent=heldout)
    made = rounds.start(project=project, recipe=recipe, actor=lead)
    rounds.advance(made.pk)
    made.refresh_from_db()
    return made


def run_of(found: Round) -> Run:
    return Run.objects.get(stage__round=found, state="queued")


def given(run: Run) -> dict[str, str]:
    return {one.name: one.path for one in run.inputs.all()}


def envelope(run: Run, tmp_path: Path) -> dict[str, Any]:
    """What the trainer itself reads of the run's config."""
    path = tmp_path / f"config-{run.pk}.json"
    path.write_text(json.dumps(runs.config(run)))
    return read_envelope(path, stage=run.kind)


def finish(run: Run, *, file: str = "") -> Run:
    claimed = runs.claim(run.pk, host="here", boot_id="x")
    assert claimed is not None
    claimed.folder.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"status": "succeeded", "metrics": {"win_rate": 0.5}}
    if file:
        assert "there is no" in (outcomes.problem_with(claimed, result) or "")
        (claimed.folder / file).write_text("{}")
    else:
        folder = claimed.folder / "checkpoint"
        folder.mkdir()
        for name in ("config.json", "model.safetensors"):
            (folder / name).write_text("{}")
        (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER))
        result["checkpoint"] = str(folder)
    assert outcomes.problem_with(claimed, result) is None
    outcomes.accept(claimed, result)
    assert claimed.stage is not None
    rounds.advance(claimed.stage.round_id)
    return claimed


def test_best_of_n_takes_the_newest_reward_model_or_the_one_that_is_named(
    project: Project, base: Checkpoint, judge: Checkpoint, lead: User, tmp_path: Path, woken: list[int]
) -> None:
    prompts(project, 4)
    newer = model(tmp_path, "newer", kind="reward", project=project)
    run = run_of(start(project, base, lead, best_of_n={"prompts": 3, "n": 8}))
    assert given(run) == {"reward_model": newer.path} and run.params == {"n": 8} and run.snapshot.rows == 3
    assert envelope(run, tmp_path)["inputs"] == {"reward_model": newer.path}
    named = run_of(start(project, base, lead, best_of_n={"prompts": 3, "reward_model": judge.pk}))
    assert given(named) == {"reward_model": judge.path} and named.params == {}
    policy = finish(named).checkpoint
    assert policy.kind == "policy" and policy.parent == base
    assert [one.checkpoint for one in lineage.of(policy)[0]["inputs"]] == [judge]


def test_best_of_n_without_a_reward_model_is_refused_before_and_at_its_turn(
    project: Project, base: Checkpoint, lead: User, woken: list[int]
) -> None:
    prompts(project, 2)
    with pytest.raises(ValueError, match="Best of N needs a reward model"):
        start(project, base, lead, best_of_n={})
    other = factories.make_project()
    foreign = factories.make_checkpoint(name="foreign", kind="reward", project=other)
    with pytest.raises(ValueError, match="Best of N needs a reward model"):
        start(project, base, lead, best_of_n={"reward_model": foreign.pk})
    factories.make_checkpoint(name="own", kind="reward", project=project)
    gone = start(project, base, lead, best_of_n={"reward_model": 10_000_000})
    assert gone.state == "failed" and "names the model 10000000" in gone.stages.get().params["problem"]


def test_evaluation_reads_the_same_heldout_prompts_the_start_and_the_demonstrations(
    project: Project, base: Checkpoint, judge: Checkpoint, lead: User, contractor: User, tmp_path: Path,
    woken: list[int],
) -> None:  # fmt: skip
    prompts(project, 40)
    written = 1
    while split_of(factories.make_demonstration(contractor, project).prompt.content_hash, 30) != "train":
        written += 1
    hashes = project.prompts.values_list("content_hash", flat=True)
    heldout = sorted(one for one in hashes if split_of(one, 30) == "heldout")
    assert len(heldout) > 5
    first = start(project, base, lead, heldout=30, sft={}, evaluate={"prompts": 5})
    sft = finish(run_of(first)).checkpoint
    run = run_of(first)
    rows = read_parquet(run.snapshot.path, row_type=PromptRow)
    by_pk = dict(project.prompts.values_list("pk", "content_hash"))
    assert [by_pk[int(row.id)] for row in rows] == heldout[:5]
    assert run.model == sft and given(run) | {"demonstrations": ""} == {
        "reference": base.path, "reward_model": judge.path, "demonstrations": ""
    }  # fmt: skip
    assert len(read_parquet(given(run)["demonstrations"], row_type=DemonstrationRow)) == written
    assert set(envelope(run, tmp_path)["inputs"]) == {"reference", "reward_model", "demonstrations"}
    ended = finish(run, file="report.json")
    assert ended.state == "succeeded" and not Checkpoint.objects.filter(run=ended).exists()
    first.refresh_from_db()
    assert first.state == "done" and ended.result["metrics"] == {"win_rate": 0.5}
    # A later prompt changes nothing for those that hash below it, and a model is not compared with itself.
    second = start(project, sft, lead, heldout=30, evaluate={"prompts": 5})
    assert run_of(second).snapshot.sha256 == run.snapshot.sha256 and "reference" not in given(run_of(second))
    named = start(project, sft, lead, heldout=30, evaluate={"reference": base.pk})
    assert given(run_of(named))["reference"] == base.path


def test_evaluation_compares_only_models_that_read_the_same_tokens(
    project: Project, base: Checkpoint, lead: User, tmp_path: Path, woken: list[int]
) -> None:
    prompts(project, 2)
    other = model(tmp_path, "other")
    (tmp_path / "other" / "tokenizer.json").write_text(json.dumps(TOKENIZER | {"added_tokens": []}))
    run = run_of(start(project, base, lead, evaluate={"reference": other.pk}))
    assert given(run) == {}
    (tmp_path / "other" / "tokenizer.json").write_text("{")
    assert not stage_data.reads_alike(base, other)


def test_a_reward_model_is_given_the_demonstrations_of_its_zero_point(
    project: Project, base: Checkpoint, lead: User, contractor: User, reviewer: User, woken: list[int]
) -> None:
    factories.make_batch(project, "rank", items=2)
    factories.submit_next(project, reviewer)
    bare = run_of(start(project, base, lead, reward={}))
    assert given(bare) == {}
    written = factories.make_demonstration(contractor, project)
    run = run_of(start(project, base, lead, reward={}))
    [row] = read_parquet(given(run)["demonstrations"], row_type=DemonstrationRow)
    assert row.id == f"d{written.pk}"
    [one] = run.inputs.all()
    assert one.snapshot is not None and one.snapshot.manifest["label_ids"] == [written.pk]


def test_a_reward_model_is_made_from_the_rounds_newest_model_or_the_one_that_is_named(
    project: Project, base: Checkpoint, lead: User, reviewer: User, tmp_path: Path, woken: list[int]
) -> None:
    factories.make_batch(project, "rank", items=2)
    factories.submit_next(project, reviewer)
    smaller = model(tmp_path, "smaller")
    assert run_of(start(project, base, lead, reward={})).model == base
    run = run_of(start(project, base, lead, reward={"trunk": smaller.pk}))
    assert run.model == smaller and run.params == {}


def test_sampling_a_base_model_is_given_the_shortest_demonstrations(
    project: Project, base: Checkpoint, lead: User, contractor: User, woken: list[int]
) -> None:
    for length in (50, 1, 20):
        factories.make_demonstration(contractor, project, text="word " * length)
    run = run_of(start(project, base, lead, sample={"prompts": 1, "examples": 2}, rank={}))
    shown = few_shot.read(given(run)["few_shot"])
    assert [len(messages[-1]["content"].split()) for messages in shown] == [1, 20]
    assert "examples" not in run.params


def test_an_input_is_one_thing_once(project: Project) -> None:
    run = factories.make_run(project)
    for wrong in ({}, {"checkpoint": run.model, "snapshot": run.snapshot}):
        with pytest.raises(IntegrityError), transaction.atomic():
            RunInput.objects.create(run=run, name="reference", **wrong)
    RunInput.objects.create(run=run, name="reference", checkpoint=run.model)
    with pytest.raises(IntegrityError), transaction.atomic():
        RunInput.objects.create(run=run, name="reference", snapshot=run.snapshot)


def test_only_the_sites_own_endpoint_is_asked(project: Project, settings: Any, tmp_path: Path) -> None:
    run = factories.make_run(project, kind="sample", params={"engine": "endpoint"})
    assert envelope(run, tmp_path)["inputs"] == {}
    settings.SAMPLER_ENDPOINT = "http://127.0.0.1:9/v1"
    assert envelope(run, tmp_path)["inputs"] == {"endpoint": "http://127.0.0.1:9/v1"}
    run.params = {"engine": "auto"}
    assert envelope(run, tmp_path)["inputs"] == {}


def test_pretraining_reads_the_corpora_by_name_without_the_heldout_prompts(
    project: Project, base: Checkpoint, lead: User, texts: Path, tmp_path: Path, woken: list[int]
) -> None:
    hashes = prompts(project, 20)
    found = start(project, base, lead, heldout=50, pretrain={"corpora": "wiki=3, poems.jsonl=1", "start": "tiny"})
    run = run_of(found)
    read = read_manifest(Path(run.snapshot.path))
    assert [(one.name, one.weight, one.text_field) for one in read.sources] == [
        ("wiki", 3.0, "text"), ("poems.jsonl", 1.0, "lines")
    ]  # fmt: skip
    assert read.sources[0].path == texts / "wiki" and not read.sources[1].quality_filter
    asked = read.evaluation[0].path.read_text().splitlines()
    assert len(asked) == sum(split_of(one, 50) == "heldout" for one in hashes) > 0
    assert run.snapshot.manifest["bytes"] == {"wiki": 1200, "poems.jsonl": 19} and run.params == {"start": "tiny"}
    assert envelope(run, tmp_path)["data"] == run.snapshot.path
    made = finish(run).checkpoint
    # Its weights were random: it comes from no model. Later stages of the round go on from it.
    assert made.kind == "base" and made.parent is None
    assert stage_data.policy_of(found) == made


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("", "Name at least one"),
        ("wiki, wiki", "twice"),
        ("wiki=2, poems.jsonl", "each corpus a weight"),
        ("wiki=0", "above 0"),
        ("wiki=much", "weight of wiki must be a number"),
        ("wiki=nan", "weight of wiki must be a number"),
        ("../wiki", "no corpus ../wiki; there are: poems.jsonl, wiki"),
        ("poems.jsonl.source.json", "no corpus"),
    ],
)
def test_what_names_no_corpus_is_refused_in_the_form_and_at_its_turn(
    project: Project, base: Checkpoint, lead: User, texts: Path, named: str, words: str, woken: list[int]
) -> None:
    form = RoundForm({"start": base.pk, "use-pretrain": "on", "pretrain-corpora": named}, project=project)
    assert words in " ".join(form.errors["pretrain-corpora"])
    found = start(project, base, lead, pretrain={"corpora": named})
    assert found.state == "failed" and words in found.stages.get().params["problem"]


def test_a_description_that_cannot_be_read_is_named_and_leaves_no_file(
    project: Project, texts: Path, settings: Any
) -> None:
    (texts / "wiki.source.json").write_text('{"documents": "pages"}')
    with pytest.raises(RecordError, match="documents must be one of"):
        corpora.freeze(project=project, named="wiki", heldout_percent=0)
    (texts / "wiki.source.json").write_text('{"path": "/etc"}')
    with pytest.raises(RecordError, match="without name, path and weight"):
        corpora.freeze(project=project, named="wiki", heldout_percent=0)
    assert not list(Path(settings.SNAPSHOTS_DIR).glob("corpus-*"))


@pytest.mark.slow
def test_the_form_refuses_an_endpoint_that_is_not_set_up_and_estimates_every_stage(
    client: Client, project: Project, lead: User, tmp_path: Path, texts: Path, settings: Any
) -> None:
    start_from = model(tmp_path, "start")
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    (tmp_path / "start" / "config.json").write_text(json.dumps(shape | {"vocab_size": 1000}))
    prompts(project, 6)
    client.force_login(lead)
    page = client.get(reverse("training:round_new", args=[project.slug]))
    form = page.context["form"]
    values = {name: field.initial for name, field in form.fields.items() if field.initial is not None}
    values |= {f"use-{kind}": "on" for kind in rounds.ORDER} | {"start": start_from.pk}
    values = {name: value for name, value in values.items() if value is not False}
    answer = client.post(reverse("training:round_estimate", args=[project.slug]), values)
    plan = answer.context["plan"]
    by_kind = {stage["kind"]: stage for stage in plan.stages}
    assert set(by_kind) == {str(kind) for kind in rounds.ORDER}
    for kind in ("pretrain", "sample", "best_of_n", "evaluate"):
        assert by_kind[kind]["estimate"].seconds > 0, kind
    refused = RoundForm(values | {"sample-engine": "endpoint"}, project=project)
    assert "No endpoint is set up" in " ".join(refused.errors["sample-engine"])
    settings.SAMPLER_ENDPOINT = "http://127.0.0.1:9/v1"
    assert "sample-engine" not in RoundForm(values | {"sample-engine": "endpoint"}, project=project).errors


def test_a_lead_sees_what_a_run_read_beside_its_data(
    client: Client, project: Project, judge: Checkpoint, lead: User
) -> None:
    run = factories.make_run(project, kind="best_of_n")
    RunInput.objects.create(run=run, name="reward_model", checkpoint=judge)
    client.force_login(lead)
    page = client.get(reverse("training:run", args=[run.pk])).content.decode()
    assert "Reward model" in page and reverse("training:checkpoint", args=[judge.pk]) in page
    shown = client.get(reverse("api:run", args=[run.pk])).json()
    assert shown["inputs"] == [{"name": "reward_model", "checkpoint": judge.pk, "snapshot": None}]


def test_ppo_asks_prompts_that_nobody_answered_and_none_that_is_held_out(
    project: Project, base: Checkpoint, judge: Checkpoint, lead: User, contractor: User, tmp_path: Path,
    texts: Path, woken: list[int],
) -> None:  # fmt: skip
    hashes = prompts(project, 40)
    written = [factories.make_demonstration(contractor, project) for _ in range(3)]
    assert "train" in {split_of(one.prompt.content_hash, 30) for one in written}
    run = run_of(start(project, base, lead, heldout=30, ppo={"prompts": 100, "updates": 2, "corpora": "wiki"}))
    assert run.params == {"updates": 2}, "a corpus is read only where it is mixed in"
    asked = read_parquet(Path(run.snapshot.path), row_type=PromptRow)
    wanted = {found for found in hashes if split_of(found, 30) == "train"}
    assert {project.prompts.get(pk=int(row.id)).content_hash for row in asked} == wanted
    assert set(given(run)) == {"reward_model", "demonstrations"} and given(run)["reward_model"] == judge.path
    assert set(envelope(run, tmp_path)["inputs"]) == {"reward_model", "demonstrations"}
    policy = finish(run).checkpoint
    assert policy.kind == "policy" and policy.parent == base
    mixed = {"prompts": 100, "allow_sft_prompts": True, "corpora": "wiki=2, poems.jsonl=1", "ptx_coefficient": 27.8}
    run = run_of(start(project, policy, lead, ppo=mixed))
    assert run.snapshot.rows == 40 + len(written)
    assert set(given(run)) == {"reward_model", "demonstrations", "pretraining"}
    assert [one.weight for one in read_manifest(Path(given(run)["pretraining"])).sources] == [2.0, 1.0]
    assert "corpora" not in run.params and run.params["ptx_coefficient"] == 27.8


def demonstrate(user: User, prompt: Prompt) -> Demonstration:
    open_batch(project=prompt.project, kind="write", name="Batch", items=[NewItem(prompt=prompt)])
    return factories.write_next(user, prompt.project, "Because.")


def test_ppo_asks_nothing_that_its_trainer_would_take_for_a_prompt_of_sft(
    project: Project, base: Checkpoint, judge: Checkpoint, lead: User, contractor: User, woken: list[int]
) -> None:
    """Another case and other blanks, and the first turn of a conversation of which the next turn was answered."""
    written = factories.make_demonstration(contractor, project)
    [user] = written.prompt.messages
    factories.make_prompt(project, text=user["content"].upper().replace(" ", "  "))
    texts = [("user", "And then?"), ("assistant", "Then."), ("user", "And after that?")]
    talk = [{"role": role, "content": text} for role, text in texts]
    factories.make_prompt(project, messages=talk[:1])
    demonstrate(contractor, factories.make_prompt(project, messages=talk))
    free = factories.make_prompt(project)
    run = run_of(start(project, base, lead, ppo={"prompts": 100}))
    asked = read_parquet(Path(run.snapshot.path), row_type=PromptRow)
    assert [row.id for row in asked] == [str(free.pk)]
    assert not shared(asked, read_parquet(Path(given(run)["demonstrations"]), row_type=DemonstrationRow))
    demonstrate(contractor, free)
    none = start(project, base, lead, ppo={"prompts": 100})
    assert none.state == "failed"
    assert "There is no prompt that SFT has no answer to" in none.stages.get().params["problem"]


def test_ppo_does_not_count_on_prompts_that_the_same_round_has_answered(
    project: Project, base: Checkpoint, judge: Checkpoint
) -> None:
    prompts(project, 20)
    asked: dict[str, Any] = {"rollout_prompts": 16, "batch_size": 16}
    assert ppo_form(project, base, **asked).is_valid()
    told = ppo_form(project, base, beside={"use-write": "on", "write-prompts": 6}, **asked)
    assert told.errors["ppo-rollout_prompts"][0].startswith("There are 14 prompts that SFT has no answer to, nor gets")
    assert ppo_form(project, base, beside={"use-write": "on", "write-prompts": 4}, **asked).is_valid()
    of_all = ppo_form(project, base, beside={"use-write": "on", "write-prompts": 0}, **asked)
    assert of_all.errors["ppo-rollout_prompts"][0].startswith("There are 0 prompts")


def test_ppo_without_a_reward_model_is_refused(
    project: Project, base: Checkpoint, lead: User, woken: list[int]
) -> None:
    with pytest.raises(ValueError, match="PPO needs a reward model to judge by"):
        start(project, base, lead, ppo={})
    factories.make_checkpoint(name="own", kind="reward", project=project)
    gone = start(project, base, lead, ppo={"prompts": 5})
    assert gone.state == "failed" and "There is no prompt to sample" in gone.stages.get().params["problem"]


def test_ppo_whose_reward_model_is_gone_at_its_turn_fails_with_a_sentence(
    project: Project, base: Checkpoint, judge: Checkpoint, lead: User, woken: list[int]
) -> None:
    prompts(project, 3)
    made = rounds.start(project=project, recipe=rounds.Recipe(name="", start=base, stages={"ppo": {}}), actor=lead)
    judge.delete()
    rounds.advance(made.pk)
    [stage] = made.stages.all()
    assert stage.state == "failed"
    assert stage.params["problem"] == "There is no reward model to judge the answers by: train one first."


def ppo_form(project: Project, base: Checkpoint, beside: dict[str, Any] | None = None, **values: Any) -> RoundForm:
    form = RoundForm(project=project)
    data = {
        name: field.initial
        for name, field in form.fields.items()
        if field.initial is not None and field.initial is not False
    }
    data = {name: value for name, value in data.items() if not name.startswith("use-")}
    data |= {"use-ppo": "on", "start": base.pk, "heldout_percent": 0, "ppo-rollout_prompts": 16}
    data |= {f"ppo-{name}": value for name, value in values.items()}
    return RoundForm(data | (beside or {}), project=project)


def test_the_form_of_ppo_asks_for_enough_prompts_and_for_corpora_that_are_there(
    project: Project, base: Checkpoint, judge: Checkpoint, contractor: User, texts: Path
) -> None:
    prompts(project, 12)
    for _ in range(6):
        factories.make_demonstration(contractor, project)
    form = ppo_form(project, base)
    assert form.errors == {
        "ppo-rollout_prompts": [
            "There are 12 prompts that SFT has no answer to, nor gets one in this round, for an update of 16: ask for "
            "fewer, import more, or allow those of SFT."
        ]
    }
    assert ppo_form(project, base, allow_sft_prompts="on").is_valid()
    too_few = ppo_form(project, base, allow_sft_prompts="on", prompts=15)
    assert too_few.errors["ppo-rollout_prompts"] == [
        "There are 15 prompts for an update of 16: ask for fewer, or import more."
    ]
    small = {"rollout_prompts": 8, "batch_size": 8}
    assert ppo_form(project, base, **small).is_valid()
    assert ppo_form(project, base, **small, ptx_coefficient=1).errors == {"ppo-corpora": ["Name at least one corpus."]}
    named_wrong = {**small, "corpora": "news"}
    assert ppo_form(project, base, **named_wrong).is_valid(), "nothing is mixed in"
    told = ppo_form(project, base, **named_wrong, ptx_coefficient=1)
    assert "There is no corpus news" in str(told.errors["ppo-corpora"])
    made = ppo_form(project, base, **small, ptx_coefficient=1, corpora="wiki=1", reward_model=judge.pk)
    assert made.is_valid() and made.recipe().stages["ppo"]["reward_model"] == judge.pk
    named = ppo_form(project, base, **small, reward_functions="kindness=1").errors["ppo-reward_functions"]
    assert "kindness is no reward function here; there are ends, length, repetition" in str(named)
