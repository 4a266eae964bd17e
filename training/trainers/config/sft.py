"""The hyper-parameters of supervised fine-tuning, on demonstrations and on the best of N completions."""

from __future__ import annotations

from dataclasses import dataclass

from training.trainers import category_weights
from training.trainers.config.common import TrainingConfig
from training.trainers.config.fields import option


@dataclass(frozen=True, kw_only=True)
class SftConfig(TrainingConfig):
    """Supervised fine-tuning on demonstrations."""

    batch_size: int = option(
        8, "How many conversations go into one optimizer step.", minimum=1, maximum=65_536, unit="conversations"
    )
    chat_template: str = option(
        "checkpoint",
        "How conversations become text: the checkpoint's own way, or another that the trained model then keeps; "
        "instruction writes ### Instruction and ### Response, question writes Question and Answer.",
        choices=("checkpoint", "chatml", "instruction", "question"),
        expert=True,
    )
    category_weights: str = option(
        "",
        "How much the demonstrations of a category count, such as coding=2, open_qa=0.5; all others count 1.",
        expert=True,
        check=category_weights.fault,
    )
    packing: bool = option(
        False,
        "Puts the conversations that are computed at once end to end, without padding; none sees another, so the "
        "result is the same.",
        expert=True,
    )
    neftune_alpha: float = option(
        0.0,
        "How much noise is added to the embeddings against learning by heart; 5 is usual, 0 adds none.",
        minimum=0.0,
        maximum=1000.0,
        expert=True,
        label="NEFTune noise",
    )


@dataclass(frozen=True, kw_only=True)
class BestOfNConfig(SftConfig):
    """Fine-tuning on the best of N completions of each prompt (RAFT, Dong et al. 2023)."""

    n: int = option(
        16,
        "How many completions are drawn for each prompt, of which the reward model keeps the best.",
        minimum=2,
        maximum=256,
        label="Completions each",
    )
    max_new_tokens: int = option(
        256, "The longest completion.", minimum=1, maximum=32_768, unit="tokens", label="Longest completion"
    )
    temperature: float = option(1.0, "How random the words are.", minimum=0.01, maximum=5.0)
    top_p: float = option(
        1.0,
        "Only the likeliest words that together reach this probability are drawn from.",
        minimum=0.01,
        maximum=1.0,
        label="Top-p",
    )
    sample_batch_size: int = option(
        4, "How many prompts are sampled at once.", minimum=1, maximum=4096, unit="prompts", expert=True
    )
    only_ended: bool = option(
        True,
        "Keeps only completions that came to their own end, so that nothing cut off is learnt.",
        expert=True,
        label="Only ended completions",
    )
    heldout_percent: int = option(
        10,
        "The share of prompts, chosen by their text, whose best completions are kept for the held-out loss.",
        minimum=0,
        maximum=90,
        unit="%",
        expert=True,
        label="Held-out share",
    )
