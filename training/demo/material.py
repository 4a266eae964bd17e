"""What the demo starts from: accounts, project, spec, prompts, known answers, the base model, the recipes."""

import io
import json
import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from hone.accounts.models import Membership, Project, User
from labeling import guidelines, importing
from labeling.messages import content_hash
from labeling.models import Demonstration
from training.demo.contractors import Login
from training.models import Checkpoint
from training.rounds import Recipe

EXAMPLES = Path(settings.BASE_DIR) / "examples"
# Demonstrations that scripted contractors write: half of the shipped prompts have one.
MAX_WRITTEN = 32
# A file of the user's own with fewer answers than this borrows the shipped demonstrations for SFT.
MIN_OWN_ANSWERS = 8

LEAD, REVIEWER, PERSON = "lead", "robin", "casey"
SIMULATED = ("sim-ada", "sim-bo", "sim-chen")


class AccountTaken(Exception):
    """An account of the demo's name belongs to somebody; the text is a sentence."""


@dataclass(frozen=True)
class Material:
    """All that the demo's round needs."""

    project: Project
    lead: User
    logins: dict[str, Login]
    answers: dict[str, list[dict[str, str]]]
    written: int


def prepare(*, slug: str, name: str, prompts: Path | None) -> Material:
    """Makes what is missing; what an earlier demo made is found again. Raises ImportRefused for a bad file.

    Raises AccountTaken, before anything is made, where somebody else's account has a name that the demo wants.
    """
    logins = _accounts()
    lead = User.objects.get(username=LEAD)
    with transaction.atomic():
        project, _created = Project.objects.get_or_create(
            slug=slug,
            defaults={
                "name": name,
                "description": "One turn of the loop on one machine: write, train, sample, rank, and again.",
            },
        )
        _members(project)
        if guidelines.current(project) is None:
            body = (EXAMPLES / "guideline.md").read_text(encoding="utf-8")
            draft = guidelines.save_draft(project=project, title="Labeling spec", body=body)
            guidelines.publish(guideline=draft, actor=lead)
        known = _known_answers(prompts)
        if not project.prompts.exists():
            # Prompts with a known answer come first: the write stage opens the oldest ones.
            lines = "\n".join(json.dumps(_line(row), ensure_ascii=False) for row in known)
            importing.import_prompts(
                project=project,
                file=io.BytesIO(lines.encode()),
                name="examples/demonstrations.jsonl",
                actor=lead,
            )
            path = prompts or EXAMPLES / "prompts.jsonl"
            with path.open("rb") as file:
                importing.import_prompts(project=project, file=file, name=path.name, actor=lead)
    written = Demonstration.objects.filter(project=project).values("prompt").distinct().count()
    return Material(
        project=project,
        lead=lead,
        logins=logins,
        answers={content_hash(row.prompt): row.messages for row in known},
        written=max(0, len(known) - written),
    )


def _line(row: importing.Row) -> dict[str, Any]:
    return {"messages": row.prompt, "category": row.category, "language": row.language, "source": row.source}


def _known_answers(prompts: Path | None) -> list[importing.Row]:
    """Conversations with an answer: the file's own where it has enough of them, else the shipped ones."""
    if prompts is not None:
        own = [row for row in _read(prompts, needs_answer=False) if len(row.messages) > len(row.prompt)]
        if len(own) >= MIN_OWN_ANSWERS:
            return own[:MAX_WRITTEN]
    return _read(EXAMPLES / "demonstrations.jsonl", needs_answer=True)[:MAX_WRITTEN]


def _read(path: Path, *, needs_answer: bool) -> list[importing.Row]:
    limit = Project._meta.get_field("max_chars").default
    with path.open("rb") as file:
        rows = importing.read_rows(file=file, name=path.name, max_chars=limit, needs_answer=needs_answer)
        unique = {content_hash(row.prompt): row for row in rows}
    return list(unique.values())


def _accounts() -> dict[str, Login]:
    """The demo's accounts, with passwords made once and kept in var/ readable by their owner alone.

    That file says which accounts the demo made: others of the same name are left as they are. Raises AccountTaken.
    """
    path = Path(settings.VAR_DIR) / "demo-logins.json"
    try:
        passwords = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        passwords = {}
    usernames = (LEAD, REVIEWER, PERSON, *SIMULATED)
    taken = User.objects.filter(username__in=set(usernames) - set(passwords)).values_list("username", flat=True)
    if taken:
        raise AccountTaken(
            f"There is an account named {', '.join(sorted(taken))} that the demo did not make ({path} does not name "
            "it). Rename it (make serve, then the administration), or run `HONE_VAR=var-demo make demo`, which has a "
            "database of its own."
        )
    passwords = {username: passwords.get(username) or secrets.token_urlsafe(9) for username in usernames}
    # Written first: a demo that is ended in between knows its accounts again.
    path.touch(mode=0o600)
    path.write_text(json.dumps(passwords), encoding="utf-8")
    for username, password in passwords.items():
        user, created = User.objects.get_or_create(
            username=username,
            defaults={
                "display_name": username.removeprefix("sim-").capitalize(),
                "is_staff": username == LEAD,
                "is_superuser": username == LEAD,
                "is_simulated": username in SIMULATED,
            },
        )
        if created or not user.check_password(password):
            user.set_password(password)
            user.save(update_fields=["password"])
    return {username: Login(username, password) for username, password in passwords.items()}


