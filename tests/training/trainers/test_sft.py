"""The sft stage's loss by hand: weights, packing, noise, templates, categories."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.trainers.odd_models import halve_logits
from training.records import DemonstrationRow, RecordError, write_parquet
from training.trainers import sft
from training.trainers.chat import encode_conversation, render, use_template
from training.trainers.config import ConfigError, build
from training.trainers.events import Events
from training.trainers.models import load_causal_model, load_tokenizer, with_lora
from training.trainers.program import Job, StopFlag, TrainerError
from training.trainers.sft_loss import IGNORED, SftLoss, scores_alike, token_scores, why_not_packed

# 3 and 1 learnt tokens, weights 2 and a half.
ROWS = [
    {"input_ids": [5, 6, 7, 8, 9], "labels": [IGNORED, IGNORED, 7, 8, 9], "weight": 2.0},
    {"input_ids": [10, 11, 12], "labels": [IGNORED, IGNORED, 12], "weight": 0.5},
]


def make_loss(tiny: Path, *, packing: bool = False, lora: bool = False, neftune_alpha: float = 0.0) -> SftLoss:
    tokenizer = load_tokenizer(str(tiny))
    model = load_causal_model(str(tiny), tokenizer, dtype=torch.float32)
    if lora:
        model = with_lora(model, config=build("sft", {}), task="CAUSAL_LM")
    pad = tokenizer.pad_token_id
    return SftLoss(model, pad_id=pad, packing=packing, first=ROWS[0], neftune_alpha=neftune_alpha)


def gradients(model: Any) -> torch.Tensor:
    found = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    return found


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("shares_head", [True, False])
def test_a_rows_weight_multiplies_its_loss_and_its_gradient(tiny: Path, shares_head: bool, packing: bool) -> None:
    """2 x the sum of 3 losses + 0.5 x 1 loss, padded and packed, at the learnt positions alone and by all logits."""
    loss_of = make_loss(tiny, packing=packing)
    assert loss_of.shares_head
    loss_of.shares_head = shares_head
    model = loss_of.model

    def loss_at(row: dict[str, Any], at: int) -> torch.Tensor:
        logits = model(input_ids=torch.tensor([row["input_ids"]]), use_cache=False).logits[0]
        return -logits[at - 1].log_softmax(-1)[row["input_ids"][at]]

    by_hand = 2.0 * sum(loss_at(ROWS[0], at) for at in (2, 3, 4)) + 0.5 * loss_at(ROWS[1], 2)
    by_hand.backward()
    expected = gradients(model)
    loss, numbers = loss_of(ROWS)
    loss.backward()
    assert loss.item() == pytest.approx(by_hand.item(), rel=1e-5)
    assert (gradients(model) - expected).norm() / expected.norm() < 1e-5
    assert (numbers["learnt"], numbers["tokens"]) == (4, 8)


@pytest.mark.parametrize("micro", [1, 2])
def test_a_steps_loss_is_the_mean_over_its_learnt_tokens(tiny: Path, tmp_path: Path, micro: int) -> None:
    """(2 x sum of 3 losses + 0.5 x 1 loss) / 4 tokens, whatever the micro batches.

    The weights must not enter the number of tokens: then two rows of weight 2 would count as one.
    """
    data = tmp_path / "data"
    data.touch()
    params = {"batch_size": 2, "micro_batch_size": micro, "max_steps": 1, "method": "full"}
    job = make_job(tiny, tmp_path / "run", data, **params)
    loss_of = make_loss(tiny)
    expected = loss_of(ROWS)[0].item() / 4
    metrics = sft.learn(job, loss_of.model, ROWS, pad_id=0, packing=False)
    assert metrics["loss"] == pytest.approx(expected, rel=1e-5)


def test_token_accuracy_is_over_the_learnt_tokens(tiny: Path) -> None:
    """One of the four learnt tokens made the likeliest by hand: one is right."""
    loss_of = make_loss(tiny)
    with torch.no_grad():
        logits = loss_of.model(input_ids=torch.tensor([ROWS[0]["input_ids"]]), use_cache=False).logits[0]
    rows = [{**ROWS[0], "input_ids": [5, 6, int(logits[1].argmax()), 8, 9]}, ROWS[1]]
    rows[0]["labels"] = [IGNORED, IGNORED, *rows[0]["input_ids"][2:]]
    assert loss_of(rows)[1]["right"] == 1


def test_packed_rows_see_nothing_of_each_other_and_lose_no_token(tiny: Path) -> None:
    loss_of = make_loss(tiny, packing=True)
    batch = loss_of.collate([*ROWS, ROWS[0]])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9, 10, 11, 12, 5, 6, 7, 8, 9]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 0, 1, 2, 0, 1, 2, 3, 4]]
    assert "attention_mask" not in batch and batch["weights"].tolist() == [2.0] * 3 + [0.5] + [2.0] * 3
    together = {name: batch[name] for name in ("input_ids", "position_ids")}
    scores, _ = token_scores(loss_of.model, together, batch["labels"][:, 1:])
    for start, row in ((0, ROWS[0]), (3, ROWS[1]), (4, ROWS[0])):
        alone, labels = ({"input_ids": torch.tensor([row["input_ids"]])}, torch.tensor([row["labels"][1:]]))
        expected, _ = token_scores(loss_of.model, alone, labels)
        assert torch.allclose(scores[start : start + len(expected)], expected, rtol=1e-5)


def test_a_model_that_would_see_across_rows_is_not_packed(tiny: Path) -> None:
    model = load_causal_model(str(tiny), load_tokenizer(str(tiny)), dtype=torch.float32)
    assert why_not_packed(model, ROWS) is None
    original = model.forward

    def blind(*args: Any, position_ids: Any = None, **kwargs: Any) -> Any:
        return original(*args, **kwargs)

    model.forward = blind
    reason = why_not_packed(model, ROWS)
    assert reason is not None and "different" in reason


def test_a_model_that_changes_its_logits_after_the_head_is_scored_by_all_of_them(tiny: Path) -> None:
    model = load_causal_model(str(tiny), load_tokenizer(str(tiny)), dtype=torch.float32)
    assert scores_alike(model, ROWS[0])
    halve_logits(model)
    assert not scores_alike(model, ROWS[0])
    assert not SftLoss(model, pad_id=0, packing=False, first=ROWS[0]).shares_head


@pytest.mark.parametrize("packing", [False, True])
def test_noise_is_bounded_by_each_rows_own_length(tiny: Path, packing: bool) -> None:
    """Uniform within alpha / sqrt(length x width): for 5 and 3 tokens of width 128 and alpha 5, 0.1976 and 0.2552."""
    loss_of = make_loss(tiny, packing=packing, neftune_alpha=5.0, lora=True)
    embeddings = loss_of.model.get_base_model().get_input_embeddings()
    batch = loss_of.collate(ROWS)
    loss_of.noise_lengths = batch["noise_lengths"]
    plain = torch.nn.functional.embedding(batch["input_ids"], embeddings.weight)
    loss_of.model.train()
    torch.manual_seed(0)
    noise = (embeddings(batch["input_ids"]) - plain).abs()
    long, short = (noise[0, :5], noise[0, 5:]) if packing else (noise[0], noise[1, :3])
    for part, length in ((long, 5), (short, 3)):
        bound = 5 / math.sqrt(length * 128)
        assert 0.98 * bound < part.max() <= bound * 1.0001
        assert part.mean() == pytest.approx(bound / 2, rel=0.15)
    loss_of.model.eval()
    assert torch.equal(embeddings(batch["input_ids"]), plain)


TALK = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Why is the sky blue?"},
    {"role": "assistant", "content": "Air scatters blue."},
    {"role": "user", "content": "And red?"},
    {"role": "assistant", "content": "Less."},
]


@pytest.mark.parametrize("name", ["checkpoint", "chatml", "instruction", "question"])
def test_a_chosen_template_renders_what_is_trained_on(tiny: Path, name: str) -> None:
    """The trained ids are the template's own text, all of every answer is learnt up to its end, and nothing else."""
    tokenizer = load_tokenizer(str(tiny))
    use_template(tokenizer, name)
    text = tokenizer.apply_chat_template(TALK, tokenize=False)
    assert render(tokenizer, TALK, for_answer=False) == text
    encoded = encode_conversation(tokenizer, TALK)
    assert tokenizer.decode(encoded.ids) == text
    learnt = tokenizer.decode([token for token, mark in zip(encoded.ids, encoded.by_assistant, strict=True) if mark])
    assert learnt == "Air scatters blue.<|im_end|>Less.<|im_end|>"
    if name == "instruction":
        assert text == (
            "Be kind.\n\n### Instruction:\nWhy is the sky blue?\n\n### Response:\nAir scatters blue.<|im_end|>\n\n"
            "### Instruction:\nAnd red?\n\n### Response:\nLess.<|im_end|>\n\n"
        )


