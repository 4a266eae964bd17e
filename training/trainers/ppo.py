"""Proximal policy optimisation of a policy against a reward model, with the details that make it work.

    python -m training.trainers.ppo --config run/config.json

The envelope's `model` is the SFT checkpoint, its `data` the prompts (PromptRow Parquet), and `reward_model` among its
`inputs` a reward model's folder. An update draws answers and measures them (`rollout.py`), turns scores and the
distance to the SFT model into advantages (`ppo_losses.py`), and takes `epochs` passes over them in steps of
`batch_size` prompts. `ppo_models.py` says which of the four models are trained and which are those with an adapter off.

Details and where they are from: the critic begins as the reward model, dropout is off (Ouyang et al. 2022, appendix
C.4); the mean reward of people's demonstrations is the zero of the scores (`zero_point.py`); an answer without an end
gets a score of its own (Huang et al. 2024, N+ section 3.6); one temperature for drawing, reference and training
(section 3.4); AdamW's epsilon 1e-5 (section 4.1); old log-probabilities are the trainer's own, not the sampler's.

A state holds policy, critic, their moments, beta and the scores' spread, and the answers of an update that was cut
short: a run that is resumed goes on as if nothing had happened. It leaves the policy in `output_dir` and the critic in
`critic/` of the run's folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.records import replacing
from training.trainers import hardware, optimizers, parallel, ppo_losses, states
from training.trainers.accumulation import Gradients
from training.trainers.completions import read_prompts
from training.trainers.config import PpoConfig
from training.trainers.inputs import REWARD_MODEL
from training.trainers.program import Job, Outcome, Stopped, TrainerError, main
from training.trainers.rollout import Drawn, Rollouts
from training.trainers.schedule import rate_factor
from training.trainers.scoring import check_reward_model

if TYPE_CHECKING:
    import torch

# Answers of each update that are written for people to read.
SHOWN = 4
_EPSILON = 1e-5


def run(job: Job) -> Outcome:
    """Train; leaves a whole policy folder in `output_dir`."""
    config: PpoConfig = job.config
    prompts = read_prompts(job.data)
    reward_model = job.inputs.get(REWARD_MODEL, "")
    check_reward_model(reward_model)
    if config.rollout_prompts > len(prompts):
        raise TrainerError(
            f"rollout_prompts ({config.rollout_prompts}) is more than the {len(prompts)} prompts of {job.data}."
        )

    import torch

    from training.trainers import models, ppo_models, shared_prompt
    from training.trainers.chat import encode_prompt

    hardware.limit_threads()
    torch.manual_seed(config.seed)
    parallel.begin()
    four = ppo_models.load(job, reward_model=reward_model)
    room = config.max_length - config.max_new_tokens
    ids = [encode_prompt(four.tokenizer, prompt.prompt) for prompt in prompts]
    cut = sum(len(one) > room for one in ids)
    if cut:
        job.events.status(
            f"{cut} of {len(ids)} prompts leave less than max_new_tokens ({config.max_new_tokens}) of max_length "
            f"({config.max_length} tokens) and keep their last {room} tokens."
        )
    rollouts = Rollouts(
        job,
        four,
        prompts=prompts,
        prompt_ids=[one[-room:] for one in ids],
        zero_point=_zero_point(job, Path(reward_model)),
    )
    trainer = _Ppo(job, four, rollouts)
    metrics = trainer.run()
    for model in (four.policy.model, four.critic.model):
        shared_prompt.use_attention(model, four.attention)
    models.save_model(job.run_dir / "critic", model=four.critic.model, tokenizer=four.tokenizer)
    models.save_model(job.output_dir, model=four.policy.model, tokenizer=four.tokenizer)
    job.events.checkpoint(step=config.updates, path=job.output_dir)
    return Outcome(
        metrics=metrics | {"cut_sequences": cut},
        consumed={"rows": trainer.answers, "tokens": trainer.tokens},
        checkpoint=job.output_dir,
        outputs={"critic": str(job.run_dir / "critic"), "samples": str(trainer.samples_path)},
    )


def _zero_point(job: Job, reward_model: Path) -> float:
    """The score that counts as nothing; 0 for a reward model that knows none, which is told."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        facts = json.loads((reward_model / "reward.json").read_text(encoding="utf-8"))
        zero = float(facts["zero_point"]["reward"])
        if math.isfinite(zero):
            return zero
    job.events.status("The reward model knows no zero point: its scores count as they are.")
    return 0.0


