"""What a stage of a round works on: the model it starts from, the data it freezes, and what else its run reads."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext as _

from hone.accounts.models import Project
from labeling import settling
from labeling.models import Demonstration, Prompt, Slot
from training import corpora, snapshots
from training.models import Checkpoint, Round, Snapshot, Stage
from training.records import RecordError, split_of
from training.snapshots import NothingToFreeze
from training.trainers.answered import answered, key
from training.trainers.inputs import DEMONSTRATIONS, FEW_SHOT, PRETRAINING, REFERENCE, REWARD_MODEL
from training.trainers.token_files import token_ids

# The recipe's name for what a reward model is made from, where it is not the round's newest model.
TRUNK = "trunk"
POLICIES = (Checkpoint.Kind.BASE, Checkpoint.Kind.SFT, Checkpoint.Kind.POLICY)


@dataclass(frozen=True)
class StageData:
    """A run's model, its data, and what else it reads, by the names of `trainers.inputs.KNOWN`."""

    model: Checkpoint
    snapshot: Snapshot
    inputs: dict[str, Checkpoint | Snapshot] = field(default_factory=dict)


def freeze(stage: Stage, *, is_renewed: bool) -> StageData:
    """Freezes what the stage needs; `is_renewed`: the posteriors of its rankings were renewed just now.

    Raises NothingToFreeze with a sentence for the lead.
    """
    model = model_for(stage)
    kinds: dict[str, Any] = {
        Stage.Kind.PRETRAIN: _for_pretrain,
        Stage.Kind.SFT: _for_sft,
        Stage.Kind.SAMPLE: _for_sample,
        Stage.Kind.PPO: _for_ppo,
        Stage.Kind.BEST_OF_N: _for_best_of_n,
        Stage.Kind.EVALUATE: _for_evaluate,
    }
    if stage.kind in kinds:
        snapshot, inputs = kinds[stage.kind](stage, model)
        return StageData(model=model, snapshot=snapshot, inputs=inputs)
    snapshot = snapshots.freeze_rankings(project=stage.round.project, is_renewed=is_renewed, **_labels(stage))
    if stage.kind == Stage.Kind.DPO:
        return StageData(model=model, snapshot=snapshot)
    return StageData(model=_chosen(stage, TRUNK) or model, snapshot=snapshot, inputs=_demonstrations(stage))


Found = tuple[Snapshot, dict[str, Checkpoint | Snapshot]]


def _for_pretrain(stage: Stage, model: Checkpoint) -> Found:
    project, percent = stage.round.project, stage.round.heldout_percent
    named = str(stage.params.get("corpora") or "")
    return corpora.freeze(project=project, named=named, heldout_percent=percent), {}


def _for_sft(stage: Stage, model: Checkpoint) -> Found:
    return snapshots.freeze_demonstrations(project=stage.round.project, **_labels(stage)), {}


def _for_sample(stage: Stage, model: Checkpoint) -> Found:
    prompts = snapshots.freeze_prompts(project=stage.round.project, prompts=_asked(stage))
    wanted = int(stage.params.get("examples") or 0)
    if not wanted:
        return prompts, {}
    return prompts, {FEW_SHOT: snapshots.freeze_demonstrations(
        project=stage.round.project, at_most=wanted, **_labels(stage)
    )}  # fmt: skip


def _for_ppo(stage: Stage, model: Checkpoint) -> Found:
    judge = reward_model_for(stage)
    if judge is None:
        raise NothingToFreeze(_("There is no reward model to judge the answers by: train one first."))
    found, of_sft = stage.round, bool(stage.params.get("allow_sft_prompts"))
    prompts = prompts_to_reinforce(
        found.project,
        heldout_percent=found.heldout_percent,
        wanted=int(stage.params.get("prompts") or 0),
        of_sft=of_sft,
    )
    if found.project.prompts.exists() and not of_sft and not prompts.exists():
        raise NothingToFreeze(
            _("There is no prompt that SFT has no answer to: import more, or allow prompts of SFT in a new round.")
        )
    inputs = {REWARD_MODEL: judge, **_demonstrations(stage)}
    named = str(stage.params.get("corpora") or "").strip()
    if named and stage.params.get("ptx_coefficient"):
        inputs[PRETRAINING] = corpora.freeze(project=found.project, named=named, heldout_percent=found.heldout_percent)
    return snapshots.freeze_prompts(project=found.project, prompts=prompts), inputs


def _for_best_of_n(stage: Stage, model: Checkpoint) -> Found:
    judge = reward_model_for(stage)
    if judge is None:
        raise NothingToFreeze("There is no reward model to choose the best completions by: train one first.")
    return snapshots.freeze_prompts(project=stage.round.project, prompts=_asked(stage)), {REWARD_MODEL: judge}


def _for_evaluate(stage: Stage, model: Checkpoint) -> Found:
    found = stage.round
    prompts = prompts_to_evaluate(
        found.project, heldout_percent=found.heldout_percent, wanted=int(stage.params.get("prompts") or 0)
    )
    inputs = _demonstrations(stage)
    if judge := reward_model_for(stage):
        inputs[REWARD_MODEL] = judge
    reference = _chosen(stage, REFERENCE) or found.start
    if reference != model and reads_alike(model, reference):
        inputs[REFERENCE] = reference
    return snapshots.freeze_prompts(project=found.project, prompts=prompts), inputs


def _labels(stage: Stage) -> dict[str, Any]:
    return {
        "include_simulated": stage.round.include_simulated,
        "heldout_percent": stage.round.heldout_percent,
    }


