"""PPO's four models: each reads what it should, and the two that are not trained stay what they were."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.training.trainers import reward_models
from training.trainers.config import build
from training.trainers.likelihood import likelihoods
from training.trainers.models import load_causal_model, load_tokenizer, save_model
from training.trainers.ppo_models import (
    Answers,
    Models,
    PolicyReader,
    ValueReader,
    load,
    require_steady,
    without_dropout,
)
from training.trainers.program import TrainerError
from training.trainers.rankings import encode_answers
from training.trainers.scorer import load_reward_model, plain_scores

GROUP = [
    Answers(prompt=[5, 6, 7, 8], completions=[[10, 11, 12, 2], [13], [14, 15, 16, 17, 18, 2]]),
    Answers(prompt=[9, 10], completions=[[3, 2]]),
]


@pytest.fixture(scope="module")
def judge(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reward_models.whole(tiny, tmp_path_factory.mktemp("models") / "rm", apart=0.02)


def four(
    tiny: Path,
    judge: Path,
    told: list[str] | None = None,
    *,
    zero_point: float = 0.0,
    aside: Path | None = None,
    **params: Any,
) -> Models:
    said = told if told is not None else []
    job: Any = SimpleNamespace(
        config=build("ppo", {"temperature": 0.7} | params),
        model=str(tiny),
        events=SimpleNamespace(status=said.append),
        stop=False,
    )
    return load(job, reward_model=str(judge), zero_point=zero_point, aside=aside)


def shift(models: Models) -> None:
    """Moves every trained weight, as training does."""
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in models.parameters.values():
            parameter.add_(0.1 * torch.randn_like(parameter))


@pytest.mark.parametrize("method", ["full", "lora"])
def test_both_ways_of_reading_come_to_the_same_numbers(tiny: Path, judge: Path, method: str) -> None:
    told: list[str] = []
    models = four(tiny, judge, told, method=method)
    assert models.policy.shared and models.critic.shared
    assert told == ["Loading the policy.", "Loading the reward model."]
    shift(models)
    policy = PolicyReader(models.policy.model, pad_id=0, temperature=0.7, shared=False)
    critic = ValueReader(models.critic.model, pad_id=0, shared=False)
    for ours, plain in (
        (models.policy.log_probs(GROUP), policy.log_probs(GROUP)),
        (models.critic.values(GROUP), critic.values(GROUP)),
    ):
        assert ours.shape == (13,) and torch.allclose(ours, plain, atol=1e-4)
    measured, entropies = models.policy.measured(GROUP)
    again, same = policy.measured(GROUP)
    assert torch.allclose(measured, models.policy.log_probs(GROUP).detach(), atol=1e-5)
    assert torch.allclose(measured, again, atol=1e-4)
    assert torch.allclose(entropies, same, atol=1e-4)


def test_log_probabilities_and_entropies_are_those_of_a_plain_forward(tiny: Path, judge: Path) -> None:
    models = four(tiny, judge)
    plain = likelihoods(
        load_causal_model(str(tiny), load_tokenizer(str(tiny)), dtype=torch.float32),
        [one.prompt for one in GROUP for _ in one.completions],
        [ids for one in GROUP for ids in one.completions],
        pad_id=0,
        temperature=0.7,
        rows_at_once=1,
    )
    log_probs, entropies = models.policy.measured(GROUP)
    assert log_probs.tolist() == pytest.approx([value for one in plain for value in one.logps], abs=1e-4)
    assert entropies.tolist() == pytest.approx([value for one in plain for value in one.entropies], abs=1e-4)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_reference_stays_the_sft_model(tiny: Path, judge: Path, method: str) -> None:
    models = four(tiny, judge, method=method)
    before = models.policy.log_probs(GROUP).detach()
    shift(models)
    with torch.no_grad():
        moved = models.policy.log_probs(GROUP)
        with models.reference() as reference:
            assert torch.allclose(reference.log_probs(GROUP), before, atol=1e-5)
        assert torch.equal(models.policy.log_probs(GROUP), moved) and (moved - before).abs().max() > 0.1


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_judge_stays_the_reward_model_and_the_critic_begins_as_it(tiny: Path, judge: Path, method: str) -> None:
    tokenizer = load_tokenizer(str(judge))
    given = load_reward_model(str(judge), tokenizer, seed=0).eval()
    prompt, answers, _, _ = encode_answers(
        tokenizer, [{"role": "user", "content": "A river?"}], ["The Rhine.", "No"], ended=[True, False], max_length=64
    )
    models = four(tiny, judge, method=method)
    with torch.no_grad():
        wanted = plain_scores(given, prompt, answers, pad_id=0).tolist()
        # What the critic expects before a token is what the reward model gives to all that stands before it.
        values = models.critic.values([Answers(prompt=prompt, completions=answers)]).split(
            [len(ids) for ids in answers]
        )
        for ids, found in zip(answers, values, strict=True):
            scores = [plain_scores(given, prompt, [ids[:end]], pad_id=0).item() for end in range(1, len(ids))]
            assert found[1:].tolist() == pytest.approx(scores, abs=1e-4)
    shift(models)
    ranking: Any = SimpleNamespace(prompt=prompt, completions=answers)
    with models.judging() as scorer:
        assert scorer.all_scores([ranking], rows_at_once=1)[0] == pytest.approx(wanted, abs=1e-4)
    assert (
        torch.cat(list(values)).sub(models.critic.values([Answers(prompt=prompt, completions=answers)])).abs().max()
        > 0.01
    )


def test_models_that_nobody_trains_are_in_memory_only_while_they_are_asked(
    tiny: Path, judge: Path, tmp_path: Path
) -> None:
    kept, aside = four(tiny, judge, method="full"), four(tiny, judge, method="full", aside=tmp_path)
    assert kept.first is not None and aside.first is not None
    frozen = [aside.first.model, aside.reward.model]

    def held() -> list[int]:
        return [sum(one.numel() for one in model.parameters()) for model in frozen]

    ranking: Any = SimpleNamespace(prompt=[5, 6, 7], completions=[[10, 11, 2], [13]])
    shift(aside)  # what is trained shares no weight with them
    assert held() == [0, 0]
    with torch.no_grad(), aside.reference() as reference, kept.reference() as wanted:
        assert held()[0] > 0 == held()[1]
        assert torch.equal(reference.log_probs(GROUP), wanted.log_probs(GROUP))
    with aside.judging() as scorer, kept.judging() as beside:
        assert held()[1] > 0 == held()[0]
        assert scorer.all_scores([ranking], rows_at_once=1) == beside.all_scores([ranking], rows_at_once=1)
    assert held() == [0, 0]
    assert four(tiny, judge, method="full", aside=tmp_path, offload_frozen=False).resting == {}
    assert four(tiny, judge, method="lora", aside=tmp_path).resting == {}  # nothing is held twice


def test_what_is_trained_is_told_apart(tiny: Path, judge: Path) -> None:
    whole, adapters = four(tiny, judge, method="full"), four(tiny, judge, method="lora")
    assert all(name.startswith(("policy.", "critic.")) for name in whole.parameters)
    assert all("lora_" in name or "score" in name for name in adapters.parameters)
    assert any("critic" in name and "score" in name for name in adapters.parameters)
    assert whole.first is not None and four(tiny, judge, method="full", beta=0.0).first is None
    assert adapters.first is None and adapters.reward.model is adapters.critic.model


@pytest.mark.parametrize("way", ["full", "lora", "one trunk"])
def test_the_critic_begins_with_the_rewards_that_ppo_is_given(tiny: Path, judges: dict[str, Path], way: str) -> None:
    """The reward model's scores above its zero point, times its weight; elsewhere a constant would look like a loss."""
    judge, method = judges["adapted" if way == "one trunk" else "whole"], "full" if way == "full" else "lora"
    raw, own = (
        four(tiny, judge, method=method, zero_point=zero, reward_model_weight=weight).critic.values(GROUP)
        for zero, weight in ((0.0, 1.0), (3.0, 0.5))
    )
    assert torch.allclose(own, 0.5 * (raw - 3.0), atol=1e-6)


