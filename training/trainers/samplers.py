"""Two ways to draw completions here: transformers with a decoder of our own, and vLLM where it is installed.

The third, an endpoint, is in `endpoint.py`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from training.trainers import hardware
from training.trainers.decoding import Measured, decode, decode_by_generate, why_not_decode
from training.trainers.program import StopFlag, TrainerError

# The ranks that vLLM reserves room for.
_VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


@dataclass(frozen=True, kw_only=True)
class Completion:
    """Drawn token ids without the stop token, why they end, and how many tokens were drawn in all.

    `drawn` are the ids as they came, the stop token last. An endpoint gives `text` in place of ids. `measured` is what
    the model said of the ids, where it was asked.
    """

    ids: list[int]
    finish_reason: Literal["stop", "length"]
    token_count: int
    drawn: list[int] = field(default_factory=list)
    text: str | None = None
    measured: Measured | None = None


class Sampler(Protocol):
    """Draws K completions for each prompt (given as token ids).

    Completion number i of a prompt is drawn with the prompt's seed + i. Raises program.Stopped when asked to stop.
    """

    def generate(
        self,
        prompts: list[list[int]],
        *,
        k: int,
        max_new_tokens: int,
        temperature: float,
        top_p: float,
        seeds: Sequence[int],
    ) -> list[list[Completion]]: ...


def choose_engine(engine: str) -> Literal["transformers", "vllm", "endpoint"]:
    """The engine to run for the config's `engine`; raises TrainerError where vLLM is asked for and missing."""
    if engine == "endpoint":
        return "endpoint"
    installed = importlib.util.find_spec("vllm") is not None
    if engine == "vllm" and not installed:
        raise TrainerError("engine is vllm, but vLLM is not installed here; auto or transformers would run.")
    return "vllm" if engine == "vllm" or (engine == "auto" and installed) else "transformers"


