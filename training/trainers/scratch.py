"""Models and tokenizers from nothing: a Llama of a named size with random weights, and byte-level BPE."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from training.trainers import sizes
from training.trainers.chat import CHATML_TEMPLATE

END_OF_TEXT = "<|endoftext|>"
SPECIAL_TOKENS = (END_OF_TEXT, "<|im_start|>", "<|im_end|>")
_CONTEXT = 2048  # positions a model is made for at least


def random_llama(size: str, tokenizer: Any, *, seed: int, context: int = _CONTEXT) -> Any:
    """A Llama with random weights for the tokenizer's vocabulary; the same seed gives the same weights.

    `context` is the longest sequence in tokens that it is made for.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**sizes.shape(size, vocabulary=len(tokenizer)), max_position_embeddings=max(_CONTEXT, context))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = LlamaForCausalLM(config)
    for each in (network.config, network.generation_config):
        each.bos_token_id = tokenizer.bos_token_id
        each.eos_token_id = tokenizer.eos_token_id
        each.pad_token_id = tokenizer.pad_token_id
    return network


def train_tokenizer(texts: Iterable[str], *, vocabulary: int, context: int = _CONTEXT) -> Any:
    """A byte-level BPE tokenizer (Radford et al. 2019) of at most `vocabulary` tokens, with ChatML's turns.

    Every byte is a token, so no text is unknown to it; fewer tokens come of texts that hold too little.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=END_OF_TEXT,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        chat_template=CHATML_TEMPLATE,
        model_max_length=max(_CONTEXT, context),
        clean_up_tokenization_spaces=False,
    )
