"""The decoder: greedy as `generate`, repeatable by seed, top-p by hand."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch

from training.trainers import decoding
from training.trainers.completions import batches, seed_of
from training.trainers.decoding import choose, decode, decode_by_generate, largest, together, why_not_decode
from training.trainers.models import load_causal_model, load_tokenizer
from training.trainers.program import StopFlag, Stopped
from training.trainers.samplers import choose_engine, says

PROMPTS = [[5, 6, 7], [8] * 12, [9, 10, 11, 12, 13]]


@pytest.fixture(scope="module")
def model(tiny: Path):
    model = load_causal_model(str(tiny), load_tokenizer(str(tiny)), dtype=torch.float32).eval()
    # Sharper logits, so that rows end at different steps.
    with torch.no_grad():
        model.model.norm.weight.mul_(8)
    return model


def draw(model, prompts, *, k=2, temperature=1.0, seeds=None, stop_ids=frozenset(range(40, 60)), n=20):
    return decode(
        model,
        prompts,
        k=k,
        max_new_tokens=n,
        temperature=temperature,
        top_p=0.95,
        seeds=seeds or [10 * i for i in range(len(prompts))],
        stop_ids=set(stop_ids),
        pad_id=0,
    )


def test_greedy_output_is_that_of_generate(model) -> None:
    ours = draw(model, PROMPTS, k=1, temperature=0.0, n=24, stop_ids={2})
    for prompt, drawn in zip(PROMPTS, ours, strict=True):
        ids = torch.tensor([prompt])
        theirs = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=24, eos_token_id=2
        )
        assert drawn == theirs[0, len(prompt) :].tolist()


@pytest.mark.slow
def test_a_completion_depends_on_its_seed_and_not_on_its_company(model) -> None:
    together = draw(model, PROMPTS)
    assert together == draw(model, PROMPTS)
    for i, prompt in enumerate(PROMPTS):
        assert draw(model, [prompt], seeds=[10 * i]) == together[2 * i : 2 * i + 2]
    assert draw(model, PROMPTS, seeds=[7, 8, 9]) != together


def test_the_second_completion_has_the_next_seed(model) -> None:
    assert draw(model, PROMPTS[:1], k=2, seeds=[3])[1] == draw(model, PROMPTS[:1], k=1, seeds=[4])[0]


def test_rows_end_at_their_first_stop_token(model) -> None:
    rows = draw(model, PROMPTS, k=4, n=30)
    assert len({len(row) for row in rows}) > 1
    for row in rows:
        assert not any(40 <= token < 60 for token in row[:-1])
        assert len(row) == 30 or 40 <= row[-1] < 60


def test_decoding_stops_between_steps(model) -> None:
    stop = StopFlag()
    stop.set()
    with pytest.raises(Stopped):
        decode(
            model,
            PROMPTS,
            k=1,
            max_new_tokens=4,
            temperature=1,
            top_p=1,
            seeds=[0] * 3,
            stop_ids={2},
            pad_id=0,
            stop=stop,
        )


def test_top_p_keeps_the_fewest_that_reach_it() -> None:
    """Probabilities 0.5, 0.3, 0.2. Top-p 0.6 keeps the first two (0.5 < 0.6 <= 0.8), of mass 0.8.

    The first is taken below u = 0.5 / 0.8 = 0.625, the second from there on, the third never. At 0.49 the first
    reaches it alone.
    """
    logits = torch.tensor([[0.2, 0.5, 0.3]]).log()

    def pick(u: float, top_p: float) -> int:
        return choose(logits, torch.tensor([u]), temperature=1.0, top_p=top_p).item()

    assert [pick(u, 0.6) for u in (0.0, 0.62, 0.63, 0.999999)] == [1, 1, 2, 2]
    assert [pick(u, 0.49) for u in (0.0, 0.999999)] == [1, 1]
    assert [pick(u, 1.0) for u in (0.49, 0.51, 0.81, 0.999999)] == [1, 2, 0, 0]


def test_temperature_divides_the_logits() -> None:
    """Probabilities 0.8, 0.2 at temperature 2: square roots 0.894, 0.447, so the first has 2/3."""
    logits = torch.tensor([[0.8, 0.2]]).log().repeat(2, 1)
    picked = choose(logits, torch.tensor([0.66, 0.67]), temperature=2.0, top_p=1.0)
    assert picked.tolist() == [0, 1]


def test_a_flat_distribution_reaches_the_whole_vocabulary() -> None:
    logits = torch.zeros(1, 5000)
    picked = {choose(logits, torch.tensor([u / 50]), temperature=1.0, top_p=0.99).item() for u in range(50)}
    assert len(picked) == 50


def test_without_a_nucleus_no_more_is_sorted_than_the_draw_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.9 lies on one token, the rest evenly on 4,095: only a draw behind 0.9 looks past the 64 likeliest."""
    rest = 0.1 / 4095
    logits = torch.tensor([0.9, *[rest] * 4095]).log().repeat(2, 1)
    looked: list[tuple[int, int]] = []

    def counting(given: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        looked.append((len(given), count))
        return largest(given, count)

    monkeypatch.setattr(decoding, "largest", counting)
    first, second = choose(logits, torch.tensor([0.5, 0.99]), temperature=1.0, top_p=1.0).tolist()
    assert first == 0 and second > 0
    assert looked == [(2, 64), (1, 512), (1, 4096)]
    # With a nucleus its whole probability has to be known.
    looked.clear()
    choose(logits, torch.tensor([0.5, 0.99]), temperature=1.0, top_p=0.99)
    assert looked == [(2, 64), (2, 512), (2, 4096)]


@pytest.mark.parametrize("impossible", [0, 9_152])
def test_the_largest_uniform_number_draws_no_token_beyond_the_sum(impossible: int) -> None:
    """A sum of 49,152 probabilities that rounding leaves below it ends in the last token that there is."""
    logits = torch.randn(60, 49_152, generator=torch.Generator().manual_seed(1)) * 3 + 18
    if impossible:
        logits[:, -impossible:] = -torch.inf
    largest_ = torch.full((60,), 1 - 2**-24)
    likeliest_first = logits.sort(-1, descending=True).values
    assert ((likeliest_first - logits.logsumexp(-1, keepdim=True)).exp().cumsum(-1)[:, -1] <= largest_).any()
    picked = choose(logits, largest_, temperature=1.0, top_p=1.0)
    chances = logits.gather(1, picked[:, None]).squeeze(1)
    assert chances.isfinite().all()
    if impossible:
        return
    # What is drawn at the very end of the distribution is rare, and not the rarest of all but by chance.
    assert (picked == logits.argmin(-1)).float().mean() < 0.2


def test_frequencies_follow_the_probabilities() -> None:
    probabilities = torch.tensor([0.1, 0.6, 0.3])
    uniform = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    picked = choose(probabilities.log().expand(20_000, 3), uniform, temperature=1.0, top_p=1.0)
    shares = torch.bincount(picked, minlength=3) / 20_000
    assert torch.allclose(shares, probabilities, atol=0.015)


def test_batches_are_fixed_and_longest_first() -> None:
    assert batches([3, 9, 9, 5, 1], batch_size=2) == [[1, 2], [3, 0], [4]]


def test_seeds_differ_by_prompt_and_run() -> None:
    assert len({seed_of(run, prompt) for run in range(3) for prompt in "abc"}) == 9
    assert 0 <= seed_of(0, "a") < 2**31


def test_an_engine_that_is_missing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from training.trainers.program import TrainerError

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert choose_engine("auto") == "transformers"
    with pytest.raises(TrainerError, match="vLLM is not installed"):
        choose_engine("vllm")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert choose_engine("auto") == "vllm"
    assert choose_engine("transformers") == "transformers"
    assert choose_engine("endpoint") == "endpoint"


SHAPE = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 4, "vocab_size": 64}
SHAPE |= {"num_attention_heads": 2, "num_key_value_heads": 1, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def other_model(name: str):
    import transformers

    special = {
        "Gemma2": {"head_dim": 16, "sliding_window": 4, "final_logit_softcapping": 0.3},
        "Granite": {"logits_scaling": 8.0},
        "Mistral": {"sliding_window": 4},
    }[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**SHAPE, **special)
    made = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    with torch.no_grad():
        made.get_input_embeddings().weight.mul_(20)
        made.get_output_embeddings().weight.copy_(made.get_input_embeddings().weight)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Gemma2", "Granite", "Mistral"])
def test_draws_are_those_of_a_plain_forward_for_other_architectures(name: str) -> None:
    """Logits that are capped or scaled after the head, and windows of 4 tokens behind padding."""
    model = other_model(name)
    assert why_not_decode(model, pad_id=0) is None
    ours = draw(model, PROMPTS, k=1, n=10, stop_ids={63}, temperature=1.0)
    for i, prompt in enumerate(PROMPTS):
        uniform = torch.rand(10, generator=torch.Generator().manual_seed(10 * i))
        ids = list(prompt)
        for step in range(len(ours[i])):
            with torch.inference_mode():
                logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[:, -1]
            ids.append(choose(logits, uniform[step : step + 1], temperature=1.0, top_p=0.95).item())
        assert ours[i] == ids[len(prompt) :]


@pytest.mark.slow
def test_generate_draws_the_same(model) -> None:
    options = {"k": 2, "max_new_tokens": 20, "top_p": 0.95, "seeds": [1, 2, 3], "pad_id": 0}
    for temperature in (0.0, 1.0):
        for stops in ({40, 41, 42, 43}, set(range(40, 60))):
            options |= {"temperature": temperature, "stop_ids": stops}
            assert decode_by_generate(model, PROMPTS, **options) == decode(model, PROMPTS, **options)
    ended = [lambda ids: len(ids) >= 3 and ids[-1] % 2 == 0]
    assert decode_by_generate(model, PROMPTS, **options, ended=ended[0]) == decode(
        model, PROMPTS, **options, ended=ended[0]
    )


def test_a_model_without_keys_and_values_is_left_to_generate(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import MambaConfig, MambaForCausalLM

    from training.trainers import models
    from training.trainers.samplers import TransformersSampler

    torch.manual_seed(0)
    mamba = MambaForCausalLM(MambaConfig(hidden_size=32, num_hidden_layers=2, vocab_size=512, eos_token_id=2)).eval()
    monkeypatch.setattr(models, "load_causal_model", lambda *_, **__: mamba)
    told: list[str] = []
    sampler = TransformersSampler("mamba", load_tokenizer(str(tiny)), stop=StopFlag(), tell=told.append)
    assert len(told) == 1 and "slower generate" in told[0]
    options = {"k": 1, "max_new_tokens": 5, "temperature": 0.0, "top_p": 1.0}
    together = sampler.generate([PROMPTS[0], PROMPTS[0]], seeds=[0, 1], **options)
    assert together[0][0].ids == sampler.generate([PROMPTS[0]], seeds=[7], **options)[0][0].ids
    stop = StopFlag()
    stop.set()
    sampler.stop = stop
    with pytest.raises(Stopped):
        sampler.generate([PROMPTS[0]], seeds=[0], **options)


def test_a_decoder_that_is_wrong_for_a_model_is_found_out(model, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = type(model).forward

    def forgetful(self, **words):
        if words.get("past_key_values") is not None:
            words["position_ids"] = torch.zeros_like(words["position_ids"])
        return forward(self, **words)

    assert why_not_decode(model, pad_id=0) is None
    monkeypatch.setattr(type(model), "forward", forgetful)
    assert why_not_decode(model, pad_id=0) == "its logits came out different"


@pytest.mark.slow
def test_a_text_ends_a_completion_inside_the_decoder(model, tiny: Path) -> None:
    tokenizer = load_tokenizer(str(tiny))
    free = draw(model, PROMPTS, k=1, n=20, stop_ids={511})
    # A text that the first completion comes to say, in the middle of it.
    words = tokenizer.decode(free[0][6:9], skip_special_tokens=True)
    reached = next(n for n in range(1, 21) if words in tokenizer.decode(free[0][:n], skip_special_tokens=True))
    rows = decode(
        model,
        PROMPTS,
        k=1,
        max_new_tokens=20,
        temperature=1.0,
        top_p=0.95,
        seeds=[0, 10, 20],
        stop_ids={511},
        pad_id=0,
        ended=says(tokenizer, words),
    )
    assert rows[0] == free[0][:reached] and reached < 20
    assert [len(row) for row in rows[1:]] == [len(row) for row in free[1:]]


def test_the_largest_are_found_by_blocks() -> None:
    logits = torch.randn(5, 64 * 40, generator=torch.Generator().manual_seed(0))
    logits[0, 128:192] += 50  # all of one row's largest in one block
    logits[1] = float("-inf")
    logits[1, ::100] = torch.arange(26.0)
    for count in (1, 7, 20):
        values, ids = largest(logits, count)
        assert torch.equal(values, logits.topk(count).values)
        assert torch.equal(logits.gather(1, ids), values)
        assert all(len(set(row)) == count for row in ids.tolist()[:1])


def test_flat_and_sharp_rows_are_settled_together() -> None:
    """A flat row looks through the whole vocabulary, a sharp one beside it through 64; each draws as if alone."""
    logits = torch.randn(6, 64 * 300, generator=torch.Generator().manual_seed(1))
    logits[::2] *= 9
    uniform = torch.linspace(0.05, 0.95, 6)
    together_ = choose(logits, uniform, temperature=0.9, top_p=0.95)
    for i in range(6):
        assert choose(logits[i : i + 1], uniform[i : i + 1], temperature=0.9, top_p=0.95) == together_[i]
    # By the definition: sorted, cumulated, the point that the number reaches.
    probabilities, ids = (logits / 0.9).softmax(-1).double().sort(dim=-1, descending=True)
    before = probabilities.cumsum(-1) - probabilities
    kept = torch.where(before < 0.95, probabilities, 0.0).cumsum(-1)
    picked = (kept <= uniform.double()[:, None] * kept[:, -1:]).sum(-1, keepdim=True)
    assert together_.tolist() == ids.gather(1, picked).squeeze(1).tolist()


def test_prompts_are_read_beside_others_of_their_length(model, monkeypatch: pytest.MonkeyPatch) -> None:
    assert together([3, 9, 8, 1], tokens=18) == [[1, 2], [0, 3]]
    assert together([30, 2], tokens=10) == [[0], [1]]
    before = draw(model, PROMPTS)
    monkeypatch.setattr(decoding, "_PREFILL_TOKENS", {"cpu": 10})
    assert draw(model, PROMPTS) == before


def test_query_heads_that_share_keys_need_no_copies_of_them() -> None:
    """Two query heads to a key-value head; behind padding, with a window, and given back as it was."""
    from training.trainers import grouped

    for name in ("Mistral", "Granite"):
        model = other_model(name)
        before = draw(model, PROMPTS, k=2, n=10, stop_ids={63})
        asked = []
        attend = grouped._attend

        def noted(*given, _attend=attend, _asked=asked, **words):
            _asked.append(given[1].shape[2])
            return _attend(*given, **words)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(grouped, "_attend", noted)
            assert draw(model, PROMPTS, k=2, n=10, stop_ids={63}) == before
        assert asked.count(1) > 0
        assert model.config._attn_implementation == "sdpa"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(decoding, "grouped_attention", lambda model: contextlib.nullcontext())
            assert draw(model, PROMPTS, k=2, n=10, stop_ids={63}) == before
