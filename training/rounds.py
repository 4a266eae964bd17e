"""The loop: rounds of stages, moved on by what people label and what trainers finish.

`advance` is the one place that changes a round's or a stage's state by itself. It is safe to call at any time and
from anywhere: it locks the round, looks at what is true, and goes as far as that allows.

Locks are taken in one order, round before run before stage, so that a click and the tick never wait for each other.
"""

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import DatabaseError, InterfaceError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from hone.accounts.models import Project, User
from hone.audit.models import record
from labeling import settling
from labeling.batches import NewItem, open_batch
from labeling.models import Slot
from labeling.queries import batch_progress
from training import runs, snapshots, stage_data
from training.models import Checkpoint, Round, Run, Stage
from training.records import RecordError
from training.stage_data import StageData

logger = logging.getLogger(__name__)

# A round has some of these, in this order.
ORDER = [
    Stage.Kind.PRETRAIN,
    Stage.Kind.WRITE,
    Stage.Kind.SFT,
    Stage.Kind.SAMPLE,
    Stage.Kind.RANK,
    Stage.Kind.REWARD,
    Stage.Kind.DPO,
    Stage.Kind.PPO,
    Stage.Kind.BEST_OF_N,
    Stage.Kind.EVALUATE,
]


@dataclass(frozen=True)
class Recipe:
    """What to do in a round. `stages` maps a kind to its parameters; absent kinds are left out.

    People's stages: `min_labels` (0: every slot), `auto` (go on without the lead), and for write `prompts`, the
    number of prompts to ask for. Beside the trainer's own fields sampling has `prompts`, `slots_per_item` and
    `examples`; pretraining `corpora`, and PPO where it mixes them in; PPO, best of N and evaluation `prompts`. Models
    are named by their ids: `trunk` of the reward stage, `reward_model` of PPO, best of N and evaluation, `reference` of
    evaluation.
    """

    name: str
    start: Checkpoint
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    include_simulated: bool = False
    heldout_percent: int = 10


def check_order(kinds: list[str], *, has_reward_model: bool) -> str | None:
    """The sentence that says why these stages do not make a round, or None when they do.

    `has_reward_model`: one was trained before.
    """
    if not kinds:
        return _("Choose at least one stage.")
    if Stage.Kind.RANK in kinds and Stage.Kind.SAMPLE not in kinds:
        return _("Ranking needs answers: add the sample stage before it.")
    if Stage.Kind.SAMPLE in kinds and Stage.Kind.RANK not in kinds:
        return _("Sampled answers wait to be ranked: add the rank stage after sampling.")
    if Stage.Kind.BEST_OF_N in kinds and Stage.Kind.REWARD not in kinds and not has_reward_model:
        return _("Best of N needs a reward model to choose by: add the reward stage before it.")
    if Stage.Kind.PPO in kinds and Stage.Kind.REWARD not in kinds and not has_reward_model:
        return _("PPO needs a reward model to judge by: add the reward stage before it.")
    return None


@transaction.atomic
def start(*, project: Project, recipe: Recipe, actor: User | None) -> Round:
    """Makes the round with its stages and starts the first, or leaves that to the tick where it needs data frozen.

    Raises ValueError with check_order's sentence.
    """
    kinds = [kind for kind in ORDER if kind in recipe.stages]
    problem = check_order([str(kind) for kind in kinds], has_reward_model=stage_data.reward_models(project).exists())
    if problem:
        raise ValueError(problem)
    # The project row is the lock: two leads who start at once must get two numbers.
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    number = project.rounds.count() + 1
    created = Round.objects.create(
        project=project,
        number=number,
        name=recipe.name or f"Round {number}",
        start=recipe.start,
        include_simulated=recipe.include_simulated,
        heldout_percent=recipe.heldout_percent,
        created_by=actor,
    )
    Stage.objects.bulk_create(
        Stage(round=created, index=index, kind=kind, params=recipe.stages[kind]) for index, kind in enumerate(kinds)
    )
    record("round.started", created, actor=actor, stages=[str(kind) for kind in kinds])
    advance(created.pk, freeze=False)
    created.refresh_from_db()
    return created


def advance(round_id: int, *, freeze: bool = True, wait: bool = True) -> None:
    """Moves the round as far as it goes now.

    Freezing a stage's data may take a minute: without `freeze` such a stage is left to the tick, so that no page waits
    for it; without `wait` a round that somebody else is moving is left to them, so that the other ticks go on.
    """
    _go_on(round_id, wait=wait)
    stage = _to_launch(round_id) if freeze else None
    if stage is not None:
        _go_on(round_id, wait=wait, launch=stage.pk, is_renewed=_renewed_posteriors(stage))


def _to_launch(round_id: int) -> Stage | None:
    """The stage whose data is to be frozen now."""
    moving = Stage.objects.filter(round=round_id, round__state__in=[Round.State.RUNNING, Round.State.WAITING])
    stage = moving.exclude(state=Stage.State.DONE).order_by("index").select_related("round__project").first()
    return stage if stage is not None and stage.state == Stage.State.PENDING and not stage.is_human else None


