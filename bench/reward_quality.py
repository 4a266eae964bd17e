"""A reward model from real people's comparisons: how well it foretells those of held-out conversations.

    python -m bench.reward_quality [--data ../shared/data/preferences] [--model smollm2] [--minutes 55] [--json]
    python -m bench.reward_quality --rows 200 --minutes 8

The comparisons are the three HH-RLHF files that lie there, 7,415 in all (Bai et al. 2022): the published test sets, as
the training sets are not at hand. They are split here, by a conversation's first words, so that no conversation nor a
continuation of it is on both sides; a model from here must not be held against those files again. Left out are
comparisons of two equal answers, of answers to unlike conversations, and with an empty answer.

Every weight is trained, in bfloat16 where the machine has units for it. How many rows fit into `--minutes` is measured
on a few first; the run is then the stage as it is launched.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.reward import run
from training.records import Message, RankingRow, RecordError, split_of, write_parquet
from training.trainers import hardware

FILES = {
    "helpful": "hh_helpful_base_test.jsonl.gz",
    "harmless": "hh_harmless_base_test.jsonl.gz",
    "helpful, rejection-sampled": "hh_helpful_rejection_sampled_test.jsonl.gz",
}
HELDOUT_PERCENT = 15
BATCH = 16
# Rows of the run that measures the speed; its first step, in which memory is first touched, is not counted.
TRIAL = 4 * BATCH
# The share of the time that training and the held-out rows may have; loading and what goes slower take the rest.
SHARE = 0.93
# What reading a held-out row takes of training on one, which has a pass forward and one back, twice as long.
HELDOUT_COST = 0.4
_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}

PUBLISHED = (
    ("GPT-2-large (774 M), helpful", 0.726, "of the HH-RLHF training sets, about 160,000 comparisons in all"),
    ("GPT-2-large (774 M), harmless", 0.737, "the same"),
    ("DeBERTa-v3-large (435 M)", 0.752, "HH-RLHF too; the size of all it was trained on is not at hand"),
    ("InstructGPT's (6 B), its own labelers", 0.724, "33,000 prompts of 4 to 9 answers each"),
    ("InstructGPT's, held-out labelers", 0.696, "the same"),
)


def parse(transcript: str) -> list[Message]:
    """The turns of one transcript; raises RecordError where it does not end with the assistant's."""
    pieces = _TURN.split(transcript)
    turns: list[Message] = [
        {"role": _ROLES[name], "content": text.strip()} for name, text in zip(pieces[1::2], pieces[2::2], strict=True)
    ]
    if len(turns) < 2 or turns[-1]["role"] != "assistant" or turns[-2]["role"] != "user":
        raise RecordError("the transcript does not end with a user's turn and the assistant's answer")
    return turns


def comparisons(folder: Path, left_out: Counter[str]) -> Iterator[RankingRow]:
    """The usable comparisons of all files, the chosen answer first; counts the others by reason."""
    for category, name in FILES.items():
        with gzip.open(folder / name, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file):
                pair = json.loads(line)
                try:
                    chosen, rejected = parse(pair["chosen"]), parse(pair["rejected"])
                except RecordError:
                    left_out["odd turns"] += 1
                    continue
                texts = [chosen[-1]["content"], rejected[-1]["content"]]
                if chosen[:-1] != rejected[:-1]:
                    left_out["unlike conversations"] += 1
                elif texts[0] == texts[1]:
                    left_out["equal answers"] += 1
                elif not all(texts):
                    left_out["an empty answer"] += 1
                else:
                    yield _row(f"{category} {number}", category, chosen[:-1], texts)


def _row(name: str, category: str, prompt: list[Message], texts: list[str]) -> RankingRow:
    begun = hashlib.sha256(prompt[0]["content"].encode()).hexdigest()
    return RankingRow(
        id=name,
        # A conversation and its continuations are one unit of the interval, as they hang together.
        prompt_id=begun,
        prompt=prompt,
        completions=texts,
        ranks=[0, 1],
        unacceptable=[False, False],
        category=category,
        split=split_of(begun, HELDOUT_PERCENT),
    )


