"""PPO's updates: answers become advantages, and passes over them move policy and critic (`ppo.py` tells the whole).

A state holds policy, critic, their moments, beta and the scores' spread, and the answers of an update that was cut
short: a run that is resumed goes on as if nothing had happened.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, NoReturn

from training.trainers import hardware, optimizers, parallel, policy_updates, ppo_losses, states
from training.trainers.accumulation import Gradients
from training.trainers.config import PpoConfig
from training.trainers.judging import Drawn
from training.trainers.ppo_pretraining import Pretraining
from training.trainers.program import Job, Stopped, TrainerError
from training.trainers.rollout import Rollouts, answers_of
from training.trainers.schedule import rate_factor

if TYPE_CHECKING:
    import torch

    from training.trainers.ppo_models import Models


# How far from 1 the ratio may be on the mean before a step has been taken; a clip of 0.2 does not notice it.
_ROUNDING = 0.05


class Ppo:
    """The state of one run, all of which a saved state holds; `run` takes all of its updates."""

    def __init__(self, job: Job, models: Models, rollouts: Rollouts, pretraining: Pretraining | None) -> None:
        self.job, self.models, self.rollouts, self.pretraining = job, models, rollouts, pretraining
        self.config: PpoConfig = job.config
        self.kinds = {
            kind: {name: parameter for name, parameter in models.parameters.items() if name.startswith(f"{kind}.")}
            for kind in ("policy", "critic")
        }
        parallel.same_start(models.parameters.values())
        self.optimizers = {
            kind: optimizers.make(parameters, self.config, epsilon=policy_updates.EPSILON)
            for kind, parameters in self.kinds.items()
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
        self.steps_a_pass = policy_updates.steps_a_pass(self.config)
        self.steps_an_update = policy_updates.steps_an_update(self.config)
        self.total = self.config.updates * self.steps_an_update
        self.step, self.beta = 0, self.config.beta
        self.answers = self.tokens = 0
        # Count, mean and summed squares of scores so far (Welford 1962).
        self.moments = [0.0, 0.0, 0.0]
        self.average = (
            {name: p.detach().clone() for name, p in self.kinds["policy"].items()} if self.config.ema_decay else {}
        )
        self.drawn: list[Drawn] = []
        # What the steps of the update at hand have added up, also those of an attempt before.
        self.sums: dict[str, float] = {}
        self.batch_tokens = 1
        # The prompts of the step at hand by their place in it, of which each has its own rows of pretraining.
        self.places: dict[int, int] = {}
        self.advantages: list[torch.Tensor] = []
        self.returns: list[torch.Tensor] = []
        self.samples = policy_updates.Samples(job.run_dir / "samples.jsonl")

    def run(self) -> dict[str, float]:
        """All updates; gives the last one's numbers."""
        self._restore()
        metrics: dict[str, float] = {}
        while self.step < self.total:
            update = self.step // self.steps_an_update
            if not self.drawn:
                self._draw(update)
            metrics = self._prepare() | self._learn(update) | self.rollouts.seconds
            self._finish(update, metrics)
        if self.average:
            _copy_into(self.kinds["policy"], self.average)
        return metrics

    def _draw(self, update: int) -> None:
        config = self.config
        try:
            self.drawn = self.rollouts.draw(update, policy_updates.places(len(self.rollouts.prompts), update, config))
        except Exception as problem:
            # These come to all processes alike; anything else may be one's own, and saving is the work of all.
            if isinstance(problem, (Stopped, TrainerError)) or parallel.world_size() == 1:
                self._save()
            raise
        self.answers += sum(len(one.answers) for one in self.drawn)
        self.tokens += sum(sum(one.lengths) for one in self.drawn)
        self._scale()

    def _scale(self) -> None:
        """What the scores become before they are rewards: spread, limits, and answers without an end."""
        for score in (score for one in self.drawn for score in one.scores):
            self.moments[0] += 1
            apart = score - self.moments[1]
            self.moments[1] += apart / self.moments[0]
            self.moments[2] += apart * (score - self.moments[1])
        spread = math.sqrt(self.moments[2] / self.moments[0]) if self.config.scale_scores else 1.0
        for one in self.drawn:
            for place, ended in enumerate(one.ended):
                one.scores[place] = self.rollouts.judge.held(one.scores[place], ended=ended, spread=spread)

    def _prepare(self) -> dict[str, float]:
        """Advantages and returns of the answers at hand, and the numbers that tell of them; checks the guards."""
        import torch

        config = self.config
        lengths = [length for one in self.drawn for length in one.lengths]
        flat = {
            name: torch.tensor([value for one in self.drawn for value in getattr(one, name)])
            for name in ("log_probs", "reference", "values")
        }
        if not self.beta:
            flat["reference"] = flat["log_probs"]
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
        numbers = self.rollouts.judge.summary(self.drawn) | {
            "score": math.fsum(scores) / answers,
            "entropy": math.fsum(one.entropy for one in self.drawn) / sum(sizes),
            "answer_tokens": sum(sizes) / answers,
            "end_rate": sum(ended) / answers,
            "explained_variance": ppo_losses.explained_variance(flat["values"], returns),
            "beta": self.beta,
        }
        if self.beta:  # else nobody has asked the reference
            numbers["kl"] = float((flat["log_probs"] - flat["reference"]).sum()) / answers
        self._guard(numbers)
        return numbers

    def _guard(self, numbers: dict[str, float]) -> None:
        """Raises TrainerError, with state and policy saved, where the policy has gone where nobody wants it.

        What led there is told first: numbers and answers of the update.
        """
        if astray := policy_updates.gone_astray(numbers, self.config):
            update = self.step // self.steps_an_update
            self._tell(update, numbers | self.rollouts.seconds, astray=True)
            self._give_up(f"At update {update + 1} {astray}")

    def _give_up(self, sentence: str) -> NoReturn:
        """Ends the run with its state and the policy as it is in the run's folder."""
        self._save()
        path = self.job.main_dir / "stopped"
        if parallel.is_main():
            self.models.save_policy(path)
        parallel.any_of(False)  # who fails first has the others killed: all wait until it is written
        raise TrainerError(f"{sentence}. The state before it is saved, and the policy in {path}.", checkpoint=path)

    def _learn(self, update: int) -> dict[str, float]:
        """The steps of an update that are still to be taken; gives the numbers of all of them."""
        while self.step // self.steps_an_update == update:
            done = self.step % self.steps_an_update
            epoch, at = divmod(done, self.steps_a_pass)
            order = policy_updates.shuffled(len(self.drawn), self.config.seed, update, epoch)
            batch = order[at * self.config.batch_size : (at + 1) * self.config.batch_size]
            if parallel.any_of(bool(self.job.stop)):
                self._save()
                raise Stopped
            clock = time.monotonic()
            numbers = self._take_step(batch)
            # Of tokens that no step has moved yet: what is not 1 is rounding, or an answer that is read otherwise.
            error = numbers.pop("ratio_error")
            if not done:
                self.sums["ratio_error"] = error / numbers["tokens"]
                self._tell_of_rounding(update, self.sums["ratio_error"])
            for name, value in numbers.items():
                self.sums[name] = self.sums.get(name, 0.0) + value
            self.sums["learning_rate"] = self.optimizers["policy"].param_groups[0]["lr"]
            self.sums["learn_seconds"] = self.sums.get("learn_seconds", 0.0) + time.monotonic() - clock
        sums, self.sums = self.sums, {}
        tokens = sums.pop("tokens", 0.0) or 1.0
        steps = sums.pop("steps", 0.0) or 1.0
        for name in ("ratio", "clip_fraction", "value_clip_fraction", "approximate_kl", "value_loss", "policy_loss"):
            sums[name] = sums.get(name, 0.0) / tokens
        for name in ("grad_norm", "policy_grad_norm", "critic_grad_norm"):
            sums[name] = sums.get(name, 0.0) / steps
        if read := sums.pop("ptx_tokens", 0.0):
            sums["ptx_loss"] /= read
        return sums

    def _tell_of_rounding(self, update: int, error: float) -> None:
        if not update and error > _ROUNDING:
            self.job.events.status(
                f"Before its first step the policy's ratio of probabilities is {error:.2g} from 1 on the mean: passes "
                "that learn read answers otherwise than what measured them did, and the clip acts on that too."
            )

    def _take_step(self, batch: list[int]) -> dict[str, float]:
        """One optimizer step of policy and critic; gives sums over its tokens."""
        import torch

        self.batch_tokens = sum(sum(self.drawn[at].lengths) for at in batch)
        self.places = {at: place for place, at in enumerate(batch)}
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
                self.models.use(kind)
                gradients.model.train()
                loss, numbers = gradients.of(batch, step=self.step + 1, random_state=random_state)
                losses.append(loss)
                for name, value in numbers.items():
                    sums[name] = sums.get(name, 0.0) + value
        except Exception:
            self._drop()
            # Neither model has moved. Of several processes each may fail alone, and saving is the work of all.
            if parallel.world_size() == 1:
                self._save()
            raise
        norms = {
            f"{kind}_grad_norm": float(
                torch.nn.utils.get_total_norm([p.grad for p in own.values() if p.grad is not None])
            )
            for kind, own in self.kinds.items()
        }
        norm = math.hypot(*norms.values())
        if not math.isfinite(norm) or not all(map(math.isfinite, losses)):
            self._drop()
            self._give_up(f"At step {self.step + 1} {policy_updates.NOT_FINITE}")
        torch.nn.utils.clip_grads_with_norm_(
            self.models.parameters.values(), self.config.max_grad_norm, torch.tensor(norm)
        )
        for optimizer in self.optimizers.values():
            optimizer.step()
        self._drop()
        self.step += 1
        with torch.no_grad():
            for name, mean in self.average.items():
                mean.lerp_(self.kinds["policy"][name].to(mean.dtype), 1 - self.config.ema_decay)
        return sums | norms | {"grad_norm": norm}

    def _policy_loss(self, rows: list[int]) -> tuple[torch.Tensor, dict[str, float]]:
        """A micro batch's part of the mean over the tokens of its whole batch, times the batch's prompts."""
        import torch

        self._trim()  # the last micro batch left holes of other sizes
        group = [self.drawn[at] for at in rows]
        new = self.models.policy.log_probs(answers_of(group))
        old = torch.tensor([value for one in group for value in one.log_probs], device=new.device)
        advantages = torch.cat([self.advantages[at] for at in rows]).to(new.device)
        found = ppo_losses.policy_loss(new, old, advantages, clip=self.config.clip)
        numbers = {
            "ratio": found.ratio,
            "ratio_error": found.ratio_error,
            "clip_fraction": found.clipped,
            "approximate_kl": found.approximate_kl,
            "policy_loss": found.loss.item(),
        }
        loss = found.loss * (self.config.batch_size / self.batch_tokens)
        if self.pretraining is not None:
            first = self.step * self.config.batch_size
            each = self.config.ptx_rows
            texts = [
                self.pretraining.row((first + self.places[at]) * each + number) for at in rows for number in range(each)
            ]
            logs = self.models.policy.going_on(texts)
            # The mean over full rows' tokens: in a shorter row, too, every token counts alike.
            loss = loss - logs.sum() * (self.config.ptx_coefficient / (each * self.config.ptx_length))
            numbers |= {"ptx_loss": -logs.sum().item(), "ptx_tokens": float(logs.numel())}
        return loss, numbers

    def _critic_loss(self, rows: list[int]) -> tuple[torch.Tensor, dict[str, float]]:
        import torch

        self._trim()
        group = [self.drawn[at] for at in rows]
        new = self.models.critic.values(answers_of(group))
        old = torch.tensor([value for one in group for value in one.values], device=new.device)
        returns = torch.cat([self.returns[at] for at in rows]).to(new.device)
        loss, clipped = ppo_losses.value_loss(new, old, returns, clip=self.config.value_clip)
        scale = self.config.value_coefficient * self.config.batch_size / self.batch_tokens
        return loss * scale, {"value_loss": loss.item(), "value_clip_fraction": clipped}

    def _drop(self) -> None:
        for gradients in self.gradients.values():
            gradients.drop()
        self._trim()

    def _trim(self) -> None:
        """Time for memory, where that is short: a pass is slower by a seventh that has to ask for its memory again."""
        if not self.config.trains_adapter:
            hardware.trim_memory()

    def _finish(self, update: int, metrics: dict[str, float]) -> None:
        """Tells of an update, moves beta, and saves a state where it is time for one."""
        config = self.config
        self._tell(update, metrics)
        if config.kl_control == "adaptive" and self.beta:
            self.beta = ppo_losses.next_beta(
                self.beta,
                metrics["kl"],
                target=config.target_kl,
                horizon=config.kl_horizon,
                answers=sum(len(one.answers) for one in self.drawn),
            )
        self.drawn = []
        if config.checkpoint_steps and (update + 1) % config.checkpoint_steps == 0 and self.step < self.total:
            self._save()

    def _tell(self, update: int, metrics: dict[str, float], *, astray: bool = False) -> None:
        asked = [self.rollouts.prompts[one.at] for one in self.drawn]
        self.samples.write(update + 1, asked, self.drawn, total=self.config.updates, astray=astray)
        self.job.events.metrics(step=update + 1, total_steps=self.config.updates, metrics=metrics)

    def _save(self) -> None:
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
            "at_once": self.rollouts.at_once,
            "drawn": [vars(one) for one in self.drawn],
            "sums": self.sums,
            "seconds": self.rollouts.seconds,
        }
        self.states.save(self.step, tensors={**states.random_state(), **tensors}, facts=facts)

    def _restore(self) -> None:
        found = self.states.load()
        if found is None:
            self.samples.path.unlink(missing_ok=True)
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
        self.rollouts.at_once = facts.get("at_once", self.rollouts.at_once)
        self.samples.keep_before(self.step // self.steps_an_update + 1)
        self.drawn = [Drawn(**one) for one in facts["drawn"]]
        self.sums, self.rollouts.seconds = dict(facts["sums"]), dict(facts["seconds"])


def _copy_into(parameters: dict[str, Any], weights: dict[str, Any]) -> None:
    import torch

    with torch.no_grad():
        for name, value in weights.items():
            parameters[name].copy_(value)