def test_a_template_whose_end_the_tokenizer_lacks_is_refused(tiny: Path) -> None:
    class Lacking:
        """The tiny tokenizer without ChatML's tokens among its own."""

        def __init__(self) -> None:
            self._inner = load_tokenizer(str(tiny))
            self.chat_template: str = ""
            self.eos_token = "<|endoftext|>"
            self.all_special_tokens = ["<|endoftext|>"]
            self.added_tokens_decoder: dict[int, Any] = {}

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return self._inner(*args, **kwargs)

        def apply_chat_template(self, messages: Any, **options: Any) -> Any:
            return self._inner.apply_chat_template(messages, chat_template=self.chat_template, **options)

    with pytest.raises(TrainerError, match="ends an answer with no token of its own"):
        use_template(Lacking(), "chatml")


def make_job(tiny: Path, folder: Path, data: Path, **params: Any) -> Job:
    folder.mkdir(exist_ok=True)
    return Job(
        stage="sft",
        run_dir=folder,
        model=str(tiny),
        data=data,
        output_dir=folder / "out",
        resume=False,
        config=build("sft", params),
        events=Events(folder),
        stop=StopFlag(),
    )


def statuses(job: Job) -> list[str]:
    lines = (job.run_dir / "events.jsonl").read_text().splitlines()
    return [event["message"] for event in map(json.loads, lines) if "message" in event]


