"""manage.py add_model NAME FOLDER: makes a folder of weights available as a base model."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from hone.audit.models import record
from training.models import Checkpoint


class Command(BaseCommand):
    help = "Registers a transformers folder (config.json, safetensors, tokenizer) as a base model to start rounds from."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="how the console names it, for example Llama-3.2-1B")
        parser.add_argument("folder", type=Path)

    def handle(self, *args: Any, name: str, folder: Path, **options: Any) -> None:
        folder = folder.resolve()
        if not folder.is_dir():
            raise CommandError(f"{folder} is no folder.")
        try:
            json.loads((folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CommandError(f"{folder / 'config.json'} cannot be read: {error}.") from error
        if not any(folder.glob("*.safetensors")):
            raise CommandError(f"{folder} has no safetensors weights (pickled weights are never loaded).")
        if not any((folder / file).is_file() for file in ("tokenizer.json", "tokenizer.model", "vocab.json")):
            raise CommandError(f"{folder} has no tokenizer.")
        if Checkpoint.objects.filter(name=name).exists():
            raise CommandError(f"There is a model named {name} already.")
        made = Checkpoint.objects.create(
            name=name,
            kind=Checkpoint.Kind.BASE,
            path=str(folder),
            size_bytes=sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
        )
        record("checkpoint.added", made, path=str(folder))
        self.stdout.write(f"{name} can start a round now.")
