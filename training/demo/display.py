"""The demo's terminal: a live view of the round while it runs, and a closing table of what each stage did."""

import time
from collections.abc import Callable
from typing import Any

from django.db import InterfaceError, OperationalError, connection
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from labeling.queries import batch_progress
from training import metrics
from training.models import Round, Run, Stage
from training.views.console import seconds_left

_STATE = {
    Stage.State.PENDING: ("·", "dim"),
    Stage.State.WAITING: ("◔", "yellow"),
    Stage.State.READY: ("◑", "yellow"),
    Stage.State.RUNNING: ("▶", "cyan"),
    Stage.State.DONE: ("✓", "green"),
    Stage.State.FAILED: ("✗", "red"),
    Stage.State.CANCELLED: ("✗", "magenta"),
}
_LIVE_METRICS = ("loss", "accuracy", "rewards/accuracies", "token_accuracy", "tokens_per_s")


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def follow(
    *, console: Console, round_id: int, finished: Callable[[Round], bool], check: Callable[[], str | None]
) -> Round:
    """Shows the round until `finished`. Answers with the round.

    `check` runs each time; it answers with a trouble that is shown with the round, and may raise.
    """
    if not console.is_terminal:
        lines = _Lines(console)
        return _poll(round_id=round_id, finished=finished, check=check, show=lines.show)
    with Live(console=console, refresh_per_second=4, transient=True) as live:

        def show(found: Round, trouble: str) -> None:
            live.update(_table(found, trouble))

        return _poll(round_id=round_id, finished=finished, check=check, show=show)


def _poll(
    *,
    round_id: int,
    finished: Callable[[Round], bool],
    check: Callable[[], str | None],
    show: Callable[[Round, str], None],
) -> Round:
    trouble = ""
    while True:
        try:
            found = Round.objects.get(pk=round_id)
            show(found, trouble)
            if finished(found):
                return found
        except (OperationalError, InterfaceError):
            connection.close()  # the database restarted; the workers go on, and so does the view
        trouble = check() or ""
        time.sleep(0.5)