def _renewed_posteriors(stage: Stage) -> bool:
    """Renews the posteriors of the rankings that are about to be frozen, in a transaction of its own.

    Until that ends, a retraction waits for the comparisons that were written; until the freezing ends it would hold up
    its author for a minute. What fails here is tried again while freezing, where the lead is told.
    """
    if stage.kind not in (Stage.Kind.REWARD, Stage.Kind.DPO):
        return False
    from labeling.quality import posteriors  # numpy

    try:
        posteriors.renew_for(project=stage.round.project, include_simulated=stage.round.include_simulated)
    except (DatabaseError, InterfaceError):
        raise  # the next tick tries again
    except Exception:
        logger.exception("%s: the posteriors of its rankings could not be renewed", stage)
        return False
    return True


@transaction.atomic
def _go_on(round_id: int, *, wait: bool, launch: int | None = None, is_renewed: bool = False) -> None:
    """As far as the round goes without freezing data, but that of the stage `launch`."""
    # The lock keeps the tick, a finished run and the lead's click from starting one stage twice.
    found = Round.objects.select_for_update(skip_locked=not wait).filter(pk=round_id).first()
    if found is None or found.state not in (Round.State.RUNNING, Round.State.WAITING):
        return
    while (stage := found.stages.exclude(state=Stage.State.DONE).order_by("index").first()) is not None:
        before = stage.state
        if stage.state == Stage.State.PENDING and not stage.is_human and stage.pk != launch:
            break
        _step(stage, is_renewed=is_renewed)
        if stage.state == before:
            break
        stage.save(update_fields=["state", "batch", "started_at", "ended_at"])
    _settle(found, stage)


def _step(stage: Stage, *, is_renewed: bool) -> None:
    """Looks once at the stage and sets its new state, if it has one."""
    if stage.state == Stage.State.PENDING:
        stage.started_at = timezone.now()
        if stage.is_human:
            _open_work(stage)
        else:
            _launch(stage, is_renewed=is_renewed)
    elif stage.state == Stage.State.WAITING:
        if gate_is_met(stage):
            stage.state = Stage.State.READY
    elif stage.state == Stage.State.RUNNING:
        run = stage.runs.order_by("-id").first()
        if run is not None and run.has_ended:
            stage.state = {
                Run.State.SUCCEEDED: Stage.State.DONE,
                Run.State.FAILED: Stage.State.FAILED,
                Run.State.CANCELLED: Stage.State.CANCELLED,
            }[Run.State(run.state)]
    if stage.state == Stage.State.READY and stage.params.get("auto", True):
        stage.state = Stage.State.DONE
    if stage.state in (Stage.State.DONE, Stage.State.FAILED, Stage.State.CANCELLED):
        stage.ended_at = timezone.now()


def gate_is_met(stage: Stage) -> bool:
    """Whether people have done what the stage waits for."""
    if stage.batch_id is None:
        return False
    settling.now(stage.round.project)  # whoever is taking a label back at this moment ends first
    progress = batch_progress(stage.batch_id)
    if not progress["total"]:
        # There was nothing to ask people for; or all that they made was taken back, and then nothing was done.
        return not Slot.objects.filter(item__batch_id=stage.batch_id, state=Slot.State.SUBMITTED, hidden="").exists()
    return progress["submitted"] - progress["open"] >= labels_wanted(stage, progress)


def labels_wanted(stage: Stage, progress: dict[str, int]) -> int:
    """How many submissions open the gate: what the recipe says, but never more than there are slots."""
    return min(int(stage.params.get("min_labels") or 0) or progress["total"], progress["total"])


def _settle(found: Round, stage: Stage | None) -> None:
    """The round's own state, as its current stage says."""
    if stage is None:
        state, ended = Round.State.DONE, timezone.now()
    else:
        state = {
            Stage.State.WAITING: Round.State.WAITING,
            Stage.State.READY: Round.State.WAITING,
            Stage.State.FAILED: Round.State.FAILED,
            Stage.State.CANCELLED: Round.State.CANCELLED,
        }.get(Stage.State(stage.state), Round.State.RUNNING)
        ended = None
    if found.state != state:
        found.state, found.ended_at = state, ended
        found.save(update_fields=["state", "ended_at"])
        record(f"round.{state}", found)


def _open_work(stage: Stage) -> None:
    """Opens a writing batch, or waits for the ranking batch that sampling has opened."""
    if stage.kind == Stage.Kind.WRITE:
        wanted = int(stage.params.get("prompts") or 0)
        prompts = stage_data.prompts_to_write(stage.round.project, wanted=wanted)
        stage.batch = open_batch(
            project=stage.round.project,
            kind="write",
            name=stage.round.batch_name("write"),
            items=[NewItem(prompt=prompt, priority=stage.round.number) for prompt in prompts],
        )
    stage.state = Stage.State.WAITING


