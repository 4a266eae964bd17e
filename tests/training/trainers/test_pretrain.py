"""The stage pretrain as a real process: what it leaves, how it goes on after a kill, and what it refuses."""

from __future__ import annotations

import json
import math
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.training.corpus.test_cleaning import ENGLISH
from tests.training.trainers.test_stages import after_step, assert_same_weights, assert_whole
from training.trainers.config import validate
from training.trainers.sample_steps import parse as parse_steps

SMALL = {"batch_size": 4, "micro_batch_size": 2, "max_length": 32, "sample_tokens": 8}
SCRATCH = SMALL | {"start": "tiny", "tokenizer": "train", "vocabulary": 600, "learning_rate": 3e-3}
WORDS = ENGLISH.replace(".", "").split()


def text(number: int) -> str:
    """A text of 40 words, unlike that of any other number."""
    return f"Story {number}: " + " ".join(random.Random(number).choices(WORDS, k=40)) + "."


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sources, 60 and 20 short texts, the second with most of the weight."""
    folder = tmp_path_factory.mktemp("sources")
    for name, numbers in (("large", range(60)), ("small", range(100, 120))):
        lines = "".join(json.dumps({"text": text(number)}) + "\n" for number in numbers)
        (folder / f"{name}.jsonl").write_text(lines)
    spared = {"quality_filter": False, "heldout_percent": 10}
    manifest = {
        "sources": [
            {"name": "large", "path": "large.jsonl", "weight": 1} | spared,
            {"name": "small", "path": "small.jsonl", "weight": 3} | spared,
        ],
        "sample_prompts": ["Story", ""],
    }
    (folder / "sources.json").write_text(json.dumps(manifest))
    return folder / "sources.json"


@pytest.mark.slow
def test_a_model_from_nothing_learns_and_writes(launch: Callable[..., Any], sources: Path) -> None:
    run = launch("pretrain", model="nothing", data=sources, max_steps=120, sample_steps="0, 40", **SCRATCH)
    assert_whole(run, "pretrain")
    metrics = run.result["metrics"]
    vocabulary = json.loads((run.output / "config.json").read_text())["vocab_size"]
    assert vocabulary <= 600
    # Random weights know nothing: about as many choices as tokens.
    assert metrics["heldout_perplexity_before"] == pytest.approx(vocabulary, rel=0.2)
    for name in ("large", "small"):
        assert metrics[f"heldout_perplexity_{name}"] < metrics[f"heldout_perplexity_{name}_before"] / 2
        assert 0 < metrics[f"heldout_bits_per_byte_{name}"] < metrics[f"heldout_bits_per_byte_{name}_before"]
    samples = [json.loads(line) for line in (run.folder / "samples.jsonl").read_text().splitlines()]
    assert [(sample["step"], sample["prompt"]) for sample in samples] == [
        (step, prompt) for step in (0, 40, 120) for prompt in ("Story", "")
    ]
    assert all(sample["text"] and sample["token_count"] <= 8 for sample in samples)
    report = json.loads(Path(run.result["outputs"]["report"]).read_text())
    assert [source["kept_documents"] for source in report["sources"]] == [60, 20]
    assert not (run.folder / "tokens").exists()
    end = json.loads((run.output / "generation_config.json").read_text())["eos_token_id"]
    assert 0 in end  # <|endoftext|>, the first token of an own tokenizer
    # 120 steps of 4 rows of 32, but for each epoch's last step and each source's last row, which are shorter.
    assert 0.95 * 480 < run.result["consumed"]["rows"] <= 480
    assert 0.95 * 480 * 32 < run.result["consumed"]["tokens"] <= 480 * 32


@pytest.mark.slow
def test_a_killed_run_takes_the_steps_of_an_uninterrupted_one(launch: Callable[..., Any], sources: Path) -> None:
    """The order of rows, the weights, the loss of each step and the samples: all as if nothing had happened.

    70 steps are more than an epoch, and a sample falls between the last state and the kill.
    """
    params = SCRATCH | {"max_steps": 70, "checkpoint_steps": 9, "sample_steps": "every 20", "isolate_documents": True}
    whole = launch("pretrain", model="nothing", data=sources, name="whole", **params)
    killed = launch(
        "pretrain",
        model="nothing",
        data=sources,
        name="killed",
        meanwhile=after_step(42, signal.SIGKILL),
        **params,
    )
    assert killed.code == -signal.SIGKILL and not (killed.folder / "result.json").exists()
    again = launch("pretrain", model="nothing", data=sources, name="killed", resume=True, **params)
    assert_whole(again, "pretrain")
    assert any(event.get("message", "").startswith("Resuming after step") for event in again.events)
    assert whole.losses().keys() == again.losses().keys()
    for step, loss in whole.losses().items():
        assert again.losses()[step] == pytest.approx(loss, abs=1e-5), step
    assert_same_weights(whole, again)
    assert (whole.folder / "samples.jsonl").read_text() == (again.folder / "samples.jsonl").read_text()


@pytest.mark.slow
def test_a_run_goes_on_with_its_own_corpus_when_the_files_are_gone(
    launch: Callable[..., Any], sources: Path, tmp_path: Path
) -> None:
    """Stopped by a signal; then its sources change, which is no matter of this run any more."""
    folder = tmp_path / "copy"
    shutil.copytree(sources.parent, folder)
    params = SCRATCH | {"max_steps": 40, "checkpoint_steps": 0}
    stopped = launch(
        "pretrain", model="x", data=folder / "sources.json", meanwhile=after_step(5, signal.SIGTERM), **params
    )
    assert (stopped.code, stopped.result["status"]) == (3, "cancelled")
    (folder / "large.jsonl").unlink()
    again = launch("pretrain", model="x", data=folder / "sources.json", resume=True, **params)
    assert_whole(again, "pretrain")
    assert sorted(again.losses()) == list(range(1, 41))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_checkpoint_goes_on_learning(launch: Callable[..., Any], sources: Path, tiny: Path, method: str) -> None:
    run = launch("pretrain", model=tiny, data=sources, method=method, max_steps=25, **SMALL | {"learning_rate": 5e-3})
    assert_whole(run, "pretrain")
    metrics = run.result["metrics"]
    assert metrics["heldout_perplexity"] < metrics["heldout_perplexity_before"] / 1.3
    changed, first = load_file(run.output / "model.safetensors"), load_file(tiny / "model.safetensors")
    assert any(not changed[name].equal(first[name]) for name in first)
    assert (run.output / "adapter").exists() == (method == "lora")


def refused(launch: Callable[..., Any], **kwargs: Any) -> str:
    run = launch("pretrain", **kwargs)
    assert run.code == 1 and not run.output.exists()
    said: str = run.result["error"]
    assert "\n" not in said and not any("Loading the model" in event.get("message", "") for event in run.events)
    return said


@pytest.mark.slow
def test_bad_runs_are_refused_in_a_sentence_before_the_model_loads(
    launch: Callable[..., Any], sources: Path, tiny: Path, tmp_path: Path
) -> None:
    base: dict[str, Any] = {"model": tiny, "data": sources}
    assert "tokenizer = train needs random weights" in refused(launch, **base, tokenizer="train")
    for method in ("lora", "qlora"):
        assert "method must be full where start is tiny" in refused(launch, **base, start="tiny", method=method)
    assert 'must be numbers like "500, 5000"' in refused(launch, **base, sample_steps="sometimes")
    assert "languages must be codes like en or zh, not 'english'" in refused(launch, **base, languages="english")
    assert "max_length must be at most 2048" in refused(launch, **base, max_length=4096)
    assert "does not exist" in refused(launch, model=tmp_path / "none", data=sources)
    assert "Nothing of the source large is left: of its 60 documents" in refused(launch, **base, languages="fr")
    other = tmp_path / "other"
    shutil.copytree(tiny, other)
    facts = json.loads((other / "tokenizer.json").read_text())
    facts["added_tokens"][-1]["id"] = 99_999
    (other / "tokenizer.json").write_text(json.dumps(facts))
    (other / "hone.json").unlink(missing_ok=True)
    assert "has ids up to 99999, but its model has embeddings for" in refused(launch, model=other, data=sources)
    shutil.copy(tiny / "tokenizer.json", other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"architectures": ["LlamaForSequenceClassification"]}))
    assert "is a reward model" in refused(launch, model=other, data=sources)


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        ("500, 5000 30000", [500, 5000, 30000]),
        ("every 2500", [2500, 5000]),
        ("0", [0]),
        ("", []),
        (" Every 500 ", [500]),
    ],
)
def test_steps_to_sample_at(words: str, steps: list[int]) -> None:
    wanted = parse_steps(words)
    assert all(wanted(step) for step in steps)
    assert not wanted(499) and not (0 not in steps and wanted(0))


@pytest.mark.parametrize("words", ["every 0", "every", "-5", "5.0", "often", "every 5, 7", "²"])
def test_other_words_are_no_steps(words: str) -> None:
    with pytest.raises(ValueError, match='steps must be numbers like "500, 5000"'):
        parse_steps(words)
    assert "sample_steps cannot be read: steps must be" in validate("pretrain", {"sample_steps": words})["sample_steps"]


def test_heldout_numbers_are_those_of_the_definition() -> None:
    """A model that gives every one of 8 tokens the same probability has perplexity 8, and log2(8) = 3 bits a token.

    7 tokens are predicted of 6 bytes: 7 * 3 / 6 = 3.5 bits a byte.
    """
    import numpy
    import torch

    from training.trainers.pretrain import Sources, _Inputs, heldout_numbers
    from training.trainers.tokens import Stream

    class Even(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = torch.nn.Parameter(torch.zeros(8))

        def forward(self, input_ids: Any, use_cache: bool) -> Any:
            return type("Output", (), {"logits": self.bias.expand(*input_ids.shape, 8)})

    def stream(*ids: int) -> Stream:
        return Stream(ids=numpy.array(ids, dtype=numpy.uint16), length=3)

    found = heldout_numbers(
        Even(),
        Sources(
            names=["a", "b"],
            train=[stream(), stream()],
            heldout=[stream(0, 1, 2, 3, 4, 5, 6, 0), stream()],
            heldout_bytes=[6, 0],
            parts=[1, 0],
        ),
        inputs=_Inputs(pad_id=0, end_of_text=0, isolate=False),
        rows_at_once=2,
    )
    assert found == pytest.approx({"perplexity_a": 8, "bits_per_byte_a": 3.5, "perplexity": 8, "loss": math.log(8)})
    assert math.isclose(found["bits_per_byte_a"], 7 * 3 / 6, rel_tol=1e-6)
