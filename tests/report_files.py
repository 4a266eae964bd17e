"""The files that trainers leave in a run's folder, written by the trainers' own functions where those need no model."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

from django.test import Client
from django.urls import reverse
from django.utils import timezone

from hone.accounts.models import Project
from tests import factories
from training.models import Metric, Run
from training.records import CompletionRow, PromptRow, RankingRow
from training.trainers import evaluation, evaluation_report, policy_updates, reward_report, zero_point
from training.trainers.config import build
from training.trainers.corpus.manifest import read_manifest
from training.trainers.corpus.preparing import prepare, settings_of
from training.trainers.corpus.report import SourceReport
from training.trainers.judging import Drawn
from training.trainers.likelihood import Likelihood

# Where each kind of run leaves its report.
FILES = {
    "reward": "checkpoint/report.json",
    "evaluate": "report.json",
    "pretrain": "corpus/report.json",
    "best_of_n": "best_of_n.json",
    "ppo": "samples.jsonl",
}
CATEGORIES = ("open_qa", "generation", "brainstorming", "summarization")


def make(project: Project, kind: str, **fields: Any) -> Run:
    """A run of this kind that has ended well."""
    return factories.make_run(project, kind=kind, **({"state": "succeeded"} | fields))


def page_of(client: Client, run: Run) -> str:
    """The run's page."""
    answer = client.get(reverse("training:run", args=[run.pk]))
    assert answer.status_code == 200
    return answer.content.decode()


def write(run: Run, name: str, content: Any) -> Path:
    """One file of the run's folder; objects as JSON, texts and bytes as they are."""
    path = run.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content if isinstance(content, str | bytes) else json.dumps(content, ensure_ascii=False)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def rankings(*, prompts: int, annotators: list[str], right: float, seed: int = 0) -> list[reward_report.Judged]:
    """Rankings of 4 by two people each, who mostly agree; of the scores the part `right` follows the true order."""
    random_ = random.Random(seed)
    found = []
    for number in range(prompts):
        quality = [random_.gauss(0, 1) for _ in range(4)]
        scores = [value * right + random_.gauss(0, 1) * (1 - right) for value in quality]
        for name in random_.sample(annotators, min(2, len(annotators))):
            seen = [value + random_.gauss(0, 0.6) for value in quality]
            order = sorted(seen, reverse=True)
            row = RankingRow(
                id=f"{number}-{name}",
                prompt_id=f"p{number}",
                prompt=[{"role": "user", "content": f"Question {number}?"}],
                completions=[f"Answer {number}.{at}" for at in range(4)],
                ranks=[order.index(value) for value in seen],
                unacceptable=[False] * 4,
                annotator=name,
                category=CATEGORIES[number % len(CATEGORIES)],
            )
            tokens = [round(40 + 12 * score + random_.gauss(0, 14)) for score in scores]
            found.append(reward_report.Judged(row=row, scores=scores, tokens=tokens))
    return found


