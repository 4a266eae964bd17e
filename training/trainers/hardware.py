"""What depends on the machine and not on the recipe: device, number format, threads, and how to tell of them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# What `compute_in` was told last.
_precision = "auto"


def device() -> torch.device:
    """The CUDA device of this process where there is one, else the CPU."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def training_dtype() -> torch.dtype:
    """float32 master weights everywhere: autocast, not the weights, makes CUDA runs fast."""
    import torch

    return torch.float32


def has_bfloat16() -> bool:
    """Whether the CUDA device computes in bfloat16 itself: Ampere and later; older ones (T4, V100) only emulate it."""
    import torch

    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


def emulates_bfloat16() -> bool:
    """Whether bfloat16 is slower here than float32: the device, a GPU or an x86 processor, has no units for it."""
    import torch

    if torch.cuda.is_available():
        return not has_bfloat16()
    known = torch.cpu.get_capabilities()
    return known.get("architecture") == "x86_64" and not (known.get("avx512_bf16") or known.get("amx_bf16"))


def sampling_dtype() -> torch.dtype:
    """bfloat16 on CUDA, float16 where the device has none; float32 on a CPU, mostly without fast bfloat16."""
    import torch

    if device().type != "cuda":
        return torch.float32
    return torch.bfloat16 if has_bfloat16() else torch.float16


def compute_in(precision: str) -> None:
    """Settle what training's passes compute in, for this process: `auto`, `float32` or `bfloat16`."""
    global _precision
    _precision = precision


def autocasts() -> bool:
    """Whether training computes in bfloat16; else it is float32, as float16 would need its losses scaled."""
    return _precision == "bfloat16" or (_precision == "auto" and has_bfloat16())


def autocast() -> contextlib.AbstractContextManager[Any]:
    """The number format of training's forward passes; weights, gradients and sums of losses stay float32."""
    import torch

    return torch.autocast(device().type, dtype=torch.bfloat16) if autocasts() else contextlib.nullcontext()


def checkpoints_gradients() -> bool:
    """Whether activations are computed again in the backward pass: worth it on CUDA, 2.5 x slower on a CPU."""
    import torch

    return torch.cuda.is_available()


def limit_threads() -> None:
    """Hold torch to the threads this process was given (`OMP_NUM_THREADS`, else the cores it may use)."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or cores))


def empty_cache() -> None:
    """Gives a GPU's memory back that nothing holds any more; nothing to do elsewhere."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def trim_memory() -> None:
    """Gives the system back what the C library keeps of freed memory, full of holes after each pass.

    Where passes are computed in it, that is on a CPU, and with glibc alone.
    """
    if device().type != "cpu":
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def peak_memory_bytes() -> int:
    """The largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def describe() -> dict[str, Any]:
    """Device, cores, threads and peak memory, for `result.json`; asks torch only where it is loaded already."""
    facts: dict[str, Any] = {
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "cores": os.cpu_count(),
        "peak_memory_bytes": peak_memory_bytes(),
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        facts |= {"device": str(device()), "threads": torch.get_num_threads()}
        facts["precision"] = "bfloat16" if autocasts() else "float32"
        if torch.cuda.is_available():
            facts |= {
                "gpu": torch.cuda.get_device_name(),
                "peak_gpu_memory_bytes": torch.cuda.max_memory_allocated(),
            }
    return facts


def commit() -> str | None:
    """The commit of this code, with `-dirty` where files were changed since; None where nothing tells.

    `HONE_COMMIT` says it where the code has no repository, as in an image.
    """
    if told := os.environ.get("HONE_COMMIT"):
        return told
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        folder = Path(__file__).parent
        found = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=10, check=True)
        return found.stdout.strip() or None
    return None


def versions() -> dict[str, str]:
    """The versions that decide what a run computes."""
    from importlib import metadata

    found = {"python": platform.python_version()}
    for name in ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "datasets", "vllm"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
