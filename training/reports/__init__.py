"""What a run measured, from the files that its trainer left in the run's folder, in the shape that the pages show.

No torch, and nothing that imports it: the arithmetic was done where the model was.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext as _

from training.models import Run
from training.reports import best_of_n, evaluate, ppo, pretrain, reward
from training.reports.files import Unreadable

# Each has `raw` (the files as JSON, None where there is none), `body` (what the page shows) and SAMPLES.
_KINDS = {"reward": reward, "evaluate": evaluate, "pretrain": pretrain, "best_of_n": best_of_n, "ppo": ppo}


@dataclass(frozen=True, kw_only=True)
class Report:
    """A run's report: `body` as the partial of its kind shows it, or the one sentence why it cannot be read."""

    kind: str
    body: dict[str, Any] = field(default_factory=dict)
    problem: str = ""
    samples: bool = False

    @property
    def template(self) -> str:
        """The partial that shows it."""
        return f"training/_report_{self.kind}.html"


def of(run: Run) -> Report | None:
    """The run's report; None where its kind makes none or its file is not there (yet)."""
    kind = _KINDS.get(run.kind)
    if kind is None:
        return None
    samples = kind.SAMPLES and (run.folder / "samples.jsonl").is_file()
    try:
        found = kind.raw(run)
        if found is None:
            return None
        return Report(kind=run.kind, body=kind.body(run, found), samples=samples)
    except Unreadable as error:
        return Report(kind=run.kind, problem=sentence(error), samples=samples)


def is_made_by(kind: str) -> bool:
    """Whether runs of this kind leave a report."""
    return kind in _KINDS


def has_samples(kind: str) -> bool:
    """Whether runs of this kind leave samples to read."""
    return kind in _KINDS and _KINDS[kind].SAMPLES


def raw(run: Run) -> dict[str, Any] | None:
    """The files as they are, for the API; None where there are none. Raises Unreadable."""
    kind = _KINDS.get(run.kind)
    return kind.raw(run) if kind else None


def sentence(error: Unreadable) -> str:
    """What the page says in place of a report."""
    return _("The report cannot be read: %(why)s") % {"why": error}
