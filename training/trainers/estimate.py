"""What a run will take, before it is launched: parameters, tokens, arithmetic, memory, and a rough time.

Pure arithmetic over a model's config.json; the web process shows it beside the launch form. No torch.

The rules, for a decoder with N parameters, of which T are trained, over D tokens:
- parameters are counted from the shapes of Llama-like layers (grouped-query attention, gated MLP, RMS norms;
  Touvron et al. 2023); a head tied to the embedding counts once. It is exact for such models.
- arithmetic (Kaplan et al. 2020, section 2.1): a forward pass is 2 N D operations, a backward pass twice that, so
  training is 6 N D. LoRA needs no gradients of the frozen weights: 2 N D forward, 2 N D for the gradients of the
  activations, 2 T D for its own weights. DPO adds 2 N D, once, for the reference. Sampling is 2 N D. PPO samples, reads
  with its four models, and trains two of them. Attention scores are left out, as they are small below a few thousand
  tokens.
- memory, of each process: weights 4 N bytes (sampling on CUDA 2 N; with QLoRA 0.516 for each weight under the adapter,
  Dettmers et al. 2023, section 3), gradients 4 T, AdamW's two moments 8 T, activations about
  (34 d + 5 h L) L per layer and sequence in 16-bit units (Korthikanti et al. 2023, equation 1), twice that in
  float32, and only one layer of it with gradient checkpointing, plus the logits where the stage makes them. Sharding
  divides gradients and moments by the processes; the weights of a pass are whole beside each one's part (`gradients`),
  or embeddings, head and two layers of them are (`weights`). What PPO only reads in full runs rests while it learns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from training.trainers import sizes
from training.trainers.config import (
    WITH_REFERENCE,
    BestOfNConfig,
    DpoConfig,
    EvaluateConfig,
    OptimizingConfig,
    PpoConfig,
    PretrainConfig,
    SampleConfig,
    TrainingConfig,
    build,
)
from training.trainers.schedule import total_steps

Device = Literal["cpu", "cuda"]

# Operations a second that training and sampling were measured to sustain. A CPU: 2 cores with AVX512, float32,
# SmolLM2-135M. CUDA: one current accelerator in bfloat16, at a cautious share of its peak.
_RATES = {
    "cpu": {"train": 9e10, "sample": 4e10, "start": 12.0},
    "cuda": {"train": 1.5e14, "sample": 1e13, "start": 20.0},
}
# A 4-bit weight with its constants: one of 8 bits for 64 weights, one of 32 for 256 of those.
BYTES_IN_4_BITS = 0.5 + 1 / 64 + 4 / (64 * 256)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run will take. `seconds` is rough (within a factor of two or so), None where rows are unknown."""

    parameters: int
    trained_parameters: int
    tokens: int
    flops: float
    memory_bytes: dict[str, int]
    seconds: float | None


def estimate(
    stage: str,
    params: Mapping[str, Any],
    model_config: Mapping[str, Any],
    stats: Mapping[str, int],
    device: Device,
) -> Estimate:
    """Estimate a run from its stage, hyper-parameters, the model's config.json and the data's counts.

    `stats`: `rows` (demonstrations, rankings or prompts) and `tokens` (in all of them together, prompts read once; for
    stages that draw completions the prompts alone); for reward and dpo `k`, the completions of a ranking (4 if absent);
    for evaluate `models`, 2 with a reference (1 if absent), and `judges`, 1 with a reward model (0 if absent), which is
    taken to be as large as the model. Raises ConfigError for bad hyper-parameters, ValueError for a config that is not
    of a Llama-like model.
    """
    config = build(stage, params)
    if isinstance(config, PretrainConfig) and config.start != "checkpoint":
        vocabulary = config.vocabulary if config.tokenizer == "train" else model_config["vocab_size"]
        model_config = sizes.shape(config.start, vocabulary=vocabulary)
    if isinstance(config, SampleConfig):
        return _drawing(config, model_config, stats, device=device, n=config.k, at_once=config.batch_size)
    if isinstance(config, EvaluateConfig):
        models, judges = stats.get("models", 1), stats.get("judges", 0)
        return _drawing(
            config,
            model_config,
            stats,
            device=device,
            n=config.k,
            at_once=config.batch_size,
            models=models,
            # Each model reads its own draws, the reference the policy's too, and the judge all of them.
            reads=2 * models - 1 + models * judges,
        )
    if isinstance(config, PpoConfig):
        return _reinforcing(config, model_config, stats, device=device)
    if isinstance(config, BestOfNConfig):
        draws = _drawing(
            config, model_config, stats, device=device, n=config.n, at_once=config.sample_batch_size, reads=1
        )
        rows = stats.get("rows", 0)
        chosen = {"rows": rows, "tokens": stats.get("tokens", 0) + rows * config.max_new_tokens}
        return _after(draws, _training("sft", config, model_config, chosen, device=device))
    return _training(stage, config, model_config, stats, device=device)


