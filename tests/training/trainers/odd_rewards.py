"""Reward functions for tests, allowed to a run by HONE_REWARD_FUNCTIONS."""

from training.trainers.reward_functions import Answered


def share_of_e(answer: Answered) -> float:
    """The share of the answer's characters that are an e."""
    return answer.text.count("e") / max(1, len(answer.text))


def raises(answer: Answered) -> float:
    raise ValueError("no number today")


def not_a_number(answer: Answered) -> float:
    return float("nan")
