"""What broke or was missing in TRL 1.12's PPOTrainer, and bad input: each fault has a test, here or where it is named.

| fault of TRL 1.12 | test |
| --- | --- |
| `num_mini_batches` without effect, steps too many; `max_grad_norm` ignored | test_ppo.py: as many steps are … |
| callbacks cannot stop it; no resume | test_ppo.py: interrupted and resumed equals uninterrupted (TERM and KILL) |
| logits of the whole vocabulary kept in float32 | here: no more than a block of logits … (where prompts are shared) |
| only `generate`, no vLLM | here: vLLM is handed the policy once an update |
| tokenised input only | here: the judge reads text by its own tokenizer and template |
| critic not saved | test_ppo.py: the critic is kept as a reward model |
| statistics averaged over padding | test_ppo_losses.py: whitened numbers and losses as a plain loop has them |
| pad == eos breaks masks | here: the end of an answer counts, whatever pads |
| no adaptive KL | test_ppo_losses.py: beta follows the distance by a fifth at most |
| no pretraining mix | test_ppo.py: pretraining text is mixed in |
| no reward normalisation | test_ppo_losses.py: whitened numbers …; here: scores become rewards over … |
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.training.trainers import odd_rewards
from tests.training.trainers.conftest import SMALL
from tests.training.trainers.test_ppo_models import GROUP, four
from training.records import PromptRow
from training.trainers import logps, policy_drawing, ppo, reward_functions
from training.trainers.adapters import inner_model
from training.trainers.config import build
from training.trainers.events import Events
from training.trainers.judging import Drawn, Judge, drawn_of, zero_point
from training.trainers.models import load_tokenizer
from training.trainers.policy_drawing import PolicySampler
from training.trainers.program import Job, StopFlag, TrainerError, check_model
from training.trainers.samplers import Completion, TransformersSampler


@pytest.fixture(autouse=True)
def stages_in_this_process_keep_to_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """As those in processes of their own do in tests: `hardware.limit_threads` reads it."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def job_of(folder: Path, tiny: Path, many: Path, judge: Path, *, resume: bool = False, **given: Any) -> Job:
    folder.mkdir(exist_ok=True)
    return Job(
        stage="ppo",
        run_dir=folder,
        model=str(tiny),
        data=many,
        output_dir=folder / "out",
        resume=resume,
        config=build("ppo", SMALL | given),
        events=Events(folder),
        stop=StopFlag(),
        inputs={"reward_model": str(judge)},
    )


def messages(job: Job) -> list[str]:
    lines = (job.run_dir / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [event["message"] for event in map(json.loads, lines) if event["type"] == "status"]


def apart(one: Any, other: Any) -> float:
    """The largest difference between the weights that two outcomes left."""
    ours, theirs = (load_file(Path(str(outcome.checkpoint)) / "model.safetensors") for outcome in (one, other))
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


class Wide(TorchDispatchMode):
    """Takes notes of how many rows each tensor over the vocabulary has that any operation makes, on either way."""

    def __init__(self, head: torch.Tensor) -> None:
        super().__init__()
        self.vocabulary, self.width = head.shape
        self.rows: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for made in tree_leaves(found):
            # The head itself, or its gradient, may lie on its side.
            if isinstance(made, torch.Tensor) and made.shape[-1:] == (self.vocabulary,) and made.ndim > 1:
                self.rows += [made.shape[:-1].numel()] if made.shape != (self.width, self.vocabulary) else []
        return found


@pytest.mark.parametrize("method", ["full", "lora"])
def test_no_more_than_a_block_of_logits_is_alive_at_once(
    tiny: Path, judges: dict[str, Path], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(logps, "POSITIONS_AT_ONCE", 4)
    models = four(tiny, judges["whole"], method=method)
    for read in (models.policy.measured, lambda group: models.policy.log_probs(group).sum().backward()):
        with Wide(inner_model(models.policy.model).get_output_embeddings().weight) as wide:
            read(GROUP)
        assert wide.rows and max(wide.rows) <= 4, wide.rows


class Vllm:
    """Takes notes of what it is handed, and answers nothing in particular."""

    def __init__(self, model: str, tokenizer: Any, **words: Any) -> None:
        self.words, self.handed = words, list[Any]()

    def use_adapter(self, folder: str, *, number: int) -> None:
        self.handed.append((number, load_file(Path(folder) / "adapter_model.safetensors")))

    def read_again(self, folder: str) -> None:
        self.handed.append(load_file(Path(folder) / "model.safetensors"))

    def generate(self, prompts: list[list[int]], *, k: int, **_: Any) -> list[list[Completion]]:
        return [[Completion(ids=[5], finish_reason="length", token_count=1, drawn=[5])] * k for _ in prompts]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "judge"), [("full", "whole"), ("lora", "whole"), ("lora", "adapted")])
