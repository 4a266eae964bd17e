"""What a run will take, before it is launched: parameters, tokens, arithmetic, memory, and a rough time.

Pure arithmetic over a model's config.json; the web process shows it beside the launch form. No torch.

The rules, for a decoder with N parameters, of which T are trained, over D tokens:
- parameters are counted from the shapes of Llama-like layers (grouped-query attention, gated MLP, RMS norms;
  Touvron et al. 2023); a head tied to the embedding counts once. It is exact for such models.
- arithmetic (Kaplan et al. 2020, section 2.1): a forward pass is 2 N D operations, a backward pass twice that, so
  training is 6 N D. LoRA needs no gradients of the frozen weights: 2 N D forward, 2 N D for the gradients of the
  activations, 2 T D for its own weights. DPO adds 2 N D for the reference. Sampling is 2 N D. Attention scores are
  left out, as they are small below a few thousand tokens.
- memory: weights 4 N bytes (sampling on CUDA 2 N), gradients 4 T, AdamW's two moments 8 T, activations about
  (34 d + 5 h L) L per layer and sequence in 16-bit units (Korthikanti et al. 2023, equation 1), twice that in
  float32, and only one layer of it with gradient checkpointing, plus the logits where the stage makes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from training.trainers.config import SampleConfig, TrainingConfig, build
from training.trainers.schedule import total_steps

# Operations a second that training and sampling were measured to sustain. A CPU: 2 cores with AVX512, float32,
# SmolLM2-135M. CUDA: one current accelerator in bfloat16, at a cautious share of its peak.
_RATES = {
    "cpu": {"train": 9e10, "sample": 4e10, "start": 12.0},
    "cuda": {"train": 1.5e14, "sample": 1e13, "start": 20.0},
}


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
    device: Literal["cpu", "cuda"],
) -> Estimate:
    """Estimate a run from its stage, hyper-parameters, the model's config.json and the data's counts.

    `stats`: `rows` (demonstrations, rankings or prompts) and `tokens` (in all of them together, prompts read once; for
    sampling the prompts alone); for reward and dpo `k`, the completions of a ranking (4 if absent), and for dpo also
    `pairs` where known. Raises ConfigError for bad hyper-parameters, ValueError for a config that is
    not of a Llama-like model.
    """
    config = build(stage, params)
    count = parameters(model_config)
    rows, data_tokens = stats.get("rows", 0), stats.get("tokens", 0)
    k = max(2, stats.get("k", 4))
    rate = _RATES[device]
    if isinstance(config, SampleConfig):
        tokens = data_tokens + rows * config.k * config.max_new_tokens
        flops = 2.0 * count * tokens
        memory = _sampling_memory(config, model_config, count, data_tokens / rows if rows else 0, device)
        seconds = rate["start"] + flops / rate["sample"] if rows else None
        return Estimate(
            parameters=count,
            trained_parameters=0,
            tokens=tokens,
            flops=flops,
            memory_bytes=memory,
            seconds=seconds,
        )
    trained = lora_parameters(model_config, config.lora_r) if config.method == "lora" else count
    if stage == "reward":
        trained += model_config["hidden_size"]
    units = rows
    if stage == "dpo":
        every = k * (k - 1) // 2
        per_row = min(config.pairs_per_prompt or every, every)
        units = stats.get("pairs", rows * per_row)
    passes = total_steps(config, units) * config.batch_size / units if units else 0.0
    # A pair reads its prompt and one completion twice: 4 of the k + 1 parts of a ranking, a little less as prompts
    # are shorter than answers.
    tokens = round(data_tokens * passes * (units / rows * 3.75 / (k + 1) if stage == "dpo" and rows else 1.0))
    per_token = 6.0 * count if config.method == "full" else 4.0 * count + 2.0 * trained
    if stage == "dpo":
        per_token += 2.0 * count
    flops = per_token * tokens
    length = min(config.max_length, _longest(stage, data_tokens, rows, k))
    sequences = config.micro * {"sft": 1, "reward": k, "dpo": 2}[stage]
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
    width, layers = model_config["hidden_size"], model_config["num_hidden_layers"]
    heads = model_config["num_attention_heads"]
    element = 4 if device == "cpu" else 2
    per_layer = sequences * length * (34 * width + 5 * heads * length) * element / 2
    # Checkpointing (CUDA, but for the reward model) keeps each layer's input and computes one layer at a time.
    checkpointed = device == "cuda" and stage != "reward"
    kept = per_layer + sequences * length * width * layers * element if checkpointed else per_layer * layers
    logits = 0 if stage == "reward" else sequences * length * model_config["vocab_size"] * 4
    reference = 0
    if stage == "dpo" and config.method == "full":
        # The reference's log-probabilities are computed once, before the first step, by the policy itself.
        reference = sequences * 4
    return {
        "weights": 4 * count,
        "gradients": 4 * trained,
        "optimizer": 8 * trained,
        "activations": round(kept + logits),
        "reference": reference,
    }


def _sampling_memory(
    config: SampleConfig, model_config: Mapping[str, Any], count: int, prompt_tokens: float, device: str
) -> dict[str, int]:
    element = 4 if device == "cpu" else 2
    kv_heads = model_config.get("num_key_value_heads") or model_config["num_attention_heads"]
    per_token = 2 * model_config["num_hidden_layers"] * kv_heads * _head_width(model_config) * element
    rows = config.batch_size * config.k
    cache = rows * (prompt_tokens + config.max_new_tokens) * per_token
    return {
        "weights": element * count,
        "gradients": 0,
        "optimizer": 0,
        "activations": round(cache + rows * model_config["vocab_size"] * 4),
        "reference": 0,
    }