def _launch(stage: Stage, *, is_renewed: bool) -> None:
    """Freezes the stage's data and queues its run; where that is not possible the stage fails with a sentence."""
    found = _freeze(stage, is_renewed=is_renewed)
    stage.save(update_fields=["params"])
    if found is None:
        stage.state = Stage.State.FAILED
        return
    runs.launch(
        project=stage.round.project,
        kind=stage.kind,
        params=trainer_params(stage),
        model=found.model,
        snapshot=found.snapshot,
        inputs=found.inputs,
        actor=stage.round.created_by,
        stage=stage,
    )
    stage.state = Stage.State.RUNNING


def _freeze(stage: Stage, *, is_renewed: bool) -> StageData | None:
    """The stage's data, or None with the sentence for the lead in params["problem"]; `resume` tries again."""
    stage.params.pop("problem", None)
    try:
        with transaction.atomic():
            return stage_data.freeze(stage, is_renewed=is_renewed)
    except (DatabaseError, InterfaceError):
        raise  # the next tick tries again
    except snapshots.NothingToFreeze as error:
        problem = str(error)
    except (OSError, RecordError) as error:
        logger.warning("%s: its data could not be frozen: %s", stage, error)
        problem = f"The data could not be written: {str(error).rstrip('.')}."
    except Exception as error:
        logger.exception("%s: its data could not be frozen", stage)
        problem = f"The data could not be frozen ({type(error).__name__}: {error}); the worker's log says more."
    stage.params["problem"] = problem
    return None


def trainer_params(stage: Stage) -> dict[str, Any]:
    """The stage's parameters that are its trainer's own fields."""
    from training.trainers.config import fields_of

    known = {spec.name for spec in fields_of(stage.kind)}
    return {name: value for name, value in stage.params.items() if name in known}


@transaction.atomic
def continue_past_gate(*, stage_id: int, actor: User) -> None:
    """The lead's "go on": ends a people's stage with the labels that there are. Raises runs.NotPossible."""
    # The round first, as in `advance`: the other way round, the tick and this click wait for each other for ever.
    Round.objects.select_for_update().get(stages=stage_id)
    stage = Stage.objects.select_for_update().get(pk=stage_id)
    if stage.state not in (Stage.State.WAITING, Stage.State.READY):
        raise runs.NotPossible(_("This stage is not waiting."))
    stage.state, stage.ended_at = Stage.State.DONE, timezone.now()
    stage.save(update_fields=["state", "ended_at"])
    record("stage.continued", stage, actor=actor)
    advance(stage.round_id, freeze=False)


@transaction.atomic
def cancel(*, round_id: int, actor: User) -> None:
    """Stops the round: its running trainer saves its state and ends. Raises runs.NotPossible when it has ended."""
    found = Round.objects.select_for_update().get(pk=round_id)
    if found.state in (Round.State.DONE, Round.State.CANCELLED):
        raise runs.NotPossible(_("This round has ended already."))
    for run in Run.objects.filter(stage__round=found).exclude(state__in=Run.ENDED):
        with contextlib.suppress(runs.NotPossible):  # it has ended in this moment
            runs.cancel(run_id=run.pk, actor=actor)
    stages = found.stages.exclude(state__in=[Stage.State.DONE, Stage.State.PENDING])
    stages.update(state=Stage.State.CANCELLED, ended_at=timezone.now())
    found.state, found.ended_at = Round.State.CANCELLED, timezone.now()
    found.save(update_fields=["state", "ended_at"])
    record("round.cancelled", found, actor=actor)


def _stopped_stage(found: Round) -> Stage | None:
    """The first stage that failed or was cancelled."""
    return found.stages.filter(state__in=[Stage.State.FAILED, Stage.State.CANCELLED]).order_by("index").first()


def run_to_resume(found: Round) -> Run | None:
    """The run that `resume` would have go on, if the round stopped in one."""
    stage = _stopped_stage(found)
    run = stage.runs.order_by("-id").first() if stage is not None else None
    return run if run is not None and run.can_be_resumed else None


@transaction.atomic
def resume(*, round_id: int, actor: User, params: Mapping[str, Any] | None = None) -> None:
    """Goes on from the stage that failed or was cancelled, its run with `params` as in `runs.resume`.

    Raises runs.NotPossible when there is none.
    """
    found = Round.objects.select_for_update().get(pk=round_id)
    stage = _stopped_stage(found)
    if stage is None and found.state != Round.State.CANCELLED:
        raise runs.NotPossible(_("No stage of this round has failed."))
    if stage is not None:
        run = stage.runs.order_by("-id").first()
        if run is not None and not run.has_ended:
            raise runs.NotPossible(_("The run is still saving its state; try again in a moment."))
        if run is not None and run.state != Run.State.SUCCEEDED:
            resumed = runs.resume(run_id=run.pk, actor=actor, params=params)
            stage.params |= {name: resumed.params[name] for name in params or {} if name in resumed.params}
        if run is not None:
            stage.state = Stage.State.RUNNING
        else:
            stage.state = Stage.State.WAITING if stage.batch_id else Stage.State.PENDING
        stage.params.pop("problem", None)
        stage.ended_at = None
        stage.save(update_fields=["state", "params", "ended_at"])
    found.state, found.ended_at = Round.State.RUNNING, None
    found.save(update_fields=["state", "ended_at"])
    record("round.resumed", found, actor=actor)
    advance(found.pk, freeze=False)
