"""What vLLM is handed and how its answers are read, by a vLLM that only takes notes; and how answers become text."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from training.trainers import hardware
from training.trainers.completions import completion_row, without_torn_end
from training.trainers.models import adapter_rank, load_tokenizer
from training.trainers.program import TrainerError
from training.trainers.samplers import Completion, VllmSampler

PROMPTS = [[5, 6], [7, 8, 9]]


@pytest.fixture
def tokenizer(tiny: Path):
    return load_tokenizer(str(tiny))


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A module named vllm; `outputs` is what each request answers, the other notes what it was given."""
    notes = SimpleNamespace(engine={}, params=[], requests=[], outputs=[], calls=[])

    class LLM:
        def __init__(self, **words: Any) -> None:
            notes.engine = words

        def generate(self, requests: list, params: list, *, use_tqdm: bool, **words: Any) -> list[Any]:
            notes.requests, notes.params, notes.words = requests, params, words
            return [SimpleNamespace(outputs=notes.outputs[: each.n]) for each in params]

        def collective_rpc(self, method: str, *, kwargs: dict[str, Any]) -> None:
            notes.calls.append((method, kwargs))

        def reset_prefix_cache(self) -> None:
            notes.calls.append("reset_prefix_cache")

    module = ModuleType("vllm")
    module.LLM = LLM  # type: ignore[attr-defined]
    module.SamplingParams = lambda **words: SimpleNamespace(**words)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)
    for name in [name for name in os.environ if name.startswith("VLLM_")]:
        monkeypatch.delenv(name)
    # Whatever the sampler sets is taken back after the test.
    monkeypatch.setattr(os, "environ", os.environ.copy())
    return notes


def output(*ids: int, reason: str, stop: int | str | None = None) -> SimpleNamespace:
    return SimpleNamespace(token_ids=list(ids), finish_reason=reason, stop_reason=stop)


def draw(sampler: VllmSampler, *, k: int = 3, temperature: float = 0.8) -> list[list[Completion]]:
    return sampler.generate(PROMPTS, k=k, max_new_tokens=9, temperature=temperature, top_p=0.9, seeds=[11, 22])


