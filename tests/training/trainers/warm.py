"""Stages as processes of their own, forked from one that has read their libraries: reading them takes ten seconds.

`tests/training/test_loop.py` starts stages as a worker does, from nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

from training.trainers import processes

# What the stages import when they run, which they do only then.
LIBRARIES = [
    "torch",
    "pyarrow.parquet",
    "peft",
    "accelerate",
    "transformers.generation.utils",
    "transformers.models.llama.modeling_llama",
    "transformers.models.llama.tokenization_llama",
]

_context = multiprocessing.get_context("forkserver")


class Stage:
    """Like subprocess.Popen of `python -m module arguments`, for what tests ask of one."""

    def __init__(self, module: str, arguments: list[str], *, cwd: Path, env: dict[str, str], stderr: Path) -> None:
        # The libraries read some of these when they are imported, and OpenMP its threads when it is loaded.
        early = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "false"}
        _context.set_forkserver_preload(LIBRARIES)
        with mock.patch.dict(os.environ, {**env, **early}, clear=True):
            forkserver.ensure_running()
        self._process = _context.Process(target=_run, args=(module, arguments, str(cwd), env, str(stderr)))
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise TimeoutError("the stage did not end")
        return code

    def kill(self) -> None:
        self._process.kill()


class Pair:
    """The same of two processes of one run that know each other, as torchrun would start them."""

    def __init__(self, module: str, arguments: list[str], *, cwd: Path, env: dict[str, str], stderr: Path) -> None:
        port = processes._free_port()
        self._stages = [
            Stage(
                module,
                arguments,
                cwd=cwd,
                # They are children of the server that forks them.
                env={**env, **processes._environment(rank, 2, port), "HONE_PARENT_PID": ""},
                stderr=stderr,
            )
            for rank in range(2)
        ]

    @property
    def first(self) -> Stage:
        return self._stages[0]

    def poll(self) -> int | None:
        codes = [stage.poll() for stage in self._stages]
        return None if None in codes else max(code for code in codes if code is not None)

    def send_signal(self, number: signal.Signals) -> None:
        for stage in self._stages:
            stage.send_signal(number)

    def wait(self, timeout: float | None = None) -> int:
        return max(stage.wait(timeout) for stage in self._stages)

    def kill(self) -> None:
        for stage in self._stages:
            stage.kill()


def _run(module: str, arguments: list[str], cwd: str, env: dict[str, str], stderr: str) -> None:
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    for number, path in ((0, os.devnull), (1, os.devnull), (2, stderr)):
        opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    sys.argv = [module, *arguments]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    runpy.run_module(module, run_name="__main__", alter_sys=True)
