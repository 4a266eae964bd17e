"""The console's template filters: what a lead reads."""

import pytest
from django import forms

from training import metrics
from training.models import Stage
from training.templatetags import console


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0, "0 s"),
        (0.4, "0 s"),
        (59.6, "1 min"),
        (45, "45 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (3605, "1 h"),
        (90_061, "1 d 1 h"),
    ],
)
def test_duration_names_the_two_largest_units(seconds, text):
    assert console.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, ""),
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (5 * 1024**2, "5 MiB"),
        (538_000_000, "513 MiB"),
        (1_288_490_189, "1.2 GiB"),
        (3 * 1024**5, "3072 TiB"),
    ],
)
def test_bytes_come_in_the_unit_that_suits(count, text):
    assert console.gibibytes(count) == text


@pytest.mark.parametrize(("value", "text"), [(None, ""), (0, "0"), (999, "999"), (1234, "1.2e3"), (4.123e12, "4.1e12")])
def test_scientific_keeps_two_digits(value, text):
    assert console.scientific(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (0, "0"), (950, "950"), (12_300, "12.3 k"), (999_999, "1 M"), (4_500_000, "4.5 M")],
)
def test_approximately_shortens_thousands(value, text):
    assert console.approximately(value) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(12, 24, "50 %"), (0, 24, "0 %"), (1, 0, ""), (None, 3, ""), (0.25, 1, "25 %")],
)
def test_percent_of_a_whole(part, whole, text):
    assert console.percent(part, whole) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.693147, "0.6931"),
        (0.00002, "2e-05"),
        (24, "24"),
        (24.0, "24"),
        (12_000, "12,000"),
        (True, "True"),
        ("lora", "lora"),
    ],
)
def test_figure_keeps_four_digits(value, text):
    assert console.figure(value) == text


def test_states_map_to_the_badges_that_exist():
    badges = {"draft", "waiting", "running", "done", "failed", "cancelled"}
    assert {console.shape(state) for state in [*Stage.State.values, "queued", "succeeded"]} <= badges


def test_the_current_stage_is_the_first_that_is_not_done():
    cards = [{"stage": Stage(state=state)} for state in ("done", "running", "pending")]
    assert console.current(cards) is cards[1]
    assert console.current(cards[:1]) is None


def test_settings_have_the_order_and_words_of_the_form():
    params = {"lora_r": 16, "method": "lora", "problem": "no rows", "auto": True}
    assert console.settings_of(Stage(kind="sft", params=params)) == [("Method", "lora"), ("LoRA rank", 16)]
    assert console.settings_of(Stage(kind="write", params={"prompts": 24, "min_labels": 3})) == [("Prompts", 24)]


@pytest.mark.parametrize(("seconds", "result"), [(None, None), (41.4, 41), (231, 230), (3333, 3360), (20_000, 19_800)])
def test_estimates_are_rounded_to_what_they_know(seconds, result):
    assert console.rough(seconds) == result


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("heldout_accuracy", "held-out accuracy"),
        ("heldout_rewards/margins", "held-out reward margin"),
        ("rewards/accuracies", "accuracy"),
        ("heldout_token_accuracy", "held-out token accuracy"),
        ("learning_rate", "learning rate"),
        ("tokens_per_s", "tokens/s"),
    ],
)
def test_one_number_has_one_name(name, text):
    assert console.metric(name) == text


def test_a_model_is_judged_by_held_out_numbers_first():
    assert console.measured({"loss": 0.6, "heldout_accuracy": 0.7}) == ("held-out accuracy", 0.7)
    assert console.measured({"loss": 0.6}) == ("loss", 0.6)
    assert console.measured({"prompts": 3}) is None


def test_memory_parts_follow_each_other_on_one_scale():
    found = console.segments({"weights": 50, "gradients": 0, "optimizer": 25}, 100)
    assert [(part["name"], part["start"], part["width"]) for part in found] == [
        ("weights", 0.0, 50.0),
        ("optimizer", 50.0, 25.0),
    ]
    assert console.segments({"weights": 0}, 0) == []


class Sample(forms.Form):
    share = forms.IntegerField(help_text="A share.", min_value=0, max_value=90)
    many = forms.IntegerField(help_text="Many.", min_value=1, max_value=10_000_000)
    name = forms.CharField(help_text="A name.")


def test_bounds_end_the_help_once():
    form = Sample()
    for _attempt in range(2):
        texts = [console.bounded(form[name]).help_text for name in form.fields]
    assert texts == ["A share. 0 to 90.", "Many. At least 1.", "A name."]


def test_has_errors_tells_which_fold_to_open():
    form = Sample({"share": "91", "many": "3", "name": "x"})
    assert console.has_errors([form["share"], form["name"]])
    assert not console.has_errors([form["name"]])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("heldout_rewards/accuracies", "held-out accuracy"),
        ("people_agreement_low", "agreement of people, low"),
        ("heldout_perplexity_my-wiki_before", "held-out perplexity on my-wiki before"),
        ("policy_entropy_high", "policy: entropy, nats a token, high"),
        ("best_of_16", "reward of the best of 16"),
        ("best_of_4_kl", "KL of the best of 4"),
        ("reward_of_length", "mean of the reward length"),
        ("best_of_breed", "best of breed"),
        ("something/new", "something new"),
    ],
)
def test_the_names_of_metrics_are_words(name: str, words: str) -> None:
    assert metrics.label(name) == words
