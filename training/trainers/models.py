"""Loading models and tokenizers from folders, and saving them back as whole, loadable folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from training.trainers import hardware, model_folders, quantized, sharding
from training.trainers.chat import PLAIN_STOP, end_of_turn, plain_template
from training.trainers.config import OptimizingConfig
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


def load_causal_model(model: str, tokenizer: Any, *, dtype: Any, in_4_bits: bool = False) -> Any:
    """A causal language model with safetensors weights, on the CPU, in the given number format.

    With `in_4_bits` its linear layers are (`quantized.py`), and it is on this process's device.
    """
    from transformers import AutoModelForCausalLM

    words = quantized.words() if in_4_bits else {}
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=dtype, use_safetensors=True, **words)
    loaded.config.pad_token_id = tokenizer.pad_token_id
    loaded.generation_config.pad_token_id = tokenizer.pad_token_id
    return loaded


def with_lora(model: Any, *, config: OptimizingConfig, task: str, also_train: list[str] | None = None) -> Any:
    """The model with a LoRA adapter on every linear layer but its head (Hu et al. 2021; task as PEFT names it)."""
    from peft import get_peft_model

    return get_peft_model(model, lora_config(config=config, task=task, also_train=also_train))


def save_memory(model: Any, config: OptimizingConfig, *, by_itself: bool = True) -> None:
    """Lets the backward pass compute activations again where the recipe asks for it.

    With `auto` also where the hardware makes it cheap, unless the stage does not do so `by_itself`.
    """
    wanted = config.gradient_checkpointing
    if wanted == "on" or (by_itself and wanted == "auto" and hardware.checkpoints_gradients()):
        # The other form asks for inputs with gradients, which frozen embeddings do not give.
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def lora_config(*, config: OptimizingConfig, task: str, also_train: list[str] | None = None) -> Any:
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


def adapter_rank(folder: str) -> int:
    """The rank of the LoRA adapter in a folder; raises TrainerError where it is none, or not safetensors."""
    path = Path(folder)
    if not (path / "adapter_model.safetensors").is_file():
        raise TrainerError(f"The adapter folder {folder} has no adapter_model.safetensors.")
    try:
        facts = json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
        if facts["peft_type"] != "LORA":
            raise TrainerError(f"The adapter in {folder} is of the kind {facts['peft_type']}, not LoRA.")
        return max(int(facts["r"]), *(int(rank) for rank in facts.get("rank_pattern", {}).values()), 1)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainerError(f"The adapter folder {folder} has no adapter_config.json of a LoRA adapter.") from error


def merged_adapter(model: Any, folder: str) -> Any:
    """The model with a LoRA adapter's weights added to its own, in memory."""
    from peft import PeftModel

    adapter_rank(folder)
    return PeftModel.from_pretrained(model, folder).merge_and_unload()


def save_model(target: Path, *, model: Any, tokenizer: Any, files: dict[str, Any] | None = None) -> None:
    """Save a whole transformers folder, by temp folder and rename.

    A PEFT model is merged (which ends its use for training) and its adapter kept under `adapter/`; one over 4-bit
    weights is merged into those that they were made of. `files` are written beside as JSON. The generation config names
    every token that ends an answer, so other programs stop too. A model divided among processes is put together, and
    saved by the first one alone.
    """
    from peft import PeftModel

    if sharding.is_sharded(model) and (model := sharding.whole(model)) is None:
        target.mkdir(parents=True, exist_ok=True)
        return
    with replacing_folder(target) as folder:
        if isinstance(model, PeftModel):
            model.save_pretrained(folder / "adapter", save_embedding_layers=False)
            # PEFT writes a model card that names local paths and says nothing.
            (folder / "adapter" / "README.md").unlink(missing_ok=True)
            over_4_bits = quantized.is_quantized(model.get_base_model())
            model = quantized.merged(model, folder / "adapter") if over_4_bits else model.merge_and_unload()
        if (generation := getattr(model, "generation_config", None)) is not None:
            ids = sorted(stop_ids(tokenizer, generation))
            generation.eos_token_id = ids if len(ids) > 1 else ids[0]
        model.config.use_cache = True
        model.config.pad_token_id = tokenizer.pad_token_id
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        model_folders.sign(folder)
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
