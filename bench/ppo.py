"""TRL 1.12's PPOTrainer against our ppo stage: drawing, scoring and learning of updates of 16 prompts, in turn.

    python -m bench.ppo [--model FOLDER] [--method full|lora] [--epochs 1] [--updates 2] [--rounds 1] [--json]

Same model, reward model, prompts (examples/prompts.jsonl), longest answer (48 tokens), passes and temperature 1. Both
draw for all 16 prompts at once, as both do by themselves (TRL has one setting for that and for scoring), and learn from
four at once. TRL took PPO out in 1.13: 1.12.0 is installed once into an environment of its own, var/bench, which finds
everything else here. Each side runs in a process of its own; loading is not timed.
`ratio` is TRL's seconds an update through ours, and `tokens` are those of an answer: TRL goes on to the longest length,
ours ends with the answer, so `ratio_per_token` is told beside it. With `--method lora` ours has one trunk for all four
models (the reward model is an adapter on the policy's start); TRL's own PEFT run has an adapter on the policy and
trains a whole critic.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

from bench.turns import in_turn, median

PROMPTS, TOKENS, AT_ONCE = 16, 48, 4
TRL = "1.12.0"
ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples" / "prompts.jsonl"


def environment() -> str:
    """The Python of an environment that has TRL 1.12.0 and else what is here; made where it is not there yet."""
    folder = ROOT / "var" / "bench" / f"trl-{TRL}"
    python = folder / "bin" / "python"
    if not (folder / "whole").is_file():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        # Behind its own packages it looks into ours.
        (folder / "lib" / version / "site-packages" / "ours.pth").write_text(sysconfig.get_path("purelib") + "\n")
        subprocess.run([str(python), "-m", "pip", "install", "-q", "--no-deps", f"trl=={TRL}"], check=True)
        (folder / "whole").touch()
    return str(python)


def messages(count: int) -> list[list[dict[str, str]]]:
    lines = EXAMPLES.read_text(encoding="utf-8").splitlines()[:count]
    if len(lines) < count:
        raise SystemExit(f"examples/prompts.jsonl has {len(lines)} prompts, not {count}.")
    return [json.loads(line)["messages"] for line in lines]


def make_reward_model(model: str, folder: Path, *, method: str) -> None:
    """A reward model with a head drawn at random: whole weights, or with lora an adapter on the model."""
    import torch

    from training.trainers import models
    from training.trainers.config import build
    from training.trainers.scorer import load_reward_model

    tokenizer = models.load_tokenizer(model)
    made = load_reward_model(model, tokenizer, seed=0)
    if method == "lora":
        torch.manual_seed(0)
        made = models.with_lora(made, config=build("reward", {}), task="SEQ_CLS", also_train=["score"])
        with torch.no_grad():
            for name, parameter in made.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(0, 1e-3)
    files = {"reward.json": {"zero_point": {"reward": 0.0}}}
    models.save_model(folder, model=made, tokenizer=tokenizer, files=files)


def ours(model: str, reward_model: str, folder: Path, *, method: str, epochs: int, updates: int) -> dict[str, Any]:
    from training.records import PromptRow, write_parquet
    from training.trainers import hardware, ppo, ppo_loop
    from training.trainers.config import build
    from training.trainers.events import Events
    from training.trainers.program import Job, StopFlag

    rows = [PromptRow(id=str(at), prompt=prompt) for at, prompt in enumerate(messages(PROMPTS))]  # type: ignore[arg-type]
    write_parquet(folder / "prompts.parquet", rows, row_type=PromptRow)
    values = {
        "method": method,
        "rollout_prompts": PROMPTS,
        "batch_size": PROMPTS,
        "micro_batch_size": AT_ONCE,
        "sample_batch_size": PROMPTS,
        "epochs": epochs,
        "updates": updates,
        "max_new_tokens": TOKENS,
        "learning_rate": 3e-6,
        "checkpoint_steps": 0,
    }
    job = Job(
        stage="ppo", run_dir=folder, model=model, data=folder / "prompts.parquet", output_dir=folder / "out",
        resume=False, config=build("ppo", values), events=Events(folder), stop=StopFlag(),
        inputs={"reward_model": reward_model},
    )  # fmt: skip
    learn, took = ppo_loop.Ppo.run, list[float]()

    def timed(trainer: ppo_loop.Ppo) -> dict[str, float]:
        began = time.monotonic()
        metrics = learn(trainer)
        took.append(time.monotonic() - began)
        return metrics

    with mock.patch.object(ppo_loop.Ppo, "run", timed):
        ppo.run(job)
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    told = [event["metrics"] for event in events if event["type"] == "metrics"]
    parts = {
        name: sum(one[f"{name}_seconds"] for one in told) / updates for name in ("sample", "score", "read", "learn")
    }
    return {
        "seconds": took[0] / updates,
        "parts": {name: round(value, 1) for name, value in parts.items()},
        "tokens": sum(one["answer_tokens"] for one in told) / updates,
        "rss_mb": hardware.peak_memory_bytes() / 1e6,
    }


def theirs(model: str, reward_model: str, folder: Path, *, method: str, epochs: int, updates: int) -> dict[str, Any]:
    import trl
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    from training.trainers import hardware, models
    from training.trainers.chat import encode_prompt
    from training.trainers.config import build

    if trl.__version__ != TRL:
        raise SystemExit(f"TRL {trl.__version__} is not {TRL}.")
    tokenizer = models.load_tokenizer(model)
    tokenizer.padding_side = "left"
    ids = [encode_prompt(tokenizer, prompt) for prompt in messages(PROMPTS)]  # type: ignore[arg-type]
    causal: Any = AutoModelForCausalLM
    classifier: Any = AutoModelForSequenceClassification
    dtype = hardware.training_dtype()

    class Timed(PPOTrainer):
        """With what TRL logs of an update kept."""

        def log(self, logs: dict[str, float], *_: Any, **__: Any) -> None:
            print(json.dumps(logs), file=sys.stderr)

    trainer = Timed(
        args=PPOConfig(
            output_dir=str(folder / "trl"),
            per_device_train_batch_size=AT_ONCE,
            gradient_accumulation_steps=PROMPTS // AT_ONCE,
            num_mini_batches=1,
            local_rollout_forward_batch_size=PROMPTS,
            total_episodes=PROMPTS * updates,
            num_ppo_epochs=epochs,
            response_length=TOKENS,
            stop_token="eos",
            temperature=1.0,
            kl_coef=0.05,
            learning_rate=3e-6,
            num_sample_generations=0,
            bf16=False,
            gradient_checkpointing=False,
            use_cpu=hardware.device().type == "cpu",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        processing_class=tokenizer,
        model=causal.from_pretrained(model, dtype=dtype),
        ref_model=None if method == "lora" else causal.from_pretrained(model, dtype=dtype),
        reward_model=classifier.from_pretrained(reward_model, num_labels=1, dtype=dtype),
        value_model=classifier.from_pretrained(reward_model, num_labels=1, dtype=dtype),
        train_dataset=Dataset.from_list([{"input_ids": one} for one in ids]),
        eval_dataset=Dataset.from_list([{"input_ids": one} for one in ids]),
        peft_config=models.lora_config(config=build("ppo", {}), task="CAUSAL_LM") if method == "lora" else None,
    )
    started = time.monotonic()
    trainer.train()
    return {
        "seconds": (time.monotonic() - started) / updates,
        "tokens": float(TOKENS),
        "rss_mb": hardware.peak_memory_bytes() / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="var/models/smollm2", help="a base model's folder")
    parser.add_argument("--method", choices=("full", "lora"), default="full")
    parser.add_argument("--epochs", type=int, default=1, help="passes over an update's answers")
    parser.add_argument("--updates", type=int, default=2, help="updates a run takes")
    parser.add_argument("--rounds", type=int, default=1, help="how often each side runs")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--side", choices=("trl", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--reward-model", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        from training.trainers import hardware

        hardware.limit_threads()
        words = {"method": given.method, "epochs": given.epochs, "updates": given.updates}
        with tempfile.TemporaryDirectory() as folder:
            run = ours if given.side == "ours" else theirs
            print(json.dumps(run(given.model, given.reward_model, Path(folder), **words)))
        return
    python = environment()
    with tempfile.TemporaryDirectory() as folder:
        reward_model = Path(folder) / "rm"
        make_reward_model(given.model, reward_model, method=given.method)
        arguments = ["--model", str(Path(given.model).resolve()), "--method", given.method]
        arguments += ["--epochs", str(given.epochs), "--updates", str(given.updates)]
        arguments += ["--reward-model", str(reward_model)]
        found = in_turn("bench.ppo", arguments, sides=("trl", "ours"), rounds=given.rounds, pythons={"trl": python})
    report: dict[str, Any] = {"method": given.method, "epochs": given.epochs}
    seconds = {side: median(runs, "seconds") for side, runs in found.items()}
    tokens = {side: median(runs, "tokens") for side, runs in found.items()}
    report["ratio"] = round(seconds["trl"] / seconds["ours"], 2)
    report["ratio_per_token"] = round(seconds["trl"] / tokens["trl"] / (seconds["ours"] / tokens["ours"]), 2)
    for side, runs in found.items():
        report |= {f"{side}_s": round(seconds[side], 1), f"{side}_tokens": round(tokens[side], 1)}
        report |= {f"{side}_rss_mb": round(median(runs, "rss_mb"))}
    report["ours_parts"] = found["ours"][-1]["parts"]
    for name, value in report.items():
        print(f"{name:20} {value}")
    if given.json:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
