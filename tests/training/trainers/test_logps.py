"""Log-probabilities of completions of a shared prompt: against the whole model, values and gradients."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.training.trainers.odd_models import halve_logits
from training.trainers import logps
from training.trainers.config import build
from training.trainers.logps import Reader, adapter_off, make_reader, plain_log_probs, shared_log_probs, token_log_probs
from training.trainers.models import load_causal_model, load_tokenizer, save_memory, with_lora
from training.trainers.preference_groups import Group
from training.trainers.program import StopFlag, Stopped
from training.trainers.shared_prompt import attention_of, use_shared_attention

PROMPTS = [[5, 6, 7, 8], [9, 10]]
# Of 4, 1 and 6 tokens, and of 2 and 1: a completion of one token has no token of its own to read.
COMPLETIONS = [[[10, 11, 12, 2], [13], [14, 15, 16, 17, 18, 2]], [[3, 2], [4]]]


def make_model(tiny: Path, method: str) -> Any:
    torch.manual_seed(0)
    model = load_causal_model(str(tiny), load_tokenizer(str(tiny)), dtype=torch.float32)
    if method == "lora":
        model = with_lora(model, config=build("dpo", {}), task="CAUSAL_LM")
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(0, 0.05)
    return model


def gradients(model: Any) -> torch.Tensor:
    found = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    return found


@pytest.mark.parametrize("block", [512, 4])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_shared_prompt_gives_the_plain_numbers_and_gradients(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, method: str, block: int
) -> None:
    """With a trained head and a frozen one, in one block of positions and in several."""
    monkeypatch.setattr(logps, "POSITIONS_AT_ONCE", block)
    model = make_model(tiny, method)
    plain = [
        plain_log_probs(model, prompt, group, pad_id=0) for prompt, group in zip(PROMPTS, COMPLETIONS, strict=True)
    ]
    # Squares, so that each completion's gradient has a factor of its own.
    torch.cat(plain).square().sum().backward()
    expected = gradients(model)
    use_shared_attention(model)
    shared = shared_log_probs(model, PROMPTS, COMPLETIONS)
    assert [len(part) for part in shared] == [3, 2]
    torch.cat(shared).square().sum().backward()
    found = gradients(model)
    assert torch.allclose(torch.cat(shared), torch.cat(plain), rtol=1e-5)
    assert (found - expected).norm() / expected.norm() < 1e-5


def test_the_plain_numbers_are_the_models_own(tiny: Path) -> None:
    """Each completion alone, token by token, from the logits of one forward pass without padding."""
    model = make_model(tiny, "full")
    for prompt, group in zip(PROMPTS, COMPLETIONS, strict=True):
        found = plain_log_probs(model, prompt, group, pad_id=0)
        for value, ids in zip(found, group, strict=True):
            logits = model(input_ids=torch.tensor([prompt + ids]), use_cache=False).logits[0].log_softmax(-1)
            expected = sum(logits[len(prompt) + at - 1, token].item() for at, token in enumerate(ids))
            assert value.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("frozen", [True, False])
def test_token_scores_by_hand(frozen: bool) -> None:
    """Logits (log 1, log 3) for hidden (1, 0): the tokens have log-probabilities log 1/4 and log 3/4, the second first.

    d log p(0) / d hidden is W[0] - (1/4 W[0] + 3/4 W[1]) = 3/4 (W[0] - W[1]) = 3/4 (-log 3, -1), with W's columns
    (0, log 3) and (0, 1).
    """
    head = torch.nn.Linear(2, 2, bias=False)
    log3 = float(torch.tensor(3.0).log())
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[0.0, 0.0], [log3, 1.0]]))
    head.weight.requires_grad_(not frozen)
    hidden = torch.tensor([[1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    scores, first = token_log_probs(hidden, head, torch.tensor([0, 1]))
    assert scores.exp().tolist() == pytest.approx([0.25, 0.75])
    assert first.tolist() == [False, True]
    scores[0].backward()
    assert hidden.grad is not None
    assert hidden.grad[0].tolist() == pytest.approx([-0.75 * log3, -0.75])
    assert hidden.grad[1].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_temperature_divides_alike_whether_a_gradient_is_asked_for_or_not(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(32, 50, bias=False, dtype=dtype).requires_grad_(False)
    head.weight.mul_(20)
    hidden, targets = torch.randn(7, 32, dtype=dtype), torch.randint(50, (7,))
    with torch.no_grad():
        still, _ = token_log_probs(hidden, head, targets, temperature=0.7)
    asked, _ = token_log_probs(hidden.requires_grad_(), head, targets, temperature=0.7)
    assert torch.allclose(still, asked, atol=1e-5), "PPO's ratio is 1 before the first step"
    asked.sum().backward()
    plain = hidden.detach().float().requires_grad_()
    logs = (plain @ head.weight.float().T / 0.7).log_softmax(-1)
    logs.gather(1, targets[:, None]).sum().backward()
    assert hidden.grad is not None and plain.grad is not None
    allowed = (1e-5 if dtype == torch.float32 else 0.05) * float(plain.grad.abs().max())
    assert float((hidden.grad.float() - plain.grad).abs().max()) < allowed


def test_the_reference_is_the_model_without_its_adapter(tiny: Path) -> None:
    model, base = make_model(tiny, "lora"), make_model(tiny, "full")
    moved = plain_log_probs(model, PROMPTS[0], COMPLETIONS[0], pad_id=0)
    with adapter_off(model):
        off = plain_log_probs(model, PROMPTS[0], COMPLETIONS[0], pad_id=0)
    with adapter_off(base):
        plain = plain_log_probs(base, PROMPTS[0], COMPLETIONS[0], pad_id=0)
    assert torch.allclose(off, plain, atol=1e-5)
    assert (moved - off).abs().max() > 1e-2


def groups() -> list[Group]:
    return [
        Group(prompt_id=str(n), prompt=prompt, completions=completions)
        for n, (prompt, completions) in enumerate(zip(PROMPTS, COMPLETIONS, strict=True))
    ]


def test_all_log_probs_keep_their_order_and_stop_when_asked(tiny: Path) -> None:
    model = make_model(tiny, "full")
    model.train()
    expected = [plain_log_probs(model, PROMPTS[at], COMPLETIONS[at], pad_id=0) for at in (0, 1, 0)]
    use_shared_attention(model)
    reader = Reader(model, pad_id=0, shared=True)
    together = reader.all_log_probs([*groups(), groups()[0]], rows_at_once=2)
    for found, one in zip(together, expected, strict=True):
        assert torch.allclose(found, one, rtol=1e-5) and not found.requires_grad
    assert model.training
    stop = StopFlag()
    stop.set()
    with pytest.raises(Stopped):
        reader.all_log_probs(groups(), rows_at_once=1, job=SimpleNamespace(stop=stop))  # type: ignore[arg-type]


def test_a_model_that_would_come_out_different_reads_each_completion_whole(tiny: Path) -> None:
    """One that scales its logits after the head."""
    model = make_model(tiny, "full")
    halve_logits(model)
    own = attention_of(model)
    told: list[str] = []
    job = SimpleNamespace(events=SimpleNamespace(status=told.append))
    assert make_reader(make_model(tiny, "full"), pad_id=0, first=groups()[0], job=job).shared  # type: ignore[arg-type]
    assert not told
    reader = make_reader(model, pad_id=0, first=groups()[0], job=job)  # type: ignore[arg-type]
    assert not reader.shared and attention_of(model) == own
    assert "came out different" in told[0]
    plain = plain_log_probs(model, PROMPTS[0], COMPLETIONS[0], pad_id=0)
    assert torch.equal(reader.log_probs(groups()[:1])[0], plain)


def test_a_prompt_is_shared_where_activations_are_computed_again(tiny: Path) -> None:
    """The backward pass of a checkpointed model lays its tokens out as the forward pass did."""
    plain, again = make_model(tiny, "lora"), make_model(tiny, "lora")
    save_memory(again, build("dpo", {"gradient_checkpointing": "on"}))
    found = []
    for model in (plain, again):
        model.train()
        use_shared_attention(model)
        torch.cat(shared_log_probs(model, PROMPTS, COMPLETIONS)).square().sum().backward()
        found.append(gradients(model))
    assert torch.allclose(found[0], found[1], rtol=1e-5)
