"""An evaluation's report: a policy, and a reference beside it, on the same prompts (trainers.evaluate)."""

from __future__ import annotations

from typing import Any

from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from hone.lists import listed
from training.models import Run
from training.reports import plots
from training.reports.files import json_of
from training.reports.shapes import Measure, count, flat, measure, metrics_of, number, part, rows, share, text

SAMPLES = True


def raw(run: Run) -> dict[str, Any] | None:
    """`report` as the trainer wrote it; None without one."""
    found = json_of(run, "report.json")
    return None if found is None else {"report": found}


def body(run: Run, found: dict[str, Any]) -> dict[str, Any]:
    """Who wins by how much, the distance between the two, what each one's answers are like, and best of n."""
    report = found["report"]
    policy, reference, kl = part(report, "policy"), part(report, "reference"), part(report, "kl")
    wins = share(report, "win_rate")
    state, headline = verdict(wins, compared=bool(reference))
    categories = part(report, "categories")
    biased = kl.get("biased") is True
    return {
        "state": state,
        "headline": headline,
        "drawn": _drawn(report),
        "reference": text(reference, "model"),
        "reward_model": text(report, "reward_model"),
        "wins": wins,
        "difference": measure(report, "reward_difference"),
        "reward": measure(policy, "reward"),
        "kl": measure(kl, "sequence"),
        "kl_token": measure(kl, "token"),
        "kl_token_k3": measure(kl, "token_k3"),
        "biased": biased,
        "beside": _beside(policy, reference),
        "compared": bool(reference),
        "categories": [
            {
                "name": name,
                "prompts": count(part(categories, name), "prompts"),
                "reward": measure(part(categories, name), "reward"),
                "wins": share(part(categories, name), "win_rate"),
            }
            for name in categories
        ],
        "curve": plots.curve_of(rows(report, "best_of_n")),
    }


def of_metrics(run: Run) -> dict[str, Measure | None]:
    """The headline numbers that an evaluation's result keeps, for lists of several."""
    found = metrics_of(run.result)
    names = {"wins": "win_rate", "reward": "policy_reward", "kl": "kl_sequence", "entropy": "policy_entropy"}
    return {name: flat(found, key) for name, key in names.items()}


def verdict(wins: Measure | None, *, compared: bool) -> tuple[str, str]:
    """(state of the design system, sentence): whom the reward model prefers, as far as the interval tells."""
    if not compared:
        return "draft", _("Measured alone: no reference stood beside it.")
    if wins is None or wins.low is None or wins.high is None:
        return "draft", _("Who is better is unknown: no reward model scored the answers.")
    if wins.low > 0.5:
        return "done", _("The reward model prefers the policy to the reference.")
    if wins.high < 0.5:
        return "failed", _("The reward model prefers the reference to the policy.")
    return "waiting", _("No difference that could be told from chance.")


# The numbers of one model's answers: (key, is a share, name, what it means).
def _kinds() -> list[tuple[str, bool, str, str]]:
    return [
        ("reward", False, _("Mean reward"), _("what the reward model gives an answer, on its own scale")),
        ("entropy", False, _("Entropy, nats a token"), _("how open each next word is; it falls as answers grow alike")),
        ("length", False, _("Length, tokens"), _("longer answers often score more without being better")),
        ("eos_rate", True, _("Came to their end"), _("the others were cut at the longest length allowed")),
        ("repetition", True, _("Repeated"), _("runs of four tokens that the answer had said before")),
        ("distinct_1", True, _("Different tokens"), _("of all tokens of all answers; less is less variety")),
        ("distinct_2", True, _("Different pairs"), _("of all runs of two tokens")),
        ("distinct_3", True, _("Different triples"), _("of all runs of three tokens")),
        (
            "perplexity",
            False,
            _("Perplexity of demonstrations"),
            _("how surprising people's own answers are; less is closer"),
        ),
    ]


def _beside(policy: dict[str, Any], reference: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a number that either model has."""
    found = []
    for key, is_share, name, meaning in _kinds():
        ours, theirs = ((share if is_share else measure)(of, key) for of in (policy, reference))
        if ours or theirs:
            found.append({"name": name, "meaning": meaning, "is_share": is_share, "ours": ours, "theirs": theirs})
    return found


def _drawn(report: dict[str, Any]) -> str:
    """How the answers were drawn, in a line."""
    how, prompts = part(report, "sampling"), count(report, "prompts")
    temperature, top_p, most = number(how, "temperature"), number(how, "top_p"), count(how, "max_new_tokens")
    said = [
        ngettext("%(each)s answers to %(prompts)s prompt", "%(each)s answers to each of %(prompts)s prompts", prompts)
        % {"each": intcomma(count(report, "completions_each")), "prompts": intcomma(prompts)}
    ]
    if temperature is not None:
        said.append(_("temperature %(t)s") % {"t": number_format(f"{temperature:g}")})
    if top_p is not None:
        said.append(_("top-p %(p)s") % {"p": number_format(f"{top_p:g}")})
    if most:
        said.append(_("at most %(n)s tokens") % {"n": intcomma(most)})
    return listed(said)
