"""The numbers that trainers log: the newest of each, which one judges a stage, and what they are called."""

import re

from django.utils.translation import gettext as _

from training.models import Metric, Run

# The number by which one judges a stage, held-out ones first.
HEADLINES = {
    "pretrain": ["heldout_perplexity", "loss"],
    "sft": ["heldout_loss", "loss"],
    "reward": ["heldout_accuracy", "accuracy"],
    "dpo": ["heldout_accuracy", "rewards/accuracies"],
    "ppo": ["reward", "kl"],
    "sample": ["completions", "tokens_per_s"],
    "best_of_n": ["chosen_reward", "heldout_loss"],
    "evaluate": ["win_rate", "policy_reward", "kl_sequence", "policy_perplexity", "policy_length"],
}
# The same for a model of any kind.
JUDGED_BY = [
    "heldout_accuracy",
    "heldout_loss",
    "accuracy",
    "rewards/accuracies",
    "reward",
    "loss",
]


def newest(run: Run) -> dict[str, float]:
    """The last value of each of the run's metrics, by name."""
    rows = Metric.objects.filter(run=run).order_by("name", "-step").distinct("name")
    return dict(rows.values_list("name", "value"))


def label(name: str) -> str:
    """What people read: "heldout_rewards/accuracies" -> "held-out accuracy", "tokens_per_s" -> "tokens/s".

    Ends and beginnings that trainers put around a name are told in words: "policy_entropy_low", "perplexity_before".
    """
    known = _known()
    if name in known:
        return known[name]
    for end, words in (
        ("_before", _("%(number)s before")),
        ("_low", _("%(number)s, low")),
        ("_high", _("%(number)s, high")),
    ):
        if name.endswith(end):
            return words % {"number": label(name.removesuffix(end))}
    for start, words in (
        ("heldout_", _("held-out %(number)s")),
        ("policy_", _("policy: %(number)s")),
        ("reference_", _("reference: %(number)s")),
    ):
        if name.startswith(start):
            return words % {"number": label(name.removeprefix(start))}
    for start, words in (
        ("perplexity_", _("perplexity on %(what)s")),
        ("bits_per_byte_", _("bits per byte of %(what)s")),
        ("reward_of_", _("mean of the reward %(what)s")),
    ):
        if name.startswith(start):
            return words % {"what": name.removeprefix(start)}
    if found := _BEST_OF.fullmatch(name):
        words = _("KL of the best of %(n)s") if found[2] == "_kl" else _("reward of the best of %(n)s")
        return words % {"n": found[1]}
    return name.replace("_", " ").replace("/", " ")


_BEST_OF = re.compile(r"best_of_(\d+)(_reward|_kl)?")


def _known() -> dict[str, str]:
    return {
        "loss": _("loss"),
        "train_loss": _("training loss"),
        "accuracy": _("accuracy"),
        "token_accuracy": _("token accuracy"),
        "comparisons": _("comparisons"),
        "completions": _("completions"),
        "prompts": _("prompts"),
        "prompts_left_out": _("prompts left out"),
        "learning_rate": _("learning rate"),
        "epoch": _("epoch"),
        "steps": _("steps"),
        "train_seconds": _("seconds of training"),
        "sample_seconds": _("seconds of sampling"),
        "mean_tokens": _("tokens a completion"),
        "stopped_share": _("share that came to its end"),
        "rewards/accuracies": _("accuracy"),
        "rewards/margins": _("reward margin"),
        "rewards/chosen": _("reward of the better"),
        "rewards/rejected": _("reward of the worse"),
        "tokens_per_s": _("tokens/s"),
        "score": _("score that is trained on"),
        "kl": _("KL to the start, nats an answer"),
        "answer_tokens": _("tokens an answer"),
        "end_rate": _("share that came to its end"),
        "explained_variance": _("variance that the critic explains"),
        "beta": _("cost of a nat (beta)"),
        "ratio": _("ratio of probabilities, new to old"),
        "ratio_error": _("how far the first step's ratio is from 1"),
        "clip_fraction": _("share of tokens clipped"),
        "value_clip_fraction": _("share of values clipped"),
        "approximate_kl": _("KL of an update's steps, nats a token"),
        "policy_loss": _("loss of the policy"),
        "value_loss": _("loss of the critic"),
        "policy_grad_norm": _("gradient norm of the policy"),
        "critic_grad_norm": _("gradient norm of the critic"),
        "ptx_loss": _("loss on pretraining text"),
        "alike_share": _("prompts whose answers score alike"),
        "score_seconds": _("seconds of scoring"),
        "read_seconds": _("seconds of reading"),
        "learn_seconds": _("seconds of learning"),
        "grad_norm": _("gradient norm"),
        "micro_batch_size": _("rows at once"),
        "perplexity": _("perplexity"),
        "perplexity_rows": _("rows of the perplexity"),
        "perplexity_cut": _("rows cut for the perplexity"),
        "chosen_reward": _("reward of the chosen"),
        "reward": _("mean reward"),
        "reward_mean": _("mean reward"),
        "reward_std": _("spread of rewards"),
        "reward_difference": _("reward above the reference"),
        "zero_point": _("zero point"),
        "cut_sequences": _("rows that were cut"),
        "truncated_rows": _("rows that were cut"),
        "left_out_rows": _("rows left out"),
        "win_rate": _("win rate"),
        "entropy": _("entropy, nats a token"),
        "length": _("tokens an answer"),
        "eos_rate": _("share that came to its end"),
        "repetition": _("repeated runs of four tokens"),
        "distinct_1": _("distinct tokens"),
        "distinct_2": _("distinct pairs of tokens"),
        "distinct_3": _("distinct runs of three tokens"),
        "kl_sequence": _("KL to the reference, nats"),
        "kl_token": _("KL a token, nats"),
        "kl_token_k3": _("KL a token by k3, nats"),
        "completions_each": _("completions each"),
        "calibration_error": _("calibration error"),
        "length_correlation": _("correlation of score and length"),
        "longer_wins_model": _("longer answer wins, by the model"),
        "longer_wins_people": _("longer answer wins, by people"),
        "people_agreement": _("agreement of people"),
        "accuracy_where_people_met": _("accuracy where people met"),
    }