def test_no_model_drops_anything() -> None:
    """OPT keeps rates as numbers of its modules, which are no layers, and leaves whole layers out."""
    from transformers import OPTConfig, OPTForCausalLM

    torch.manual_seed(0)
    size = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "ffn_dim": 32, "num_attention_heads": 2}
    model = OPTForCausalLM(OPTConfig(**size, word_embed_proj_dim=16, dropout=0.3, attention_dropout=0.3, layerdrop=0.5))
    ids = torch.arange(5, 15)[None]
    model.train()
    assert not torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)
    without_dropout(model)
    assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)
    layer = torch.nn.Sequential(torch.nn.Dropout(0.3), torch.nn.Linear(2, 2))
    without_dropout(layer)
    assert layer[0].p == 0.0


def test_a_model_that_reads_its_rates_from_its_config_is_refused() -> None:
    from transformers import FalconConfig, FalconForCausalLM

    torch.manual_seed(0)
    size = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = FalconForCausalLM(FalconConfig(**size, hidden_dropout=0.3, attention_dropout=0.3))
    without_dropout(model)

    def numbers(shared: bool) -> list[float]:
        found: list[float] = model(input_ids=torch.arange(5, 15)[None]).logits[0, -1].tolist()
        return found

    with pytest.raises(TrainerError, match="FalconForCausalLM drops numbers at random at rates of its config.json"):
        require_steady(model, numbers)


def test_an_adapter_on_gpt2_has_a_critic_of_its_own(tiny: Path, tmp_path: Path) -> None:
    """GPT-2 keeps its weights the other way round, which one trunk does not read."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    tokenizer = load_tokenizer(str(tiny))
    size = {"vocab_size": len(tokenizer), "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 256}
    save_model(tmp_path / "gpt2", model=GPT2LMHeadModel(GPT2Config(**size)), tokenizer=tokenizer)
    judge = reward_models.adapted(tmp_path / "gpt2", tmp_path / "judge")
    models = four(tmp_path / "gpt2", judge, method="lora")
    assert models.trunk is None and models.reward.model is models.critic.model
    models.policy.model.train()
    assert torch.equal(models.policy.log_probs(GROUP), models.policy.log_probs(GROUP))


def test_a_judge_of_another_vocabulary_reads_text_and_the_critic_begins_as_the_policy(
    tiny: Path, judge: Path, tmp_path: Path
) -> None:
    tokenizer = load_tokenizer(str(judge))
    tokenizer.add_tokens(["river"])
    model = load_reward_model(str(judge), tokenizer, seed=0)
    model.resize_token_embeddings(len(tokenizer))
    save_model(tmp_path / "other", model=model, tokenizer=tokenizer, files={"reward.json": {}})
    told: list[str] = []
    models = four(tiny, tmp_path / "other", told, method="lora")
    assert any("another vocabulary" in sentence for sentence in told)
    assert models.reward.model is not models.critic.model
    assert models.reward.model.config.vocab_size != models.tokenizer.vocab_size
    assert not any(parameter.requires_grad for parameter in models.reward.model.parameters())
    assert models.critic.values(GROUP).shape == (13,)
