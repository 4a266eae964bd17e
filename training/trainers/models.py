"""Loading models and tokenizers from folders, and saving them back as whole, loadable folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from training.trainers.chat import PLAIN_STOP, end_of_turn, plain_template
from training.trainers.config import TrainingConfig
from training.trainers.folders import replacing_folder
from training.trainers.program import TrainerError

# Tried in turn where a tokenizer has no pad token of its own.
_PAD_CANDIDATES = ("<|endoftext|>", "<pad>", "[PAD]", "<|pad|>", "<|finetune_right_pad_id|>", "<unk>", "[UNK]")


def load_tokenizer(model: str) -> Any:
    """The model's tokenizer with a pad token that is not its eos, and with a chat template."""
    return load_tokenizer_and_stop(model)[0]


def load_tokenizer_and_stop(model: str) -> tuple[Any, str | None]:
    """As `load_tokenizer`, and the text that ends an answer of a base model, None for a model with a template.

    A tuned model keeps the plain template in its folder and ends its answers by itself, so it has no such text.
    """
    from transformers import AutoTokenizer
    from transformers.utils import logging

    # Bars are for terminals; this program's output is a log file.
    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(model)
    ensure_pad(tokenizer)
    if tokenizer.chat_template:
        return tokenizer, None
    tokenizer.chat_template = plain_template(tokenizer)
    return tokenizer, PLAIN_STOP


def ensure_pad(tokenizer: Any) -> None:
    """Give the tokenizer an existing token other than its eos as pad.

    Where pad equals eos, whatever masks pad away masks the end of each answer away too, and the model never
    learns to stop. Raises TrainerError where no token will do.
    """
    if tokenizer.eos_token is None:
        raise TrainerError("The model's tokenizer has no eos token, so an answer would have no end.")
    if tokenizer.pad_token is not None and tokenizer.pad_token_id != tokenizer.eos_token_id:
        return
    vocabulary = tokenizer.get_vocab()
    others = [token for token in tokenizer.all_special_tokens if token != tokenizer.bos_token]
    for token in (*_PAD_CANDIDATES, *others):
        if token in vocabulary and vocabulary[token] != tokenizer.eos_token_id:
            tokenizer.pad_token = token
            return
    raise TrainerError("The model's tokenizer has no special token besides its eos that could serve as pad.")


def load_causal_model(model: str, tokenizer: Any, *, dtype: Any) -> Any:
    """A causal language model with safetensors weights, on the CPU, in the given number format."""
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=dtype, use_safetensors=True)
    loaded.config.pad_token_id = tokenizer.pad_token_id
    loaded.generation_config.pad_token_id = tokenizer.pad_token_id
    return loaded


def with_lora(model: Any, *, config: TrainingConfig, task: str, also_train: list[str] | None = None) -> Any:
    """The model with a LoRA adapter on every linear layer but its head (Hu et al. 2021; task as PEFT names it)."""
    from peft import get_peft_model

    return get_peft_model(model, lora_config(config=config, task=task, also_train=also_train))


def lora_config(*, config: TrainingConfig, task: str, also_train: list[str] | None = None) -> Any:
    """PEFT's description of the adapter; `also_train` names modules trained whole and saved with it."""
    from peft import LoraConfig

    return LoraConfig(
        task_type=task,
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules="all-linear",
        modules_to_save=also_train,
    )


def save_model(target: Path, *, model: Any, tokenizer: Any, files: dict[str, Any] | None = None) -> None:
    """Save a whole transformers folder, by temp folder and rename.

    A PEFT model is merged (which ends its use for training) and its adapter kept under `adapter/`. `files` are
    written beside as JSON. The generation config names every token that ends an answer, so other programs stop too.
    """
    from peft import PeftModel

    with replacing_folder(target) as folder:
        if isinstance(model, PeftModel):
            model.save_pretrained(folder / "adapter", save_embedding_layers=False)
            # PEFT writes a model card that names local paths and says nothing.
            (folder / "adapter" / "README.md").unlink(missing_ok=True)
            model = model.merge_and_unload()
        if (generation := getattr(model, "generation_config", None)) is not None:
            ids = sorted(stop_ids(tokenizer, generation))
            generation.eos_token_id = ids if len(ids) > 1 else ids[0]
        model.config.use_cache = True
        model.config.pad_token_id = tokenizer.pad_token_id
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        for name, value in (files or {}).items():
            (folder / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def stop_ids(tokenizer: Any, generation_config: Any = None) -> set[int]:
    """The ids that end an answer: the chat template's, the tokenizer's eos, those of the model's generation config."""
    named = getattr(generation_config, "eos_token_id", None)
    ids = set(named if isinstance(named, list) else [] if named is None else [named])
    return ids | {tokenizer.eos_token_id, end_of_turn(tokenizer).id}


def describe_folder(model: str) -> dict[str, Any]:
    """The model's config.json where it is a folder, else nothing."""
    path = Path(model) / "config.json"
    if not path.is_file():
        return {}
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return facts
