"""The demo's round: start or go on, let the scripted contractors work, open the second round."""

from typing import Any

from rich.console import Console
from rich.markup import escape

from hone.supervisor import Supervisor
from training import rounds, stage_data
from training.demo import display, material
from training.demo.contractors import Contractor
from training.demo.material import Material
from training.models import Checkpoint, Round, Stage


class DemoStopped(Exception):
    """The demo cannot go on; the text is a sentence."""


def run(
    *,
    console: Console,
    supervisor: Supervisor,
    site: str,
    found: Material,
    start: Checkpoint,
    model: str,
) -> int:
    """Runs round 1 to its end and round 2 up to its ranking. Answers with an exit code."""
    first = _first_round(found, start, model)
    if first.state != Round.State.DONE:
        contractors = _contractors(site, found)

        def check() -> str:
            supervisor.restart_ended()
            return _look_after(contractors)

        try:
            first = display.follow(console=console, round_id=first.pk, finished=_has_ended, check=check)
        except DemoStopped as error:
            console.print(f"[red]The demo stopped:[/] {escape(str(error))}")
            return 1
        finally:
            for contractor in contractors:
                contractor.stop()
            for contractor in contractors:
                contractor.join(10)
    if first.state != Round.State.DONE:
        _explain(console, first, site)
        return 1
    second = _second_round(found, first, model)
    second = display.follow(
        console=console, round_id=second.pk, finished=_waits_for_people, check=supervisor.restart_ended
    )
    if second.state in (Round.State.FAILED, Round.State.CANCELLED):
        _explain(console, second, site)
        return 1
    console.print(display.closing_table(first))
    console.print(display.closing_table(second))
    return 0


def _first_round(found: Material, start: Checkpoint, model: str) -> Round:
    first = found.project.rounds.filter(number=1).first()
    if first is None:
        recipe = material.first_recipe(model=model, start=start, written=found.written)
        return rounds.start(project=found.project, recipe=recipe, actor=found.lead)
    return _resumed(first, found)


def _second_round(found: Material, first: Round, model: str) -> Round:
    second = found.project.rounds.filter(number=2).first()
    if second is None:
        policy = stage_data.policy_of(first) or first.start
        return rounds.start(
            project=found.project, recipe=material.second_recipe(model=model, start=policy), actor=found.lead
        )
    return _resumed(second, found)


def _resumed(existing: Round, found: Material) -> Round:
    """A round that failed or was cancelled in an earlier demo goes on from that stage."""
    if existing.state in (Round.State.FAILED, Round.State.CANCELLED):
        rounds.resume(round_id=existing.pk, actor=found.lead)
        existing.refresh_from_db()
    return existing


def _contractors(site: str, found: Material) -> list[Contractor]:
    contractors = [
        Contractor(
            address=site,
            login=found.logins[name],
            project=found.project.slug,
            answers=found.answers,
            seed=seed,
        )
        for seed, name in enumerate(material.SIMULATED)
    ]
    for contractor in contractors:
        contractor.start()
    return contractors


def _look_after(contractors: list[Contractor]) -> str:
    """What troubles a contractor now, or an empty string. Raises DemoStopped when one of them has given up."""
    for contractor in contractors:
        if contractor.failure:
            raise DemoStopped(contractor.failure)
    return next((contractor.problem for contractor in contractors if contractor.problem), "")


def _has_ended(found: Round) -> bool:
    return found.state in (Round.State.DONE, Round.State.FAILED, Round.State.CANCELLED)


def _waits_for_people(found: Round) -> bool:
    ranking: Any = found.stages.filter(kind=Stage.Kind.RANK).first()
    return _has_ended(found) or ranking.state != Stage.State.PENDING


def _explain(console: Console, found: Round, site: str) -> None:
    stage = found.stages.exclude(state=Stage.State.DONE).first()
    latest = stage.runs.order_by("-id").first() if stage else None
    why = (latest.error if latest else "") or (stage.params.get("problem", "") if stage else "")
    console.print(f"[red]{found.name} stopped at {stage.get_kind_display() if stage else 'its end'}:[/] {escape(why)}")
    if latest:
        console.print(f"See {site}/console/runs/{latest.pk}/ or {latest.log_path}; run `make demo` again to go on.")
