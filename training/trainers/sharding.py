"""A model divided among the processes of a run: each keeps a part of every weight, gradient and moment.

ZeRO (Rajbhandari et al. 2020, section 5), stages 2 and 3, by torch's FSDP2 (`fully_shard`): the decoder layers are
units that gather their weights when they are run, everything else (embeddings, norms, head) is one more. With
`gradients` a layer stays gathered from its forward to its backward pass, with `weights` it is gathered twice. The
gradients of every backward pass are summed and divided among the processes at once. What a process keeps is a DTensor;
states and saved models hold whole tensors, so that any number of processes can go on from them.

A collective waits for all processes: each must run the same number of passes through the layers (`parallel.share`).
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from training.trainers import hardware, parallel
from training.trainers.adapters import inner_model
from training.trainers.config import OptimizingConfig
from training.trainers.program import TrainerError

if TYPE_CHECKING:
    import torch

_NAME = "hone_division"
_M_MMAP_THRESHOLD = -3  # as glibc's malloc.h numbers it


@dataclass(frozen=True, kw_only=True)
class _Division:
    """How a model was divided: the module around it that FSDP takes for the root, and a copy without weights."""

    root: Any
    empty: Any


def place(model: Any, config: OptimizingConfig) -> Any:
    """The model on this process's device: whole, or this process's part of it where the recipe divides it.

    Every process has loaded the same model. Raises TrainerError where it has no layers to divide it by.
    """
    if config.sharding == "none" or parallel.world_size() == 1:
        return model.to(hardware.device())
    import torch
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    parallel.begin()
    device = hardware.device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    else:
        _give_back_what_is_freed()
    mesh = init_device_mesh(device.type, (parallel.world_size(),))
    empty, inner = _without_weights(model), inner_model(model)
    names = set(getattr(inner, "_no_split_modules", None) or [])
    layers = [module for module in inner.modules() if type(module).__name__ in names]
    if not layers:
        raise TrainerError(f"sharding must be none for this model: {type(inner).__name__} names no layers to divide.")
    for layer in layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=config.sharding == "weights")
    root = _root(model)
    fully_shard(root, mesh=mesh, reshard_after_forward=False)
    for unit in _units(root):
        # The sum over all processes, as without sharding, in place of FSDP's mean; gloo knows no other reduction.
        unit.set_gradient_divide_factor(1.0)
        unit.set_force_sum_reduction_for_comms(True)
        # A gathered weight is as frozen as it was when it was first gathered, so that must be now.
        unit.unshard()
        unit.reshard()
    with torch.no_grad():
        root(lambda: None)  # the first module that is run becomes the root of all others
    # Stages call the trunk and the head by themselves; the head's weights come with the trunk's.
    inner.base_model.register_forward_pre_hook(lambda *_: root.unshard())
    setattr(model, _NAME, _Division(root=root, empty=empty))
    settle(model)
    return model


def is_sharded(model: Any) -> bool:
    return getattr(model, _NAME, None) is not None


def inside(model: Any, call: Callable[..., Any], *given: Any) -> Any:
    """What `call` gives, its passes being one forward pass of the whole model to FSDP; gradients may be taken of it."""
    return getattr(model, _NAME).root(call, *given) if is_sharded(model) else call(*given)


def settle(model: Any) -> None:
    """Leaves each process with its own part alone: what is gathered still would not follow when weights change.

    Also after a pass that failed in all processes.
    """
    if is_sharded(model):
        getattr(model, _NAME).root.reset_iter_state()


def full(value: torch.Tensor) -> torch.Tensor:
    """The whole of a divided tensor, of which all processes ask together; any other as it is."""
    from torch.distributed.tensor import DTensor

    return value.full_tensor() if isinstance(value, DTensor) else value


def part_of(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A whole tensor divided as `like` is, which every process has; on its device."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    value = value.to(like.device)
    if not isinstance(like, DTensor) or isinstance(value, DTensor):
        return value
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)


def whole(model: Any) -> Any:
    """The model in one piece on the first process's CPU, to be saved; None in the others, which take part in it."""
    import torch

    settle(model)
    empty = getattr(model, _NAME).empty
    parts = dict(model.named_parameters())
    for name, parameter in empty.named_parameters():
        value = full(parts[name].detach())
        if parallel.is_main():
            # In place, so that tied weights stay tied.
            filled = torch.nn.Parameter(value.cpu(), requires_grad=parameter.requires_grad)
            torch.utils.swap_tensors(parameter, filled)
    return empty if parallel.is_main() else None


def _give_back_what_is_freed() -> None:
    """Has glibc return large pieces of memory when they are freed: it keeps most for itself otherwise, and weights are
    gathered and freed all the time (SmolLM2 in two processes: 1.9 GB each with it, as much as undivided without)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 18)


def _without_weights(model: Any) -> Any:
    """A copy whose weights take no memory, with the model's own generation config."""
    import torch

    empty: dict[int, Any] = {
        id(parameter): torch.nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
        for parameter in model.parameters()
    }
    if (generation := getattr(inner_model(model), "generation_config", None)) is not None:
        empty[id(generation)] = generation
    return copy.deepcopy(model, empty)


def _root(model: Any) -> Any:
    import torch

    class Root(torch.nn.Module):
        """Around the whole model, whose parts stages call one by one: runs what it is given."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, call: Callable[..., Any], *given: Any) -> Any:
            return call(*given)

    return Root()


def _units(root: Any) -> Iterator[Any]:
    from torch.distributed.fsdp import FSDPModule

    return (module for module in root.modules() if isinstance(module, FSDPModule))
