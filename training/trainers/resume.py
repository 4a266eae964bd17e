"""States to resume a run from: numbered folders under `run_dir/resume`, only the newest whole one kept.

A state is written beside the others under another name and renamed when whole, so one that was cut short is never
taken for a state.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from training.trainers.folders import sync_folder


def state_folder(run_dir: Path, step: int) -> Path:
    """Where the state after `step` optimizer steps lies once it is whole."""
    return run_dir / "resume" / f"step-{step:08d}"


def latest_state(run_dir: Path) -> Path | None:
    """The newest whole state, or None."""
    states = sorted((run_dir / "resume").glob("step-????????"))
    return states[-1] if states else None


def publish_state(temporary: Path, *, run_dir: Path, step: int) -> Path:
    """Make a whole folder the newest state and drop the older ones; gives its path."""
    target = state_folder(run_dir, step)
    target.parent.mkdir(parents=True, exist_ok=True)
    sync_folder(temporary)
    if target.exists():
        # The same step again: the state that lies there is as good as this one.
        shutil.rmtree(temporary)
    else:
        temporary.rename(target)
    for other in target.parent.iterdir():
        if other != target:
            shutil.rmtree(other, ignore_errors=True)
    return target


def clear_states(run_dir: Path) -> None:
    """Forget every state, as a fresh run needs none, nor does a finished one once its result is on disk."""
    shutil.rmtree(run_dir / "resume", ignore_errors=True)
