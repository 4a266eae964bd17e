"""Proximal policy optimisation of a policy against a reward model, with the details that make it work.

    python -m training.trainers.ppo --config run/config.json

The envelope's `model` is the SFT checkpoint, its `data` the prompts (PromptRow Parquet), and `reward_model` among its
`inputs` a reward model's folder. An update draws answers and measures them (`rollout.py`), turns scores and the
distance to the SFT model into advantages (`ppo_losses.py`), and takes `epochs` passes over them in steps of
`batch_size` prompts. `ppo_models.py` says which of the four models are trained and which are those with an adapter off.

Details and where they are from: the critic begins as the reward model, dropout is off (Ouyang et al. 2022, appendix
C.4); the mean reward of people's demonstrations is the zero of the scores (`zero_point.py`); an answer without an end
gets a score of its own (Huang et al. 2024, N+ section 3.6); one temperature for drawing, reference and training
(section 3.4); AdamW's epsilon 1e-5 (section 4.1); old log-probabilities are those of the weights and number format that
learn, never vLLM's.

Other files: `ppo_loop.py` takes the updates and keeps the states, `judging.py` holds the rewards, `by_trl.py` the
algorithms rloo and grpo. It leaves the policy in `output_dir` and the critic in `critic/` of the run's folder.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from training.records import PromptRow
from training.trainers import hardware, parallel, prompts_of_sft
from training.trainers.completions import read_prompts
from training.trainers.config import PpoConfig
from training.trainers.inputs import DEMONSTRATIONS, PRETRAINING, REWARD_MODEL
from training.trainers.program import Job, Outcome, TrainerError, main
from training.trainers.scoring import check_reward_model


def run(job: Job) -> Outcome:
    """Train; leaves a whole policy folder in `output_dir`."""
    prompts = checked(job)

    import torch

    hardware.limit_threads()
    torch.manual_seed(job.config.seed)
    parallel.begin()
    return (_ppo if job.config.algorithm == "ppo" else _by_trl)(job, prompts)


def checked(job: Job) -> list[PromptRow]:
    """The prompts, once all is looked at that can be before a model loads. Raises TrainerError or RecordError."""
    config: PpoConfig = job.config
    prompts = read_prompts(job.data)
    check_reward_model(job.inputs.get(REWARD_MODEL, ""))
    if config.rollout_prompts > len(prompts):
        raise TrainerError(
            f"rollout_prompts ({config.rollout_prompts}) is more than the {len(prompts)} prompts of {job.data}."
        )
    if DEMONSTRATIONS in job.inputs:
        prompts_of_sft.check(job, prompts, Path(job.inputs[DEMONSTRATIONS]), allowed=config.allow_sft_prompts)
    else:
        job.events.status("No demonstrations are given: whether SFT has an answer to some prompts is not known.")
    if config.ptx_coefficient and PRETRAINING not in job.inputs:
        raise TrainerError(f"ptx_coefficient ({config.ptx_coefficient:g}) needs the input {PRETRAINING}.")
    return prompts


def _ppo(job: Job, prompts: Sequence[PromptRow]) -> Outcome:
    from training.trainers import ppo_models
    from training.trainers.judging import Judge, zero_point
    from training.trainers.ppo_loop import Ppo
    from training.trainers.ppo_pretraining import Pretraining
    from training.trainers.rollout import Rollouts

    reward_model = job.inputs[REWARD_MODEL]
    zero = zero_point(job, reward_model)
    # Here lie the models that nobody reads; each process has its own.
    aside = job.run_dir / f"resting-{parallel.rank()}"
    try:
        four = ppo_models.load(job, reward_model=reward_model, zero_point=zero, aside=aside)
        ids, cut = _encoded(job, prompts, four.tokenizer)
        judge = Judge(job, scoring=four.judging, tokenizer=four.reward_tokenizer, zero_point=zero)
        pretraining = None
        if job.config.ptx_coefficient:
            pretraining = Pretraining(job, Path(job.inputs[PRETRAINING]), tokenizer=four.tokenizer)
        trainer = Ppo(job, four, Rollouts(job, four, prompts=prompts, prompt_ids=ids, judge=judge), pretraining)
        metrics = trainer.run()
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    four.save_critic(job.run_dir / "critic")
    four.save_policy(job.output_dir)
    return _outcome(job, trainer, metrics, cut=cut, outputs={"critic": str(job.run_dir / "critic" / "config.json")})


def _by_trl(job: Job, prompts: Sequence[PromptRow]) -> Outcome:
    from training.trainers import models, rankings
    from training.trainers.by_trl import ByTrl
    from training.trainers.judging import Judge, zero_point
    from training.trainers.ppo_models import PROBE_RANKING
    from training.trainers.scorer import Scorer, load_reward_model, make_scorer

    reward_model, tokenizer = job.inputs[REWARD_MODEL], models.load_tokenizer(job.model)
    ids, cut = _encoded(job, prompts, tokenizer)
    own_tokenizer = models.load_tokenizer(reward_model)
    loaded = load_reward_model(reward_model, own_tokenizer, seed=job.config.seed).to(hardware.device()).eval()
    [first] = rankings.encode(own_tokenizer, [PROBE_RANKING], max_length=job.config.max_length)
    scorer = make_scorer(loaded.requires_grad_(False), pad_id=own_tokenizer.pad_token_id, first=first, job=job)

    @contextlib.contextmanager
    def scoring() -> Iterator[Scorer]:
        yield scorer

    judge = Judge(job, scoring=scoring, tokenizer=own_tokenizer, zero_point=zero_point(job, reward_model))
    trainer = ByTrl(job, judge, prompts=prompts, prompt_ids=ids)
    metrics = trainer.run()
    models.save_model(job.output_dir, model=trainer.model, tokenizer=trainer.tokenizer)
    return _outcome(job, trainer, metrics, cut=cut, outputs={})


def _encoded(job: Job, prompts: Sequence[PromptRow], tokenizer: Any) -> tuple[list[list[int]], int]:
    """The prompts' ids, of a long one its end, and how many were cut."""
    from training.trainers.chat import encode_prompt

    config: PpoConfig = job.config
    room = config.max_length - config.max_new_tokens
    ids = [encode_prompt(tokenizer, prompt.prompt) for prompt in prompts]
    cut = sum(len(one) > room for one in ids)
    if cut:
        job.events.status(
            f"{cut} of {len(ids)} prompts leave less than max_new_tokens ({config.max_new_tokens}) of max_length "
            f"({config.max_length} tokens) and keep their last {room} tokens."
        )
    return [one[-room:] for one in ids], cut


def _outcome(job: Job, trainer: Any, metrics: dict[str, float], *, cut: int, outputs: dict[str, str]) -> Outcome:
    job.events.checkpoint(step=job.config.updates, path=job.output_dir)
    return Outcome(
        metrics=metrics | {"cut_sequences": cut},
        consumed={"rows": trainer.answers, "tokens": trainer.tokens},
        checkpoint=job.output_dir,
        outputs=outputs | {"samples": str(trainer.samples.path)},
    )


if __name__ == "__main__":
    raise SystemExit(main("ppo", run, about="Train a policy against a reward model by PPO."))
