"""How many tokens a second the tiny Llama is pretrained on, from random weights and with a tokenizer of its own.

    python -m bench.pretrain [--data ../shared/data/pretrain] [--steps 200] [--precision float32|bfloat16] [--json]

4 layers, 128 wide, a vocabulary of at most 8,192 learnt from the text: the stage as it is launched, on Shakespeare, C4
and WikiText-2. The rate is that of the training steps without the first, in which memory is first touched; with
cleaning, tokenising, the looks at held-out text and a sample it is `run_tokens_per_s`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.reward import run

SOURCES: dict[str, tuple[str, dict[str, Any]]] = {
    "shakespeare": ("tinyshakespeare.txt", {"quality_filter": False, "documents": "paragraphs"}),
    "c4": ("c4_demo.jsonl", {}),
    "wikitext": ("wikitext2_valid.txt.gz", {"quality_filter": False}),
}


def measure(
    *, data: Path, steps: int, rows: int, length: int, vocabulary: int, precision: str, folder: Path
) -> dict[str, Any]:
    """One run of the stage; gives its rates, its held-out perplexity before and after, and its sizes."""
    sources = [
        {"name": name, "path": str((data / path).resolve()), "weight": 1} | extra
        for name, (path, extra) in SOURCES.items()
    ]
    manifest = folder / "sources.json"
    manifest.write_text(json.dumps({"sources": sources}), encoding="utf-8")
    params = {
        "start": "tiny",
        "tokenizer": "train",
        "vocabulary": vocabulary,
        "learning_rate": 3e-3,
        "max_steps": steps,
        "batch_size": rows,
        "micro_batch_size": rows,
        "max_length": length,
        "precision": precision,
        "checkpoint_steps": 0,
        "sample_steps": "",
    }
    paths = {"run_dir": str(folder), "model": "none", "data": str(manifest), "output_dir": str(folder / "out")}
    (folder / "config.json").write_text(json.dumps({"stage": "pretrain", "params": params} | paths), encoding="utf-8")
    began = time.monotonic()
    run(["-m", "training.trainers.pretrain", "--config", str(folder / "config.json")], folder=folder, is_json=False)
    seconds = time.monotonic() - began
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    rates = [event["metrics"]["tokens_per_s"] for event in events if "tokens_per_s" in event.get("metrics", {})]
    made = json.loads((folder / "out" / "config.json").read_text(encoding="utf-8"))
    return {
        "tokens_per_s": statistics.harmonic_mean(rates[1:]),
        "run_tokens_per_s": steps * rows * length / seconds,
        "precision": precision,
        "vocabulary": made["vocab_size"],
        "steps": steps,
        "tokens": steps * rows * length,
        "train_s": result["metrics"]["train_seconds"],
        "run_s": seconds,
        "perplexity_before": result["metrics"]["heldout_perplexity_before"],
        "perplexity": result["metrics"]["heldout_perplexity"],
        "rss_mb": result["hardware"]["peak_memory_bytes"] / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(__file__).resolve().parents[2] / "shared" / "data" / "pretrain"
    parser.add_argument("--data", type=Path, default=shared, help="the folder of the texts")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=16, help="rows a step")
    parser.add_argument("--length", type=int, default=256, help="tokens a row")
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--json", action="store_true", help="one last line of JSON")
    given = parser.parse_args()
    if missing := [path for path, _ in SOURCES.values() if not (given.data / path).is_file()]:
        raise SystemExit(f"The folder {given.data} lacks {', '.join(missing)}.")
    with tempfile.TemporaryDirectory(prefix="bench-pretrain-") as folder:
        numbers = measure(
            data=given.data,
            steps=given.steps,
            rows=given.batch,
            length=given.length,
            vocabulary=given.vocabulary,
            precision=given.precision,
            folder=Path(folder),
        )
    print(
        f"tiny Llama, vocabulary {numbers['vocabulary']:,}, {numbers['precision']}: {numbers['tokens']:,} tokens in "
        f"{numbers['steps']} steps at {numbers['tokens_per_s']:,.0f} tokens/s, {numbers['run_tokens_per_s']:,.0f} over "
        f"the run of {numbers['run_s']:.0f} s; held-out perplexity {numbers['perplexity_before']:,.0f} to "
        f"{numbers['perplexity']:,.0f}; {numbers['rss_mb']:,.0f} MB"
    )
    if given.json:
        print(json.dumps(numbers))


if __name__ == "__main__":
    main()