def test_categories_weigh_what_the_field_says(tiny: Path, tmp_path: Path) -> None:
    rows = [
        DemonstrationRow(id=str(n), messages=[*TALK], category=category, weight=0.5, split=split)  # type: ignore[list-item]
        for n, (category, split) in enumerate(
            [("coding", "train"), ("open_qa", "train"), ("chat", "train"), ("rewrite", "train"), ("coding", "heldout")]
        )
    ]
    data = tmp_path / "d.parquet"
    write_parquet(data, rows, row_type=DemonstrationRow)
    job = make_job(tiny, tmp_path / "run", data, category_weights="coding=2, open_qa = 0.5, rewrite=0, math=3")
    train, heldout = sft.read(job)
    assert [(row.id, row.weight) for row in train] == [("0", 1.0), ("1", 0.25), ("2", 0.5)]
    assert [row.weight for row in heldout] == [0.5]
    assert statuses(job) == ["No demonstration is of the category math, which category_weights names."]
    nothing = make_job(tiny, tmp_path / "none", data, category_weights="coding=0,open_qa=0,chat=0,rewrite=0")
    with pytest.raises(RecordError, match="no demonstration to train on"):
        sft.read(nothing)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("coding", "'coding' is not of the form name=number"),
        ("=2", "'=2' is not of the form"),
        ("coding=two", "'two' is no number"),
        ("coding=-1", "the weight of coding is not from 0 to 1000"),
        ("coding=nan", "the weight of coding is not"),
        ("coding=1, coding=2", "coding stands there twice"),
    ],
)
def test_category_weights_that_cannot_be_read_are_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=f"category_weights cannot be read: {words}"):
        build("sft", {"category_weights": text})


@pytest.mark.slow
@pytest.mark.parametrize("params", [{}, {"packing": True, "neftune_alpha": 5.0, "chat_template": "instruction"}])
def test_a_file_by_hand_trains(tiny: Path, tmp_path: Path, params: dict[str, Any]) -> None:
    """A whole run from Alpaca rows: the loss falls, the held-out numbers are there, the template is in the folder."""
    path = tmp_path / "alpaca.jsonl"
    rows = [{"instruction": f"Number {n}: say {n % 4}.", "input": "", "output": f"It is {n % 4}."} for n in range(40)]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    job = make_job(tiny, tmp_path / "run", path, method="full", learning_rate=3e-3, max_steps=12, **params)
    outcome = sft.run(job)
    metrics = outcome.metrics
    assert metrics["loss"] < 4 and metrics["token_accuracy"] > 0.3
    assert metrics["heldout_loss"] < metrics["heldout_loss_before"] - 1
    assert 0.3 < metrics["heldout_token_accuracy"] <= 1
    template = (job.output_dir / "chat_template.jinja").read_text()
    assert ("### Instruction:" in template) == (params.get("chat_template") == "instruction")
    written = load_tokenizer(str(job.output_dir))
    chosen = load_tokenizer(str(tiny))
    use_template(chosen, params.get("chat_template", "checkpoint"))
    assert render(written, TALK, for_answer=True) == render(chosen, TALK, for_answer=True)  # type: ignore[arg-type]