def _members(project: Project) -> None:
    roles = {LEAD: Membership.Role.MANAGER, REVIEWER: Membership.Role.REVIEWER}
    for username in (LEAD, REVIEWER, PERSON, *SIMULATED):
        Membership.objects.get_or_create(
            user=User.objects.get(username=username),
            project=project,
            defaults={"role": roles.get(username, Membership.Role.CONTRACTOR)},
        )


def base_model(model: str) -> Checkpoint:
    """The base checkpoint, prepared once. Raises CalledProcessError with the trainer's output."""
    name = {"smollm2": "SmolLM2-135M-Instruct", "tiny": "tiny-random"}[model]
    folder = Path(settings.MODELS_DIR) / name
    if not (folder / "config.json").exists():
        # The tiny model's tokenizer learns from our own texts.
        texts = [] if model == "smollm2" else ["--text", *(str(path) for path in sorted(EXAMPLES.glob("*.*")))]
        subprocess.run(
            [
                sys.executable,
                "-m",
                "training.trainers.prepare",
                "--model",
                model,
                "--output",
                str(folder),
                *texts,
            ],
            check=True,
            capture_output=True,
            text=True,
            start_new_session=True,
        )
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    checkpoint, _created = Checkpoint.objects.get_or_create(
        name=name, defaults={"kind": Checkpoint.Kind.BASE, "path": str(folder), "size_bytes": size}
    )
    return checkpoint


# What differs from the trainers' own defaults, for a first round on two CPU cores.
_PARAMS: dict[str, dict[str, dict[str, Any]]] = {
    "smollm2": {
        "sft": {"epochs": 2.0, "max_length": 512},
        "sample": {"k": 4, "max_new_tokens": 64},
        "reward": {"epochs": 2.0, "max_length": 640},
        "dpo": {"epochs": 1.0, "pairs_per_prompt": 2, "max_length": 640},
        "evaluate": {"k": 2, "max_new_tokens": 64, "shown": 8},
    },
    "tiny": {
        "sft": {"method": "full", "epochs": 4.0, "max_length": 512, "learning_rate": 1e-3},
        "sample": {"k": 4, "max_new_tokens": 32},
        "reward": {"method": "full", "epochs": 2.0, "max_length": 512, "learning_rate": 3e-4},
        "dpo": {
            "method": "full",
            "epochs": 1.0,
            "pairs_per_prompt": 2,
            "max_length": 512,
            "learning_rate": 1e-4,
        },
        "evaluate": {"k": 2, "max_new_tokens": 32, "shown": 8},
    },
}


def first_recipe(*, model: str, start: Checkpoint, written: int) -> Recipe:
    """The usual stages and an evaluation; writing is left out when all known answers are demonstrations already."""
    params = _PARAMS[model]
    write = {"write": {"prompts": written, "min_labels": 0, "auto": True}} if written else {}
    return Recipe(
        name="Round 1",
        start=start,
        include_simulated=True,
        heldout_percent=15,
        stages={
            **write,
            "sft": _with_defaults("sft", params["sft"]),
            "sample": {"prompts": 28, "slots_per_item": 1, **_with_defaults("sample", params["sample"])},
            "rank": {"min_labels": 0, "auto": True},
            "reward": _with_defaults("reward", params["reward"]),
            "dpo": _with_defaults("dpo", params["dpo"]),
            "evaluate": {"prompts": 8, **_with_defaults("evaluate", params["evaluate"])},
        },
    )


def second_recipe(*, model: str, start: Checkpoint) -> Recipe:
    """The next turn: the new policy is sampled on other prompts, and people rank."""
    params = _PARAMS[model]
    return Recipe(
        name="Round 2",
        start=start,
        include_simulated=True,
        heldout_percent=15,
        stages={
            "sample": {
                "prompts": 16, "slots_per_item": 1, **_with_defaults("sample", {**params["sample"], "seed": 1}),
            },
            "rank": {"min_labels": 0, "auto": False},
            "reward": _with_defaults("reward", params["reward"]),
            "dpo": _with_defaults("dpo", params["dpo"]),
        },
    )  # fmt: skip


def _with_defaults(stage: str, params: dict[str, Any]) -> dict[str, Any]:
    from training.trainers.config import fields_of

    return {**{spec.name: spec.default for spec in fields_of(stage)}, **params}
