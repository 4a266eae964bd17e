"""Reward functions for tests, allowed to a run by HONE_REWARD_FUNCTIONS."""

import gc

from transformers import PreTrainedModel

from training.trainers.reward_functions import Answered


def share_of_e(answer: Answered) -> float:
    """The share of the answer's characters that are an e."""
    return answer.text.count("e") / max(1, len(answer.text))


def raises_at_3(answer: Answered) -> float:
    """For the third prompt of tests alone."""
    if "Say 3 of it." in answer.prompt[-1]["content"]:
        raise ValueError("no number for 3")
    return 1.0


def raises(answer: Answered) -> float:
    raise ValueError("no number today")


def not_a_number(answer: Answered) -> float:
    return float("nan")


def activations_again(answer: Answered) -> float:
    """1 where a model of this process computes activations again in the backward pass."""
    models = [found for found in gc.get_objects() if isinstance(found, PreTrainedModel)]
    return float(any(model.is_gradient_checkpointing for model in models))