def _after(first: Estimate, second: Estimate) -> Estimate:
    """Both, one after the other in one run."""
    peak = max(first, second, key=lambda one: sum(one.memory_bytes.values()))
    known = first.seconds is not None and second.seconds is not None
    return Estimate(
        parameters=second.parameters,
        trained_parameters=second.trained_parameters,
        tokens=first.tokens + second.tokens,
        flops=first.flops + second.flops,
        memory_bytes=peak.memory_bytes,
        seconds=(first.seconds or 0.0) + (second.seconds or 0.0) if known else None,
    )


def _drawing(
    config: SampleConfig | EvaluateConfig | BestOfNConfig,
    model_config: Mapping[str, Any],
    stats: Mapping[str, int],
    *,
    device: Device,
    n: int,
    at_once: int,
    models: int = 1,
    reads: int = 0,
) -> Estimate:
    """`models` that draw n completions of each prompt, `at_once` prompts at a time, and `reads` passes over them."""
    count = parameters(model_config)
    rows, prompt_tokens = stats.get("rows", 0), stats.get("tokens", 0)
    each = prompt_tokens + rows * n * config.max_new_tokens
    rate = _RATES[device]
    drawn, read = 2.0 * count * models * each, 2.0 * count * reads * each
    seconds = rate["start"] * (models + bool(reads)) + drawn / rate["sample"] + read / rate["train"]
    return Estimate(
        parameters=count,
        trained_parameters=0,
        tokens=models * each,
        flops=drawn + read,
        memory_bytes=_sampling_memory(
            model_config,
            count,
            sequences=at_once * n,
            length=(prompt_tokens / rows if rows else 0) + config.max_new_tokens,
            device=device,
        ),
        seconds=seconds if rows else None,
    )


def _training(
    stage: str, config: Any, model_config: Mapping[str, Any], stats: Mapping[str, int], *, device: Device
) -> Estimate:
    count = parameters(model_config)
    rows, data_tokens = stats.get("rows", 0), stats.get("tokens", 0)
    if isinstance(config, PretrainConfig):
        rows = math.ceil(data_tokens / config.max_length)
    k = max(2, stats.get("k", 4))
    rate = _RATES[device]
    trained = lora_parameters(model_config, config.lora_r) if config.trains_adapter else count
    if stage == "reward":
        trained += model_config["hidden_size"]
    passes = total_steps(config, rows) * config.batch_size / rows if rows else 0.0
    read = _completions_read(config, k)
    # Of the k + 1 parts of a ranking dpo reads the prompt and the completions that its pairs or labels name.
    share = (read + 1) / (k + 1) if isinstance(config, DpoConfig) else 1.0
    tokens = round(data_tokens * passes * share)
    per_token = 6.0 * count if config.method == "full" else 4.0 * count + 2.0 * trained
    flops = per_token * tokens
    if isinstance(config, DpoConfig) and config.loss in WITH_REFERENCE:
        # The reference reads each ranking that the run comes to once.
        flops += 2.0 * count * data_tokens * share * min(passes, 1.0)
    # Rows of pretraining are full; the others are as long as their texts.
    full = isinstance(config, PretrainConfig)
    length = config.max_length if full else min(config.max_length, _longest(stage, data_tokens, rows, k))
    sequences = config.micro * {"reward": k, "dpo": read}.get(stage, 1)
    memory = _training_memory(
        stage, config, model_config, count=count, trained=trained, sequences=sequences, length=length, device=device
    )
    return Estimate(
        parameters=count,
        trained_parameters=trained,
        tokens=tokens,
        flops=flops,
        memory_bytes=memory,
        seconds=rate["start"] + flops / rate["train"] if rows else None,
    )


