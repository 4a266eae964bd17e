"""A round of the engine's later stages with the real trainers: what the platform writes is what they read."""

import json
from pathlib import Path
from typing import Any

import pytest

from hone.accounts.models import Project, User
from tests import factories
from training import launcher, lineage, reports, rounds, stage_data
from training.models import Checkpoint, Run, Snapshot

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

SMALL = {"method": "full", "epochs": 1.0, "max_length": 128, "max_steps": 2, "batch_size": 2}
WORDS = "The tide goes out and comes back while the fishers mend their nets and talk of the weather to come"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from training.trainers.prepare import prepare

    folder = tmp_path_factory.mktemp("models") / "tiny"
    prepare(model="tiny", output=folder)
    return folder


def test_pretrain_reward_ppo_best_of_n_and_evaluate(
    project: Project, tiny: Path, lead: User, contractor: User, reviewer: User, settings: Any, tmp_path: Path,
    woken: list[int],
) -> None:  # fmt: skip
    settings.CORPORA_DIR = tmp_path / "corpora"
    settings.CORPORA_DIR.mkdir()
    pieces = WORDS.split()
    texts = [" ".join(pieces[n:] + pieces[:n]).capitalize() + f", said number {n}." for n in range(len(pieces))]
    (settings.CORPORA_DIR / "tales.txt").write_text("\n".join(texts))
    (settings.CORPORA_DIR / "tales.txt.source.json").write_text('{"documents": "lines", "quality_filter": false}')
    for _ in range(3):
        factories.make_demonstration(contractor, project, text="An answer that people wrote.")
        factories.make_batch(project, "rank")
        factories.submit_next(project, reviewer)
    base = factories.make_checkpoint(tiny, name="tiny")
    draws = {"max_new_tokens": 8, "prompts": 3}
    recipe = rounds.Recipe(
        name="",
        start=base,
        heldout_percent=0,
        stages={
            "pretrain": SMALL | {"corpora": "tales.txt", "deduplicate": "exact"},
            "reward": SMALL,
            "ppo": {
                "method": "lora",
                "updates": 2,
                "rollout_prompts": 2,
                "batch_size": 2,
                "epochs": 1,
                "max_length": 64,
            }
            | {"max_new_tokens": 8, "allow_sft_prompts": True, "ptx_coefficient": 1.0, "ptx_length": 16}
            | {"corpora": "tales.txt", "reward_functions": "length=-0.01"},
            "best_of_n": SMALL | draws | {"n": 2, "only_ended": False, "heldout_percent": 0},
            "evaluate": draws | {"k": 2, "shown": 2},
        },
    )
    found = rounds.start(project=project, recipe=recipe, actor=lead)
    made: dict[str, Run] = {}
    for kind in ("pretrain", "reward", "ppo", "best_of_n", "evaluate"):
        rounds.advance(found.pk)
        run = Run.objects.get(stage__round=found, state="queued")
        assert run.kind == kind
        launcher.execute(run.pk)
        run.refresh_from_db()
        assert run.state == "succeeded", (run.error, launcher.log_tail(run))
        made[kind] = run
    rounds.advance(found.pk)
    found.refresh_from_db()
    assert found.state == "done"

    pretrained, judge, taught, policy = (made[kind].checkpoint for kind in ("pretrain", "reward", "ppo", "best_of_n"))
    assert (pretrained.kind, judge.kind, taught.kind, policy.kind) == ("base", "reward", "policy", "policy")
    assert (
        policy.parent == taught
        and taught.parent == pretrained
        and pretrained.parent == base
        and stage_data.policy_of(found) == policy
    )
    assert json.loads((judge.folder / "reward.json").read_text())["zero_point"]["source"] == "demonstrations"
    assert [one["checkpoint"] for one in lineage.of(policy)] == [policy, taught, pretrained, base]
    # The evaluation measured the policy beside the round's start, by the round's own reward model.
    report = json.loads((made["evaluate"].folder / "report.json").read_text())
    assert (report["policy"]["model"], report["reference"]["model"]) == (policy.path, base.path)
    assert report["reward_model"] == judge.path and report["policy"]["perplexity_rows"] == 3
    assert not Checkpoint.objects.filter(run=made["evaluate"]).exists()
    # PPO read the round's own reward model, the demonstrations and the corpus, and its page has something to show.
    assert {one.name for one in made["ppo"].inputs.all()} == {"reward_model", "demonstrations", "pretraining"}
    told = reports.of(made["ppo"])
    assert (
        told is not None and not told.problem and told.body["updates"] == 2 and len(told.body["newest"]["samples"]) == 2
    )
    assert {name for name, _ in told.body["newest"]["samples"][0]["judged"]} == {"reward_model", "length"}
    corpus = json.loads((made["pretrain"].folder / "corpus" / "report.json").read_text())
    assert [one["name"] for one in corpus["sources"]] == ["tales.txt"]
    assert made["pretrain"].snapshot.kind == Snapshot.Kind.CORPUS
