"""What a model writes at chosen steps of its training, so that people see it learn (samples.jsonl)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from training.records import replacing
from training.trainers.config import PretrainConfig
from training.trainers.events import Events

_SHOWN = 200  # characters of a sample in the run's status


class Samples:
    """Writes samples into one file, one line each; a step that is done again replaces its samples."""

    def __init__(
        self,
        path: Path,
        *,
        config: PretrainConfig,
        prompts: Sequence[str],
        tokenizer: Any,
        end_of_text: int,
        events: Events,
    ) -> None:
        self.path, self.config, self.events = path, config, events
        self.prompts = list(prompts) or [""]
        self.tokenizer, self.end_of_text = tokenizer, end_of_text
        self._ids = [
            [end_of_text, *tokenizer(prompt, add_special_tokens=False, split_special_tokens=True)["input_ids"]]
            for prompt in self.prompts
        ]
        self._decode: Callable[..., list[list[int]]] | None = None

    def write(self, model: Any, *, step: int) -> None:
        """Draw one completion a prompt, always from the same random numbers, and store them under `step`."""
        was_training = model.training
        model.eval()
        found = self._decoder(model)(
            model,
            self._ids,
            k=1,
            max_new_tokens=self.config.sample_tokens,
            temperature=self.config.sample_temperature,
            top_p=0.95,
            seeds=[self.config.seed + number for number in range(len(self._ids))],
            stop_ids={self.end_of_text},
            pad_id=self.tokenizer.pad_token_id,
        )
        model.train(was_training)
        rows = [
            {
                "step": step,
                "prompt": prompt,
                "text": self.tokenizer.decode(ids, skip_special_tokens=True),
                "finish_reason": "stop" if ids[-1:] == [self.end_of_text] else "length",
                "token_count": len(ids),
            }
            for prompt, ids in zip(self.prompts, found, strict=True)
        ]
        earlier = [row for row in read_samples(self.path) if row["step"] < step]
        with replacing(self.path) as temporary:
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in [*earlier, *rows])
            temporary.write_text("".join(lines), encoding="utf-8")
        shown = " ".join(f"{rows[0]['prompt']}{rows[0]['text']}".split())[:_SHOWN]
        self.events.status(f"After step {step} the model writes: {shown}")

    def _decoder(self, model: Any) -> Callable[..., list[list[int]]]:
        from training.trainers import decoding

        if self._decode is None:
            reason = decoding.why_not_decode(model, pad_id=self.tokenizer.pad_token_id)
            self._decode = decoding.decode if reason is None else decoding.decode_by_generate
        return self._decode


def read_samples(path: Path) -> list[dict[str, Any]]:
    """The samples written so far, in the order of their steps."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
