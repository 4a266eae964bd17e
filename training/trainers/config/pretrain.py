"""The hyper-parameters of pretraining."""

from __future__ import annotations

from dataclasses import dataclass

from training.trainers import sample_steps
from training.trainers.config.common import TrainingConfig
from training.trainers.config.fields import option


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(TrainingConfig):
    """Language modelling on documents, from a checkpoint or from random weights."""

    start: str = option(
        "checkpoint",
        "What training starts from: the checkpoint, or random weights of a Llama of about 2 million (tiny), 30 million "
        "(mini), 135 million (small), 360 million (medium) or 1.2 billion (large) parameters.",
        choices=("checkpoint", "tiny", "mini", "small", "medium", "large"),
        label="Initial weights",
    )
    tokenizer: str = option(
        "checkpoint",
        "Whose tokens the model reads: the checkpoint's, or those of a tokenizer trained on this corpus, which needs "
        "random weights.",
        choices=("checkpoint", "train"),
    )
    vocabulary: int = option(
        8192,
        "How many tokens a tokenizer trained on this corpus has at most.",
        minimum=300,
        maximum=1_000_000,
        unit="tokens",
    )
    method: str = option(
        "full",
        "Full trains every weight, as random weights need; LoRA trains a small adapter and merges it at the end, "
        "qlora does so over 4-bit weights.",
        choices=("full", "lora", "qlora"),
    )
    learning_rate: float = option(
        3e-4,
        "The largest step size; 3e-4 suits most models, 3e-3 a tiny one, and 3e-5 a checkpoint that keeps its skills.",
        minimum=0.0,
        maximum=1.0,
    )
    epochs: float = option(
        1.0, "How many times the run trains on as many tokens as the sources hold.", minimum=0.01, maximum=1000.0
    )
    batch_size: int = option(16, "How many rows go into one optimizer step.", minimum=1, maximum=65_536, unit="rows")
    max_length: int = option(
        512,
        "How many tokens a row has; documents follow one another in it, and a long one goes on in the next row.",
        minimum=16,
        maximum=1_000_000,
        unit="tokens",
        label="Row length",
    )
    weight_decay: float = option(
        0.1, "How strongly weights are drawn to zero at each step.", minimum=0.0, maximum=1.0, expert=True
    )
    isolate_documents: bool = option(
        False,
        "Whether documents of one row are hidden from each other: no attention across them, positions from zero.",
    )
    heldout_percent: float = option(
        1.0,
        "The share of each source that is held out for its perplexity, where the source names none itself.",
        minimum=0.0,
        maximum=50.0,
        unit="%",
        label="Held-out share",
    )
    quality_filter: bool = option(
        True,
        "Whether documents that break the rules of Gopher, C4 and FineWeb for running text are dropped.",
    )
    languages: str = option("", "The languages to keep, as codes like en, zh; empty keeps all.")
    language_share: float = option(
        0.65,
        "How probable a document's language must be to count.",
        minimum=0.0,
        maximum=1.0,
        expert=True,
        label="Language probability",
    )
    deduplicate: str = option(
        "near",
        "Which repeated documents are dropped, within and across sources: near ones too, exact ones alone, or none.",
        choices=("near", "exact", "none"),
    )
    near_similarity: float = option(
        0.8,
        "The share of five-word runs in common from which two documents count as near-duplicates.",
        minimum=0.3,
        maximum=1.0,
        expert=True,
        label="Near-duplicate similarity",
    )
    contamination_words: int = option(
        13,
        "A document that has this many words in a row in common with an evaluation prompt is dropped; 0 keeps it.",
        minimum=0,
        maximum=100,
        unit="words",
        expert=True,
    )
    sample_steps: str = option(
        "500, 5000, 30000",
        "After which steps the model writes samples: numbers, or a rule like every 100; it always does at the end.",
        check=sample_steps.fault,
    )
    sample_tokens: int = option(
        64, "How long a sample is at most.", minimum=1, maximum=4096, unit="tokens", expert=True, label="Sample length"
    )
    sample_temperature: float = option(
        0.8, "How random the samples are; 0 always takes the likeliest token.", minimum=0.0, maximum=5.0, expert=True
    )

    def faults(self) -> dict[str, str]:
        """As StageConfig's."""
        found = super().faults()
        if self.start == "checkpoint" and self.tokenizer == "train":
            found["tokenizer"] = "tokenizer = train needs random weights, as a checkpoint knows its own tokens alone."
        if self.start != "checkpoint" and self.method != "full":
            found["method"] = f"method must be full where start is {self.start}: random weights are no base."
        return found

    @property
    def reads_model(self) -> bool:
        """Whether anything of the run's model is read; a run from nothing names one only for its lineage."""
        return self.start == "checkpoint" or self.tokenizer == "checkpoint"