class _Lines:
    """For logs and pipes: a line at each change of state, and every ten seconds of training."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.seen: dict[int, tuple[str, int]] = {}
        self.trouble = ""

    def show(self, found: Round, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            self.console.print(trouble, highlight=False, markup=False)
        self.trouble = trouble
        for stage in found.stages.all():
            now = (stage.state, int(time.monotonic() / 10) if stage.state == Stage.State.RUNNING else 0)
            if stage.state == Stage.State.PENDING or self.seen.get(stage.pk) == now:
                continue
            self.seen[stage.pk] = now
            step, total, text = _progress(stage)
            parts = [f"{found.name}:", stage.get_kind_display(), stage.state, f"{step}/{total}" if total else "", text]
            self.console.print(" ".join(part for part in parts if part), highlight=False, markup=False)


def _table(found: Round, trouble: str) -> Table:
    table = Table(
        title=Text(f"{found.project.name} · {found.name}"),
        title_justify="left",
        expand=False,
        caption=Text(trouble, style="yellow") if trouble else None,
        caption_justify="left",
    )
    table.add_column("stage")
    table.add_column("", width=24)
    table.add_column("step", justify="right")
    table.add_column("now", min_width=30)
    table.add_column("left", justify="right")
    for stage in found.stages.all():
        mark, colour = _STATE[Stage.State(stage.state)]
        step, total, text = _progress(stage)
        run = stage.runs.order_by("-id").first()
        left = seconds_left(run) if run else None
        bar: Any = ProgressBar(
            total=total or 1, completed=total or 1 if stage.state == Stage.State.DONE else step, width=22
        )
        table.add_row(
            Text(f"{mark} {stage.get_kind_display()}", style=colour),
            bar if stage.state != Stage.State.PENDING else "",
            f"{step}/{total}" if total else "",
            Text(text),
            duration(left) if left is not None else "",
        )
    return table


def _progress(stage: Stage) -> tuple[int, int, str]:
    """(step, steps, what is measured now) of a stage."""
    if stage.is_human:
        if stage.batch_id is None:
            return 0, 0, ""
        progress = batch_progress(stage.batch_id)
        return progress["submitted"], progress["total"], "labels submitted"
    run = stage.runs.order_by("-id").first()
    if run is None:
        return 0, 0, stage.params.get("problem", "")
    if run.state == Run.State.FAILED:
        return run.step, run.total_steps, run.error
    newest = metrics.newest(run)
    shown = [f"{metrics.label(name)} {newest[name]:.3g}" for name in _LIVE_METRICS if name in newest]
    return run.step, run.total_steps, " · ".join(shown[:3]) or run.status


def closing_table(found: Round) -> Table:
    """What each stage of a finished round consumed, produced and measured, and how long it took.

    One thing a line, in columns that fit into 80: only a model's name may be broken.
    """
    table = Table(
        title=Text(f"{found.name}: what happened"),
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
        pad_edge=False,
    )
    table.add_column("stage", no_wrap=True)
    table.add_column("consumed", no_wrap=True)
    table.add_column("produced and measured", overflow="fold")
    table.add_column("time", justify="right", no_wrap=True)
    total = 0.0
    for stage in found.stages.all():
        seconds = (stage.ended_at - stage.started_at).total_seconds() if stage.ended_at and stage.started_at else 0.0
        total += seconds
        used, made = _account(stage)
        table.add_row(stage.get_kind_display(), Text("\n".join(used)), Text("\n".join(made)), duration(seconds))
    table.add_section()
    table.add_row("together", "", "", duration(total))
    return table


def _account(stage: Stage) -> tuple[list[str], list[str]]:
    """What the stage consumed, and what it produced and measured, each a line."""
    if stage.is_human and stage.batch_id:
        progress = batch_progress(stage.batch_id)
        noun = "demonstrations" if stage.kind == Stage.Kind.WRITE else "rankings"
        made = [f"{progress['submitted']:,} {noun}"]
        if stage.kind == Stage.Kind.RANK:
            made.append(f"{_comparisons(stage):,} comparisons")
        return [f"{progress['total']:,} items"], [*made, f"{progress['simulated']:,} by scripts"]
    run = stage.runs.order_by("-id").first()
    if run is None:
        return [], [stage.params.get("problem", "")]
    consumed = run.result.get("consumed", {})
    used = [f"{value:,} {name.replace('_', ' ')}" for name, value in consumed.items()]
    made_checkpoint = getattr(run, "checkpoint", None)
    if made_checkpoint:
        produced = made_checkpoint.name
    elif run.kind == Stage.Kind.EVALUATE:
        produced = "a report, on the run's page"
    else:
        produced = f"{run.generations.count():,} completions"
    return used, [produced, *_measured(run)]


def _comparisons(stage: Stage) -> int:
    from labeling.models import Comparison

    return Comparison.objects.filter(ranking__item__batch=stage.batch).count()


_MEASURED = {
    "sft": ("heldout_loss_before", "heldout_loss", "heldout_token_accuracy"),
    "reward": ("heldout_accuracy_before", "heldout_accuracy", "heldout_accuracy_low", "heldout_accuracy_high"),
    "dpo": ("heldout_loss", "heldout_accuracy", "heldout_rewards/margins"),
    "sample": ("tokens_per_s", "mean_tokens", "stopped_share"),
    "evaluate": (
        "win_rate",
        "win_rate_low",
        "win_rate_high",
        "kl_sequence",
        "policy_perplexity",
        "reference_perplexity",
    ),
}


def _measured(run: Run) -> list[str]:
    found = run.result.get("metrics", {})
    names = [name for name in _MEASURED.get(run.kind, ()) if isinstance(found.get(name), int | float)]
    return [f"{metrics.label(name)} {found[name]:.3g}" for name in names]
