"""The numbers that trainers log: the newest of each, which one judges a stage, and what they are called."""

from django.utils.translation import gettext as _

from training.models import Metric, Run

# The number by which one judges a stage, held-out ones first.
HEADLINES = {
    "sft": ["heldout_loss", "loss"],
    "reward": ["heldout_accuracy", "accuracy"],
    "dpo": ["heldout_accuracy", "rewards/accuracies"],
    "sample": ["completions", "tokens_per_s"],
}
# The same for a model of any kind.
JUDGED_BY = [
    "heldout_accuracy",
    "heldout_loss",
    "accuracy",
    "rewards/accuracies",
    "loss",
]


def newest(run: Run) -> dict[str, float]:
    """The last value of each of the run's metrics, by name."""
    rows = Metric.objects.filter(run=run).order_by("name", "-step").distinct("name")
    return dict(rows.values_list("name", "value"))


def label(name: str) -> str:
    """What people read: "heldout_rewards/accuracies" -> "held-out accuracy", "tokens_per_s" -> "tokens/s"."""
    own = name.removeprefix("heldout_")
    known = {
        "loss": _("loss"),
        "train_loss": _("training loss"),
        "accuracy": _("accuracy"),
        "completions": _("completions"),
        "learning_rate": _("learning rate"),
        "epoch": _("epoch"),
        "rewards/accuracies": _("accuracy"),
        "rewards/margins": _("reward margin"),
        "rewards/chosen": _("reward of the better"),
        "rewards/rejected": _("reward of the worse"),
        "tokens_per_s": _("tokens/s"),
        "grad_norm": _("gradient norm"),
    }
    text = known.get(own, own.replace("_", " ").replace("/", " "))
    return text if own == name else _("held-out %(number)s") % {"number": text}
