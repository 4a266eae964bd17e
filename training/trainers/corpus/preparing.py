"""The whole way from sources to a cleaned corpus: one Parquet file a source, and report.json.

Each document goes once through: reading, normalising, language, heuristics, decontamination, exact and near
duplicates; the first that refuses it names the reason. What stays is written as it comes, so memory holds the
indexes of duplicates alone. The Parquet files have a column `text` and can be sources of another run.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from training.records import RecordError, sha256_file
from training.trainers.config import PretrainConfig
from training.trainers.corpus.contamination import Prompts
from training.trainers.corpus.duplicates import ExactIndex, NearIndex
from training.trainers.corpus.files import files_of
from training.trainers.corpus.heuristics import fault, without_notices
from training.trainers.corpus.language import language_of
from training.trainers.corpus.manifest import Manifest, Source
from training.trainers.corpus.normalising import normalise
from training.trainers.corpus.reading import Document, check_readable, documents_of
from training.trainers.corpus.report import REASONS, SourceReport
from training.trainers.corpus.units import Units, units_of, words_of
from training.trainers.folders import replacing_folder

REPORT = "report.json"
_ROWS_PER_GROUP = 1000
# The settings that decide what stays; a corpus made with others is made again.
_SETTINGS = (
    "languages",
    "language_share",
    "quality_filter",
    "deduplicate",
    "near_similarity",
    "contamination_words",
    "heldout_percent",
)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What becomes of a document: its final text, or the reason it goes with a detail for people."""

    text: str
    language: str = ""
    reason: str = ""
    detail: str = ""
    twin_source: str = ""  # of a duplicate: where its twin stands
    lines_cut: int = 0


def parse_languages(text: str) -> list[str]:
    """The codes in "en, zh"."""
    return [code for code in text.replace(",", " ").lower().split() if code]


class Place(NamedTuple):
    """Where a document stands: its source's name, and its file and place within that."""

    source: str
    where: str


class Sieve:
    """Judges documents one after another; what it saw before decides what is a duplicate."""

    def __init__(self, *, config: PretrainConfig, prompts: Prompts | None) -> None:
        self.config = config
        self.languages = parse_languages(config.languages)
        self.prompts = prompts
        self.exact = ExactIndex[Place]() if config.deduplicate != "none" else None
        self.near = NearIndex[Place](similarity=config.near_similarity) if config.deduplicate == "near" else None

    def judge(self, document: Document, *, source: str, quality_filter: bool) -> Verdict:
        """What becomes of a document of this source; one that stays is remembered."""
        if document.fault:
            return Verdict(text=document.text, reason=document.fault)
        text = normalise(document.text)
        cut = 0
        filtered = quality_filter and self.config.quality_filter
        if filtered:
            text, cut = without_notices(text)
        if not text:
            return Verdict(text=document.text, reason="empty", lines_cut=cut)
        language, share = language_of(text)
        if self.languages and (language not in self.languages or share < self.config.language_share):
            return Verdict(text=text, reason="language", detail=f"{language} {share:.2f}", lines_cut=cut)
        units = units_of(text)
        if filtered and (reason := fault(text, units, language=language)):
            return Verdict(text=text, reason=reason, lines_cut=cut)
        seen = Verdict(text=text, language=language, lines_cut=cut)
        return self._seen_before(seen, units, where=Place(source, document.where))

    def _seen_before(self, found: Verdict, units: Units, *, where: Place) -> Verdict:
        """The verdict on a document that passed all else: it goes where its words, or an evaluation's, were seen."""
        if self.prompts and (at := self.prompts.overlap(units)) is not None:
            return replace(found, reason="contaminated", detail=" ".join(words_of(found.text)[at : at + 26]))
        if self.exact and (twin := self.exact.twin_of(units, where=where)):
            return replace(found, reason="exact_duplicate", detail=f"of {twin.where}", twin_source=twin.source)
        if self.near and (likest := self.near.twin_of(units, where=where)):
            twin, share = likest
            detail = f"of {twin.where}, {share:.0%} alike"
            return replace(found, reason="near_duplicate", detail=detail, twin_source=twin.source)
        return found


def read_prompts(manifest: Manifest, *, words: int) -> Prompts | None:
    """The evaluation's prompts, None where there is none to keep out; raises RecordError as reading does."""
    if not manifest.evaluation or not words:
        return None
    texts = (document.text for source in manifest.evaluation for document in documents_of(source))
    return Prompts(texts, words=words)