class TransformersSampler:
    """Our own decoder over a transformers model (`decoding.py`), or `generate` for a model it does not suit.

    `stop_text` ends an answer too, wherever it comes; `adapter` is a LoRA folder, merged in memory alone; `tell` is
    given one sentence where `generate` is used.
    """

    def __init__(
        self,
        model: str,
        tokenizer: Any,
        *,
        stop: StopFlag,
        stop_text: str | None = None,
        adapter: str | None = None,
        tell: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        from training.trainers.models import load_causal_model, merged_adapter

        loaded = load_causal_model(model, tokenizer, dtype=hardware.sampling_dtype())
        if adapter is not None:
            loaded = merged_adapter(loaded, adapter)
        self._use(loaded.to(hardware.device()).eval(), tokenizer, stop=stop, stop_text=stop_text, tell=tell)

    @classmethod
    def of(
        cls,
        loaded: Any,
        tokenizer: Any,
        *,
        stop: StopFlag,
        stop_text: str | None,
        tell: Callable[[str], None],
        measures: bool = False,
    ) -> TransformersSampler:
        """One that draws from a model that is loaded already, with the weights it has at the time.

        With `measures` it keeps what the model says of the tokens, but for a model that our decoder does not suit.
        """
        sampler = cls.__new__(cls)
        sampler._use(loaded, tokenizer, stop=stop, stop_text=stop_text, tell=tell)
        sampler.measures = measures and sampler.decode is decode
        return sampler

    def _use(
        self, loaded: Any, tokenizer: Any, *, stop: StopFlag, stop_text: str | None, tell: Callable[[str], None]
    ) -> None:
        from training.trainers.models import stop_ids

        self.model = loaded
        self.stop_ids = stop_ids(tokenizer, self.model.generation_config)
        self.pad_id = tokenizer.pad_token_id
        self.stop = stop
        self.ended = says(tokenizer, stop_text) if stop_text else None
        self.measures = False
        self.decode: Callable[..., list[list[int]]] = decode
        if reason := why_not_decode(self.model, pad_id=self.pad_id):
            tell(f"Sampling goes by transformers' slower generate, as this model does not fit our decoder: {reason}.")
            self.decode = decode_by_generate

    def generate(
        self,
        prompts: list[list[int]],
        *,
        k: int,
        max_new_tokens: int,
        temperature: float,
        top_p: float,
        seeds: Sequence[int],
    ) -> list[list[Completion]]:
        """See Sampler; raises TrainerError for a prompt that leaves no room in the model's context."""
        context = getattr(self.model.config, "max_position_embeddings", None)
        longest = max(len(prompt) for prompt in prompts)
        if context is not None and longest + max_new_tokens > context:
            raise TrainerError(
                f"A prompt of {longest} tokens and {max_new_tokens} new ones do not fit the model's "
                f"context of {context} tokens."
            )
        told: list[Measured] = []
        rows = self.decode(
            self.model,
            prompts,
            k=k,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            seeds=seeds,
            stop_ids=self.stop_ids,
            pad_id=self.pad_id,
            stop=self.stop,
            ended=self.ended,
            **({"measured": told} if self.measures else {}),
        )
        done = [self._completion(ids) for ids in rows]
        if self.measures:
            done = [replace(one, measured=measured) for one, measured in zip(done, told, strict=True)]
        return [done[start : start + k] for start in range(0, len(done), k)]

    def _completion(self, ids: list[int]) -> Completion:
        if ids and ids[-1] in self.stop_ids:
            return Completion(ids=ids[:-1], finish_reason="stop", token_count=len(ids), drawn=ids)
        by_text = self.ended is not None and self.ended(ids)
        return Completion(ids=ids, finish_reason="stop" if by_text else "length", token_count=len(ids), drawn=ids)


class VllmSampler:
    """vLLM, offline; float32 on a CPU, where it is the faster one without bfloat16 instructions.

    `stop_text` ends an answer too, wherever it comes. `adapter` is a LoRA folder that is served beside the model
    and never merged; without one `rank` keeps room for those that are handed over later. `memory` is the part of a GPU
    that vLLM takes. The K completions of a prompt find its keys and values in vLLM's prefix cache.
    """

    def __init__(
        self,
        model: str,
        tokenizer: Any,
        *,
        max_length: int,
        stop_text: str | None = None,
        adapter: str | None = None,
        rank: int = 0,
        memory: float | None = None,
    ) -> None:
        import os

        from training.trainers.models import adapter_rank, stop_ids

        # The CPU build leaves one core idle and binds threads badly unless told.
        on_cpu = hardware.device().type == "cpu"
        if on_cpu:
            cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
            os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", ",".join(str(core) for core in cores))
            os.environ.setdefault("VLLM_CPU_NUM_OF_RESERVED_CPU", "0")
            os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        from vllm import LLM

        # vLLM adds the ids that the model's generation config names.
        self.stop_ids = stop_ids(tokenizer)
        self.stop_text = stop_text
        extra: dict[str, Any] = {}
        self.lora: dict[str, Any] = {}
        if adapter is not None or rank:
            rank = rank or adapter_rank(adapter or "")
            largest = next((allowed for allowed in _VLLM_RANKS if allowed >= rank), None)
            if largest is None:
                raise TrainerError(f"The adapter {adapter} has rank {rank}; vLLM takes {_VLLM_RANKS[-1]} at most.")
            extra = {"enable_lora": True, "max_lora_rank": largest, "max_loras": 1}
        if adapter is not None:
            self.use_adapter(adapter, number=1)
        if memory is not None and not on_cpu:
            extra["gpu_memory_utilization"] = memory
        if on_cpu:
            # vLLM 0.32 rewinds a seeded request's generator when its prompt was read in parts, which torch's CPU
            # generator cannot do: so no prompt is split.
            extra |= {"enable_chunked_prefill": False, "max_num_batched_tokens": max(max_length, 4096)}
        self.engine = LLM(
            model=model,
            dtype=str(hardware.sampling_dtype()).removeprefix("torch."),
            enforce_eager=on_cpu,
            max_model_len=max_length,
            disable_log_stats=True,
            enable_prefix_caching=True,
            **extra,
        )

    def use_adapter(self, folder: str, *, number: int) -> None:
        """Serves the LoRA adapter in a folder from now on; one of the same `number` is taken for the same."""
        from vllm.lora.request import LoRARequest

        self.lora = {"lora_request": LoRARequest(f"adapter-{number}", number, folder)}

    def read_again(self, folder: str) -> None:
        """Takes the weights in a folder in place of those it has."""
        self.engine.collective_rpc("reload_weights", kwargs={"weights_path": folder})
        self.engine.reset_prefix_cache()

    def generate(
        self,
        prompts: list[list[int]],
        *,
        k: int,
        max_new_tokens: int,
        temperature: float,
        top_p: float,
        seeds: Sequence[int],
    ) -> list[list[Completion]]:
        """See Sampler."""
        from vllm import SamplingParams

        params = [
            # vLLM draws completion i of a seeded request with seed + i, as Sampler asks.
            SamplingParams(
                n=k if temperature > 0 else 1,
                max_tokens=max_new_tokens,
                temperature=temperature,
                top_p=top_p if temperature > 0 else 1.0,
                seed=seed,
                stop_token_ids=sorted(self.stop_ids),
                stop=[self.stop_text] if self.stop_text else None,
                # Only a text to stop at has to be read as text.
                detokenize=self.stop_text is not None,
            )
            for seed in seeds
        ]
        requests = [{"prompt_token_ids": prompt} for prompt in prompts]
        answers = []
        for request in self.engine.generate(requests, params, use_tqdm=False, **self.lora):
            drawn = [_from_vllm(output) for output in request.outputs]
            answers.append(drawn if len(drawn) == k else drawn * k)
        return answers


def says(tokenizer: Any, text: str) -> Callable[[Sequence[int]], bool]:
    """Whether drawn ids end within or just after `text`."""
    # A token writes a byte at least, so so many hold the text and whatever shares a token with its start.
    reach = len(text.encode()) + 1

    def ended(ids: Sequence[int]) -> bool:
        return text in tokenizer.decode(ids[-reach:], skip_special_tokens=True)

    return ended


def _from_vllm(output: Any) -> Completion:
    """vLLM keeps the stop token among the ids; `stop_reason` is the text where a text was what stopped it."""
    ids = list(output.token_ids)
    stopped = output.finish_reason == "stop"
    by_token = stopped and not isinstance(output.stop_reason, str)
    return Completion(
        ids=ids[:-1] if by_token else ids,
        finish_reason="stop" if stopped else "length",
        token_count=len(ids),
        drawn=ids,
    )