def stage(
    name: str, *, folder: Path, model: Path, data: Path, params: dict[str, Any], inputs: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """One run of a stage by hand; gives its result."""
    folder.mkdir()
    paths = {"run_dir": str(folder), "model": str(model), "data": str(data), "output_dir": str(folder / "out")}
    config = {"stage": name, "params": params, "inputs": dict(inputs or {})} | paths
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    run(["-m", f"training.trainers.{name}", "--config", str(folder / "config.json")], folder=folder, is_json=False)
    result: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return result


def train(rows: Sequence[RankingRow], *, model: Path, params: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One run of the stage reward; gives its result and its report."""
    data = folder.with_suffix(".parquet")
    write_parquet(data, rows, row_type=RankingRow)
    result = stage("reward", folder=folder, model=model, data=data, params=params)
    return result | {"report": json.loads(Path(result["outputs"]["report"]).read_text(encoding="utf-8"))}


def _seconds_a_step(folder: Path) -> float:
    """The mean time of a run's steps after its first."""
    lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    times = [event["time"] for event in map(json.loads, lines) if event["type"] == "metrics"]
    return float(times[-1] - times[0]) / (len(times) - 1)


def measure(
    *, data: Path, model: str, minutes: float, rows: int, heldout: int, rate: float, folder: Path
) -> dict[str, Any]:
    """Train on as many rows as fit, and give the report's numbers with the sizes."""
    began = time.monotonic()
    left_out: Counter[str] = Counter()
    usable = list(comparisons(data, left_out))
    random.Random(0).shuffle(usable)
    training = [row for row in usable if row.split == "train"]
    held = [row for row in usable if row.split == "heldout"][:heldout]
    base = Path(model)
    if model in ("smollm2", "tiny"):
        base = folder / "base"
        run(["-m", "training.trainers.prepare", "--model", model, "--output", str(base)], folder=folder, is_json=False)
    params = {
        "method": "full",
        "learning_rate": rate,
        "epochs": 1,
        "batch_size": BATCH,
        "micro_batch_size": 8,
        "precision": "float32" if hardware.emulates_bfloat16() else "bfloat16",
        # Of the prompts a third are longer and keep their last tokens, of the answers a tenth their first ones.
        "max_length": 256,
        "max_completion_length": 128,
        "checkpoint_steps": 0,
    }
    train(training[:TRIAL], model=base, params=params, folder=folder / "trial")
    per_row = _seconds_a_step(folder / "trial") / BATCH
    left = minutes * 60 * SHARE - (time.monotonic() - began) - HELDOUT_COST * per_row * len(held)
    fitting = max(BATCH, min(rows or len(training), len(training), int(left / per_row)))
    fitting -= fitting % BATCH
    found = train([*training[:fitting], *held], model=base, params=params, folder=folder / "run")
    report = found["report"]
    return {
        "model": model,
        "train_comparisons": fitting,
        "available_comparisons": len(training),
        "heldout_comparisons": report["comparisons"],
        "left_out": dict(left_out),
        "accuracy": report["accuracy"]["value"],
        "accuracy_low": report["accuracy"]["low"],
        "accuracy_high": report["accuracy"]["high"],
        "by_category": report["by_category"],
        "ece": report["calibration"]["error"],
        "bins": report["calibration"]["bins"],
        "length_spearman": report["length"]["spearman"],
        "longer_wins_model": report["length"]["longer_wins_model"],
        "longer_wins_people": report["length"]["longer_wins_people"],
        "cut_sequences": found["metrics"]["cut_sequences"],
        "precision": params["precision"],
        "learning_rate": rate,
        "train_s": found["metrics"]["train_seconds"],
        "seconds": time.monotonic() - began,
    }


def show(numbers: dict[str, Any]) -> None:
    print(
        f"{numbers['model']} on {numbers['train_comparisons']:,} of {numbers['available_comparisons']:,} comparisons, "
        f"{numbers['seconds'] / 60:.1f} min in {numbers['precision']}; left out: "
        + ", ".join(f"{count} with {why}" for why, count in sorted(numbers["left_out"].items()))
    )
    print(
        f"held-out accuracy {numbers['accuracy']:.3f} [{numbers['accuracy_low']:.3f}, {numbers['accuracy_high']:.3f}] "
        f"over {numbers['heldout_comparisons']} comparisons"
    )
    for name, one in numbers["by_category"].items():
        print(f"  {name}: {one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}] over {one['comparisons']}")
    print(f"calibration error {numbers['ece']:.3f}")
    for one in numbers["bins"]:
        if one["comparisons"]:
            print(
                f"  confidence {one['low']:.2f} to {one['high']:.2f}: said {one['confidence']:.3f}, "
                f"right {one['right']:.3f} of {one['comparisons']}"
            )
    print(
        f"score and length: Spearman {numbers['length_spearman']:.3f}; the longer answer wins by the model in "
        f"{numbers['longer_wins_model']:.3f} of comparisons, by people in {numbers['longer_wins_people']:.3f}"
    )
    print("published, from the training sets of their own, each held against a test set of its own:")
    for name, value, size in PUBLISHED:
        print(f"  {name}: {value:.3f} ({size})")
    times = 160_000 / numbers["train_comparisons"]
    print(f"This run saw {times:,.0f} times fewer comparisons than the HH-RLHF training sets hold.")


def by_hand(
    doc: str | None,
    *,
    measure: Callable[..., dict[str, Any]],
    show: Callable[[dict[str, Any]], None],
    numbers: Mapping[str, tuple[float, str]],
) -> None:
    """A benchmark on the HH-RLHF files from the command line; `numbers` are its own options: default and help."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(__file__).resolve().parents[2] / "shared" / "data" / "preferences"
    parser.add_argument("--data", type=Path, default=shared, help="the folder of the hh_*.jsonl.gz files")
    parser.add_argument("--model", default="smollm2", help="smollm2, tiny, or a folder")
    for name, (default, words) in numbers.items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help=words)
    parser.add_argument("--json", action="store_true", help="one last line of JSON")
    given = vars(parser.parse_args())
    as_json = given.pop("json")
    if missing := [name for name in FILES.values() if not (given["data"] / name).is_file()]:
        raise SystemExit(f"The folder {given['data']} lacks {', '.join(missing)}.")
    with tempfile.TemporaryDirectory(prefix=f"bench-{Path(parser.prog).stem}-") as folder:
        found = measure(**given, folder=Path(folder))
    show(found)
    if as_json:
        print(json.dumps(found))


def main() -> None:
    numbers = {
        "minutes": (55.0, "how long it may take"),
        "rows": (0, "training comparisons at most; 0 takes what fits"),
        "heldout": (900, "held-out comparisons at most"),
        "rate": (3e-5, "the largest learning rate"),
    }
    by_hand(__doc__, measure=measure, show=show, numbers=numbers)


if __name__ == "__main__":
    main()