def settings_of(config: PretrainConfig, *, data: Path) -> dict[str, Any]:
    """What a corpus is made by; equal settings give an equal corpus of unchanged files."""
    return {name: getattr(config, name) for name in _SETTINGS} | {"manifest_sha256": sha256_file(data)}


def prepare(
    folder: Path,
    *,
    manifest: Manifest,
    config: PretrainConfig,
    settings: dict[str, Any],
    tell: Callable[[str], None],
    between: Callable[[], None],
) -> dict[str, Any]:
    """Make the corpus folder, whole or not at all; gives the report.

    `tell` gets a sentence a source, `between` is called before each document and may raise to stop. Raises
    RecordError for sources that cannot be read and where a source that counts keeps nothing.
    """
    started = time.monotonic()
    left_out = {source.name: check_readable(source) for source in [*manifest.sources, *manifest.evaluation]}
    prompts = read_prompts(manifest, words=config.contamination_words)
    if prompts and prompts.too_short:
        tell(f"{prompts.too_short} of {prompts.count} evaluation prompts are too short to be told from honest text.")
    sieve = Sieve(config=config, prompts=prompts)
    reports, facts = [], []
    with replacing_folder(folder) as temporary:
        for number, source in enumerate(manifest.sources):
            report = SourceReport(source.name)
            report.left_out = left_out[source.name]
            facts.append(_one(source, report, sieve, temporary / file_name(number), between=between, config=config))
            tell(report.sentence())
            reports.append(report)
        _check_kept(manifest, reports)
        whole = {
            "settings": settings,
            "evaluation_prompts": prompts.count if prompts else 0,
            "evaluation_prompts_too_short": prompts.too_short if prompts else 0,
            "seconds": round(time.monotonic() - started, 3),
            "sources": [report.as_dict() | fact for report, fact in zip(reports, facts, strict=True)],
        }
        # A record without text may hold half of a surrogate pair, which UTF-8 cannot write.
        text = json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
        (temporary / REPORT).write_text(text, encoding="utf-8", errors="replace")
    return whole


def file_name(number: int) -> str:
    """Where the documents of source `number` (from 0) lie within the corpus folder."""
    return f"documents-{number:03d}.parquet"


def _one(
    source: Source,
    report: SourceReport,
    sieve: Sieve,
    path: Path,
    *,
    between: Callable[[], None],
    config: PretrainConfig,
) -> dict[str, Any]:
    """Judge one source's documents into a Parquet file; gives what the held-out split is decided by."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for file in _paths(source):
        report.files.append({"path": str(file), "bytes": file.stat().st_size, "sha256": sha256_file(file)})
    schema = pa.schema([(name, pa.string()) for name in ("text", "source", "where", "language", "hash")])
    digest = hashlib.sha256()
    longest = longest_at = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        group: list[dict[str, str]] = []
        for document in documents_of(source):
            between()
            report.read(document.text)
            verdict = sieve.judge(document, source=source.name, quality_filter=source.quality_filter)
            report.lines_cut += verdict.lines_cut
            if verdict.reason:
                report.drop(
                    verdict.reason,
                    verdict.text,
                    where=document.where,
                    detail=verdict.detail,
                    twin_source=verdict.twin_source,
                )
                continue
            content_hash = hashlib.sha256(verdict.text.encode()).hexdigest()
            digest.update(content_hash.encode())
            if len(verdict.text) > longest:
                longest, longest_at = len(verdict.text), report.kept_documents
            report.keep(verdict.text, language=verdict.language)
            group.append(
                {
                    "text": verdict.text,
                    "source": source.name,
                    "where": document.where,
                    "language": verdict.language,
                    "hash": content_hash,
                }
            )
            if len(group) == _ROWS_PER_GROUP:
                writer.write_table(pa.Table.from_pylist(group, schema=schema))
                group = []
        if group:
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
    percent = config.heldout_percent if source.heldout_percent is None else source.heldout_percent
    return {"heldout_percent": percent, "longest_at": longest_at, "sha256": digest.hexdigest()}


def _paths(source: Source) -> list[Path]:
    if source.path.is_file():
        return [source.path]
    return [Path(file.where) for file in files_of(source).files]


def _check_kept(manifest: Manifest, reports: list[SourceReport]) -> None:
    for source, report in zip(manifest.sources, reports, strict=True):
        if report.kept_documents or source.weight == 0:
            continue
        reason, count = next(iter(report.dropped.items()), ("empty", 0))
        raise RecordError(
            f"Nothing of the source {source.name} is left: of its {report.documents} documents, "
            f"{count} were dropped as {reason} ({REASONS[reason]})."
        )
