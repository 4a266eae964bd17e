"""Prompts that are nearly the same: MinHash bands find candidates, rapidfuzz compares their texts.

Bands after Broder (1997) and Leskovec et al., "Mining of Massive Datasets", chapter 3: prompts whose shingles overlap
by a share s have one of B bands of R values in common with a probability of 1 - (1 - s^R)^B. A look-up reads B short
ranges of one index, however many prompts there are. Sizes were measured: docs/decisions/0025-writing-checks.md.
"""

import hashlib
import re
import unicodedata
import zlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.db import connection, transaction
from django.utils.translation import gettext as _

from labeling.checks.finding import Finding
from labeling.messages import Messages
from labeling.models import Prompt

BANDS = 16
ROWS = 3
SHINGLE = 4
SHINGLE_DENSE = 2  # for Chinese, Japanese and Korean, whose signs are words
READ = 8000  # characters of a prompt that are compared
SHORTEST = 12  # a prompt of fewer characters is like too many others
_EACH_BAND = 40  # candidates read of one band, newest first: a phrase that many prompts share fills its bands
_COMPARED = 80
_DENSE = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")


@dataclass(frozen=True)
class Alike:
    prompt: int
    text: str
    percent: int


def find(
    prompt: Messages, *, project_id: int, similarity: int, action: str, own: Collection[int] = ()
) -> list[Finding]:
    """One finding for the project's prompt that is most like this one, if it is alike enough."""
    likest = most_alike(prompt, project_id=project_id, similarity=similarity, own=own)
    if likest is None:
        return []
    sentence = _("An earlier prompt is %(percent)d %% the same.") % {"percent": likest.percent}
    return [Finding("duplicates", action, sentence, prompt=likest.prompt)]


def most_alike(prompt: Messages, *, project_id: int, similarity: int, own: Collection[int] = ()) -> Alike | None:
    from rapidfuzz import fuzz

    text = normalised(prompt)
    best: Alike | None = None
    if len(text) < SHORTEST:
        return None
    candidates = set(_candidates(bands(text), project_id=project_id)).difference(own)
    for earlier in Prompt.objects.filter(pk__in=candidates).order_by("id"):
        score = fuzz.ratio(text, normalised(earlier.messages), score_cutoff=similarity)
        if score >= similarity and (best is None or int(score) > best.percent):
            best = Alike(earlier.pk, said(earlier.messages), int(score))
    return best


def said(prompt: Messages) -> str:
    """What the person says in a prompt; a system message is often the same for many."""
    return "\n\n".join(turn["content"] for turn in prompt if turn["role"] == "user")


def normalised(prompt: Messages) -> str:
    """Case, width, white space and punctuation make no difference."""
    text = unicodedata.normalize("NFKC", said(prompt)[:READ]).casefold()
    return " ".join(re.sub(r"[^\w\s]+", " ", text).split())


def bands(text: str) -> list[int]:
    """The bands of a normalised text as signed 64-bit numbers; none for a text that is too short."""
    if len(text) < SHORTEST:
        return []
    from datasketch.minhash import MinHash

    size = SHINGLE_DENSE if len(_DENSE.findall(text)) * 4 >= len(text) else SHINGLE
    shingles = {text[at : at + size].encode() for at in range(len(text) - size + 1)}
    sketch = MinHash(BANDS * ROWS, hashfunc=zlib.crc32, permutations=_permutations(), scheme="affine32")
    sketch.update_batch(shingles)
    values = sketch.hashvalues.astype("<u4").tobytes()
    width = ROWS * 4
    return [
        int.from_bytes(
            hashlib.blake2b(bytes([number]) + values[number * width : (number + 1) * width], digest_size=8).digest(),
            "little",
            signed=True,
        )
        for number in range(BANDS)
    ]


@cache
def _permutations() -> Any:
    """Drawn once, from datasketch's own seed: stored bands must mean the same tomorrow."""
    from datasketch.minhash import MinHash

    return MinHash(BANDS * ROWS, seed=1, scheme="affine32").permutations


def remember(prompts: Iterable[Prompt]) -> None:
    """Writes the bands of these prompts in one statement; those that are there already stay."""
    rows = [(row.project_id, band, row.pk) for row in prompts for band in set(bands(normalised(row.messages)))]
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO labeling_promptband (project_id, band, prompt_id)"
            " SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[]) ON CONFLICT DO NOTHING",
            [list(column) for column in zip(*rows, strict=True)],
        )


@transaction.atomic
def remember_waiting(*, most: int = 1000) -> int:
    """Bands for prompts that have none yet, such as imported ones; how many there were. Safe to run twice, and at once.

    Not part of an import, which it would make more than twice as slow (measured).
    """
    # Without the key, or every label of these prompts would wait until all are hashed.
    waiting = (
        Prompt.objects.select_for_update(skip_locked=True, no_key=True).filter(is_banded=False).order_by("id")[:most]
    )
    prompts = list(waiting.only("id", "project_id", "messages"))
    remember(prompts)
    Prompt.objects.filter(pk__in=[row.pk for row in prompts]).update(is_banded=True)
    return len(prompts)


def _candidates(wanted: Sequence[int], *, project_id: int) -> list[int]:
    """The prompts that share most bands, each band read as far as its newest few."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT near.prompt_id FROM unnest(%s::bigint[]) AS wanted(band)"
            " CROSS JOIN LATERAL (SELECT prompt_id FROM labeling_promptband"
            "  WHERE project_id = %s AND band = wanted.band ORDER BY prompt_id DESC LIMIT %s) AS near"
            " GROUP BY near.prompt_id ORDER BY count(*) DESC, near.prompt_id DESC LIMIT %s",
            [list(wanted), project_id, _EACH_BAND, _COMPARED],
        )
        return [prompt_id for (prompt_id,) in cursor.fetchall()]