def reward(run: Run, judged: list[reward_report.Judged], *, weights: dict[str, float] | None = None) -> dict[str, Any]:
    """The report of these held-out rankings, and reward.json beside it; gives what the stage adds to its metrics."""
    trained_on = {one.row.annotator: 40 for one in judged[: len(judged) // 2]}
    report = reward_report.report(judged, trained_on=trained_on, seed=0)
    write(run, "checkpoint/report.json", {"annotator_weights": weights or {}} | report)
    rows = [one.row for one in judged]
    zero = zero_point.of_best_ranked(rows, [one.scores for one in judged], split="heldout")
    write(run, "checkpoint/reward.json", {"mean": 0.1, "std": 1.2, "count": 8, "source": "heldout", "zero_point": zero})
    share = report["accuracy"]
    accuracy = {"heldout_accuracy": share["value"], "heldout_accuracy_low": share["low"]} if share else {}
    accuracy |= {"heldout_accuracy_high": share["high"]} if share else {}
    return {**accuracy, **reward_report.headline(report), "cut_sequences": 3}


def draws(prompts: list[PromptRow], *, texts: list[str], k: int, seed: int) -> list[list[CompletionRow]]:
    """K completions a prompt of the texts in turn, the last of each cut."""
    random_ = random.Random(seed)
    return [
        [
            CompletionRow(
                prompt_id=prompt.id,
                index=index,
                text=texts[(at + index) % len(texts)],
                finish_reason="length" if index == k - 1 else "stop",
                token_count=20 + 7 * index,
                seed=index,
                token_ids=[random_.randrange(90) for _ in range(20 + 7 * index)],
            )
            for index in range(k)
        ]
        for at, prompt in enumerate(prompts)
    ]


def evaluate(
    run: Run,
    *,
    texts: list[str],
    reference: str = "",
    reward_model: str = "",
    prompts: int = 24,
    k: int = 4,
    gain: float = 0.4,
    question: str = "Question",
    shown: int = 4,
) -> dict[str, float]:
    """report.json and, with a reward model, samples.jsonl, put together as the stage does; gives its metrics."""
    asked = [
        PromptRow(
            id=f"p{at}",
            prompt=[{"role": "user", "content": f"{question} {at}?"}],
            category=CATEGORIES[at % len(CATEGORIES)],
        )
        for at in range(prompts)
    ]
    random_ = random.Random(1)
    names = ["policy", *(["reference"] if reference else [])]
    drawn = {name: draws(asked, texts=texts, k=k, seed=at) for at, name in enumerate(names)}
    likely = {
        name: [
            Likelihood(
                logps=[random_.gauss(-2, 0.3) + at * 0.02 for at in range(row.token_count)],
                entropies=[2.1 - 0.3 * (name == "policy")] * row.token_count,
            )
            for group in drawn["policy"]
            for row in group
        ]
        for name in names
    }
    report: dict[str, Any] = {
        "prompts": prompts,
        "completions_each": k,
        "sampling": {"engine": "transformers", "max_new_tokens": 64, "temperature": 1.0, "top_p": 1.0, "seed": 0},
    }
    for name in names:
        numbers = evaluation_report.text_numbers(drawn[name], likely[name], prompts=prompts, seed=0)
        report[name] = {"model": reference or str(run.folder), "perplexity": 12.5} | numbers
    if reference:
        report["kl"] = evaluation_report.kl(
            likely["policy"], likely["reference"], prompts=prompts, biased=False, seed=0
        )
    if reward_model:
        scores = {
            name: [[random_.gauss(gain * (name == "policy"), 1) for _ in range(k)] for _ in asked] for name in names
        }
        report["reward_model"] = reward_model
        report |= evaluation_report.reward_report(asked, scores, report, seed=0)
        samples = evaluation_report.shown_samples(asked, drawn, scores, count=shown)
        write(run, "samples.jsonl", "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in samples))
    write(run, "report.json", report)
    return evaluation_report.flat(report)


def best_of_n(run: Run, *, prompts: int = 40, n: int = 16, left_out: int = 0) -> None:
    """best_of_n.json as the stage writes it."""
    random_ = random.Random(2)
    rewards = [[random_.gauss(0, 1) for _ in range(n)] for _ in range(prompts)]
    report = {
        "identity": {"completions_sha256": "0" * 64},
        "best_sha256": "0" * 64,
        "chosen_reward": math.fsum(map(max, rewards)) / prompts,
        "left_out": left_out,
        "curve": evaluation.best_of_curve(rewards, seed=0),
    }
    write(run, "best_of_n.json", report)


def ppo(run: Run, *, words: str, updates: int = 3) -> None:
    """samples.jsonl as PPO writes it, and the run's numbers; answers and the prompt are `words`."""
    samples = policy_updates.Samples(run.folder / "samples.jsonl")
    run.folder.mkdir(parents=True, exist_ok=True)
    prompt = PromptRow(id="1", prompt=[{"role": "system", "content": words}, {"role": "user", "content": words}])
    for update in range(1, updates + 1):
        drawn = [
            Drawn(
                at=0,
                prompt=[1],
                answers=[[5] * length],
                texts=[text],
                ended=[length < 9],
                judged={"reward_model": [0.5 * update], "length": [float(length)]},
                scores=[0.5 * update - 0.01 * length],
                log_probs=[-1.0] * length,
                reference=[-1.25] * length,
            )
            for length, text in ((4, words), (9, f"{words}\n\n" * 20), (1, ""))
        ]
        samples.write(update, [prompt] * 3, drawn, total=updates)
        numbers = {"reward": 0.5 * update, "kl": 0.2 * update, "entropy": 2.5 - 0.1 * update, "sample_seconds": 3.0}
        Metric.objects.bulk_create(
            Metric(run=run, step=update, name=name, value=value, at=timezone.now())
            for name, value in {**numbers, "score_seconds": 1.0, "read_seconds": 1.5, "learn_seconds": 4.5}.items()
        )


def corpus(run: Run, *, words: str) -> dict[str, float]:
    """corpus/report.json of two sources whose every text is `words`, and samples; gives metrics of perplexity."""
    sources = []
    for name in ("a", words[:60].replace(" ", "-")):
        found = SourceReport(name)
        for number, reason in enumerate(["", "", "too_short", "near_duplicate", "contaminated"]):
            found.read(words)
            if reason:
                found.drop(reason, words, where=f"a.jsonl:{number}", detail=words)
            else:
                found.keep(words, language="zh")
        found.lines_cut = 2
        sources.append(found.as_dict() | {"heldout_percent": 2.0})
    settings = {"languages": "zh", "quality_filter": True, "near_similarity": 0.8}
    whole = {"settings": settings, "evaluation_prompts": 9, "evaluation_prompts_too_short": 2, "seconds": 3.5}
    write(run, "corpus/report.json", whole | {"sources": sources})
    return _samples(run, names=[source["name"] for source in sources], steps=(0, 100), text=words, prompt=words)


def pretrain(
    run: Run, *, sources: dict[str, list[str]], steps: tuple[int, ...] = (0, 100), text: str = "It goes"
) -> dict[str, float]:
    """corpus/report.json of these sources' texts, samples of these steps; gives metrics of perplexity."""
    for name, documents in sources.items():
        write(run, f"{name}.jsonl", "".join(json.dumps({"text": one}) + "\n" for one in documents))
    listed = [{"name": name, "path": f"{name}.jsonl"} for name in sources]
    path = write(run, "sources.json", {"sources": listed})
    config = build("pretrain", {})
    prepare(
        run.folder / "corpus",
        manifest=read_manifest(path),
        config=config,
        settings=settings_of(config, data=path),
        tell=lambda _: None,
        between=lambda: None,
    )
    return _samples(run, names=list(sources), steps=steps, text=text, prompt="Once upon a time")


def _samples(run: Run, *, names: list[str], steps: tuple[int, ...], text: str, prompt: str) -> dict[str, float]:
    rows = [
        {"step": step, "prompt": begun, "text": f"{text} {step}", "finish_reason": "length", "token_count": 8}
        for step in steps
        for begun in (prompt, "")
    ]
    write(run, "samples.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    metrics = {"heldout_perplexity_before": 400.0, "heldout_perplexity": 31.5, "heldout_loss": 3.45}
    for at, name in enumerate(names):
        metrics |= {f"heldout_perplexity_{name}_before": 380.0 + 40 * at, f"heldout_perplexity_{name}": 30.0 * (at + 1)}
        metrics |= {f"heldout_bits_per_byte_{name}_before": 2.9, f"heldout_bits_per_byte_{name}": 1.25}
    return metrics
