"""The hyper-parameters of the stages that draw completions and change no weights."""

from __future__ import annotations

from dataclasses import dataclass

from training.trainers.config.common import StageConfig
from training.trainers.config.fields import option


@dataclass(frozen=True, kw_only=True)
class DrawingConfig(StageConfig):
    """What every stage has that only draws completions."""

    k: int = option(4, "How many completions each prompt gets.", minimum=1, maximum=64, label="Completions each")
    max_new_tokens: int = option(
        256, "The longest completion.", minimum=1, maximum=32_768, unit="tokens", label="Longest completion"
    )
    temperature: float = option(
        0.8, "How random the words are; 0 always takes the likeliest.", minimum=0.0, maximum=5.0
    )
    top_p: float = option(
        0.95,
        "Only the likeliest words that together reach this probability are drawn from.",
        minimum=0.01,
        maximum=1.0,
        label="Top-p",
    )
    batch_size: int = option(
        16, "How many prompts are sampled at once.", minimum=1, maximum=4096, unit="prompts", expert=True
    )


@dataclass(frozen=True, kw_only=True)
class SampleConfig(DrawingConfig):
    """Drawing K completions for each prompt."""

    engine: str = option(
        "auto",
        "What runs the model: auto takes vLLM where it is installed, else transformers; endpoint asks a server.",
        choices=("auto", "transformers", "vllm", "endpoint"),
        expert=True,
    )


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(DrawingConfig):
    """Numbers of one checkpoint, and of a reference beside it, on a fixed set of prompts."""

    k: int = option(4, "How many completions each prompt gets.", minimum=2, maximum=256, label="Completions each")
    temperature: float = option(
        1.0,
        "How random the words are; the distance to the reference is measured at this temperature.",
        minimum=0.0,
        maximum=5.0,
    )
    top_p: float = option(
        1.0,
        "Only the likeliest words that together reach this probability are drawn; below 1 the distance is biased.",
        minimum=0.01,
        maximum=1.0,
        label="Top-p",
    )
    max_length: int = option(
        1024,
        "The longest sequence of tokens that is scored or read for the perplexity; longer ones are cut and counted.",
        minimum=16,
        maximum=1_000_000,
        unit="tokens",
        expert=True,
    )
    rows_at_once: int = option(
        8,
        "How many sequences are read at once when they are measured; smaller needs less memory.",
        minimum=1,
        maximum=4096,
        unit="sequences",
        expert=True,
        label="Sequences at once",
    )
    shown: int = option(
        20,
        "How many of the best and of the worst rewarded samples are written for people to read.",
        minimum=0,
        maximum=1000,
        unit="samples",
        label="Samples to read",
    )
