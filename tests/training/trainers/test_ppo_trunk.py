"""One trunk for four models: found where it is true, and each adapter is what its own folder says."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.training.trainers import reward_models
from tests.training.trainers.test_ppo_models import GROUP, four, shift
from training.trainers.models import load_causal_model, load_tokenizer
from training.trainers.ppo_models import Answers, ValueReader
from training.trainers.ppo_trunk import adapter_of
from training.trainers.rankings import encode_answers
from training.trainers.scorer import is_reward_model, load_reward_model, plain_scores


@pytest.fixture(scope="module")
def adapted(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reward_models.adapted(tiny, tmp_path_factory.mktemp("models") / "adapted")


def test_it_is_found_where_the_reward_model_is_an_adapter_on_the_policys_start(
    tiny: Path, adapted: Path, tmp_path: Path
) -> None:
    found = adapter_of(str(adapted), str(tiny))
    assert found is not None and (found.rank, found.alpha) == (4, 16) and found.head.shape[0] == 1
    # Trained whole: no adapter. On another model: its weights are not the sum. Another trunk under the same adapter.
    assert adapter_of(str(reward_models.whole(tiny, tmp_path / "whole")), str(tiny)) is None
    other = tmp_path / "other"
    shutil.copytree(tiny, other)
    weights = load_file(other / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][0, 0] += 0.01
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    assert adapter_of(str(adapted), str(other)) is None
    assert adapter_of(str(adapted), "somebody/model") is None


def test_a_broken_adapter_is_no_trunk(tiny: Path, adapted: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(adapted, broken)
    (broken / "adapter" / "adapter_config.json").write_text("{")
    assert adapter_of(str(broken), str(tiny)) is None
    shutil.rmtree(broken / "adapter")
    assert adapter_of(str(broken), str(tiny)) is None


def test_each_of_the_four_is_what_it_should_be_before_and_after_training(tiny: Path, adapted: Path) -> None:
    told: list[str] = []
    models = four(tiny, adapted, told, method="lora")
    assert models.trunk is not None and any("one trunk serves all four" in sentence for sentence in told)
    tokenizer = load_tokenizer(str(adapted))
    given = load_reward_model(str(adapted), tokenizer, seed=0).eval()
    prompt, answers, _, _ = encode_answers(
        tokenizer, [{"role": "user", "content": "A river?"}], ["The Rhine.", "No"], ended=[True, False], max_length=64
    )
    read = [Answers(prompt=prompt, completions=answers)]
    ranking: Any = SimpleNamespace(prompt=prompt, completions=answers)
    with torch.no_grad():
        wanted = plain_scores(given, prompt, answers, pad_id=0).tolist()
        expected = ValueReader(given, pad_id=0, shared=False).values(read)
        models.use("critic")
        assert torch.allclose(models.critic.values(read), expected, atol=1e-4)
        models.use("policy")
        first = models.policy.log_probs(GROUP)
        shift(models)
        assert (models.policy.log_probs(GROUP) - first).abs().max() > 0.1
        models.use("critic")
        assert (models.critic.values(read) - expected).abs().max() > 0.01
        with models.judging() as scorer:
            assert scorer.all_scores([ranking], rows_at_once=1)[0] == pytest.approx(wanted, abs=1e-4)
        models.use("policy")
        with models.reference() as reference:
            assert torch.allclose(reference.log_probs(GROUP), first, atol=1e-5)


def test_it_holds_the_model_once(tiny: Path, adapted: Path) -> None:
    trunk = four(tiny, adapted, method="lora").trunk
    assert trunk is not None
    alone = load_causal_model(str(tiny), load_tokenizer(str(tiny)), dtype=torch.float32)
    frozen = sum(value.numel() for name, value in trunk.policy.named_parameters() if "lora_" not in name)
    assert frozen == sum(value.numel() for value in alone.parameters())


def test_training_one_leaves_the_others(tiny: Path, adapted: Path) -> None:
    models = four(tiny, adapted, method="lora")
    kinds = {
        kind: [value for name, value in models.parameters.items() if name.startswith(kind)]
        for kind in ("policy", "critic")
    }
    for kind, loss in (("policy", models.policy.log_probs), ("critic", models.critic.values)):
        models.use(kind)
        loss(GROUP).sum().backward()
        # B starts at zero, so that a fresh A has a gradient of zeros; but it has one.
        assert all(value.grad is not None for value in kinds[kind])
        other = kinds["critic" if kind == "policy" else "policy"]
        assert all(value.grad is None for value in other)
        for value in kinds[kind]:
            value.grad = None
    assert trunk_is_frozen(models)


def trunk_is_frozen(models: Any) -> bool:
    return all(
        value.grad is None
        for name, value in models.trunk.policy.named_parameters()
        if "lora_" not in name or ".judge." in name
    )


def test_critic_and_policy_are_saved_as_models_of_their_own(tiny: Path, adapted: Path, tmp_path: Path) -> None:
    models = four(tiny, adapted, method="lora")
    shift(models)
    with torch.no_grad():
        models.use("critic")
        values = models.critic.values(GROUP)
        models.use("policy")
        logs = models.policy.log_probs(GROUP)
        models.save_critic(tmp_path / "critic")
        models.save_policy(tmp_path / "policy")
        assert is_reward_model(str(tmp_path / "critic"))
        tokenizer = load_tokenizer(str(tmp_path / "critic"))
        critic = load_reward_model(str(tmp_path / "critic"), tokenizer, seed=9).eval()
        assert torch.allclose(ValueReader(critic, pad_id=0, shared=False).values(GROUP), values, atol=1e-4)
        again = four(tmp_path / "policy", adapted, method="lora")
        assert again.trunk is None, "the policy has moved: the reward model is no adapter on it"
        assert torch.allclose(again.policy.log_probs(GROUP), logs, atol=1e-3)
    assert {path.name for path in (tmp_path / "policy" / "adapter").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
