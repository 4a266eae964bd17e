"""K-wise scores and loss: by hand, against plain forwards, and against TRL's pairwise loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from training.records import comparisons
from training.trainers import hardware, shared_prompt
from training.trainers import scorer as scoring
from training.trainers.kwise import kwise_loss, preference, ties
from training.trainers.models import load_tokenizer
from training.trainers.rankings import EncodedRanking
from training.trainers.scorer import Scorer, load_reward_model, make_scorer, plain_scores, shared_scores
from training.trainers.shared_prompt import lay_out, use_shared_attention, why_not_shared

PROMPT = [5, 6, 7, 8, 9]
COMPLETIONS = [[10, 11, 12, 2], [13, 2], [14, 15, 16, 17, 18, 2], [19, 20, 2]]
RANKS = [1, 0, 2, 2]


@pytest.fixture
def model(tiny: Path):
    return load_reward_model(str(tiny), load_tokenizer(str(tiny)), seed=3).eval()


def kwise_scores(model: Any, prompt: Sequence[int], completions: Any) -> torch.Tensor:
    use_shared_attention(model)
    return shared_scores(model, [prompt], [completions])[0]


def gradients(model) -> torch.Tensor:
    grads = [p.grad.flatten().clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    return torch.cat(grads)


def test_the_loss_is_the_mean_over_comparisons() -> None:
    """Ranks 0, 1, 1 give (0,1) and (0,2): gaps 2 - 1 = 1 and 2 - 0 = 2.

    -log sigmoid(x) = log(1 + e^-x): log(1 + e^-1) = 0.313262, log(1 + e^-2) = 0.126928; mean 0.220095.
    """
    scores = torch.tensor([2.0, 1.0, 0.0])
    assert kwise_loss(scores, [0, 1, 1]).item() == pytest.approx(0.220095, abs=1e-6)
    assert kwise_loss(scores, [0, 1, 1], weight=0.5).item() == pytest.approx(0.110047, abs=1e-6)


def test_margins_and_centring_by_hand() -> None:
    """Ranks 0, 1, 2 and scores 2, 1, 0: gaps 1 (one tier), 2 (two tiers), 1 (one tier).

    Constant 1: gaps 0, 1, 0 -> (0.693147 + 0.313262 + 0.693147) / 3. Tier distance 1: gaps 0, 0, 0 -> log 2.
    Centring: sums 3, 2, 1 -> squares 9, 4, 1, mean 14/3.
    """
    scores = torch.tensor([2.0, 1.0, 0.0])
    constant = kwise_loss(scores, [0, 1, 2], margin="constant", margin_size=1.0)
    assert constant.item() == pytest.approx((2 * 0.693147 + 0.313262) / 3, abs=1e-5)
    tiers = kwise_loss(scores, [0, 1, 2], margin="tier_distance", margin_size=1.0)
    assert tiers.item() == pytest.approx(math.log(2), abs=1e-6)
    centred = kwise_loss(scores, [0, 1, 2], center_coefficient=0.1)
    assert (centred - kwise_loss(scores, [0, 1, 2])).item() == pytest.approx(1.4 / 3, abs=1e-5)


def test_soft_and_weighted_labels_by_hand() -> None:
    """Scores 1 > 0 > -1 ranked so: gaps 1, 2, 1 with p = 0.9, 0.5, 0.2. With f(x) = -log sigmoid(x): f(1) = 0.313262,
    f(-1) = 1.313262, f(2) = 0.126928, f(-2) = 2.126928.

    soft: 0.9 f(1) + 0.1 f(-1) = 0.413262; 0.5 f(2) + 0.5 f(-2) = 1.126928; 0.2 f(1) + 0.8 f(-1) = 1.113262;
    their mean 0.884484. weight: 0.8 f(1) = 0.250609; 0; 0.6 f(-1) = 0.787957 (p says the reverse); mean 0.346189.
    With a margin of 0.5 soft has 0.9 f(0.5) + 0.1 f(-1.5) = 0.596812 for the first, f(0.5) = 0.474077 and
    f(-1.5) = 1.701413 being its parts; alone with p = 0.9 that is the loss.
    """
    scores, ranks, p = torch.tensor([1.0, 0.0, -1.0]), [0, 1, 2], [0.9, 0.5, 0.2]
    assert kwise_loss(scores, ranks, label="soft", posteriors=p).item() == pytest.approx(0.884484, abs=1e-6)
    assert kwise_loss(scores, ranks, label="weight", posteriors=p).item() == pytest.approx(0.346189, abs=1e-6)
    with_margin = kwise_loss(scores[:2], [0, 1], label="soft", posteriors=[0.9], margin="constant", margin_size=0.5)
    assert with_margin.item() == pytest.approx(0.596811, abs=2e-6)
    hard = kwise_loss(scores, ranks)
    assert kwise_loss(scores, ranks, label="hard", posteriors=p).equal(hard)
    assert kwise_loss(scores, ranks, label="soft").equal(hard)  # a ranking without posteriors
    assert kwise_loss(scores, ranks, label="soft", posteriors=[1.0] * 3).item() == pytest.approx(hard.item())
    assert kwise_loss(scores, ranks, label="weight", posteriors=[1.0] * 3).item() == pytest.approx(hard.item())


@pytest.mark.parametrize("label", ["soft", "weight"])
def test_the_gradient_of_a_probable_pair_by_hand(label: str) -> None:
    """At equal scores the slope in the better one is -(p - 1/2) for both: soft is -(p (1/2) - (1 - p) (1/2)), weight
    is -(2p - 1) (1/2). At p = 0.75 that is -0.25; soft has no slope where sigmoid(gap) is p, so at gap log 3."""
    scores = torch.zeros(2, requires_grad=True)
    kwise_loss(scores, [0, 1], label=label, posteriors=[0.75]).backward()
    assert scores.grad is not None and scores.grad.tolist() == pytest.approx([-0.25, 0.25])
    if label == "soft":
        there = torch.tensor([3.0, 1.0]).log().requires_grad_()
        kwise_loss(there, [0, 1], label=label, posteriors=[0.75]).backward()
        assert there.grad is not None and there.grad.tolist() == pytest.approx([0, 0], abs=1e-6)
    wide = torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).float().requires_grad_()
    p = [0.9, 0.4, 0.6, 0.7, 0.55, 0.2, 0.8, 0.95, 0.5, 0.65]
    kwise_loss(wide, [0, 1, 2, 3, 4], label=label, posteriors=p).backward()
    assert wide.grad is not None
    for n in range(5):
        step = torch.zeros(5)
        step[n] = 1e-2
        up, down = (
            kwise_loss(wide.detach() + sign * step, [0, 1, 2, 3, 4], label=label, posteriors=p) for sign in (1, -1)
        )
        assert wide.grad[n].item() == pytest.approx(((up - down) / 2e-2).item(), abs=1e-3)


def test_ties_as_an_outcome_by_hand() -> None:
    """Scores 1, 0 and threshold 0.5: win sigmoid(0.5) = 0.622459, loss sigmoid(-1.5) = 0.182426, so the tie has
    0.195115, which is also (e - 1) 0.622459 x 0.182426. Ranks 0, 1: -log 0.622459 = 0.474077; ranks 0, 0:
    -log 0.195115 = 1.634166. Scores 1, 0, 0 of ranks 0, 1, 1: two wins, and a tie at equal scores, whose chance is
    1 - 2 sigmoid(-0.5) = 0.244919: (2 x 0.474077 + 1.406829) / 3 = 0.784994."""
    win = kwise_loss(torch.tensor([1.0, 0.0]), [0, 1], tie_threshold=0.5).item()
    loss = kwise_loss(torch.tensor([1.0, 0.0]), [1, 0], tie_threshold=0.5).item()
    tie = kwise_loss(torch.tensor([1.0, 0.0]), [0, 0], tie_threshold=0.5).item()
    assert (win, tie) == (pytest.approx(0.474077, abs=1e-6), pytest.approx(1.634166, abs=1e-5))
    assert math.exp(-win) + math.exp(-loss) + math.exp(-tie) == pytest.approx(1.0, abs=1e-6)
    three = kwise_loss(torch.tensor([1.0, 0.0, 0.0]), [0, 1, 1], tie_threshold=0.5)
    assert three.item() == pytest.approx(0.784994, abs=1e-5)
    # Of decided comparisons 0.622459 / (0.622459 + 0.182426) go to the first; without a threshold sigmoid(1).
    assert preference(1.0, tie_threshold=0.5) == pytest.approx(0.773352, abs=1e-5)
    assert preference(1.0) == pytest.approx(0.731059, abs=1e-6)
    assert preference(-800.0) == 0.0


def test_the_gradient_of_a_tie_by_hand() -> None:
    """d/dr_1 of -log sigmoid(d - e) - log sigmoid(-d - e) is sigmoid(d + e) - sigmoid(e - d): 0 at d = 0, and at
    d = 1, e = 0.5: 0.817574 - 0.377541 = 0.440033, so a tie draws scores together."""
    scores = torch.tensor([1.0, 0.0], requires_grad=True)
    kwise_loss(scores, [0, 0], tie_threshold=0.5).backward()
    assert scores.grad is not None and scores.grad.tolist() == pytest.approx([0.440033, -0.440033], abs=1e-6)
    equal = torch.zeros(3, requires_grad=True)
    kwise_loss(equal, [2, 2, 2], tie_threshold=0.5).backward()
    assert equal.grad is not None and equal.grad.tolist() == [0, 0, 0]


def test_a_ranking_of_ties_has_no_loss() -> None:
    with pytest.raises(ValueError, match="ties only"):
        kwise_loss(torch.tensor([1.0, 2.0]), [1, 1])


def test_a_layout_by_hand() -> None:
    """Prompt 5 6 with 7 | 8 9, prompt 3 with 4: tokens 5 6 7 8 9 3 4 at 0 to 6. Rows of 4: 5 6 7 and padding, 5 6 8 9,
    3 4 and padding. Token 5 is taken from row 0 place 0, 8 from row 1 place 2 (6), 3 from row 2 (8)."""
    found = lay_out([[5, 6], [3]], [[[7], [8, 9]], [[4]]])
    assert found.ids == [5, 6, 7, 8, 9, 3, 4]
    assert found.positions == [0, 1, 2, 2, 3, 0, 1]
    assert found.rows == [[0, 1, 2, 2], [0, 1, 3, 4], [5, 6, 6, 6]]
    assert found.places == [0, 1, 2, 6, 7, 8, 9]
    assert (found.lasts, found.sizes) == ([2, 4, 6], [2, 1])


LOSSES: list[dict[str, Any]] = [
    {},
    {"margin": "tier_distance", "margin_size": 0.3, "center_coefficient": 0.02},
    {"label": "soft", "posteriors": [0.9, 0.4, 0.7, 0.55, 0.8]},
    {"label": "weight", "posteriors": [0.9, 0.4, 0.7, 0.55, 0.8], "weight": 0.5},
    {"tie_threshold": 0.4, "margin": "constant", "margin_size": 0.2},
]


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("options", LOSSES)
def test_a_shared_prompt_gives_the_plain_scores_and_gradients(
    model, options: dict[str, Any], checkpointing: bool
) -> None:
    """K-wise against each completion of each pair read for itself, with its prompt: relative L2 below 1e-5."""
    plain = plain_scores(model, PROMPT, COMPLETIONS, pad_id=0)
    pairwise_loss(model, **options).backward()
    pairwise_gradients = gradients(model)
    if checkpointing:
        model.train()
        model.gradient_checkpointing_enable()
        calls: list[int] = []
        model.model.layers[0].self_attn.register_forward_hook(lambda *words: calls.append(1))
    shared = kwise_scores(model, PROMPT, COMPLETIONS)
    kwise_loss(shared, RANKS, **options).backward()
    shared_gradients = gradients(model)
    assert torch.allclose(shared, plain, atol=1e-5)
    assert (shared_gradients - pairwise_gradients).norm() / pairwise_gradients.norm() < 1e-5
    if checkpointing:
        assert len(calls) == 2  # the backward pass computed it again


def pairwise_loss(model: Any, *, posteriors: Sequence[float] = (), **options: Any) -> torch.Tensor:
    """The mean over comparisons (and ties) of the loss of each two completions, which are read apart for each."""
    both = comparisons(RANKS) + (ties(RANKS) if "tie_threshold" in options else [])
    losses = []
    for place, (i, j) in enumerate(both):
        two = torch.cat([plain_scores(model, PROMPT, [COMPLETIONS[k]], pad_id=0) for k in (i, j)])
        own = {"posteriors": [posteriors[place]]} if posteriors else {}
        losses.append(kwise_loss(two, [RANKS[i], RANKS[j]], **options, **own))
    return torch.stack(losses).mean()


def test_prompts_of_other_lengths_in_one_batch_change_nothing(model) -> None:
    prompts = [PROMPT, [30] * 17, [40, 41]]
    groups = [COMPLETIONS, COMPLETIONS[:2], COMPLETIONS[1:]]
    alone = [plain_scores(model, prompt, group, pad_id=0) for prompt, group in zip(prompts, groups, strict=True)]
    use_shared_attention(model)
    for wanted, scores in zip(alone, shared_scores(model, prompts, groups), strict=True):
        assert torch.allclose(scores, wanted, atol=1e-5)


def test_the_shared_attention_leaves_ordinary_rows_as_they_were(model) -> None:
    before = plain_scores(model, PROMPT, COMPLETIONS, pad_id=0)
    use_shared_attention(model)
    assert torch.allclose(plain_scores(model, PROMPT, COMPLETIONS, pad_id=0), before, atol=1e-6)


def test_the_pad_token_inside_a_completion_is_a_token_like_others(model) -> None:
    with_pad = [[10, 0, 0], [10, 2]]
    plain = plain_scores(model, PROMPT, with_pad, pad_id=0)
    assert torch.allclose(plain, plain_scores(model, PROMPT, with_pad, pad_id=1), atol=1e-6)
    assert torch.allclose(kwise_scores(model, PROMPT, with_pad), plain, atol=1e-5)


def test_the_gradients_are_those_of_trls_pairwise_loss(tiny: Path, model, tmp_path: Path) -> None:
    """Ranks 1, 0, 2, 2 give five pairs; TRL averages over its batch of pairs, we over the comparisons."""
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    pairs = [
        {"chosen_ids": PROMPT + COMPLETIONS[i], "rejected_ids": PROMPT + COMPLETIONS[j]} for i, j in comparisons(RANKS)
    ]
    assert len(pairs) == 5
    trainer = RewardTrainer(
        model=model,
        args=RewardConfig(
            output_dir=str(tmp_path),
            bf16=False,
            use_cpu=True,
            gradient_checkpointing=False,
            report_to="none",
            per_device_train_batch_size=5,
        ),
        train_dataset=Dataset.from_list(pairs),
        processing_class=load_tokenizer(str(tiny)),
    )
    inputs = trainer.data_collator(pairs)
    theirs = trainer.compute_loss(trainer.model, inputs)
    theirs.backward()
    their_gradients = gradients(model)
    ours = kwise_loss(kwise_scores(model, PROMPT, COMPLETIONS), RANKS)
    ours.backward()
    our_gradients = gradients(model)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    assert (our_gradients - their_gradients).norm() / their_gradients.norm() < 1e-5


def test_a_model_with_a_sliding_window_is_told_apart() -> None:
    from transformers import MistralConfig, MistralForSequenceClassification

    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "vocab_size": 32}
    shape |= {"num_attention_heads": 2, "num_key_value_heads": 1, "num_labels": 1, "pad_token_id": 0}
    sliding = MistralForSequenceClassification(MistralConfig(**shape, sliding_window=4))
    whole = MistralForSequenceClassification(MistralConfig(**shape, sliding_window=None))
    assert why_not_shared(sliding)
    assert why_not_shared(whole) is None


def test_a_new_head_starts_at_the_published_scale(tiny: Path) -> None:
    """d = 128: standard deviation 1 / sqrt(129) = 0.0880; over 128 draws its estimate is within a quarter."""
    tokenizer = load_tokenizer(str(tiny))
    first, again = (load_reward_model(str(tiny), tokenizer, seed=1).score.weight for _ in range(2))
    assert first.std().item() == pytest.approx(0.0880, rel=0.25)
    assert torch.equal(first, again)


def test_the_head_computes_in_float32_while_the_trunk_is_autocast(model) -> None:
    """Scores are the head's float32 weights times the hidden state; in bfloat16 they would have 8 bits."""
    seen: list[torch.Tensor] = []
    model.score.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        shared = kwise_scores(model, PROMPT, COMPLETIONS)
        plain = plain_scores(model, PROMPT, COMPLETIONS, pad_id=0)
        probe = model.model.layers[0].mlp.up_proj(torch.ones(1, 128))
    assert probe.dtype == torch.bfloat16
    for scores, hidden in ((plain, seen[0]), (shared, seen[1])):
        assert scores.dtype == hidden.dtype == torch.float32
        assert torch.equal(scores, (hidden @ model.score.weight.T).squeeze(-1))