def test_vllm_is_handed_ids_seeds_and_stop_tokens(vllm, tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer.eos_token = "<|endoftext|>"
    vllm.outputs = [output(1, reason="length")] * 3
    draw(VllmSampler("folder", tokenizer, max_length=64))
    assert vllm.requests == [{"prompt_token_ids": prompt} for prompt in PROMPTS]
    first, second = vllm.params
    assert (first.n, first.max_tokens, first.temperature, first.top_p) == (3, 9, 0.8, 0.9)
    assert (first.seed, second.seed) == (11, 22)
    # The eos, and the end that the template writes.
    assert first.stop_token_ids == [0, 2]
    assert first.stop is None and first.detokenize is False
    assert vllm.engine["model"] == "folder" and vllm.engine["max_model_len"] == 64
    assert vllm.engine["dtype"] == "float32" and vllm.engine["enable_chunked_prefill"] is False


def test_vllm_computes_in_what_the_device_has(vllm, tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "device", lambda: torch.device("cuda", 0))
    for native, name in ((True, "bfloat16"), (False, "float16")):
        monkeypatch.setattr(hardware, "has_bfloat16", lambda native=native: native)
        VllmSampler("folder", tokenizer, max_length=64)
        assert vllm.engine["dtype"] == name and "enable_chunked_prefill" not in vllm.engine


def test_vllm_serves_an_adapter_unmerged_and_keeps_prompts(
    vllm, tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "adapter_model.safetensors").touch()
    facts = {"peft_type": "LORA", "r": 8, "rank_pattern": {"q_proj": 12}}
    (tmp_path / "adapter_config.json").write_text(json.dumps(facts))
    request = ModuleType("vllm.lora.request")
    request.LoRARequest = lambda *given: given  # type: ignore[attr-defined]
    for name, module in (("vllm.lora", ModuleType("vllm.lora")), ("vllm.lora.request", request)):
        monkeypatch.setitem(sys.modules, name, module)
    vllm.outputs = [output(1, 2, reason="stop", stop=2)] * 3
    sampler = VllmSampler("folder", tokenizer, max_length=64, adapter=str(tmp_path))
    assert vllm.engine["enable_lora"] is True and vllm.engine["max_lora_rank"] == 16
    assert vllm.engine["enable_prefix_caching"] is True and vllm.engine["enable_chunked_prefill"] is False
    assert draw(sampler)[0][0].drawn == [1, 2]
    assert vllm.words == {"lora_request": ("adapter-1", 1, str(tmp_path))}
    # Room for adapters to come, each under a number of its own.
    sampler = VllmSampler("folder", tokenizer, max_length=64, rank=20, memory=0.4)
    assert vllm.engine["max_lora_rank"] == 32 and "gpu_memory_utilization" not in vllm.engine
    draw(sampler)
    assert vllm.words == {}
    sampler.use_adapter("handed", number=7)
    draw(sampler)
    assert vllm.words == {"lora_request": ("adapter-7", 7, "handed")}
    (tmp_path / "adapter_config.json").write_text(json.dumps(facts | {"r": 1000}))
    with pytest.raises(TrainerError, match="has rank 1000; vLLM takes 512 at most"):
        VllmSampler("folder", tokenizer, max_length=64, adapter=str(tmp_path))


@pytest.mark.parametrize(
    ("config", "words"),
    [(None, "no adapter_config.json"), ("{}", "no adapter_config.json"), ('{"peft_type": "IA3"}', "kind IA3")],
)
def test_what_is_no_lora_adapter_is_refused(tmp_path: Path, config: str | None, words: str) -> None:
    with pytest.raises(TrainerError, match="has no adapter_model.safetensors"):
        adapter_rank(str(tmp_path))
    (tmp_path / "adapter_model.safetensors").touch()
    if config is not None:
        (tmp_path / "adapter_config.json").write_text(config)
    with pytest.raises(TrainerError, match=words):
        adapter_rank(str(tmp_path))


def test_whole_weights_are_read_again_and_what_was_remembered_is_forgotten(
    vllm, tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = VllmSampler("folder", tokenizer, max_length=64)
    sampler.read_again("handed")
    assert vllm.calls == [("reload_weights", {"weights_path": "handed"}), "reset_prefix_cache"]
    monkeypatch.setattr(hardware, "device", lambda: torch.device("cuda", 0))
    monkeypatch.setattr(hardware, "has_bfloat16", lambda: True)
    VllmSampler("folder", tokenizer, max_length=64, memory=0.4)
    assert vllm.engine["gpu_memory_utilization"] == 0.4


def test_a_greedy_answer_is_asked_for_once_and_given_k_times(vllm, tokenizer) -> None:
    vllm.outputs = [output(1, 2, reason="stop", stop=2)]
    answers = draw(VllmSampler("folder", tokenizer, max_length=64), temperature=0.0)
    assert vllm.params[0].n == 1 and vllm.params[0].top_p == 1.0
    assert [len(group) for group in answers] == [3, 3]


def test_vllms_own_reason_decides(vllm, tokenizer) -> None:
    """A stop by an id that only the model's generation config names (99), by eos (None), by a text, and none."""
    vllm.outputs = [
        output(1, 99, reason="stop", stop=99),
        output(1, 2, reason="stop"),
        output(1, 3, reason="stop", stop="\nQuestion:"),
        output(1, 3, reason="length"),
    ]
    sampler = VllmSampler("folder", tokenizer, max_length=64, stop_text="\nQuestion:")
    first = draw(sampler, k=4)[0]
    assert [(c.ids, c.finish_reason, c.token_count) for c in first] == [
        ([1], "stop", 2),
        ([1], "stop", 2),
        ([1, 3], "stop", 2),
        ([1, 3], "length", 2),
    ]
    assert vllm.params[0].stop == ["\nQuestion:"] and vllm.params[0].detokenize is True


def row(tokenizer: Any, ids: list[int], reason: Any, *, stop: str | None = None) -> Any:
    completion = Completion(ids=ids, finish_reason=reason, token_count=len(ids))
    return completion_row("p", 0, completion, tokenizer, seed=1, stop=stop)


def test_a_character_that_was_cut_in_half_is_dropped(tokenizer) -> None:
    whole = tokenizer("并专门", add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(whole[:-1]).endswith("\ufffd")
    assert row(tokenizer, whole[:-1], "length").text == "并专"
    assert row(tokenizer, whole[:-2], "length").text == "并专"
    assert row(tokenizer, whole, "length").text == "并专门"
    # An answer that ended, or that says U+FFFD itself, is as it was drawn.
    assert row(tokenizer, whole[:-1], "stop").text == "并专\ufffd"
    itself = tokenizer("并\ufffd", add_special_tokens=False)["input_ids"]
    assert row(tokenizer, itself, "length").text == "并\ufffd"


def test_a_token_a_byte_drops_a_mark_a_byte() -> None:
    """Llama 2's way: each byte of a torn character is a token, and decodes to a mark of its own."""
    names = {1: "a", 2: "<0xE4>", 3: "<0xB8>"}

    class Bytes:
        def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
            return {"input_ids": [7, 8, 9]}

        def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
            return [names[id] for id in ids]

    assert without_torn_end(Bytes(), [1, 2, 3], "a\ufffd\ufffd") == "a"
    assert without_torn_end(Bytes(), [1, 1, 2], "aa\ufffd") == "aa"


def test_the_text_that_ends_a_base_models_answer_is_cut_away(tokenizer) -> None:
    ids = tokenizer("Blue.\nQuestion: Why", add_special_tokens=False)["input_ids"]
    found = row(tokenizer, ids, "length", stop="\nQuestion:")
    assert (found.text, found.finish_reason) == ("Blue.", "stop")
    assert row(tokenizer, ids, "length").finish_reason == "length"
