"""Several processes on one run, one a device: who is who, and what they tell each other (data parallelism).

Each process has the whole model (or its part of it: `sharding.py`) and takes its share of every batch; gradients are
summed over all of them before the step (Li et al. 2020, "PyTorch Distributed"), so an update equals that of one process
with the same batch, to the rounding of sums. Nothing here starts processes: `processes.py` does, or torchrun by hand.
With one process every function gives back what it was given.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# Gradients are summed in pieces of so many numbers: fewer messages than parameters, less memory than all at once.
_PIECE = 16_000_000


def rank() -> int:
    """This process's number, 0 for the one that writes."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """How many processes there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    return rank() == 0


def side_folder(run_dir: Path, number: int | None = None) -> Path:
    """Where a process other than the first one writes what nobody reads: this one, or the one of that number."""
    return run_dir / f"process-{rank() if number is None else number}"


def begin() -> None:
    """Joins the others; waits for them. Nothing for a single process, or one that has joined."""
    import torch
    from torch import distributed

    if world_size() > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def end() -> None:
    """Leaves the others."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def own_random_numbers(seed: int) -> None:
    """Other random numbers in each process, so that no two drop the same inputs; the first one keeps its own."""
    import torch

    if not is_main():
        torch.manual_seed(seed + 1_000_003 * rank())


def share(batch: Sequence[int], *, micro: int, alike: bool) -> list[tuple[list[int], bool]]:
    """This process's rows of a batch as micro batches of at most `micro` rows, and whether each counts.

    Every row is in one process's share. With `alike` all processes have as many micro batches of the same sizes: what
    cannot be shared evenly is read by itself, and who has none of it reads a row that does not count.
    """
    own = list(batch[rank() :: world_size()])
    even = len(batch) // world_size() if alike else len(own)
    shares = [(own[start : min(start + micro, even)], True) for start in range(0, even, micro)]
    if alike and len(batch) % world_size():
        shares.append((own[even:] or [batch[0]], bool(own[even:])))
    return shares


def same_start(parameters: Iterable[torch.Tensor]) -> None:
    """Gives all processes the first one's weights."""
    from torch import distributed

    if world_size() > 1:
        for parameter in parameters:
            distributed.broadcast(parameter.data, src=0)


def sum_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Puts the sum of all processes' gradients in place of each; a process without one counts as zeros."""
    import torch
    from torch import distributed

    if world_size() == 1:
        return
    piece: list[torch.Tensor] = []

    def send() -> None:
        flat = torch.cat([gradient.reshape(-1) for gradient in piece])
        distributed.all_reduce(flat)
        for gradient, part in zip(piece, flat.split([gradient.numel() for gradient in piece]), strict=True):
            gradient.copy_(part.view_as(gradient))
        piece.clear()

    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        piece.append(parameter.grad)
        if sum(gradient.numel() for gradient in piece) >= _PIECE:
            send()
    if piece:
        send()


def sum_numbers(numbers: dict[str, float]) -> dict[str, float]:
    """The sum over all processes of each number; one that a process lacks counts as zero there."""
    if world_size() == 1:
        return numbers
    sums: dict[str, float] = {}
    for told in gather(json.dumps(numbers).encode()):
        for name, value in json.loads(told).items():
            sums[name] = sums.get(name, 0.0) + value
    return sums


def any_of(flag: bool) -> bool:
    """Whether it is true in any process."""
    return flag if world_size() == 1 else b"1" in gather(b"1" if flag else b"0")


def gather(message: bytes) -> list[bytes]:
    """What every process says, in their order. Bytes as they are: nothing is pickled."""
    import torch
    from torch import distributed

    if world_size() == 1:
        return [message]
    begin()
    device = _device()
    size = torch.tensor([len(message)], device=device)
    sizes = [torch.zeros_like(size) for _ in range(world_size())]
    distributed.all_gather(sizes, size)
    longest = max(int(one) for one in sizes)
    padded = torch.frombuffer(bytearray(message.ljust(longest, b"\0")), dtype=torch.uint8).to(device)
    found = [torch.empty_like(padded) for _ in sizes]
    distributed.all_gather(found, padded)
    return [one[: int(length)].cpu().numpy().tobytes() for one, length in zip(found, sizes, strict=True)]


def _device() -> Any:
    from training.trainers import hardware

    return hardware.device()
