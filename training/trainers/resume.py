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
    states = sorted((run_dir / "resume").glob("step-????????*"))
    return states[-1] if states else None


def publish_state(temporary: Path, *, run_dir: Path, step: int) -> Path:
    """Make a whole folder the newest state and drop the older ones; gives its path.

    One of the same step is older too: PPO's may hold the answers from which the next steps learn. It stays until this
    one is there, so this one has a name behind it.
    """
    target = state_folder(run_dir, step)
    target.parent.mkdir(parents=True, exist_ok=True)
    sync_folder(temporary)
    before = latest_state(run_dir)
    if before is not None and before.name.startswith(target.name):
        target = target.with_name(f"{target.name}.{int(before.suffix[1:] or 0) + 1:03d}")
    temporary.rename(target)
    for other in target.parent.iterdir():
        if other != target:
            shutil.rmtree(other, ignore_errors=True)
    return target


def clear_states(run_dir: Path) -> None:
    """Forget every state, as a fresh run needs none, nor does a finished one once its result is on disk."""
    shutil.rmtree(run_dir / "resume", ignore_errors=True)