def _reinforcing(
    config: PpoConfig, model_config: Mapping[str, Any], stats: Mapping[str, int], *, device: Device
) -> Estimate:
    """PPO, whose reward model is taken to be as large as the policy: draws, reads of four models, passes of two."""
    count = parameters(model_config)
    rows = stats.get("rows", 0)
    rate = _RATES[device]
    prompt = stats.get("tokens", 0) / rows if rows else 0.0
    tokens = round(config.updates * config.rollout_prompts * (prompt + config.answers_each * config.max_new_tokens))
    trained = lora_parameters(model_config, config.lora_r) if config.trains_adapter else count
    drawn = 2.0 * count * tokens
    # RLOO and GRPO have no critic.
    learners = 2 if config.algorithm == "ppo" else 1
    reads = 2.0 * count * tokens * (1 + learners + bool(config.beta))
    passes = (
        config.epochs * learners * tokens * (6.0 * count if config.method == "full" else 4.0 * count + 2.0 * trained)
    )
    if config.ptx_coefficient:  # rows of pretraining text beside the answers, in the policy's passes alone
        mixed = config.updates * config.rollout_prompts * config.epochs * config.ptx_rows * config.ptx_length
        passes += mixed * (6.0 * count if config.method == "full" else 4.0 * count + 2.0 * trained)
    if config.trains_adapter:
        whole = 2
    elif config.algorithm == "ppo" and config.offload_frozen:
        whole = learners  # the others rest while these two have their gradients, which need more
    else:
        whole = 1 + learners + bool(config.beta)
    shape = {"device": device, "stage": "ppo" if config.algorithm == "ppo" else "by_trl"}
    activations = _activations(
        config=config,
        model_config=model_config,
        sequences=config.micro * config.answers_each,
        length=round(prompt) + config.max_new_tokens,
        **shape,
    )
    if config.ptx_coefficient:
        activations += _activations(
            config=config,
            model_config=model_config,
            sequences=config.micro * config.ptx_rows,
            length=config.ptx_length,
            **shape,
        )
    memory = {
        "weights": 4 * count * whole,
        "gradients": 4 * learners * trained,
        "optimizer": 8 * learners * trained,
        "activations": activations,
        "reference": 0,
    }
    seconds = 2 * rate["start"] + drawn / rate["sample"] + (reads + passes) / rate["train"]
    return Estimate(
        parameters=count,
        trained_parameters=trained,  # of one model, as `parameters` are
        tokens=tokens,
        flops=drawn + reads + passes,
        memory_bytes=memory,
        seconds=seconds if rows else None,
    )


def parameters(model_config: Mapping[str, Any]) -> int:
    """The number of parameters of a Llama-like language model, a tied head counted once.

    Raises ValueError where the config lacks the shapes.
    """
    try:
        width, layers = model_config["hidden_size"], model_config["num_hidden_layers"]
        inner, vocabulary = model_config["intermediate_size"], model_config["vocab_size"]
        heads = model_config["num_attention_heads"]
    except KeyError as error:
        raise ValueError(f"The model's config.json has no {error.args[0]}, so it cannot be estimated.") from error
    attention = sum(rows * columns for rows, columns in _attention_shapes(model_config))
    per_layer = attention + 3 * width * inner + 2 * width
    if model_config.get("attention_bias"):
        kv = model_config.get("num_key_value_heads") or heads
        per_layer += _head_width(model_config) * (heads + 2 * kv) + width
    if model_config.get("mlp_bias"):
        per_layer += 2 * inner + width
    embeddings = vocabulary * width * (1 if model_config.get("tie_word_embeddings") else 2)
    total: int = embeddings + layers * per_layer + width
    return total


def lora_parameters(model_config: Mapping[str, Any], rank: int) -> int:
    """Parameters of a LoRA adapter on every linear layer but the head: rank times (inputs + outputs) of each."""
    width, inner = model_config["hidden_size"], model_config["intermediate_size"]
    shapes = [*_attention_shapes(model_config), (inner, width), (inner, width), (width, inner)]
    total: int = model_config["num_hidden_layers"] * rank * sum(sum(shape) for shape in shapes)
    return total


def _head_width(model_config: Mapping[str, Any]) -> int:
    width: int = model_config.get("head_dim") or model_config["hidden_size"] // model_config["num_attention_heads"]
    return width