def _demonstrations(stage: Stage) -> dict[str, Checkpoint | Snapshot]:
    """The project's demonstrations as an input, where it has any."""
    try:
        return {DEMONSTRATIONS: snapshots.freeze_demonstrations(project=stage.round.project, **_labels(stage))}
    except NothingToFreeze:
        return {}


def _asked(stage: Stage) -> Iterable[Prompt]:
    wanted = int(stage.params.get("prompts") or 0)
    prompts = prompts_to_sample(stage.round.project)
    return prompts[:wanted] if wanted else prompts


def model_for(stage: Stage) -> Checkpoint:
    """The model that the stage starts from: the newest one of the round so far that writes, else the round's start."""
    made = Checkpoint.objects.filter(
        run__stage__round=stage.round, run__stage__index__lt=stage.index, kind__in=POLICIES
    )
    return made.order_by("-id").first() or stage.round.start


def policy_of(found: Round) -> Checkpoint | None:
    """The model that the round has made so far, which the next round starts from."""
    return Checkpoint.objects.filter(run__stage__round=found, kind__in=POLICIES).order_by("-id").first()


def reward_models(project: Project) -> QuerySet[Checkpoint]:
    """The project's reward models, the newest first."""
    return Checkpoint.objects.filter(project=project, kind=Checkpoint.Kind.REWARD).order_by("-id")


def reward_model_for(stage: Stage) -> Checkpoint | None:
    """The reward model that the recipe names, else the newest of the project: the round's own where it trained one."""
    return _chosen(stage, REWARD_MODEL) or reward_models(stage.round.project).first()


def _chosen(stage: Stage, name: str) -> Checkpoint | None:
    """The checkpoint that the recipe names by its id; raises NothingToFreeze where it is gone."""
    wanted = stage.params.get(name)
    if not wanted:
        return None
    try:
        return Checkpoint.objects.get(pk=int(wanted))
    except (Checkpoint.DoesNotExist, TypeError, ValueError) as error:
        raise NothingToFreeze(_("The recipe names the model %(id)s, which there is not.") % {"id": wanted}) from error


def reads_alike(model: Checkpoint, other: Checkpoint) -> bool:
    """Whether both are known to read the same tokens, without which no distance between them is defined."""
    try:
        ours, theirs = token_ids(model.path), token_ids(other.path)
    except RecordError:
        return False
    return ours is not None and ours == theirs


def prompts_to_write(project: Project, *, wanted: int = 0) -> QuerySet[Prompt]:
    """Prompts without a standing demonstration or an open item for one, oldest first.

    `wanted` is their number at most, 0 takes them all.
    """
    standing = Demonstration.objects.filter(prompt=OuterRef("pk"), retraction=None)
    to_come = [Slot.State.OPEN, Slot.State.LEASED, Slot.State.RETURNED]
    asked = Slot.objects.filter(item__prompt=OuterRef("pk"), kind="write", state__in=to_come)
    prompts = project.prompts.filter(~Exists(standing), ~Exists(asked)).order_by("id")
    return prompts[:wanted] if wanted else prompts


def prompts_to_sample(project: Project) -> QuerySet[Prompt]:
    """Prompts by how seldom they were ranked, those without a demonstration first, then by hash.

    InstructGPT's RM and PPO prompts are others than its SFT prompts (section 3.2), and each round asks new ones.
    """
    prompts = project.prompts.exclude(pk__in=settling.open_prompts(project))
    return prompts.annotate(
        asked=Count("items", distinct=True, filter=Q(items__kind="rank")),
        shown=Count("demonstrations", distinct=True, filter=Q(demonstrations__retraction=None)),
    ).order_by("asked", "shown", "content_hash")


def prompts_to_reinforce(
    project: Project, *, heldout_percent: int, wanted: int, of_sft: bool, to_come: Iterable[Prompt] = ()
) -> QuerySet[Prompt]:
    """Prompts for PPO, those that were ranked least first; none of the held-out share.

    None that SFT has an answer to, unless `of_sft`, nor will have: `to_come` are those that demonstrations are about
    to be written for. The policy knows such answers by heart, so that InstructGPT kept the three apart (section 3.2).
    The texts are compared as the trainer compares them. `wanted` is their number at most, 0 takes them all.
    """
    prompts = prompts_to_sample(project)
    found = [
        (pk, messages)
        for pk, content_hash, messages in prompts.values_list("pk", "content_hash", "messages")
        if split_of(content_hash, heldout_percent) == "train"
    ]
    if not of_sft:
        standing = Demonstration.objects.filter(project=project, retraction=None).values_list("pk", "messages")
        known = {*answered((str(pk), messages) for pk, messages in standing.iterator())}
        known |= {key(prompt.messages) for prompt in to_come}
        found = [(pk, messages) for pk, messages in found if key(messages) not in known]
    chosen = [pk for pk, _messages in found]
    return prompts.filter(pk__in=chosen[:wanted] if wanted else chosen)


def prompts_to_evaluate(project: Project, *, heldout_percent: int, wanted: int) -> QuerySet[Prompt]:
    """The same held-out prompts in every round, by their hashes; of all prompts where none is held out.

    `wanted` is their number at most, 0 takes them all.
    """
    prompts = project.prompts.exclude(pk__in=settling.open_prompts(project)).order_by("content_hash")
    known = list(prompts.values_list("pk", "content_hash"))
    heldout = [pk for pk, content_hash in known if split_of(content_hash, heldout_percent) == "heldout"]
    chosen = heldout or [pk for pk, _hash in known]
    return prompts.filter(pk__in=chosen[:wanted] if wanted else chosen)
