"""A model that is read now and then and never trained: in between, its weights lie in a file and in no memory.

PPO asks its reference and its reward model once an update. What needs the most memory, the steps of policy and critic,
is done without them. The file is mapped: a CPU finds the weights in the system's page cache, a GPU is given a copy.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.trainers.program import TrainerError
from training.trainers.states import why_not_written


class Resting:
    """Puts a model's weights away, and back where they were for as long as somebody is `awake`.

    The file holds each parameter once and is written here; whoever makes one removes it. A model that is at rest has
    parameters without numbers: to read it then raises RuntimeError. Raises TrainerError where the file cannot be
    written.
    """

    def __init__(self, model: Any, path: Path) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        self.path = path
        # Tied ones come once, and are one parameter still when their numbers are back.
        self.parameters = dict(model.named_parameters())
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file({name: one.detach().contiguous() for name, one in self.parameters.items()}, path)
        except (OSError, SafetensorError) as error:
            raise TrainerError(
                f"The weights of a model that rests could not be written to {path} ({why_not_written(error)}); without "
                "offload_frozen they stay in memory."
            ) from error
        self._rest()

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """Within it the model can be read."""
        from safetensors.torch import load_file

        device = next(iter(self.parameters.values())).device
        for name, weights in load_file(self.path, device=str(device)).items():
            self.parameters[name].data = weights
        try:
            yield
        finally:
            self._rest()

    def _rest(self) -> None:
        for one in self.parameters.values():
            one.data = one.data.new_empty(0)
