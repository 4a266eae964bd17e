"""evaluate, best_of_n and what sample learnt, as real processes on the tiny model."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.training.trainers.warm import Stage
from training.records import CompletionRow, DemonstrationRow, read_jsonl, read_parquet

pytestmark = pytest.mark.slow

DRAW = {"max_new_tokens": 12, "batch_size": 3}
BEST = {"n": 4, "max_new_tokens": 40, "sample_batch_size": 2, "only_ended": False, "batch_size": 4}
BEST |= {"micro_batch_size": 2, "max_steps": 30, "checkpoint_steps": 5, "heldout_percent": 30}


@pytest.fixture(scope="session")
def sharp(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model of the tiny one's shape and tokenizer, with sharper and other opinions."""
    folder = tmp_path_factory.mktemp("models") / "sharp"
    shutil.copytree(tiny, folder)
    tensors = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(5)
    tensors = {name: t + 0.02 * torch.randn(t.shape, generator=generator) for name, t in tensors.items()}
    tensors["model.norm.weight"] = tensors["model.norm.weight"] * 4
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="session")
def judge(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model of the tiny one's shape, with a head drawn at random."""
    from training.trainers.models import load_tokenizer, save_model
    from training.trainers.scorer import load_reward_model

    tokenizer = load_tokenizer(str(tiny))
    folder = tmp_path_factory.mktemp("models") / "judge"
    save_model(folder, model=load_reward_model(str(tiny), tokenizer, seed=3), tokenizer=tokenizer)
    return folder


def killed_when(ready: Callable[[Path], bool]) -> Callable[..., None]:
    """SIGKILL as soon as the run's folder is `ready`."""

    def disturb(process: subprocess.Popen[str] | Stage, folder: Path) -> None:
        deadline = time.monotonic() + 250
        while process.poll() is None and time.monotonic() < deadline:
            if ready(folder):
                process.send_signal(signal.SIGKILL)
                return
            time.sleep(0.002)
        raise AssertionError("the run ended before the signal")

    return disturb


def report_of(run: Any) -> dict[str, Any]:
    assert run.code == 0, run.stderr
    found: dict[str, Any] = json.loads(Path(run.result["outputs"]["report"]).read_text())
    return found


def test_a_model_against_itself_and_against_another(
    launch, tiny: Path, sharp: Path, judge: Path, prompts: Path, demonstrations: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    same = {"model": tiny, "data": prompts, "k": 4, **DRAW}
    inputs = {"reward_model": str(judge), "demonstrations": str(demonstrations)}
    run = launch("evaluate", name="same", inputs={**inputs, "reference": str(copy)}, shown=2, **same)
    found = report_of(run)
    # The same seeds and weights: the same draws, so no distance and no winner.
    assert found["kl"]["sequence"] == found["kl"]["token_k3"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert found["kl"]["biased"] is False
    assert found["win_rate"]["mean"] == 0.5 and found["reward_difference"]["mean"] == 0.0
    assert found["policy"]["perplexity"] == found["reference"]["perplexity"]
    assert found["policy"]["perplexity_rows"] == 2
    drawn = read_jsonl(run.folder / "policy.jsonl", row_type=CompletionRow)
    assert len(drawn) == 32 and {row.checkpoint for row in drawn} == {str(tiny)}
    assert drawn[0].parameters == {
        "engine": "transformers",
        "max_new_tokens": 12,
        "temperature": 1.0,
        "top_p": 1.0,
    }
    assert all(len(row.token_ids) == row.token_count for row in drawn)
    assert found["policy"]["length"]["mean"] == pytest.approx(sum(row.token_count for row in drawn) / 32)
    assert [point["n"] for point in found["best_of_n"]] == [1, 2, 4]
    means = [point["reward_mean"] for point in found["best_of_n"]]
    assert means == sorted(means) and means[0] == pytest.approx(found["policy"]["reward"]["mean"])
    samples = [json.loads(line) for line in Path(run.result["outputs"]["samples"]).read_text().splitlines()]
    assert [sample["shown_as"] for sample in samples] == ["best"] * 2 + ["worst"] * 2
    assert samples[0]["reward"] >= samples[1]["reward"] > samples[3]["reward"] >= samples[2]["reward"]
    assert run.result["metrics"]["kl_sequence"] == 0.0 and run.result["checkpoint"] is None

    other = report_of(launch("evaluate", name="other", inputs={**inputs, "reference": str(sharp)}, **same))
    # The policy's own part is the same; a sharper reference has less entropy and lies far away.
    assert other["policy"] == found["policy"]
    assert other["reference"]["entropy"]["high"] < found["policy"]["entropy"]["low"]
    assert other["kl"]["sequence"]["low"] > 0.5 and other["kl"]["token_k3"]["low"] > 0.0

    def drawing_the_reference(folder: Path) -> bool:
        path = folder / "reference.jsonl"
        return path.exists() and path.stat().st_size > 0

    with_sharp = {"inputs": {**inputs, "reference": str(sharp)}, **same}
    killed = launch("evaluate", name="cut", meanwhile=killed_when(drawing_the_reference), **with_sharp)
    assert killed.code == -signal.SIGKILL and not (killed.folder / "report.json").exists()
    drawn_before = (killed.folder / "policy.jsonl").read_bytes()
    assert report_of(launch("evaluate", name="cut", resume=True, **with_sharp)) == other
    assert (killed.folder / "policy.jsonl").read_bytes() == drawn_before


def test_what_is_known_to_be_wrong_is_refused_before_a_model_loads(
    launch, tiny: Path, prompts: Path, rankings: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny, other)
    facts = json.loads((other / "tokenizer.json").read_text())
    facts["added_tokens"][0]["content"] = "<|another|>"
    (other / "tokenizer.json").write_text(json.dumps(facts))
    (other / "hone.json").unlink()
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("evaluate", {"inputs": {"reference": str(other)}}, "has another tokenizer than"),
        ("evaluate", {"inputs": {"reference": str(tmp_path / "none")}}, "does not exist"),
        ("evaluate", {"inputs": {"reward_model": str(tiny)}}, "is no reward model"),
        ("evaluate", {"inputs": {"demonstrations": str(rankings)}}, "lacks the column(s) messages"),
        ("evaluate", {"data": tmp_path}, "does not exist"),
        ("best_of_n", {}, "reward_model must name"),
        ("sample", {"engine": "endpoint"}, "endpoint must be an address"),
        ("sample", {"inputs": {"adapter": str(tiny)}}, "has no adapter_model.safetensors"),
        ("sample", {"inputs": {"few_shot": str(tmp_path / "none")}}, "named by few_shot cannot be read"),
    ]
    for number, (stage, arguments, words) in enumerate(cases):
        run = launch(stage, name=str(number), **({"model": tiny, "data": prompts} | arguments))
        assert run.code == 1, run.stderr
        assert words in run.result["error"], (run.result["error"], words)
        assert not any("Loading" in event.get("message", "") for event in run.events)


def test_best_of_n_killed_twice_equals_uninterrupted(launch, tiny: Path, judge: Path, prompts: Path) -> None:
    arguments = BEST | {"model": tiny, "data": prompts, "learning_rate": 1e-3}
    arguments |= {"inputs": {"reward_model": str(judge)}}
    whole = launch("best_of_n", name="whole", **arguments)
    assert whole.code == 0, whole.stderr
    drawn = read_jsonl(whole.folder / "completions.jsonl", row_type=CompletionRow)
    assert len(drawn) == 32

    def sampling(folder: Path) -> bool:
        path = folder / "completions.jsonl"
        return path.exists() and path.stat().st_size > 0

    def training(folder: Path) -> bool:
        return any((folder / "resume").glob("step-????????*"))

    first = launch("best_of_n", name="cut", meanwhile=killed_when(sampling), **arguments)
    assert first.code == -signal.SIGKILL
    before = (first.folder / "completions.jsonl").read_text().splitlines()
    assert 0 < len(before) < 32
    second = launch("best_of_n", name="cut", resume=True, meanwhile=killed_when(training), **arguments)
    assert second.code == -signal.SIGKILL
    # What was sampled is kept byte by byte, and all is there before the training began.
    after = (second.folder / "completions.jsonl").read_bytes()
    kept = [line for line in before if line.endswith("}")]
    assert after.decode().splitlines()[: len(kept) // 4 * 4] == kept[: len(kept) // 4 * 4]
    third = launch("best_of_n", name="cut", resume=True, **arguments)
    assert third.code == 0, third.stderr
    assert (third.folder / "completions.jsonl").read_bytes() == after
    messages = [event.get("message", "") for event in third.events]
    assert "All 8 prompts were sampled before and are kept." in messages
    assert sum("Scoring" in message for message in messages) == 1
    assert any("Resuming after step" in message for message in messages)
    assert read_jsonl(third.folder / "completions.jsonl", row_type=CompletionRow) == drawn
    assert (third.folder / "best_of_n.json").read_text() == (whole.folder / "best_of_n.json").read_text()
    one, two = (load_file(run.output / "model.safetensors") for run in (whole, third))
    assert all(torch.allclose(one[name], two[name], atol=1e-6) for name in one)

    report = json.loads((whole.folder / "best_of_n.json").read_text())
    assert [point["n"] for point in report["curve"]] == [1, 2, 4]
    # Nothing had to end by itself, so the chosen ones are the best of all four.
    assert report["chosen_reward"] == pytest.approx(report["curve"][2]["reward_mean"])
    best = read_parquet(whole.folder / "best.parquet", row_type=DemonstrationRow)
    texts = {(row.prompt_id, row.text) for row in drawn}
    assert len(best) == 8 and all((row.id, row.messages[-1]["content"]) in texts for row in best)
    assert {row.split for row in best} == {"train", "heldout"}
    metrics = whole.result["metrics"]
    assert metrics["best_of_4_reward"] > metrics["best_of_1_reward"] and metrics["steps"] == 30
    changed = launch("best_of_n", name="cut", resume=True, **(arguments | {"seed": 1}))
    assert changed.code == 1 and "drawn otherwise than this run says" in changed.result["error"]


def test_sample_asks_an_endpoint_and_lays_on_an_adapter(
    launch, tiny: Path, prompts: Path, demonstrations: Path
) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer({"data": [{"id": "there"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            choice = {"text": f" {len(body['prompt'])} ids, seed {body['seed']}", "finish_reason": "stop"}
            self.answer({"choices": [choice], "usage": {"completion_tokens": 5}})

        def answer(self, body: Any) -> None:
            content = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=http.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    run = launch("sample", name="endpoint", model=tiny, data=prompts, k=2, engine="endpoint", inputs={"endpoint": url})
    http.shutdown()
    http.server_close()
    assert run.code == 0, run.stderr
    rows = read_jsonl(run.folder / "completions.jsonl", row_type=CompletionRow)
    assert len(rows) == 16 and all(row.text.endswith(f"seed {row.seed}") for row in rows)
    assert rows[0].parameters["engine"] == "endpoint" and rows[0].parameters["endpoint"] == url
    assert rows[0].token_ids == [] and rows[0].token_count == 5

    tuned = launch("sft", name="sft", model=tiny, data=demonstrations, max_steps=20, learning_rate=1e-2)
    assert tuned.code == 0, tuned.stderr
    options = {"data": prompts, "k": 1, "temperature": 0.0, "max_new_tokens": 8, "engine": "transformers"}
    merged = launch("sample", name="merged", model=tuned.output, **options)
    adapter = {"adapter": str(tuned.output / "adapter")}
    laid_on = launch("sample", name="laid_on", model=tiny, inputs=adapter, **options)
    plain = launch("sample", name="plain", model=tiny, **options)
    texts = []
    for each in (merged, laid_on, plain):
        assert each.code == 0, each.stderr
        texts.append([row.text for row in read_jsonl(each.folder / "completions.jsonl", row_type=CompletionRow)])
    assert texts[0] == texts[1] != texts[2]