def test_a_wrong_shared_prompt_is_found_out_in_float32(model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores that are off by 2 %: less than bfloat16 rounds, so the check must not compute in it."""
    monkeypatch.setattr(hardware, "autocast", lambda: torch.autocast("cpu", dtype=torch.bfloat16))
    monkeypatch.setattr(hardware, "autocasts", lambda: True)
    first = EncodedRanking(
        prompt_id="p", prompt=PROMPT, completions=COMPLETIONS, ranks=RANKS, weight=1.0, cut=0, cut_completions=0
    )
    told: list[str] = []
    own = shared_prompt.attention_of(model)
    job: Any = SimpleNamespace(events=SimpleNamespace(status=told.append))
    assert make_scorer(model, pad_id=0, first=first, job=job).shared and not told
    assert shared_prompt.attention_of(model) != own
    shared_prompt.use_attention(model, own)
    right = scoring.shared_scores
    monkeypatch.setattr(scoring, "shared_scores", lambda *words: [row + 0.02 for row in right(*words)])
    scorer = make_scorer(model, pad_id=0, first=first, job=job)
    assert not scorer.shared and not scorer.exact and "came out different" in told[0]
    assert shared_prompt.attention_of(model) == own
    # Training itself goes by the autocast.
    trunk: list[torch.dtype] = []
    model.model.layers[0].mlp.up_proj.register_forward_hook(lambda module, inputs, output: trunk.append(output.dtype))
    Scorer(model, pad_id=0, shared=False).all_scores([first], rows_at_once=1)
    assert trunk == [torch.bfloat16]