def test_vllm_is_handed_the_policy_once_an_update(
    tiny: Path,
    judges: dict[str, Path],
    many: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    judge: str,
) -> None:
    monkeypatch.setattr(policy_drawing, "VllmSampler", Vllm)
    monkeypatch.setattr(policy_drawing, "choose_engine", lambda engine: engine)
    job = job_of(tmp_path / "run", tiny, many, judges[judge], method=method, engine="vllm", sample_batch_size=1)
    models = four(tiny, judges[judge], method=method)
    sampler = PolicySampler(
        job, models.policy.model, tokenizer=models.tokenizer, stop_text=None, prompt_ids=[[5, 6], [7, 8, 9]]
    )
    vllm: Any = sampler.vllm
    assert vllm.words["rank"] == (job.config.lora_r if method == "lora" else 0)
    assert vllm.words["max_length"] == 3 + job.config.max_new_tokens
    prompts = [PromptRow(id=name, prompt=[{"role": "user", "content": name}]) for name in "ab"]
    policy = [(name, value) for name, value in models.parameters.items() if name.startswith("policy.")]
    for update in range(2):
        with torch.no_grad():
            for _, value in policy:
                value.fill_(float(update + 1))
        found = sampler.draw(update, [0, 1], prompts)
        assert [one.at for one in found] == [0, 1]
    if method == "full":
        handed = [weights["model.layers.0.mlp.up_proj.weight"] for weights in vllm.handed]
    else:
        assert [number for number, _ in vllm.handed] == [1, 2]
        assert all(len(weights) == len(policy) for _, weights in vllm.handed)
        handed = [next(iter(weights.values())) for _, weights in vllm.handed]
    assert [float(value.mean()) for value in handed] == [1.0, 2.0]


def test_the_judge_reads_text_by_its_own_tokenizer_and_template(tiny: Path) -> None:
    tokenizer = load_tokenizer(str(tiny))
    tokenizer.chat_template = "{% for m in messages %}[{{ m['content'] }}<|im_end|>{% endfor %}"
    read: list[Any] = []

    class Scoring:
        def all_scores(self, group: Any, **_: Any) -> list[list[float]]:
            read.extend(group)
            return [[1.5] * len(one.completions) for one in group]

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None: ...

    job: Any = SimpleNamespace(config=build("ppo", {"max_length": 96, "max_new_tokens": 8}))
    judge = Judge(job, scoring=Scoring, tokenizer=tokenizer, zero_point=0.25)  # type: ignore[arg-type]
    prompt = PromptRow(id="p", prompt=[{"role": "user", "content": "A river?"}])
    # The policy's own ids are of no matter.
    one = Drawn(at=0, prompt=[1], answers=[[999]], texts=["The Rhine."], ended=[True])
    judge.score([prompt], [one])
    assert (
        tokenizer.decode(read[0].prompt + read[0].completions[0])
        .replace(" ", "")
        .startswith("[Ariver?<|im_end|>[TheRhine.")
    )
    assert one.judged == {"reward_model": [1.25]} and one.scores == [1.25]


@pytest.mark.parametrize("pad", ["<|endoftext|>", "<|im_end|>"])
def test_the_end_of_an_answer_counts_whatever_pads(tiny: Path, tmp_path: Path, pad: str) -> None:
    tokenizer = load_tokenizer(str(tiny))
    tokenizer.pad_token = pad
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(str(tmp_path))
    assert again.pad_token_id != again.eos_token_id
    end = again.eos_token_id
    ended = Completion(ids=[5, 6], finish_reason="stop", token_count=3, drawn=[5, 6, end])
    cut = Completion(ids=[5, 6, 7], finish_reason="length", token_count=3, drawn=[5, 6, 7])
    one = drawn_of(0, [1], [ended, cut], tokenizer=again, stop_text=None)
    assert one.answers == [[5, 6, end], [5, 6, 7]] and one.lengths == [3, 3] and one.ended == [True, False]


def test_scores_become_rewards_over_their_spread_within_limits_and_by_the_rule_for_ends() -> None:
    def held(score: float, *, ended: bool = True, spread: float = 1.0, **given: Any) -> float:
        job: Any = SimpleNamespace(config=build("ppo", given))
        judge = Judge(job, scoring=None, tokenizer=None, zero_point=0.0)  # type: ignore[arg-type]
        return judge.held(score, ended=ended, spread=spread)

    assert held(3.0) == 3.0 and held(3.0, spread=2.0) == 1.5 and held(3.0, spread=0.0) == 3.0
    assert held(-9.0, score_clip=5.0) == -5.0
    assert held(3.0, ended=False) == -1.0
    assert held(3.0, ended=False, no_end="penalty", no_end_score=-0.5) == 2.5
    assert held(3.0, ended=False, no_end="neither") == 3.0