class _Ppo:
    """The state of one run, all of which a saved state holds."""

    def __init__(self, job: Job, models: Any, rollouts: Rollouts) -> None:
        self.job, self.models, self.rollouts = job, models, rollouts
        self.config: PpoConfig = job.config
        self.kinds = {
            kind: {name: parameter for name, parameter in models.parameters.items() if name.startswith(f"{kind}.")}
            for kind in ("policy", "critic")
        }
        parallel.same_start(models.parameters.values())
        self.optimizers = {
            kind: optimizers.make(parameters, self.config, epsilon=_EPSILON) for kind, parameters in self.kinds.items()
        }
        passes = {"policy": self._policy_loss, "critic": self._critic_loss}
        self.gradients = {
            kind: Gradients(
                getattr(models, kind).model,
                job=job,
                parameters=[*self.kinds[kind].values()],
                micro_step=micro_step,
            )
            for kind, micro_step in passes.items()
        }
        self.states = states.States(job)
        self.steps_a_pass = self.config.rollout_prompts // self.config.batch_size
        self.steps_an_update = self.steps_a_pass * self.config.epochs
        self.total = self.config.updates * self.steps_an_update
        self.step, self.beta = 0, self.config.beta
        self.answers = self.tokens = 0
        # Count, mean and summed squares of scores so far (Welford 1962).
        self.moments = [0.0, 0.0, 0.0]
        self.average = (
            {name: p.detach().clone() for name, p in self.kinds["policy"].items()} if self.config.ema_decay else {}
        )
        self.drawn: list[Drawn] = []
        self.batch_tokens = 1
        self.advantages: list[torch.Tensor] = []
        self.returns: list[torch.Tensor] = []
        self.samples_path = job.run_dir / "samples.jsonl"

    def run(self) -> dict[str, float]:
        """All updates; gives the last one's numbers."""
        self._restore()
        metrics: dict[str, float] = {}
        while self.step < self.total:
            update = self.step // self.steps_an_update
            if not self.drawn:
                self._draw(update)
            numbers = self._prepare()
            clock = time.monotonic()
            numbers |= self._learn(update)
            metrics = numbers | self.rollouts.seconds | {"learn_seconds": time.monotonic() - clock}
            self._finish(update, metrics)
        with contextlib.suppress(FileNotFoundError):
            (self.job.run_dir / "rollout.json").unlink()
        if self.average:
            _copy_into(self.kinds["policy"], self.average)
        return metrics

    def _draw(self, update: int) -> None:
        config = self.config
        try:
            self.drawn = self.rollouts.draw(update, _places(len(self.rollouts.prompts), update, config))
        except (Stopped, TrainerError):
            self._save()
            raise
        self.answers += sum(len(one.answers) for one in self.drawn)
        self.tokens += sum(sum(one.lengths) for one in self.drawn)
        self._scale()

    def _scale(self) -> None:
        """What the scores become before they are rewards: spread, limits, and answers without an end."""
        config = self.config
        for score in (score for one in self.drawn for score in one.scores):
            self.moments[0] += 1
            apart = score - self.moments[1]
            self.moments[1] += apart / self.moments[0]
            self.moments[2] += apart * (score - self.moments[1])
        spread = math.sqrt(self.moments[2] / self.moments[0]) if self.config.scale_scores else 1.0
        for one in self.drawn:
            for place, ended in enumerate(one.ended):
                score = one.scores[place] / (spread or 1.0)
                if config.score_clip:
                    score = min(config.score_clip, max(-config.score_clip, score))
                if not ended and config.no_end != "neither":
                    score = config.no_end_score + (score if config.no_end == "penalty" else 0.0)
                one.scores[place] = score

    def _prepare(self) -> dict[str, float]:
        """Advantages and returns of the answers at hand, and the numbers that tell of them; checks the guards."""
        import torch

        config = self.config
        lengths = [length for one in self.drawn for length in one.lengths]
        flat = {
            name: torch.tensor([value for one in self.drawn for value in getattr(one, name)])
            for name in ("log_probs", "reference", "values")
        }
        scores = [score for one in self.drawn for score in one.scores]
        rewards = ppo_losses.token_rewards(
            flat["log_probs"], flat["reference"], scores, lengths=lengths, beta=self.beta
        )
        if config.whiten_rewards:
            rewards = ppo_losses.whitened(rewards, keep_mean=True)
        advantages, returns = ppo_losses.advantages_and_returns(
            rewards, flat["values"], lengths=lengths, gamma=config.gamma, lam=config.gae_lambda
        )
        if config.whiten_advantages:
            advantages = ppo_losses.whitened(advantages)
        sizes = [sum(one.lengths) for one in self.drawn]
        self.advantages, self.returns = list(advantages.split(sizes)), list(returns.split(sizes))
        answers = len(lengths)
        ended = [end for one in self.drawn for end in one.ended]
        numbers = {
            "reward": math.fsum(value for one in self.drawn for value in _total(one, self.rollouts)) / answers,
            "score": math.fsum(scores) / answers,
            "kl": float((flat["log_probs"] - flat["reference"]).sum()) / answers,
            "entropy": math.fsum(one.entropy for one in self.drawn) / sum(sizes),
            "answer_tokens": sum(sizes) / answers,
            "end_rate": sum(ended) / answers,
            "explained_variance": ppo_losses.explained_variance(flat["values"], returns),
            "beta": self.beta,
        }
        self._guard(numbers)
        return numbers

    def _guard(self, numbers: dict[str, float]) -> None:
        """Raises TrainerError, with the state saved, where the policy has gone where nobody wants it."""
        config, update = self.config, self.step // self.steps_an_update + 1
        sentence = ""
        if config.max_kl and numbers["kl"] > config.max_kl:
            sentence = f"the answers lie {numbers['kl']:.3g} nats from the first model, max_kl allows {config.max_kl:g}"
        elif config.min_entropy and numbers["entropy"] < config.min_entropy:
            sentence = f"the entropy is {numbers['entropy']:.3g} nats, min_entropy asks for {config.min_entropy:g}"
        elif config.min_end_rate and numbers["end_rate"] < config.min_end_rate:
            sentence = (
                f"{numbers['end_rate']:.0%} of the answers came to an end, min_end_rate asks for "
                f"{config.min_end_rate:.0%}"
            )
        if sentence:
            self._save()
            raise TrainerError(f"At update {update} {sentence}. The state before it is saved.")

    def _learn(self, update: int) -> dict[str, float]:
        """The steps of an update that are still to be taken; gives their numbers."""
        sums: dict[str, float] = {}
        while self.step // self.steps_an_update == update:
            done = self.step % self.steps_an_update
            epoch, at = divmod(done, self.steps_a_pass)
            order = _shuffled(len(self.drawn), self.config.seed, update, epoch)
            batch = order[at * self.config.batch_size : (at + 1) * self.config.batch_size]
            if parallel.any_of(bool(self.job.stop)):
                self._save()
                raise Stopped
            for name, value in self._take_step(batch).items():
                sums[name] = sums.get(name, 0.0) + value
        tokens = sums.pop("tokens", 0.0) or 1.0
        steps = sums.pop("steps", 0.0) or 1.0
        for name in ("ratio", "clip_fraction", "value_clip_fraction", "approximate_kl", "value_loss", "policy_loss"):
            sums[name] = sums.get(name, 0.0) / tokens
        sums["grad_norm"] = sums.get("grad_norm", 0.0) / steps
        return sums

    def _take_step(self, batch: list[int]) -> dict[str, float]:
        """One optimizer step of policy and critic; gives sums over its tokens."""
        import torch

        self.batch_tokens = sum(sum(self.drawn[at].lengths) for at in batch)
        factor = rate_factor(
            self.step,
            total=self.total,
            warmup=int(self.config.warmup_ratio * self.total),
            kind=self.config.lr_scheduler,
            lowest=self.config.min_rate_ratio,
        )
        rates = {
            "policy": self.config.learning_rate,
            "critic": self.config.critic_learning_rate or self.config.learning_rate,
        }
        random_state = states.random_state()
        sums: dict[str, float] = {"tokens": float(self.batch_tokens), "steps": 1.0}
        losses = []
        try:
            for kind, gradients in self.gradients.items():
                for group in self.optimizers[kind].param_groups:
                    group["lr"] = rates[kind] * factor
                gradients.model.train()
                loss, numbers = gradients.of(batch, step=self.step + 1, random_state=random_state)
                losses.append(loss)
                for name, value in numbers.items():
                    sums[name] = sums.get(name, 0.0) + value
        except Stopped:
            self._drop()
            self._save()
            raise
        norm = torch.nn.utils.clip_grad_norm_(self.models.parameters.values(), self.config.max_grad_norm).item()
        if not math.isfinite(norm) or not all(map(math.isfinite, losses)):
            self._drop()
            self._save()
            raise TrainerError(
                f"At step {self.step + 1} the loss is not a finite number; a smaller learning_rate may help. "
                f"The state after step {self.step} is saved."
            )
        for optimizer in self.optimizers.values():
            optimizer.step()
        self._drop()
        self.step += 1
        with torch.no_grad():
            for name, mean in self.average.items():
                mean.lerp_(self.kinds["policy"][name].to(mean.dtype), 1 - self.config.ema_decay)
        return sums | {"grad_norm": norm}

    def _policy_loss(self, rows: list[int]) -> tuple[torch.Tensor, dict[str, float]]:
        """A micro batch's part of the mean over the tokens of its whole batch, times the batch's prompts."""
        import torch

        group = [self.drawn[at] for at in rows]
        new = self.models.policy.log_probs([one.read for one in group])
        old = torch.tensor([value for one in group for value in one.log_probs], device=new.device)
        advantages = torch.cat([self.advantages[at] for at in rows]).to(new.device)
        found = ppo_losses.policy_loss(new, old, advantages, clip=self.config.clip)
        numbers = {
            "ratio": found.ratio,
            "clip_fraction": found.clipped,
            "approximate_kl": found.approximate_kl,
            "policy_loss": found.loss.item(),
        }
        return found.loss * (self.config.batch_size / self.batch_tokens), numbers

    def _critic_loss(self, rows: list[int]) -> tuple[torch.Tensor, dict[str, float]]:
        import torch

        group = [self.drawn[at] for at in rows]
        new = self.models.critic.values([one.read for one in group])
        old = torch.tensor([value for one in group for value in one.values], device=new.device)
        returns = torch.cat([self.returns[at] for at in rows]).to(new.device)
        loss, clipped = ppo_losses.value_loss(new, old, returns, clip=self.config.value_clip)
        scale = self.config.value_coefficient * self.config.batch_size / self.batch_tokens
        return loss * scale, {"value_loss": loss.item(), "value_clip_fraction": clipped}

    def _drop(self) -> None:
        for gradients in self.gradients.values():
            gradients.drop()

    def _finish(self, update: int, metrics: dict[str, float]) -> None:
        """Tells of an update, moves beta, and saves a state where it is time for one."""
        config = self.config
        self._show(update)
        if config.kl_control == "adaptive" and self.beta:
            self.beta = ppo_losses.next_beta(
                self.beta,
                metrics["kl"],
                target=config.target_kl,
                horizon=config.kl_horizon,
                answers=sum(len(one.answers) for one in self.drawn),
            )
        self.drawn = []
        self.job.events.metrics(step=update + 1, total_steps=config.updates, metrics=metrics)
        if config.checkpoint_steps and (update + 1) % config.checkpoint_steps == 0 and self.step < self.total:
            self._save()

    def _show(self, update: int) -> None:
        if not parallel.is_main():
            return
        with open(self.samples_path, "a", encoding="utf-8") as file:
            for one in self.drawn[:SHOWN]:
                row = {
                    "update": update + 1,
                    "prompt": self.rollouts.prompts[one.at].prompt,
                    "text": one.texts[0],
                    "ended": one.ended[0],
                    "score": one.scores[0],
                    "judged": {name: numbers[0] for name, numbers in one.judged.items()},
                    "tokens": one.lengths[0],
                    "kl": sum(one.log_probs[: one.lengths[0]]) - sum(one.reference[: one.lengths[0]]),
                }
                file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def _save(self) -> None:
        path = self.job.run_dir / "rollout.json"
        if self.drawn and parallel.is_main():
            with replacing(path) as temporary:
                temporary.write_text(json.dumps([dataclasses.asdict(one) for one in self.drawn]), encoding="utf-8")
        tensors = {f"weight.{name}": value for name, value in self.models.parameters.items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        for kind, optimizer in self.optimizers.items():
            tensors |= states.moments(optimizer, self.kinds[kind])
        facts = {
            "beta": self.beta,
            "answers": self.answers,
            "tokens": self.tokens,
            "moments": self.moments,
            "micro": {kind: gradients.micro for kind, gradients in self.gradients.items()},
            "has_answers": bool(self.drawn),
        }
        self.states.save(self.step, tensors={**states.random_state(), **tensors}, facts=facts)

    def _restore(self) -> None:
        found = self.states.load()
        if found is None:
            self.samples_path.unlink(missing_ok=True)
            return
        _copy_into(self.models.parameters, states.part(found.tensors, "weight"))
        _copy_into(self.average, states.part(found.tensors, "average"))
        for kind, optimizer in self.optimizers.items():
            own = {
                name: value
                for name, value in found.tensors.items()
                if name.startswith("optimizer.") and name.partition(".")[2].partition(".")[2].startswith(f"{kind}.")
            }
            states.restore_moments(optimizer, self.kinds[kind], own)
        states.restore_random(found.tensors)
        facts = found.facts
        self.step, self.beta, self.moments = int(facts["step"]), float(facts["beta"]), list(facts["moments"])
        self.answers, self.tokens = int(facts["answers"]), int(facts["tokens"])
        for kind, gradients in self.gradients.items():
            gradients.micro = int(facts["micro"][kind])
        if facts["has_answers"]:
            text = (self.job.main_dir / "rollout.json").read_text(encoding="utf-8")
            self.drawn = [Drawn(**one) for one in json.loads(text)]


def _places(prompts: int, update: int, config: PpoConfig) -> list[int]:
    """Which prompts an update answers, none twice: all in turn, in another order each time they have been.

    What is left over of a turn is left out of it.
    """
    turn, at = divmod(update, prompts // config.rollout_prompts)
    first = at * config.rollout_prompts
    return _shuffled(prompts, config.seed, turn)[first : first + config.rollout_prompts]


def _shuffled(count: int, *seeds: int) -> list[int]:
    import torch

    seed = 0
    for part in seeds:
        seed = (seed * 1_000_003 + part + 1) % 2**63
    order: list[int] = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    return order


def _total(one: Drawn, rollouts: Rollouts) -> Iterator[float]:
    """The weighted rewards of a prompt's answers, before they are scaled."""
    weights = rollouts.weights
    for place in range(len(one.answers)):
        yield math.fsum(weights[name] * numbers[place] for name, numbers in one.judged.items())


def _copy_into(parameters: dict[str, Any], weights: dict[str, Any]) -> None:
    import torch

    with torch.no_grad():
        for name, value in weights.items():
            parameters[name].copy_(value)


if __name__ == "__main__":
    raise SystemExit(main("ppo", run, about="Train a policy against a reward model by PPO."))
