"""What a training loop has to remember to go on as if nothing had happened: one safetensors file and one JSON file.

Weights that are trained, the optimizer's moments, random numbers, and whatever else the loop hands over by name.
Nothing is pickled or unpickled.
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.records import sha256_file
from training.trainers import parallel, sharding
from training.trainers.program import Job, TrainerError
from training.trainers.resume import clear_states, latest_state, publish_state

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class State:
    """A state as it was found: its tensors by name, and the loop's own facts."""

    tensors: dict[str, torch.Tensor]
    facts: dict[str, Any]


def random_state() -> dict[str, torch.Tensor]:
    """torch's random numbers, to go on from."""
    import torch

    state = {"random.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["random.cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random(tensors: Mapping[str, torch.Tensor]) -> None:
    """Goes on from these random numbers; with this process's own ones where there are none of it."""
    import torch

    if "random.cpu" not in tensors:
        return
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])


def moments(optimizer: Any, parameters: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The optimizer's tensors as `optimizer.<key>.<parameter>`."""
    return {
        f"optimizer.{key}.{name}": value
        for name, parameter in parameters.items()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def restore_moments(optimizer: Any, parameters: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    for rest, value in part(tensors, "optimizer").items():
        key, _, name = rest.partition(".")
        # The step count stays on the CPU, as torch's optimizers keep it there.
        like = parameters[name]
        optimizer.state[like][key] = value if key == "step" else sharding.part_of(value, like)


def part(tensors: Mapping[str, torch.Tensor], kind: str) -> dict[str, torch.Tensor]:
    """The tensors named `<kind>.<name>`, by name."""
    return {name.removeprefix(f"{kind}."): value for name, value in tensors.items() if name.startswith(f"{kind}.")}


class States:
    """Writes and reads the states of one run. A state belongs to the run's data and config.

    What its config names in MAY_CHANGE may change in between; a state holds whole tensors.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        config = {name: value for name, value in vars(job.config).items() if name not in job.config.MAY_CHANGE}
        self._identity = json.loads(json.dumps({"data_sha256": sha256_file(job.data), "config": config}))

    def save(self, step: int, *, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
        """Makes this the run's newest state. Raises TrainerError where it cannot be written; the one before is kept.

        Of several processes the first one writes, with the random numbers of all and divided tensors put together; the
        others wait for it, as a process that fails meanwhile has all of them killed.
        """
        whole = _put_together({**tensors, **_random_of_all(tensors)})
        hindered = self._write(step, whole, facts) if parallel.is_main() else ""
        if told := json.loads(parallel.gather(json.dumps(hindered).encode())[0]):
            raise TrainerError(told)

    def _write(self, step: int, whole: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> str:
        """What hindered it, in words; empty where it is written."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        temporary = self._job.run_dir / "resume" / ".incomplete"
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            save_file(dict(whole), temporary / "state.safetensors")
            text = json.dumps({"step": step, **self._identity, **facts})
            (temporary / "state.json").write_text(text, encoding="utf-8")
            path = publish_state(temporary, run_dir=self._job.run_dir, step=step)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            kept = latest_state(self._job.run_dir)
            left = f"{kept.name} is kept" if kept else "there is none from before"
            return (
                f"The state after step {step} could not be written to {temporary.parent} "
                f"({why_not_written(error)}); {left}."
            )
        self._job.events.checkpoint(step=step, path=path)
        return ""

    def load(self) -> State | None:
        """The newest state of a run that is to be resumed; None for a fresh start, which forgets older ones.

        Raises TrainerError where the state is another run's, or cannot be read.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path: Path | None = latest_state(self._job.main_dir) if self._job.resume else None
        if path is None:
            clear_states(self._job.run_dir)
            return None
        try:
            facts = json.loads((path / "state.json").read_text(encoding="utf-8"))
            tensors = load_file(path / "state.safetensors")
        except (OSError, ValueError, SafetensorError) as error:
            raise TrainerError(f"The state {path} cannot be read: {error}.") from error
        for name, value in self._identity.items():
            if facts[name] != value:
                raise TrainerError(f"The state {path} cannot be resumed: it was saved with another {name}.")
        self._job.events.status(f"Resuming after step {facts['step']}.")
        own = part(tensors, f"process{parallel.rank()}")
        if not parallel.is_main():  # the first one's random numbers are not another's
            tensors = {name: value for name, value in tensors.items() if not name.startswith("random.")}
        return State(tensors={**tensors, **own}, facts=facts)


def _put_together(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors as safetensors takes them; those that were divided only in the first process."""
    whole = {}
    for name, given in tensors.items():
        value = given.detach()
        found = sharding.full(value)  # of which all processes ask, in the same order
        if found is value or parallel.is_main():
            # One by one to where memory is plentiful: of weights and moments no device has room for all.
            whole[name] = (found if found is value else found.cpu()).contiguous()
    return whole


def _random_of_all(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    from safetensors.torch import load, save

    own = {name: value for name, value in tensors.items() if name.startswith("random.")}
    told = parallel.gather(save(own)) if parallel.world_size() > 1 else []
    return {
        f"process{number}.{name}": value
        for number, message in enumerate(told)
        if number
        for name, value in load(message).items()
    }


def why_not_written(error: Exception) -> str:
    """In words; safetensors hands on the system's reason as text alone."""
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error):
        return "the disk is full"
    return getattr(error, "strerror", None) or str(error)