def test_a_reward_model_without_a_zero_point_is_told(tmp_path: Path, judges: dict[str, Path]) -> None:
    told: list[str] = []
    job: Any = SimpleNamespace(events=SimpleNamespace(status=told.append))
    assert zero_point(job, str(judges["whole"])) == 0.25 and not told
    for content in ("{}", '{"zero_point": {"reward": NaN}}', '{"zero_point": null}', "{"):
        told.clear()
        (tmp_path / "reward.json").write_text(content)
        assert zero_point(job, str(tmp_path)) == 0.0
        assert told == ["The reward model knows no zero point: its scores count as they are."], content


def test_long_prompts_keep_their_end_and_are_counted(
    tiny: Path, many: Path, judges: dict[str, Path], tmp_path: Path
) -> None:
    job = job_of(tmp_path / "run", tiny, many, judges["whole"], max_length=20, updates=1)
    outcome = ppo.run(job)
    assert outcome.metrics["cut_sequences"] == 32
    assert any(
        message.startswith("32 of 32 prompts leave less than max_new_tokens (12) of max_length (20 tokens)")
        for message in messages(job)
    )


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ppo", "rloo"])
def test_a_sampler_that_dies_leaves_a_state_and_the_run_goes_on_to_the_same_end(
    tiny: Path,
    many: Path,
    judges: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    algorithm: str,
) -> None:
    given = {"algorithm": algorithm, "checkpoint_steps": 0, "sample_batch_size": 4}
    whole = ppo.run(job_of(tmp_path / "whole", tiny, many, judges["adapted"], **given))
    calls, draw = 0, TransformersSampler.generate

    def dies(self: Any, *given: Any, **words: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:  # in the middle of the second update
            raise RuntimeError("engine core is dead")
        return draw(self, *given, **words)

    monkeypatch.setattr(TransformersSampler, "generate", dies)
    broken = job_of(tmp_path / "broken", tiny, many, judges["adapted"], **given)
    with pytest.raises(TrainerError, match="The sampler failed in update 2 with RuntimeError: engine core is dead"):
        ppo.run(broken)
    assert list((broken.run_dir / "resume").iterdir())
    monkeypatch.undo()
    again = ppo.run(job_of(tmp_path / "broken", tiny, many, judges["adapted"], resume=True, **given))
    assert apart(whole, again) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("answer", [ValueError("out of order"), float("inf")], ids=["raises", "infinite"])
def test_a_reward_function_that_fails_leaves_a_state_and_the_run_goes_on_once_it_is_mended(
    tiny: Path,
    many: Path,
    judges: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: Any,
) -> None:
    monkeypatch.setenv("HONE_REWARD_FUNCTIONS", "tests.training.trainers.odd_rewards:share_of_e")
    given = {"reward_functions": "share_of_e=2", "checkpoint_steps": 0}
    whole = ppo.run(job_of(tmp_path / "whole", tiny, many, judges["adapted"], **given))
    calls = 0

    def fails(answered: Any) -> float:
        nonlocal calls
        calls += 1
        if calls == 20:  # in the middle of the second update's answers
            if isinstance(answer, Exception):
                raise answer
            return float(answer)
        return odd_rewards.share_of_e(answered)

    with monkeypatch.context() as patch:
        patch.setattr(reward_functions, "_function", lambda name: fails)
        broken = job_of(tmp_path / "broken", tiny, many, judges["adapted"], **given)
        with pytest.raises(TrainerError, match="The reward function share_of_e (raised ValueError|gave inf)"):
            ppo.run(broken)
    assert list((broken.run_dir / "resume").iterdir())
    again = ppo.run(job_of(tmp_path / "broken", tiny, many, judges["adapted"], resume=True, **given))
    assert apart(whole, again) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ppo", "grpo"])
def test_a_loss_that_is_no_number_ends_it_with_the_state_before_and_a_model(
    tiny: Path,
    many: Path,
    judges: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    algorithm: str,
) -> None:
    clip, calls = torch.nn.utils.clip_grad_norm_, 0
    norm = torch.nn.utils.get_total_norm

    def third(found: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return found * float("nan") if calls == 5 else found

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *given: third(clip(*given)))
    monkeypatch.setattr(torch.nn.utils, "get_total_norm", lambda *given: third(norm(*given)))
    job = job_of(tmp_path / "run", tiny, many, judges["adapted"], algorithm=algorithm)
    # PPO asks for two norms a step, TRL's algorithms for one.
    step = 3 if algorithm == "ppo" else 5
    with pytest.raises(TrainerError, match=f"At step {step} the loss is not a finite number") as caught:
        ppo.run(job)
    assert caught.value.checkpoint == job.run_dir / "stopped"
    check_model(str(caught.value.checkpoint))
    [state] = (job.run_dir / "resume").iterdir()
    assert json.loads((state / "state.json").read_text())["step"] == step - 1
    assert all(bool(value.isfinite().all()) for value in load_file(state / "state.safetensors").values())