def _attention_shapes(model_config: Mapping[str, Any]) -> list[tuple[int, int]]:
    width, heads = model_config["hidden_size"], model_config["num_attention_heads"]
    kv = (model_config.get("num_key_value_heads") or heads) * _head_width(model_config)
    query = heads * _head_width(model_config)
    return [(query, width), (kv, width), (kv, width), (width, query)]


def _longest(stage: str, tokens: int, rows: int, k: int) -> int:
    """A guess at the longest sequence: twice the mean, which is 2 of the k + 1 parts of a ranking."""
    mean = tokens / rows if rows else 512
    return max(16, round(mean * (4 / (k + 1) if stage in ("reward", "dpo") else 2.0)))


def _completions_read(config: TrainingConfig, k: int) -> int:
    """Completions of a ranking of k that a step reads: the widest pairs share the best one or the worst."""
    if not isinstance(config, DpoConfig):
        return k
    if config.loss == "kto":
        return 2
    return min(k, config.pairs_per_prompt + 1) if config.pairs_per_prompt else k


def _training_memory(
    stage: str,
    config: TrainingConfig,
    model_config: Mapping[str, Any],
    *,
    count: int,
    trained: int,
    sequences: int,
    length: int,
    device: str,
) -> dict[str, int]:
    parts = 1 if config.sharding == "none" else config.processes
    return {
        "weights": _weights_memory(config, model_config, count),
        "gradients": 4 * trained // parts,
        "optimizer": 8 * trained // parts,
        "activations": _activations(stage, config, model_config, sequences=sequences, length=length, device=device),
        # Its log-probabilities are computed before the first step, by the policy itself: one number a completion.
        "reference": 0,
    }


def _activations(
    stage: str,
    config: OptimizingConfig,
    model_config: Mapping[str, Any],
    *,
    sequences: int,
    length: int,
    device: str,
) -> int:
    """Bytes that a pass keeps for its way back, and its logits."""
    width, layers = model_config["hidden_size"], model_config["num_hidden_layers"]
    heads = model_config["num_attention_heads"]
    in_float32 = config.precision == "float32" or (config.precision == "auto" and device == "cpu")
    element = 4 if in_float32 else 2
    per_layer = sequences * length * (34 * width + 5 * heads * length) * element / 2
    # Checkpointing keeps each layer's input and computes one layer at a time; by itself only what makes logits of whole
    # sequences does so, on CUDA.
    by_itself = device == "cuda" and stage not in ("reward", "dpo", "ppo", "by_trl")
    checkpointed = {"on": True, "off": False, "auto": by_itself}[config.gradient_checkpointing]
    kept = per_layer + sequences * length * width * layers * element if checkpointed else per_layer * layers
    logits = 0 if stage == "reward" else sequences * length * model_config["vocab_size"] * 4
    if stage in ("dpo", "ppo"):
        # One block of positions at a time (`logps.POSITIONS_AT_ONCE`).
        logits = min(logits, 512 * model_config["vocab_size"] * 4)
    return round(kept + logits)


def _weights_memory(config: TrainingConfig, model_config: Mapping[str, Any], count: int) -> int:
    """Bytes of the base's weights in one process."""
    width, inner, layers = (model_config[n] for n in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    linear = layers * (sum(rows * columns for rows, columns in _attention_shapes(model_config)) + 3 * width * inner)
    if config.method == "qlora":
        return round(BYTES_IN_4_BITS * linear + 4 * (count - linear))
    if config.sharding == "none":
        return 4 * count
    gathered = count if config.sharding == "gradients" else count - linear + 2 * linear // layers
    return 4 * (count // config.processes + gathered)


def _sampling_memory(
    model_config: Mapping[str, Any], count: int, *, sequences: int, length: float, device: str
) -> dict[str, int]:
    element = 4 if device == "cpu" else 2
    kv_heads = model_config.get("num_key_value_heads") or model_config["num_attention_heads"]
    per_token = 2 * model_config["num_hidden_layers"] * kv_heads * _head_width(model_config) * element
    return {
        "weights": element * count,
        "gradients": 0,
        "optimizer": 0,
        "activations": round(sequences * length * per_token + sequences * model_config["vocab_size"] * 4),
        "reference": 0,
    }
